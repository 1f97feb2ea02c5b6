"""The documentation: every key has a meaning, every command line parses, notebooks run. CI builds the site."""

import re
import shlex

import nbformat
import pytest
from nbclient import NotebookClient

from docs import reference
from eomm.cli.parser import build_parser
from eomm.training.config import flatten, load_config

ROOT = reference.ROOT
PAGES = sorted((ROOT / "docs" / "pages").rglob("*.md"))
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))


def rows(table):
    """Key -> meaning of the generated tables; of a mapping's several tables the keys of all."""
    return dict(re.findall(r"^\| `([^`]+)` \|.*\| (.+) \|$", table, re.MULTILINE))


def test_every_configuration_key_has_a_meaning():
    told = rows(reference.configuration())
    for experiment in (ROOT / "experiments").glob("*.py"):
        if "def get_config(" in experiment.read_text():
            for key, _ in flatten(load_config(experiment)):
                assert len(told[re.sub(r"^objective\.(s1|s2)\.", "objective.", key)]) > 2, key


def test_a_key_without_a_meaning_is_refused():
    with pytest.raises(reference.NoMeaningError, match="momentum"):
        reference.meaning("optimiser.momentum", reference.configuration_meanings())


def test_every_mapping_key_has_a_meaning():
    told = rows(reference.mappings())
    assert {"reader", "bands", "in_name", "clear", "valid_min", "speckle_filter"} <= set(told)
    assert all(len(text) > 2 for text in told.values())
    names = re.findall(r"^\| `(\w+)` \| ..", reference.shipped_mappings(), re.MULTILINE)
    assert names == sorted(file.stem for file in reference.SHIPPED.glob("*.toml"))


def command_lines(text):
    """The words of every `eomm …` in blocks of shell."""
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("eomm "):
                yield shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_line_of_a_page_parses(page):
    parser = build_parser()
    for words in command_lines(page.read_text()):
        _, left = parser.parse_known_args(words)
        assert all(word.startswith("--config.") for word in left), (words, left)


def test_the_pages_have_command_lines():
    assert sum(len(list(command_lines(page.read_text()))) for page in PAGES) > 40


def test_what_stands_elsewhere_is_found_from_the_site_and_from_a_clone():
    filled = [(page, m) for page in PAGES for m in reference.DIRECTIVE.finditer(page.read_text())]
    assert len(filled) > 12 and not any("{{" in page.read_text() for page in PAGES)
    for page, match in filled:
        assert match["name"] is None or callable(getattr(reference, match["name"]))
        assert match["path"] is None or (ROOT / match["path"]).is_file()
        for target in re.findall(r"\]\(([^)]+)\)", match[0]):
            assert (page.parent / target).exists(), (page, target)


def test_notebooks_are_saved_with_what_they_put_out():
    assert len(NOTEBOOKS) == 2
    for file in NOTEBOOKS:
        cells = nbformat.read(file, as_version=4).cells
        outputs = [o for cell in cells for o in cell.get("outputs", [])]
        assert any("image/png" in o.get("data", {}) for o in outputs), file
        assert not any(o["output_type"] in ("error", "stream") for o in outputs), file


@pytest.mark.whole
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file):
    NotebookClient(nbformat.read(file, as_version=4), timeout=600).execute()
