"""Which files below a folder are a source's: linked folders are entered, endings are told in any case, twins left out.

Nothing is passed over in silence: what is not taken is counted, in words.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MARKS = {
    ".safe": ("manifest.safe", "MTD_MSIL2A.xml", "MTD_MSIL1C.xml"),
    ".zarr": ("zarr.json", ".zgroup", ".zarray", ".zmetadata"),
}
"""Ending of a store that is a folder, lower case -> names of which such a store holds one."""
TWIN = "._"
TWINS = "AppleDouble files (._…), which macOS writes beside others"


@dataclass(frozen=True)
class Found:
    """The files of a source.

    Attributes:
        files: sorted.
        passed_over: what else is there and why it is not taken -> how many.
    """

    files: list[Path]
    passed_over: dict[str, int]


def find_files(folder: Path, patterns: str) -> Found:
    """Files below a folder whose path ends as one of the patterns (between "|") says, whatever the case of letters.

    Links to folders and files are followed, each file is taken once, and a store that is a folder (.SAFE, .zarr) is a
    file. What lies in one that was taken is not looked at.
    """
    passed: Counter[str] = Counter()
    wanted = [p.lower() for p in patterns.split("|")]
    taken: dict[str, Path] = {}  # where a file truly lies -> its path
    for path in _walk(folder, wanted, passed):
        if is_twin(path.name):
            passed[TWINS] += 1
        elif not path.exists():
            passed["links that lead nowhere"] += 1
        elif taken.setdefault(os.path.realpath(path), path) != path:
            passed["links to files that are there already"] += 1
    return Found(sorted(taken.values()), {what: count for what, count in passed.items() if count})


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, links to folders entered too, each folder once; sorted."""
    found: list[Path] = []
    seen = {os.path.realpath(folder)}
    for root, below, names in os.walk(folder, followlinks=True):
        true = {name: os.path.realpath(os.path.join(root, name)) for name in sorted(below)}
        below[:] = [name for name, place in true.items() if place not in seen]
        seen.update(true.values())
        found += [Path(root) / name for name in names]
    return sorted(p for p in found if p.is_file())


def is_twin(name: str) -> bool:
    """Whether a path leads to what macOS writes beside a file for its attributes (AppleDouble), not to the file."""
    return any(part.startswith(TWIN) or part == "__MACOSX" for part in name.split("/"))


def is_store(path: Path) -> bool:
    """Whether a path is a folder that counts as a file, by its ending."""
    return path.suffix.lower() in MARKS and path.is_dir()


def inner_store(path: Path) -> Path:
    """The store itself, where unpacking has put it into a folder of its own name (X.SAFE/X.SAFE)."""
    marks = MARKS[path.suffix.lower()]
    if any((path / mark).exists() for mark in marks):
        return path
    inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() == path.suffix.lower() and not is_twin(p.name)]
    return inner_store(inside[0]) if len(inside) == 1 and inside[0].is_dir() else path


def _walk(folder: Path, wanted: list[str], passed: Counter[str]) -> Iterator[Path]:
    """The files and stores below a folder that fit, in the order of their names."""
    seen = {os.path.realpath(folder)}
    for root, below, names in os.walk(folder, followlinks=True, onerror=lambda e: _count(passed, e)):
        base, enter = Path(root), []
        for name in sorted(below):
            path = base / name
            if is_store(path) and _fits(path.relative_to(folder), wanted):
                yield path if is_twin(name) else inner_store(path)
            elif name == "__MACOSX":
                passed[TWINS] += sum(_fits(Path(n), wanted) for *_, files in os.walk(path) for n in files)
            elif (true := os.path.realpath(path)) in seen:
                passed["links to folders that are entered already"] += 1
            else:
                seen.add(true)
                enter.append(name)
        below[:] = enter
        yield from (path for n in sorted(names) if _fits((path := base / n).relative_to(folder), wanted))


def _fits(path: Path, wanted: list[str]) -> bool:
    lower = PurePosixPath(path.as_posix().lower())
    if is_twin(lower.name):  # of a file that fits
        lower = lower.with_name(lower.name.removeprefix(TWIN) or "_")
    return any(lower.match(pattern) for pattern in wanted)


def _count(passed: Counter[str], error: OSError) -> None:
    passed[f"folders that cannot be entered, such as {error.filename} ({error.strerror})"] += 1
