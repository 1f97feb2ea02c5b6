"""Pages that are made from the code: every configuration key, every mapping key, every command, the public names.

What has no meaning, neither a comment where an experiment sets it nor an entry in its dataclass's docstring, is an
error: the site is not built, and tests/test_docs.py fails. Sources are read, not imported, where they need JAX.
"""

import argparse
import ast
import dataclasses
import inspect
import re
import tokenize
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import eomm
from data_prep.mappings.mapping import SHIPPED, Mask
from data_prep.mappings.mapping import Mapping as Source
from eomm.cli.parser import build_parser
from eomm.data.modality import Band, Modality
from eomm.data.points import PointMapping
from eomm.training.config import flatten, load_config

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ("published_s2", "published_s1", "published_fusion", "published_hidden")
EXPERIMENTS = ("s2", "s1", "fusion", "weather", "static", "base", "radar", *PUBLISHED)
GROUPS = ("the run", "data", "encoder", "decoder", "objective", "fusion", "sampling", "optimiser", "best", "mesh")
CLASSES = {
    "eomm.models.context": "ContextEncoder",
    "eomm.models.state": "StateEncoder",
    "eomm.models.published": "PublishedEncoder",
}
"""Where `config.encoder.code` finds its options."""
OPTIONS = {
    "objective": ("eomm/training/objective.py", "Objective"),
    "decoder": ("eomm/models/decoder.py", "Decoder"),
    "fusion": ("eomm/models/fusion.py", "Fusion"),
    "sampling": ("eomm/training/published.py", "Sampling"),
}
"""Groups of a configuration whose keys are the fields of a dataclass."""
DIRECTIVE = re.compile(
    r"^(?:\[(?P<path>[^\]]+)\]\([^)]+\)|`docs/reference\.py: (?P<name>\w+)`) stands here in the built site.*$",
    re.MULTILINE,
)
"""A line of a page that is filled in: a file of the repository, or what a function of this module gives."""
HEAD = "| key | default | meaning |\n|---|---|---|"


class NoMeaningError(Exception):
    """A key that is nowhere explained."""


def configuration() -> str:
    """Every key of the shipped experiments, its meaning, and its default in each that has another."""
    values: dict[str, dict[str, Any]] = {}
    for name in EXPERIMENTS:
        for key, value in flatten(load_config(str(ROOT / "experiments" / f"{name}.py"))):
            modality = re.match(r"objective\.(s1|s2)\.", key)
            plain = key.replace(modality[0], "objective.") if modality else key
            values.setdefault(plain, {})[f"{name}, {modality[1]}" if modality else name] = value
    meanings = configuration_meanings()
    sections: dict[str, list[str]] = {group: [] for group in GROUPS}
    for key, by_experiment in sorted(values.items()):
        group = key.partition(".")[0] if "." in key else GROUPS[0]
        sections[group].append(f"| `{key}` | {_defaults(by_experiment)} | {_cell(meaning(key, meanings))} |")
    return "\n\n".join("\n".join([f"## {group}", "", HEAD, *rows]) for group, rows in sections.items())


def configuration_meanings() -> dict[str, str]:
    """Key -> meaning, from comments in experiments/ and docstrings of the dataclasses that take the options."""
    found: dict[str, str] = {}
    for group, (file, name) in OPTIONS.items():
        found |= {f"{group}.{key}": text for key, text in attributes(class_docstring(ROOT / file, name)).items()}
    for code, name in reversed(CLASSES.items()):  # what the context encoder says goes before
        path = ROOT / code.replace(".", "/")
        file = path / "model.py" if path.is_dir() else path.with_suffix(".py")
        found |= {f"encoder.{key}": text for key, text in attributes(class_docstring(file, name)).items()}
    for file in sorted((ROOT / "experiments").glob("*.py"), key=lambda f: f.name == "common.py"):
        found |= comments(file)
    return found


def meaning(key: str, meanings: Mapping[str, str]) -> str:
    """The meaning of a key; of an inner encoder's, or of another group's module, that of the outer.

    Raises:
        NoMeaningError: it has none.
    """
    leaf = key.rpartition(".")[2]
    for known in (key, key.replace(".inner.", "."), f"encoder.{leaf}" if leaf == "code" else key):
        if known in meanings:
            return meanings[known]
    raise NoMeaningError(f"configuration key {key}: explain it by a comment where experiments/ sets it")


def comments(file: Path) -> dict[str, str]:
    """Dotted key -> the comment on its line, of what a file of experiments/ sets in `config`."""
    with file.open("rb") as lines:
        tokens = [t for t in tokenize.tokenize(lines.readline) if t.type == tokenize.COMMENT]
    said = {t.start[0]: t.string.lstrip("# ") for t in tokens}
    keys: dict[int, list[str]] = {}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and (path := _config_path(node.targets[0])):
            for key, line in _keys(node.value, path, node.end_lineno or node.lineno):
                keys.setdefault(line, []).append(key)
    return {on[0]: said[line] for line, on in keys.items() if len(on) == 1 and line in said}


def _config_path(target: ast.expr) -> str:
    """The key that `config.optimiser.clip` sets, "optimiser.clip"; nothing of other targets."""
    text = ast.unparse(target)
    return text.removeprefix("config.") if text.startswith("config.") else ""


def _keys(value: ast.expr, path: str, line: int) -> Iterator[tuple[str, int]]:
    """Keys that a value sets below a path, each with the line that it ends on."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "ConfigDict" and value.args:
        value = value.args[0]
    if not isinstance(value, ast.Dict):
        yield path, line
        return
    for key, item in zip(value.keys, value.values, strict=True):
        if isinstance(key, ast.Constant):
            yield from _keys(item, f"{path}.{key.value}", item.end_lineno or item.lineno)


def mappings() -> str:
    """Every key of a mapping file, as its dataclasses explain them."""
    tables = (
        ("The file", Source, {"name"}),
        ("[mask]", Mask, set[str]()),
        ("[modality]", Modality, set[str]()),
        ("[[modality.bands]]", Band, set[str]()),
        ("A table of pixels or parcels", PointMapping, set[str]()),
    )
    return "\n\n".join(_table(title, kind, left_out) for title, kind, left_out in tables)


def _table(title: str, kind: Any, left_out: Iterable[str]) -> str:
    told = attributes(inspect.getdoc(kind) or "")
    rows = [f"## {title}", "", HEAD]
    for field in dataclasses.fields(kind):
        if field.name in left_out:
            continue
        if field.name not in told:
            raise NoMeaningError(f"mapping key {field.name}: explain it under Attributes of {kind.__name__}")
        rows.append(f"| `{field.name}` | {_default(field)} | {_cell(told[field.name])} |")
    return "\n".join(rows)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "none"
    if field.default is dataclasses.MISSING:
        return "must be given"
    return "none" if field.default in (None, ()) else f"`{_toml(field.default)}`"


def _toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def shipped_mappings() -> str:
    """The mappings that come with eomm, with the comment that each begins with."""
    rows = ["| name | what it reads |", "|---|---|"]
    for file in sorted(SHIPPED.glob("*.toml")):
        said = re.match(r"(#.*\n)+", file.read_text(encoding="utf-8"))
        if not said:
            raise NoMeaningError(f"{file}: begin with a comment that says what it reads")
        rows.append(f"| `{file.stem}` | {_cell(re.sub(r'^# ?', '', said[0], flags=re.MULTILINE))} |")
    return "\n".join(rows)


def cards() -> str:
    """The cards of the models in the package."""
    files = sorted((ROOT / "eomm" / "models" / "weights").glob("*/CARD.md"))
    return "\n\n".join(re.sub(r"^#", "##", f.read_text(encoding="utf-8"), flags=re.MULTILINE) for f in files)


def commands() -> str:
    """Every command as its help describes it."""
    return "\n\n".join(
        f"## {parser.prog}\n\n```text\n{parser.format_help()}```"
        for parser in _parsers(build_parser())
        if parser.epilog
    )


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _parsers(one)


def public_names() -> str:
    """The names of `import eomm`, as directives of mkdocstrings."""
    called = {"evaluate": "evaluate_records"}  # at home, where that is another name
    homes = {name: f"eomm.{home}.{called.get(name, name)}" for name, home in eomm._HOME.items()}
    options = "    options: { heading: eomm.%s, toc_label: eomm.%s, heading_level: 2 }"
    return "\n\n".join(f"::: {home}\n{options % (name, name)}" for name, home in homes.items())


def packages() -> str:
    """What each package says of itself."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {name: ROOT / listed["package-dir"].get(name, name.replace(".", "/")) for name in listed["packages"]}
    said = {name: ast.get_docstring(ast.parse((f / "__init__.py").read_text("utf-8"))) for name, f in folders.items()}
    return "\n\n".join(f"## {name}\n\n{text}" for name, text in said.items())


def class_docstring(file: Path, name: str) -> str:
    """The docstring of a class, without importing its module."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return ast.get_docstring(node) or ""
    raise NoMeaningError(f"{file}: has no class {name}")


def attributes(docstring: str) -> dict[str, str]:
    """Name -> text of the section "Attributes" of a cleaned Google docstring."""
    section = re.search(r"^Attributes:\n((?:[ ]{4}.*\n?|\n(?=[ ]{4}))+)", docstring, re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: re.sub(r"\s+", " ", text) for name, text in entries}


def _defaults(by_experiment: Mapping[str, Any]) -> str:
    """The first experiment's default, and those of others that differ."""
    shown = {name: _typed(value) for name, value in by_experiment.items()}
    first = next(iter(shown.values()))
    others: dict[str, list[str]] = {}
    for name, value in shown.items():
        if value != first:
            others.setdefault(value, []).append(name)
    return "<br>".join([first, *(f"{value} ({'; '.join(names)})" for value, names in others.items())])


def _typed(value: Any) -> str:
    """A value as `--config.KEY=VALUE` takes it."""
    if value in ("", ()):
        return "empty"
    return f"`{','.join(map(str, value))}`" if isinstance(value, tuple) else f"`{value}`"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip().removesuffix(".")
