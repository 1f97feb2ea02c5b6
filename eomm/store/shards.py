"""Which files hold a Zarr array, and what they hold: a list that tells a missing or damaged file from emptiness.

In Zarr a chunk of nothing but the fill value has no file, and so a file that was lost reads as valid zeros. A finished
store of ours therefore lists the files of each array, with a checksum each.
"""

import itertools
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from eomm.errors import DataError
from eomm.store.fields import COUNT, SIZE, Fields, ListOf, TableOf, check
from eomm.store.folders import read_json

DIGITS = 8
NONE = "-" * DIGITS  # a shard of nothing but the fill value
ATTRIBUTE = "eomm:shards"  # of a group: {array: `list_files`}
_CHUNKS = Fields({"configuration": Fields({"chunk_shape": ListOf(of=SIZE)})})
HEAD = Fields({"shape": ListOf(of=COUNT), "chunk_grid": _CHUNKS})


def checksum(file: Path) -> str:
    """8 hex digits of a file's CRC-32; a gigabyte takes a second."""
    value = 0
    with file.open("rb") as f:
        while part := f.read(2**22):
            value = zlib.crc32(part, value)
    return f"{value:0{DIGITS}x}"


def list_files(array: Path, known: Mapping[tuple[int, ...], str] | None = None) -> str:
    """The files of a Zarr v3 array as a text of checksums: of its `zarr.json`, then of its shards in C order.

    Args:
        array: its folder.
        known: checksums that need not be computed, by the shard's place.
    """
    found = [checksum(array / "zarr.json")]
    for place in places(array):
        file = shard_file(array, place)
        found.append((known or {}).get(place) or (checksum(file) if file.exists() else NONE))
    return "".join(found)


def list_group(group: Path, known: Mapping[str, Mapping[tuple[int, ...], str]] | None = None) -> dict[str, str]:
    """`list_files` of every array in a group's folder, by name."""
    return {array.name: list_files(array, (known or {}).get(array.name)) for array in arrays_in(group)}


def check_present(group: Path, listed: Mapping[str, str]) -> None:
    """Raise DataError where a listed file of a group's arrays is missing; opens none of them."""
    check_listed(group, listed)
    lost = [file for name, text in listed.items() for file, there in _expected(group / name, text) if there != NONE]
    lost = [file for file, here in zip(lost, _existing(group, lost), strict=True) if not here]
    if lost:
        more = f" and {len(lost) - 1} more files" if len(lost) > 1 else ""
        raise DataError(
            f"{lost[0]}: missing{more}; the store is damaged, and what it held would read as zeros. Copy it again, or "
            "make it anew"
        )


def check_listed(group: Path, listed: Any) -> None:
    """Raise DataError where what a group lists are not files of arrays in it."""
    check(listed, TableOf(str), f"{group / 'zarr.json'}: {ATTRIBUTE}", remedy="the store is damaged, copy it again")
    if lost := [name for name in listed if PurePosixPath(name).name != name or name in ("", "..")]:
        raise DataError(f"{group / 'zarr.json'}: lists the array {lost[0]!r}; expected names without a folder")


def find_damage(group: Path, listed: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Every file of a group's arrays that is not as listed, with what is wrong; reads all of them."""
    check_listed(group, listed)
    for name, text in listed.items():
        try:
            for file, expected in _expected(group / name, text):
                if found := _wrong(file, expected):
                    yield file, found
        except DataError as e:
            yield group / name, str(e)
    for head in sorted(group.glob("*/zarr.json")):
        if head.parent.name not in listed and kind_of(head) != "group":
            yield head.parent, "is not part of the store"


def _wrong(file: Path, expected: str) -> str:
    """What is wrong with a file; empty where it is as listed."""
    if not file.exists():
        return "" if expected == NONE else "missing"
    if expected == NONE:
        return "is not part of the store"
    return "" if checksum(file) == expected else "holds something else than was written"


def arrays_in(group: Path) -> list[Path]:
    """Folders of a group's arrays, in order. Raises DataError where the head of one is damaged."""
    return [head.parent for head in sorted(group.glob("*/zarr.json")) if kind_of(head) == "array"]


def kind_of(head: Path) -> str:
    """Whether a `zarr.json` is of an array or a group. Raises DataError where it is damaged."""
    content = read_json(head)
    kind = content.get("node_type") if isinstance(content, dict) else None
    if kind not in ("array", "group"):
        raise DataError(f"{head}: its node_type is {kind!r}, expected array or group; the store is damaged")
    return str(kind)


def places(array: Path) -> Iterator[tuple[int, ...]]:
    """Places of an array's shards (of its chunks where it has none), in C order. Raises DataError."""
    yield from itertools.product(*map(range, shard_counts(array)))


def shard_counts(array: Path) -> tuple[int, ...]:
    """How many shards an array has along each axis. Raises DataError where its head is damaged."""
    file, remedy = array / "zarr.json", "the store is damaged, copy it again"
    head = check(read_json(file), HEAD, str(file), remedy=remedy)
    shape, chunk = head["shape"], head["chunk_grid"]["configuration"]["chunk_shape"]
    if len(shape) != len(chunk):
        raise DataError(f"{file}: chunks have {len(chunk)} axes, the array {len(shape)}; {remedy}")
    return tuple(-(-n // c) for n, c in zip(shape, chunk, strict=True))


def shard_file(array: Path, place: Sequence[int]) -> Path:
    """Where Zarr v3 puts a shard."""
    return array.joinpath("c", *map(str, place))


def _expected(array: Path, text: str) -> Iterator[tuple[Path, str]]:
    sums = [text[i : i + DIGITS] for i in range(0, len(text), DIGITS)]
    yield array / "zarr.json", sums[0]
    if not (array / "zarr.json").exists():
        return
    if (count := math.prod(shard_counts(array))) != len(sums) - 1:
        raise DataError(f"{array}: has {count} shards, its store lists {len(sums) - 1}; the store is damaged")
    yield from zip((shard_file(array, place) for place in places(array)), sums[1:], strict=True)


def _existing(group: Path, files: Sequence[Path]) -> list[bool]:
    """Whether each file exists: each folder is listed once, which on network disks is what counts."""
    parents = {file.parent for file in files}
    folders = {folder: {p.name for p in folder.iterdir()} if folder.is_dir() else set() for folder in parents}
    return [file.name in folders[file.parent] for file in files]
