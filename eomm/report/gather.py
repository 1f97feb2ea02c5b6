"""What a report is made of, found below folders: cubes, embeddings, models, runs, results. Draws nothing."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eomm.errors import DataError, UsageError
from eomm.evaluation.result import Result
from eomm.evaluation.result_file import is_result, read_result
from eomm.store.folders import read_json, recover
from eomm.store.kinds import kind_of

SKIPPED = ("checkpoints", "tensorboard", "profile")
MAX_DEPTH = 6


@dataclass(frozen=True)
class Source:
    """A result and the file that it was read from; None where it came from memory."""

    result: Result
    file: Path | None = None


@dataclass
class Found:
    """Paths below the folders, by what they are; `unread` are called .json and are none."""

    cubes: list[Path] = field(default_factory=list)
    embeddings: list[Path] = field(default_factory=list)
    models: list[Path] = field(default_factory=list)
    runs: list[Path] = field(default_factory=list)
    results: list[Source] = field(default_factory=list)
    unread: list[Path] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many there are, but for files that are no JSON."""
        return sum(map(len, vars(self).values())) - len(self.unread)


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
        path, true = Path(root), os.path.realpath(root)
        if true in seen:
            below[:] = []
            continue
        seen.add(true)
        store = any((path / f).is_file() for f in ("zarr.json", "model.json", "manifest.json"))
        inside = store or len(path.relative_to(folder).parts) >= MAX_DEPTH
        found = _recovered(path, below)
        below[:] = [] if inside else sorted(n for n in found if not _is_hidden(n))
        yield path


def _recovered(path: Path, names: Sequence[str]) -> set[str]:
    """The folders of these names, those that were being replaced under their own."""
    moved = {n: n.removesuffix(".replaced") for n in names if n.endswith(".replaced")}
    for name in moved.values():
        recover(path / name)
    return {n for n in {*names, *moved.values()} - {*moved} if (path / n).is_dir()}


def _is_hidden(name: str) -> bool:
    return name in SKIPPED or name.startswith(".") or name.endswith((".partial", "_figures"))


def _sort(path: Path, found: Found) -> None:
    """Note what a folder is, or which results lie in it."""
    if (path / "zarr.json").is_file():
        kinds = {"cube": found.cubes, "embedding": found.embeddings, "composite": found.embeddings}
        kinds.get(str(kind_of(path)), []).append(path)
    elif (path / "model.json").is_file():
        found.models.append(path)
    elif (path / "metrics.jsonl").is_file():
        found.runs.append(path)
    elif not (path / "manifest.json").is_file():
        for file in sorted(p for p in path.glob("*.json") if p.is_file() and not p.name.startswith("._")):
            _note_result(file, found)


def _note_result(file: Path, found: Found) -> None:
    try:
        ours = is_result(read_json(file))
    except DataError:  # of another program, or half written: said on the page
        found.unread.append(file)
        return
    if ours:
        found.results.append(Source(read_result(file), file))
