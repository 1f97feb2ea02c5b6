"""The analysis-ready cube on disk: write, open, check, read a window. Not how a cube is made (data_prep).

One Zarr v3 store per site, a group per modality: `values` [time, y, x, band] int16, `valid` [time, y, x] bool,
`day` [time] int32 days since 1970-01-01, `usable` [time] bool; coordinates time (the same days), y, x and band (names),
and `spatial_ref`; where a screen was run, `screen` [time, y, x] uint8. Every chunk bears a checksum, and a group lists
its files (eomm.store.shards). No JAX in here.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from jaxtyping import Bool, Int16, UInt8

from eomm.data.arrays import CF_TIME, X, Y, add_array, create_array, finish
from eomm.data.attributes import open_attributes, to_flat
from eomm.data.cube_group import Acquisition, CubeGroup
from eomm.data.grid import Grid, to_date
from eomm.data.modality import STATIC_DAY, Modality, check_contract
from eomm.data.spool import Spool
from eomm.errors import ContractError, DataError
from eomm.page.shown import Shown
from eomm.store.descriptions import AGAIN
from eomm.store.folders import entered, new_directory
from eomm.store.identity import Identity
from eomm.store.zarr_errors import damaged_zarr

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Acquisition", "Cube", "CubeGroup", "Grid", "GroupSource", "digest_of", "open_attributes", "open_cube", "write_cube"
]  # fmt: skip

VERSION = 2  # 1: no checksums, no list of files, attributes as dicts, no coordinates time and band
USABLE_FRACTION = 0.03  # of the site's pixels valid (arXiv 2511.11706)
CHUNK = (16, 64, 64)  # time, y, x: what one read decompresses
SHARD = (32, 256, 256)  # time, y, x: one file
PLAIN = {  # to readers that know nothing of ours; no number is free to stand for missing ones
    "ancillary_variables": "valid",
    "comment": "as stored, see eomm:contract; 0 where valid is false: mask by values.where(valid) before any mean",
}
Acquired = tuple[Int16[np.ndarray, "y x band"], Bool[np.ndarray, "y x"]]


@dataclass(frozen=True, kw_only=True)
class GroupSource:
    """What `write_cube` needs of one modality.

    Attributes:
        modality: the contract the values follow.
        grid: the group's grid.
        acquisitions: sorted by key, keys distinct.
        read: index of an acquisition -> (values int16 [y, x, band], valid bool [y, x]).
        attributes: further JSON attributes, such as resampling and cloud method; taken when all has been read.
        screen: index of an acquisition -> uint8 [y, x], what a screen found there beside the masks; None without one.
        screen_meanings: of its values from 0 on, separated by blanks.
    """

    modality: Modality
    grid: Grid
    acquisitions: Sequence[Acquisition]
    read: Callable[[int], Acquired]
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    screen: Callable[[int], UInt8[np.ndarray, "y x"]] | None = None
    screen_meanings: str = ""


def write_cube(
    path: Path | str,
    *,
    site: str,
    groups: Sequence[GroupSource],
    provenance: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write a finished cube, streaming over time; on any error nothing is left at `path`.

    Raises:
        DataError: no acquisition, or two with the same key.
        UsageError: `path` exists, or the disk is full.
    """
    path = entered(path)
    with new_directory(path, kind="cube", overwrite=overwrite) as partial:
        head: dict[str, Any] = {"eomm:kind": "cube", "eomm:version": VERSION, "eomm:complete": 0, "site": site}
        head |= to_flat({"provenance": dict(provenance), **_finest(groups).attributes()})
        root = zarr.create_group(partial, zarr_format=3, attributes=head)  # at once: by its kind what is begun is known
        for source in groups:
            _write_group(root, source, partial)
        finish(partial, {})
    return path


def _finest(groups: "Iterable[GroupSource | CubeGroup]") -> Grid:
    return max((g.grid for g in groups), key=lambda g: g.height * g.width)


def _write_group(root: zarr.Group, source: GroupSource, scratch: Path) -> None:
    modality, grid, acquisitions = source.modality, source.grid, source.acquisitions
    _check_keys(modality, [a.key for a in acquisitions])
    group = root.create_group(modality.name)
    about = {
        "coordinates": "spatial_ref",
        "eomm:contract": modality.to_dict(),
        "acquisitions": [dataclasses.asdict(a) for a in acquisitions],
        **grid.attributes(),
    }
    group.attrs.update(to_flat(about))
    count, height, width, bands = len(acquisitions), grid.height, grid.width, len(modality.bands)
    values = create_sharded(group, "values", (count, height, width, bands), "int16", ("time", "y", "x", "band"))
    valid = create_sharded(group, "valid", (count, height, width), "bool", ("time", "y", "x"))
    values.attrs.update(PLAIN)
    values.attrs["grid_mapping"] = valid.attrs["grid_mapping"] = "spatial_ref"
    usable, digests = np.zeros(count, bool), []
    for start, stop in _shard_times(count):
        with Spool(scratch, np.int16, (height, width, bands)) as v, Spool(scratch, np.bool_, (height, width)) as m:
            for i in range(start, stop):
                one, mask = source.read(i)
                v.add(one)
                m.add(mask)
                digests.append(digest_of(one, mask))
                usable[i] = mask.mean() >= USABLE_FRACTION
            _write_shards(values, v, start, stop)
            _write_shards(valid, m, start, stop)
    if source.screen is not None:
        _write_screen(group, source, (count, height, width), scratch)
    if not usable.any():
        raise DataError(
            f"modality {modality.name!r}: none of {count} acquisitions has {USABLE_FRACTION:.0%} of the site valid; "
            "the series is all cloud, outside the site, or out of the modality's range (another unit?)"
        )
    group.attrs.put(to_flat({**about, "digests": digests, **source.attributes}))
    days = np.array([a.day for a in acquisitions], np.int32)
    add_array(group, "day", days, ("time",), {k: v for k, v in CF_TIME.items() if k != "standard_name"})
    add_array(group, "time", days, ("time",), CF_TIME)
    add_array(group, "band", np.array(modality.band_names), ("band",))
    add_array(group, "usable", usable, ("time",))
    add_array(group, "x", grid.x, ("x",), X)
    add_array(group, "y", grid.y, ("y",), Y)
    add_array(group, "spatial_ref", np.array(0, np.int32), (), grid.spatial_ref())


def _check_keys(modality: Modality, keys: Sequence[tuple[int, str, str]]) -> None:
    """Raise DataError unless there are acquisitions, of a static layer one, in order and each once."""
    if modality.static and keys != [(STATIC_DAY, "", "")]:
        raise DataError(
            f"modality {modality.name!r} is static, but has {len(keys)} acquisitions (day, platform, orbit): "
            f"{', '.join(map(str, keys[:3])) or 'none'}; expected one of day {STATIC_DAY}. Write one layer, or leave "
            "`static` out of the contract of a series"
        )
    if not keys:
        raise DataError(f"modality {modality.name!r}: no acquisition; check the date range and the site's extent")
    if keys != sorted(keys):
        raise DataError(f"modality {modality.name!r}: acquisitions are not in the order of (day, platform, orbit)")
    if twice := [a for a, b in itertools.pairwise(keys) if a == b]:
        day, platform, orbit = twice[0]
        raise DataError(
            f"modality {modality.name!r}: two acquisitions of {to_date(day)}, platform {platform or 'unknown'}, "
            f"orbit {orbit or 'unknown'}; merge the scenes of one pass before writing a cube"
        )


def _write_screen(group: zarr.Group, source: GroupSource, shape: tuple[int, int, int], scratch: Path) -> None:
    """What a screen found, as an array of its own: it is no part of the mask."""
    assert source.screen is not None
    array = create_sharded(group, "screen", shape, "uint8", ("time", "y", "x"))
    values = list(range(len(source.screen_meanings.split())))
    array.attrs.update({"flag_values": values, "flag_meanings": source.screen_meanings, "grid_mapping": "spatial_ref"})
    for start, stop in _shard_times(shape[0]):
        with Spool(scratch, np.uint8, shape[1:]) as found:
            for i in range(start, stop):
                found.add(source.screen(i))
            _write_shards(array, found, start, stop)


def _shard_times(count: int) -> list[tuple[int, int]]:
    """First and behind the last acquisition of each shard."""
    return [(start, min(start + SHARD[0], count)) for start in range(0, count, SHARD[0])]


def _write_shards(array: zarr.Array, planes: Spool, start: int, stop: int) -> None:
    """Copy acquisitions to an array, shard by shard: so memory holds an acquisition or a shard, however large the site.

    The planes are mapped anew for each shard, so that pages read are given back.
    """
    for row, col in itertools.product(range(0, array.shape[1], SHARD[1]), range(0, array.shape[2], SHARD[2])):
        y, x = slice(row, row + SHARD[1]), slice(col, col + SHARD[2])
        array[start:stop, y, x] = np.array(planes.read()[:, y, x])


def digest_of(values: np.ndarray, valid: np.ndarray) -> str:
    """16 hex digits that stand for what is valid of an acquisition."""
    mask = np.ascontiguousarray(valid, np.bool_)
    kept = np.where(mask[..., None], values, 0).astype("<i2", copy=False)
    digest = hashlib.blake2b(mask.data, digest_size=8)
    digest.update(np.ascontiguousarray(kept).data)
    return digest.hexdigest()


def create_sharded(
    group: zarr.Group, name: str, shape: tuple[int, ...], dtype: str, dims: tuple[str, ...]
) -> zarr.Array:
    """Create a Zarr array [time, y, x, …] chunked and sharded for reading all times of a spatial window."""
    chunk = tuple(min(c, n) for c, n in zip(CHUNK, shape, strict=False)) + shape[3:]
    shard = tuple(-(-min(s, n) // c) * c for s, n, c in zip(SHARD, shape, chunk, strict=False)) + shape[3:]
    return create_array(group, name, shape=shape, dtype=dtype, dims=dims, chunks=chunk, shards=shard)


@dataclass(frozen=True, repr=False)
class Cube(Shown):
    """An opened, finished cube.

    Attributes:
        path: where it lies.
        site: the site's name.
        groups: by modality name.
        provenance: how it was made.
        identity: tells whether it is still this cube that lies there.
    """

    path: Path
    site: str
    groups: Mapping[str, CubeGroup]
    provenance: Mapping[str, Any]
    identity: Identity

    @property
    def simulated(self) -> bool:
        """Whether its scenes were simulated, as its provenance says."""
        return bool(self.provenance.get("simulated", False))

    @property
    def grid(self) -> Grid:
        """The finest of its groups' grids, on which embeddings lie."""
        return _finest(self.groups.values())

    def __getitem__(self, modality: str) -> CubeGroup:
        if modality not in self.groups:
            raise DataError(f"{self.path}: has no modality {modality!r}; it has {', '.join(self.groups)}")
        return self.groups[modality]

    def __iter__(self) -> Iterator[str]:
        return iter(self.groups)

    def facts(self) -> Mapping[str, object]:
        """As of `Shown`."""
        simulated = {"simulated": "yes"} if self.simulated else {}
        groups = {n: g.facts() for n, g in self.groups.items()}
        series = {n: f"{about['acquisitions']}, {about['days']}" for n, about in groups.items()}
        return {"site": self.site, **simulated, **series, "grid": self.grid.text}

    def to_xarray(self) -> "xr.DataTree":
        """A Dataset of each modality in physical values, read when asked for: `cube.to_xarray()["s2"]["values"]`."""
        import xarray

        return xarray.DataTree.from_dict({name: group.to_xarray() for name, group in self.groups.items()})

    def site_wide(self, name: str, reference: str) -> bool:
        """Whether a modality has a single pixel for the whole site, which serves all pixels of the reference.

        Raises:
            ContractError: it has several, and they are not the reference's.
        """
        own, lead = self[name].grid, self[reference].grid
        if own == lead or own.height == own.width == 1:
            return own != lead
        raise ContractError(
            f"{self.path}: {name} lies on another grid than {reference} ({own.text}; {lead.text}); prepare all "
            "modalities on one grid, or those of the whole site with a single pixel"
        )


def open_cube(path: Path | str, expect: Mapping[str, Modality] | None = None) -> Cube:
    """Open a finished cube, and check the contracts of the modalities in `expect`.

    Raises:
        DataError: not a cube, unfinished, damaged (a file of it is missing) or of a later eomm; a modality in `expect`
            is missing.
        ContractError: a modality follows another contract than `expect` says.
    """
    path = entered(path)
    open_attributes(path, kind="cube", newest=VERSION)
    identity = Identity(path / "zarr.json")
    attributes = open_attributes(path, kind="cube", newest=VERSION)
    with damaged_zarr(path):
        found = sorted(zarr.open_group(path, mode="r", use_consolidated=False).groups())
    groups = {name: CubeGroup(path / name, group, identity) for name, group in found}
    if not groups:
        raise DataError(f"{path}: holds no modality; {AGAIN}")
    cube = Cube(path, str(attributes["site"]), groups, attributes["provenance"], identity)
    identity.check()
    for name, modality in (expect or {}).items():
        check_contract(cube[name].modality, modality, found_in=str(path), expected_by="the reader")
    return cube
