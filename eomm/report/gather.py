"""What a report is made of, found below folders: cube, embedding, model, runs, evaluations. Draws nothing."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eomm.errors import DataError, UsageError
from eomm.evaluation.hidden.fusion_words import with_words as fusion_words
from eomm.evaluation.hidden.reconstruction_words import with_words as reconstruction_words
from eomm.store.folders import read_json, recover
from eomm.store.kinds import kind_of

SKIPPED = ("checkpoints", "tensorboard", "profile")
MAX_DEPTH = 6
NAMES = {"gpp": "GPP"}
KIND = re.compile(r"[a-z][a-z0-9_ -]{0,40}")  # also part of figures' file names


@dataclass(frozen=True)
class Evaluation:
    """The result of one `eomm evaluate …` in the form that all share.

    Attributes:
        result: `kind`, `simulated`, `conclusions`, `tables`, `figures`, `commands`, and the kind's own numbers.
        folder: from which its figures' files are named.
        source: the file, for messages; None where it came from memory.
    """

    result: dict[str, Any]
    folder: Path = Path()
    source: Path | None = None

    @property
    def kind(self) -> str:
        """Such as "reconstruction"."""
        return str(self.result["kind"])

    @property
    def simulated(self) -> bool:
        """Whether its data are."""
        return bool(self.result["simulated"])

    @property
    def about(self) -> str:
        """Kind, site and modality, as a heading."""
        site = self.result.get("site") or self.result.get("dataset")
        name = NAMES.get(self.kind, self.kind.replace("_", " ").capitalize())
        return name + (f", {site}" if isinstance(site, str) else "")


@dataclass
class Found:
    """Paths below the folders, by what they are; `unread` are called .json and are none."""

    cubes: list[Path] = field(default_factory=list)
    embeddings: list[Path] = field(default_factory=list)
    models: list[Path] = field(default_factory=list)
    runs: list[Path] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are, but for files that are no JSON."""
        return sum(map(len, vars(self).values())) - len(self.unread)


def read_evaluation(path: Path | str) -> Evaluation:
    """An evaluation's file.

    Raises:
        DataError: missing, damaged, or not the result of an evaluation.
    """
    path = Path(path)
    return Evaluation(in_shared_form(read_json(path), str(path)), path.parent, path)


def is_evaluation(result: Any) -> bool:
    """Whether JSON is what `eomm evaluate …` writes."""
    if not isinstance(result, dict):
        return False
    ours = str(result.get("eomm:kind", "")).startswith("evaluation")
    shared = {"kind", "simulated", "conclusions", "tables"} <= set(result)
    return ours or shared


def in_shared_form(result: Any, where: str) -> dict[str, Any]:
    """With what reports show; older results of reconstruction and fusion get their sentences and tables here.

    Raises DataError, naming `where`, for what is no evaluation's result.
    """
    if not is_evaluation(result):
        raise DataError(
            f"{where}: not the result of an evaluation; expected JSON with kind, simulated, conclusions, tables and "
            "figures, as eomm evaluate … --out writes it"
        )
    forms = {"evaluation of reconstruction": reconstruction_words, "evaluation of fusion": fusion_words}
    if "conclusions" not in result and (form := forms.get(str(result.get("eomm:kind")))):
        result = form(result)
    return checked({"figures": [], "commands": [], **result}, where)


def checked(result: dict[str, Any], where: str) -> dict[str, Any]:
    """The result itself. Raises DataError unless it has the shared form, whoever wrote it."""
    tables = result.get("tables")
    fits = {
        "kind": bool(KIND.fullmatch(str(result.get("kind")))),
        "simulated": isinstance(result.get("simulated"), bool),
        **{name: _is_list(result.get(name), str) for name in ("conclusions", "commands")},
        "tables": _is_list(tables, dict) and all(map(_is_table, tables or ())),
        "figures": _is_list(result.get("figures"), dict),
    }
    wrong = [name for name, right in fits.items() if not right]
    if wrong:
        raise DataError(
            f"{where}: {', '.join(wrong)} not as expected: kind a lower-case word, simulated true or false, "
            "conclusions and commands lists of text, tables of title, columns and rows as wide as they, figures of "
            "title, caption and png"
        )
    return result


def _is_list(value: Any, of: type | tuple[type, ...]) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, of) for v in value)


def _is_table(found: Any) -> bool:
    columns, rows = found.get("columns"), found.get("rows")
    if not (isinstance(found.get("title"), str) and _is_list(columns, object) and _is_list(rows, (list, tuple))):
        return False
    return len(columns) > 0 and all(len(row) == len(columns) for row in rows)


def gather(folders: Sequence[Path | str]) -> Found:
    """Everything of ours below the folders, each of which may be a run, a store, or hold any of them.

    Raises:
        DataError: a folder is missing, or holds nothing of ours.
    """
    found = Found()
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise DataError(f"{folder}: is not a directory; expected a run, a store, or a folder of them")
        count = found.count
        for path in _directories(folder):
            _sort(path, found)
        if count == found.count:
            raise DataError(
                f"{folder}: holds no run, model, cube, embedding or evaluation of eomm; choose another folder"
            )
    return found


def one(paths: Sequence[Path], what: str, option: str) -> Path | None:
    """The only path, None where there is none. Raises UsageError naming several."""
    if len(paths) > 1:
        raise UsageError(f"several {what}s were found: {', '.join(map(str, paths))}; name one by {option}")
    return paths[0] if paths else None


def _directories(folder: Path) -> Iterator[Path]:
    """The folder and those below it, but none inside a store."""
    seen: set[str] = set()  # links may lead round in a circle
    for root, below, _ in os.walk(folder, followlinks=True):
        path = Path(root)
        if (true := os.path.realpath(root)) in seen:
            below[:] = []
            continue
        seen.add(true)
        depth = len(path.relative_to(folder).parts)
        stores = ("zarr.json", "model.json", "manifest.json")
        inside = any((path / f).is_file() for f in stores) or depth >= MAX_DEPTH
        moved = {n: n.removesuffix(".replaced") for n in below if n.endswith(".replaced")}
        for name in moved.values():
            recover(path / name)
        found = {n for n in {*below, *moved.values()} - {*moved} if (path / n).is_dir()}
        hidden = {n for n in found if n in SKIPPED or n.startswith(".") or n.endswith((".partial", "_figures"))}
        below[:] = [] if inside else sorted(found - hidden)
        yield path


def _sort(path: Path, found: Found) -> None:
    if (path / "zarr.json").is_file():
        kind = kind_of(path)
        if kind == "cube":
            found.cubes.append(path)
        elif kind in ("embedding", "composite"):
            found.embeddings.append(path)
    elif (path / "model.json").is_file():
        found.models.append(path)
    elif (path / "metrics.jsonl").is_file():
        found.runs.append(path)
    elif not (path / "manifest.json").is_file():
        for file in sorted(p for p in path.glob("*.json") if not p.name.startswith("._")):  # AppleDouble
            try:
                ours = file.is_file() and is_evaluation(read_json(file))
            except DataError:  # of another program, or half written: said on the page
                found.unread.append(file)
                continue
            if ours:
                found.evaluations.append(read_evaluation(file))
