"""Whether a store is what was written: its own digests, compared with what lies on disk. See verify.py for numbers.

Reads everything once, block by block; changes nothing.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from eomm.data.arrays import DIGEST, attributes_digest, open_array
from eomm.data.attributes import open_attributes, to_deep
from eomm.data.cube import VERSION as CUBE_VERSION
from eomm.data.cube import CubeGroup, open_cube
from eomm.data.records import find_damage as damage_of_records
from eomm.data.records import open_records
from eomm.embedding.read import VERSION
from eomm.errors import DataError
from eomm.models.directory import load_model
from eomm.store.fields import Json
from eomm.store.folders import entered, read_json, recover, what_lies
from eomm.store.shards import ATTRIBUTE, arrays_in, find_damage, places, shard_counts

HEAD = "zarr.json"
DATES, ROWS = 16, 64  # what is read of a cube at a time: its chunks


@dataclass
class Findings:
    """What was compared, and what differs.

    Attributes:
        compared: words for what the store has digests of.
        damage: what differs, a line each.
        notes: what could not be compared.
    """

    compared: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify_intact(path: Path | str, *, code: Sequence[str] = ()) -> Json:
    """Compare a finished cube, record set, embedding cube or model with the digests that it bears.

    Args:
        path: the store.
        code: modules whose networks a model may use (`eomm.models.directory.load_model`).

    Returns:
        `path`, `kind`, `intact`, what was `compared`, `damage` and `notes` (what has no digest), as JSON types.

    Raises:
        DataError: no such store lies there, or it was never finished.
        UsageError: a model needs code that `code` does not allow.
    """
    path = entered(path)
    recover(path)
    kind, found = kind_of(path), Findings()
    try:
        if kind == "cube":
            verify_cube(path, found)
        elif kind in ("embedding", "prediction"):
            verify_group(path, path, found, newest=VERSION)
        elif kind == "records":
            found.damage += damage_of_records(open_records(path))
            found.compared.append("sizes and sha256 of all shards")
        else:
            load_model(path, code=code)
            found.compared.append("the hash of contracts, options and parameters")
    except DataError as e:
        found.damage.append(str(e))
    told = {"compared": found.compared, "damage": list(dict.fromkeys(found.damage)), "notes": found.notes}
    return {"path": str(path), "kind": kind, "intact": not found.damage, **told}


def kind_of(path: Path) -> str:
    """What lies at a path: cube, embedding, records or model. Raises DataError for anything else."""
    if (path / HEAD).is_file():
        head = read_json(path / HEAD)
        attributes = head.get("attributes") if isinstance(head, dict) else None
        kind = attributes.get("eomm:kind") if isinstance(attributes, dict) else None
        if kind in ("cube", "embedding", "prediction"):
            open_attributes(path, kind=kind)
            return str(kind)
    elif (path / "manifest.json").is_file():
        manifest = read_json(path / "manifest.json")
        if isinstance(manifest, dict) and manifest.get("eomm:kind") == "records":
            return "records"
    elif (path / "model.json").is_file():
        return "model"
    raise DataError(f"{path}: {what_lies(path)}; expected a cube, record set, embedding cube or model")


def verify_cube(path: Path, found: Findings) -> None:
    """Root and groups of a cube, and the digest of every acquisition."""
    verify_attributes(path, found)
    for folder in sorted(p.parent for p in path.glob(f"*/{HEAD}")):
        verify_group(path, folder, found, newest=CUBE_VERSION)
    if found.damage:
        return  # digests of acquisitions would only say it again
    for name, group in open_cube(path).groups.items():
        if not group.digests:
            found.notes.append(f"{name}: of a time before acquisitions had digests")
            continue
        for index, digest in digests_of(group):
            if digest != group.digests[index]:
                when = group.acquisitions[index]
                found.damage.append(f"{path / name}: acquisition {index} (day {when.day}) holds something else")
        found.compared.append(f"{name}: digests of {len(group)} acquisitions")


def verify_group(root: Path, path: Path, found: Findings, *, newest: int) -> None:
    """The files of a group's arrays, by their checksums; without a list at least whether each can be read."""
    attributes = verify_attributes(path, found)
    if path == root and attributes.get("eomm:version", 1) > newest:
        raise DataError(f"{path}: of version {attributes['eomm:version']}; this eomm reads up to {newest}, update it")
    listed = attributes.get(ATTRIBUTE)
    if listed is None:
        found.notes.append(f"{path}: of an earlier version, which lists no files: lost ones read as zeros")
        found.damage += list(unreadable(path))
        return
    found.damage += [f"{file}: {what}" for file, what in find_damage(path, listed)]
    found.compared.append(f"{path.name}: checksums of the files of {len(listed)} arrays")


def verify_attributes(path: Path, found: Findings) -> Json:
    """A group's attributes, as dicts, after comparing their digest."""
    head = read_json(path / HEAD)
    flat = head.get("attributes") if isinstance(head, dict) else None
    if not isinstance(flat, dict):
        raise DataError(f"{path / HEAD}: has no attributes; the store is damaged")
    if DIGEST in flat:  # stores of before had none, and no copy
        if attributes_digest(flat) != flat[DIGEST]:
            found.damage.append(f"{path / HEAD}: its attributes are not those that were written")
        wrong = [name for name, copied in copies_in(head).items() if copied != _own(read_json(path / name / HEAD))]
        wrong += [array.name for array in arrays_in(path) if array.name not in copies_in(head)]
        found.damage += [f"{path / HEAD}: its copy of {name}/{HEAD} is not what that file says" for name in wrong]
    return to_deep(flat)


def copies_in(head: Mapping[str, Any]) -> Json:
    """The metadata below a group that its head repeats, which other readers take for the arrays' own, by their path."""
    consolidated = head.get("consolidated_metadata")
    copied = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    return {name: _own(one) for name, one in copied.items()} if isinstance(copied, dict) else {}


def _own(head: Any) -> Any:
    return {k: v for k, v in head.items() if k != "consolidated_metadata"} if isinstance(head, dict) else head


def unreadable(path: Path) -> Iterator[str]:
    """Arrays of a group with a chunk that cannot be decoded."""
    for array in arrays_in(path):
        try:
            stored = open_array(array)
            counts = shard_counts(array)
            for place in places(array):
                part = [
                    slice(i * n // c, (i + 1) * n // c) for i, n, c in zip(place, stored.shape, counts, strict=True)
                ]
                stored[tuple(part)].read().result()
        except (DataError, ValueError) as e:
            yield f"{array}: cannot be read ({str(e)[:300]})"


def digests_of(group: CubeGroup) -> Iterator[tuple[int, str]]:
    """Index and digest of every acquisition as it reads now (`eomm.data.cube.digest_of`), strip by strip."""
    height = group.grid.height
    strips = [slice(y, min(y + ROWS, height)) for y in range(0, height, ROWS)]
    for start in range(0, len(group), DATES):
        dates = slice(start, min(start + DATES, len(group)))
        sums = [hashlib.blake2b(digest_size=8) for _ in range(dates.start, dates.stop)]
        for with_values in (False, True):  # all of the mask comes first
            for y in strips:
                values, valid = group.read(dates, y)
                kept = np.where(valid[..., None], values, 0).astype("<i2", copy=False) if with_values else valid
                for one, part in zip(sums, kept, strict=True):
                    one.update(np.ascontiguousarray(part).data)
        yield from zip(range(dates.start, dates.stop), (one.hexdigest() for one in sums), strict=True)


def format_intact(result: Json) -> str:
    """For people."""
    whole = "nothing wrong, but not all could be compared" if result["notes"] else "whole"
    verdict = whole if result["intact"] else f"DAMAGED in {len(result['damage'])} places"
    lines = [f"{result['path']}: {result['kind']}, {verdict}"]
    lines += [f"  {line}" for line in result["damage"][:20]]
    if len(result["damage"]) > 20:
        lines.append(f"  and {len(result['damage']) - 20} more (--json lists all)")
    if not result["intact"]:
        lines.append("  copy it again from where it is whole, or make it anew")
    lines += [f"  compared {line}" for line in result["compared"]]
    return "\n".join([*lines, *(f"  not compared: {line}" for line in result["notes"])])
