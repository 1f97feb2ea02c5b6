import json
import re
from html.parser import HTMLParser

import pytest

from eomm import report
from eomm.embedding import embed
from eomm.errors import DataError
from eomm.evaluate.reconstruction import evaluate
from eomm.report_data import read_metrics
from tests.eomm.site import TEST_DAYS, make_cube, make_model

HOSTILE = "<script>alert('x')</script>&\""
SECTIONS = (
    "Conclusions|Maps|Hidden-target skill|By band, and compression|Spectra of hidden targets|Series at the same pixels|"
    "Training|Embedding through time|Observations|Data and model|To repeat this"
).split("|")


class Seen(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.titles, self._title = [], [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        self._title = tag == "h2"

    def handle_data(self, data):
        if self._title:
            self.titles.append(data)
        self._title = False


def parse(path):
    seen = Seen()
    seen.feed(path.read_text())
    return seen


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page of a fused model at a hostile, simulated site."""
    work = tmp_path_factory.mktemp("report")
    cube = make_cube(work / "cube.zarr", site=HOSTILE, simulated=True, clouds=0.1)
    model = make_model(("s2", "s1"), fused=True)
    embed(model, cube, work / "embedding.zarr", dtype="float32")
    evaluation = evaluate(model, cube, dates=TEST_DAYS, gaps=(0, 20))
    runs = []
    for name in ("s2", "fusion"):
        prefix = "s2_" if name == "fusion" else ""
        lines = [{"step": s, "loss": 1 / s, f"{prefix}hidden_mae": 0.1 / s, "s1_hidden_mae": 2.0} for s in (10, 20, 30)]
        lines.append({"step": 30, "validation/loss": 0.5})
        (work / name).mkdir()
        (work / name / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines) + '{"step": 40, "lo')
        runs.append(work / name)
    parts = {"cube": cube, "embedding": work / "embedding.zarr", "model": model, "evaluation": evaluation}
    path = report.build(work / "page" / "index.html", **parts, runs=runs, commands=["eomm demo <&>"])
    return path, parts


def test_page_is_self_contained_and_complete(made):
    path, _ = made
    seen = parse(path)
    assert seen.titles == SECTIONS
    assert seen.links and all(link.startswith("data:image/png;base64,") for link in seen.links)
    assert not {"script", "link", "iframe", "object"} & set(seen.tags)
    assert not re.search(r"url\(|@import|https?://", path.read_text())
    assert 'name="viewport"' in path.read_text()


def test_every_figure_lies_beside_the_page(made):
    path, _ = made
    pngs = sorted(p.stem for p in (path.parent / "index_figures").glob("*.png"))
    assert pngs == sorted("maps skill bands spectra series training pixel counts".split())
    assert parse(path).tags.count("img") == len(pngs)


def test_text_from_data_is_escaped(made):
    text = made[0].read_text()
    assert HOSTILE not in text and "&lt;script&gt;" in text
    assert "eomm demo &lt;&amp;&gt;" in text


def test_simulated_is_said_first_and_only_where_true(made, tmp_path):
    path, parts = made
    assert path.read_text().index("SIMULATED") < path.read_text().index("<h1>")
    plain = report.build(tmp_path / "real.html", **parts, simulated=False)
    assert "SIMULATED" not in plain.read_text().split("<h2>Data and model")[0]


def test_conclusions_name_baselines_and_do_not_claim_what_does_not_count(made):
    lines = " ".join(report.conclude(made[1]["evaluation"]))
    assert "do not count as skill" in lines and "linear in time" in lines and "Compression, not skill" in lines
    evaluation = json.loads(json.dumps(made[1]["evaluation"]))
    assert f"{evaluation['hidden']['all']['20']['methods']['fused']['mean']:.4f}" in lines


def test_a_page_without_runs_examples_or_commands(made, tmp_path):
    _, parts = made
    bare = {**parts, "evaluation": {**parts["evaluation"], "examples": []}}
    path = report.build(tmp_path / "bare.html", **bare)
    text = path.read_text()
    assert "Training" not in parse(path).titles and "Spectra of hidden targets" not in parse(path).titles
    assert "eomm evaluate reconstruction" in text and "eomm embed" in text
    report.build(tmp_path / "bare.html", **bare)  # replaces


def test_missing_or_damaged_logs_are_named(tmp_path):
    with pytest.raises(DataError, match=r"metrics\.jsonl: missing"):
        read_metrics(tmp_path / "metrics.jsonl")
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "a": 2}\nnonsense\n')
    with pytest.raises(DataError, match="line 2"):
        read_metrics(tmp_path / "metrics.jsonl")
