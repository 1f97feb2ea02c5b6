"""The analysis-ready cube on disk: write, open, check, read a window. Not how a cube is made (data_prep).

One Zarr v3 store per site, a group per modality: `values` [time, y, x, band] int16, `valid` [time, y, x] bool,
`day` [time] int32 days since 1970-01-01, `usable` [time] bool, coordinates x and y, `spatial_ref`; where a screen was
run, `screen` [time, y, x] uint8. No JAX in here.
"""

import dataclasses
import hashlib
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import tensorstore
import zarr
from jaxtyping import Bool, Float64, Int16, Int32, UInt8

from eomm.data.grid import Grid, to_date
from eomm.data.modality import Modality, check_contract
from eomm.errors import ContractError, DataError
from eomm.store.descriptions import AGAIN, CUBE, EMBEDDING, GROUP
from eomm.store.fields import check, check_dataclass
from eomm.store.folders import entered, new_directory, recover, what_lies
from eomm.store.zarr_errors import damaged_zarr

VERSION = 1
USABLE_FRACTION = 0.03  # of the site's pixels valid (arXiv 2511.11706)
CHUNK = (16, 64, 64)  # time, y, x: what one read decompresses
SHARD = (32, 256, 256)  # time, y, x: one file
Acquired = tuple[Int16[np.ndarray, "y x band"], Bool[np.ndarray, "y x"]]


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """One date of one modality at one site; what is unknown is None.

    Attributes:
        day: days since 1970-01-01.
        datetime: ISO 8601 UTC.
        platform: such as "S2A".
        orbit: relative orbit such as "R051", or any label that is the same for acquisitions of one orbit.
        direction: "ascending" or "descending".
        incidence_deg: mid-scene incidence angle.
        cloud_fraction: of the site's pixels, as the provider's mask says.
        product_ids: the provider's names of the scenes merged into it.
        sun_zenith_deg: mean over the scene.
        sun_azimuth_deg: mean over the scene, clockwise from north.
        view_azimuth_deg: mean over the scene, clockwise from north; the view's zenith angle is `incidence_deg`.
    """

    day: int
    datetime: str | None = None
    platform: str | None = None
    orbit: str | None = None
    direction: str | None = None
    incidence_deg: float | None = None
    cloud_fraction: float | None = None
    product_ids: tuple[str, ...] = ()
    sun_zenith_deg: float | None = None
    sun_azimuth_deg: float | None = None
    view_azimuth_deg: float | None = None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], where: Path) -> "Acquisition":
        """From what `dataclasses.asdict` gave, as JSON. Raises DataError naming `where`."""
        name = f"{where / 'zarr.json'}, an acquisition"
        check_dataclass(cls, fields, name, error=DataError, remedy=AGAIN)
        if unknown := sorted(set(fields) - {f.name for f in dataclasses.fields(cls)}):
            raise DataError(f"{name}: has {', '.join(unknown)}, which no acquisition has; {AGAIN}")
        return cls(**{**fields, "product_ids": tuple(fields.get("product_ids", ()))})

    @property
    def key(self) -> tuple[int, str, str]:
        """What identifies an acquisition within a group: (day, platform, orbit)."""
        return (self.day, self.platform or "", self.orbit or "")


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
        head = {"eomm:kind": "cube", "eomm:version": VERSION, "eomm:complete": False, "site": site}
        root = zarr.create_group(partial, zarr_format=3, attributes=head)
        root.attrs.update({"provenance": dict(provenance), **_finest(groups).attributes()})
        for source in groups:
            _write_group(root, source, partial)
        root.attrs["eomm:complete"] = True
    return path


def _finest(groups: "Iterable[GroupSource | CubeGroup]") -> Grid:
    return max((g.grid for g in groups), key=lambda g: g.height * g.width)


def _write_group(root: zarr.Group, source: GroupSource, scratch: Path) -> None:
    modality, grid, acquisitions = source.modality, source.grid, source.acquisitions
    keys = [a.key for a in acquisitions]
    if not keys:
        raise DataError(f"modality {modality.name!r}: no acquisition; check the date range and the site's extent")
    if keys != sorted(keys):
        raise DataError(f"modality {modality.name!r}: acquisitions are not in the order of (day, platform, orbit)")
    for a, b in itertools.pairwise(keys):
        if a == b:
            raise DataError(
                f"modality {modality.name!r}: two acquisitions of {to_date(a[0])}, platform {a[1] or 'unknown'}, "
                f"orbit {a[2] or 'unknown'}; merge the scenes of one pass before writing a cube"
            )
    group = root.create_group(modality.name)
    group.attrs.update(
        {
            "eomm:contract": modality.to_dict(),
            "acquisitions": [dataclasses.asdict(a) for a in acquisitions],
            **grid.attributes(),
        }
    )
    count, height, width, bands = len(keys), grid.height, grid.width, len(modality.bands)
    values = create_sharded(group, "values", (count, height, width, bands), "int16", ("time", "y", "x", "band"))
    valid = create_sharded(group, "valid", (count, height, width), "bool", ("time", "y", "x"))
    values.attrs["grid_mapping"] = valid.attrs["grid_mapping"] = "spatial_ref"
    usable, digests = np.zeros(count, bool), []
    for start in range(0, count, SHARD[0]):
        stop = min(start + SHARD[0], count)
        with tempfile.TemporaryFile(dir=scratch) as v, tempfile.TemporaryFile(dir=scratch) as m:
            for i in range(start, stop):
                one, mask = source.read(i)
                v.write(np.ascontiguousarray(one, np.int16).reshape(height, width, bands).data)
                m.write(np.ascontiguousarray(mask, np.bool_).reshape(height, width).data)
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
    group.attrs.update({"digests": digests, **source.attributes})
    days = np.array([a.day for a in acquisitions], np.int32)
    cf_time = {"units": "days since 1970-01-01", "calendar": "proleptic_gregorian"}
    for name, array, dims, attrs in [
        ("day", days, ("time",), cf_time),
        ("usable", usable, ("time",), {}),
        ("x", grid.x, ("x",), {"units": "m", "standard_name": "projection_x_coordinate"}),
        ("y", grid.y, ("y",), {"units": "m", "standard_name": "projection_y_coordinate"}),
        ("spatial_ref", np.array(0, np.int32), (), grid.spatial_ref()),
    ]:
        group.create_array(name, data=array, dimension_names=dims, attributes=attrs)


def _write_screen(group: zarr.Group, source: GroupSource, shape: tuple[int, int, int], scratch: Path) -> None:
    """What a screen found, as an array of its own: it is no part of the mask."""
    assert source.screen is not None
    array = create_sharded(group, "screen", shape, "uint8", ("time", "y", "x"))
    values = list(range(len(source.screen_meanings.split())))
    array.attrs.update({"flag_values": values, "flag_meanings": source.screen_meanings, "grid_mapping": "spatial_ref"})
    for start in range(0, shape[0], SHARD[0]):
        stop = min(start + SHARD[0], shape[0])
        with tempfile.TemporaryFile(dir=scratch) as file:
            for i in range(start, stop):
                file.write(np.ascontiguousarray(source.screen(i), np.uint8).reshape(shape[1:]).data)
            _write_shards(array, file, start, stop)


def _write_shards(array: zarr.Array, file: IO[bytes], start: int, stop: int) -> None:
    """Copy acquisitions that lie one after the other in a file to an array, shard by shard.

    So memory holds an acquisition or a shard, whatever the size of the site. Mapped only after it was written, since a
    full disk kills a process that writes to a map; and anew for each shard, so that pages read are given back.
    """
    file.flush()
    for row, col in itertools.product(range(0, array.shape[1], SHARD[1]), range(0, array.shape[2], SHARD[2])):
        y, x = slice(row, row + SHARD[1]), slice(col, col + SHARD[2])
        block = np.memmap(file, array.dtype, mode="r", shape=(stop - start, *array.shape[1:]))
        array[start:stop, y, x] = np.array(block[:, y, x])


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
    return group.create_array(
        name, shape=shape, dtype=dtype, chunks=chunk, shards=shard, dimension_names=dims, fill_value=0
    )


class CubeGroup:
    """One modality of an opened cube.

    Attributes:
        modality: the contract.
        grid: the group's grid.
        acquisitions: metadata, in time order.
        day: int32 [time], days since 1970-01-01.
        usable: bool [time].
        digests: 16 hex digits for the content of each acquisition; empty in cubes of before they were noted.
        attributes: everything else that preparation recorded.
    """

    def __init__(self, path: Path, group: zarr.Group):
        attributes: dict[str, Any] = check(dict(group.attrs), GROUP, f"{path / 'zarr.json'}", remedy=AGAIN)
        self.path = path
        self.modality = Modality.from_dict(attributes.pop("eomm:contract"))
        self.acquisitions = [Acquisition.from_dict(a, path) for a in attributes.pop("acquisitions")]
        self.digests: list[str] = attributes.pop("digests", [])
        self.grid = Grid.from_attributes(attributes)
        self.attributes = attributes
        with damaged_zarr(path):
            self.day: Int32[np.ndarray, " time"] = np.asarray(group["day"][:])  # type: ignore[index]
            self.usable: Bool[np.ndarray, " time"] = np.asarray(group["usable"][:])  # type: ignore[index]
        self._values = _open_array(path / "values")
        self._valid = _open_array(path / "valid")
        self._screen = _open_array(path / "screen") if "screen" in group else None
        count, size = len(self.acquisitions), (self.grid.height, self.grid.width)
        shapes = (self.day.shape, self.usable.shape, self._values.shape, self._valid.shape)
        if count == 0 or shapes != ((count,), (count,), (count, *size, len(self.modality.bands)), (count, *size)):
            raise DataError(
                f"{path}: day, usable, values and valid are of shapes {', '.join(map(str, shapes))}, expected those of "
                f"{count} acquisitions, {size[0]} x {size[1]} px and {len(self.modality.bands)} bands; {AGAIN}"
            )

    def __len__(self) -> int:
        return len(self.day)

    def read(
        self,
        time: slice | Sequence[int] | np.ndarray | None = None,
        y: slice | None = None,
        x: slice | None = None,
    ) -> tuple[Int16[np.ndarray, "time y x band"], Bool[np.ndarray, "time y x"]]:
        """Stored values and validity of a window; outside the cube (also at negative indices) nothing is valid."""
        return self.begin_read(time, y, x)()

    def begin_read(
        self,
        time: slice | Sequence[int] | np.ndarray | None = None,
        y: slice | None = None,
        x: slice | None = None,
    ) -> Callable[[], tuple[Int16[np.ndarray, "time y x band"], Bool[np.ndarray, "time y x"]]]:
        """Start reading in the background; calling what is returned waits and gives what `read` does."""
        t = slice(0, len(self)) if time is None else time
        ys, xs = y or slice(0, self.grid.height), x or slice(0, self.grid.width)
        inside_y, pad_y = _clip(ys, self.grid.height)
        inside_x, pad_x = _clip(xs, self.grid.width)
        values = self._values[t, inside_y, inside_x].read()
        valid = self._valid[t, inside_y, inside_x].read()

        def finish() -> tuple[np.ndarray, np.ndarray]:
            pad = ((0, 0), pad_y, pad_x)
            try:
                return np.pad(values.result(), (*pad, (0, 0))), np.pad(valid.result(), pad)
            except ValueError as e:
                raise DataError(f"{self.path}: cannot be read ({str(e)[:300]}); the store is damaged") from e

        return finish

    def read_screen(
        self,
        time: slice | Sequence[int] | np.ndarray | None = None,
        y: slice | None = None,
        x: slice | None = None,
    ) -> UInt8[np.ndarray, "time y x"] | None:
        """What a screen found beside the masks (`data_prep.cubes.excursions`), 0 nothing; None where none was run.

        The window must lie in the cube.
        """
        if self._screen is None:
            return None
        t = slice(0, len(self)) if time is None else time
        read = self._screen[t, y or slice(0, self.grid.height), x or slice(0, self.grid.width)].read()
        try:
            return np.asarray(read.result())
        except ValueError as e:
            raise DataError(f"{self.path}: cannot be read ({str(e)[:300]}); the store is damaged") from e

    def valid_fraction(self) -> Float64[np.ndarray, " time"]:
        """Share of the site's pixels that are valid, per acquisition; reads the masks alone, a shard at a time."""
        count = len(self)
        try:
            blocks = [self._valid[t : min(t + SHARD[0], count)].read().result() for t in range(0, count, SHARD[0])]
        except ValueError as e:
            raise DataError(f"{self.path}: cannot be read ({str(e)[:300]}); the store is damaged") from e
        return np.concatenate([b.mean(axis=(1, 2), dtype=np.float64) for b in blocks])

    def meta(self) -> dict[str, np.ndarray]:
        """What encoders may know of each acquisition besides its values, all [time].

        `orbit` int32: a number per orbit label of this site, 0 unknown; `direction` int8: 1 ascending, -1
        descending, 0 unknown; `incidence` float32: degrees, 0 unknown.
        """
        labels = sorted({a.orbit for a in self.acquisitions if a.orbit})
        directions = {"ascending": 1, "descending": -1, None: 0}
        return {
            "orbit": np.array([labels.index(a.orbit) + 1 if a.orbit else 0 for a in self.acquisitions], np.int32),
            "direction": np.array([directions[a.direction] for a in self.acquisitions], np.int8),
            "incidence": np.array([a.incidence_deg or 0.0 for a in self.acquisitions], np.float32),
        }


@dataclass(frozen=True)
class Cube:
    """An opened, finished cube.

    Attributes:
        path: where it lies.
        site: the site's name.
        groups: by modality name.
        provenance: how it was made.
    """

    path: Path
    site: str
    groups: Mapping[str, CubeGroup]
    provenance: Mapping[str, Any]

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
        DataError: not a cube, unfinished, or damaged; a modality in `expect` is missing.
        ContractError: a modality follows another contract than `expect` says.
    """
    path = entered(path)
    attributes = open_attributes(path, kind="cube")
    with damaged_zarr(path):
        found = sorted(zarr.open_group(path, mode="r").groups())
    groups = {name: CubeGroup(path / name, group) for name, group in found}
    if not groups:
        raise DataError(f"{path}: holds no modality; {AGAIN}")
    cube = Cube(path, str(attributes["site"]), groups, attributes["provenance"])
    for name, modality in (expect or {}).items():
        check_contract(cube[name].modality, modality, found_in=str(path), expected_by="the reader")
    return cube


def open_attributes(path: Path, *, kind: str) -> dict[str, Any]:
    """Root attributes of a finished eomm Zarr store. Raises DataError when it is none, another kind, or unfinished."""
    recover(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist; expected an eomm {kind}")
    if not (path / "zarr.json").is_file():
        raise DataError(f"{path}: {what_lies(path)}; expected an eomm {kind}")
    with damaged_zarr(path):
        attributes = dict(zarr.open_group(path, mode="r").attrs)
    if attributes.get("eomm:kind") != kind:
        raise DataError(f"{path}: holds {attributes.get('eomm:kind', 'no eomm store')}, expected an eomm {kind}")
    if not attributes.get("eomm:complete"):
        raise DataError(f"{path}: was never finished; make it again (its writer was interrupted)")
    check(attributes, CUBE if kind == "cube" else EMBEDDING, f"{path / 'zarr.json'}", remedy=AGAIN)
    return attributes


def _open_array(path: Path) -> tensorstore.TensorStore:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path)}}
    try:
        return tensorstore.open(spec, open=True, read=True).result()
    except ValueError as e:
        raise DataError(f"{path}: cannot be opened ({str(e)[:300]}); the store is damaged, make it again") from e


def _clip(s: slice, size: int) -> tuple[slice, tuple[int, int]]:
    start, stop = min(max(s.start, 0), size), min(max(s.stop, 0), size)
    stop = max(start, stop)
    before = max(0, min(start, s.stop) - s.start) if stop > start else s.stop - s.start
    return slice(start, stop), (before, (s.stop - s.start) - (stop - start) - before)
