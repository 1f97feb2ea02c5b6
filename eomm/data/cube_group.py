"""One modality of an opened cube: what its acquisitions are, and reading windows of them. See cube.py."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from jaxtyping import Bool, Float64, Int16, Int32, UInt8

from eomm.data.arrays import DIGEST, open_array
from eomm.data.attributes import attributes_of
from eomm.data.grid import Grid, to_date
from eomm.data.modality import Modality
from eomm.errors import DataError
from eomm.page.shown import Shown
from eomm.store.descriptions import AGAIN, GROUP
from eomm.store.fields import check, check_dataclass
from eomm.store.identity import Identity
from eomm.store.shards import ATTRIBUTE, check_present
from eomm.store.zarr_errors import damaged_zarr

if TYPE_CHECKING:
    import xarray as xr

SHARD_DATES = 32  # of a cube's shards; what is read at a time where all of it is read


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


class CubeGroup(Shown):
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

    def __init__(self, path: Path, group: zarr.Group, identity: Identity):
        attributes = check(attributes_of(group), GROUP, f"{path / 'zarr.json'}", remedy=AGAIN)
        with damaged_zarr(path):
            check_present(path, attributes.pop(ATTRIBUTE, {}))  # stores of before version 2 list nothing
        for name in (DIGEST, "coordinates"):
            attributes.pop(name, None)
        self.path, self._identity = path, identity
        self.modality = Modality.from_dict(attributes.pop("eomm:contract"), str(path / "zarr.json"))
        self.acquisitions = [Acquisition.from_dict(a, path) for a in attributes.pop("acquisitions")]
        self.digests: list[str] = attributes.pop("digests", [])
        self.grid = Grid.from_attributes(attributes)
        self.attributes = attributes
        with damaged_zarr(path):
            self.day: Int32[np.ndarray, " time"] = np.asarray(group["day"][:])  # type: ignore[index]
            self.usable: Bool[np.ndarray, " time"] = np.asarray(group["usable"][:])  # type: ignore[index]
        self._values = open_array(path / "values")
        self._valid = open_array(path / "valid")
        self._screen = open_array(path / "screen") if "screen" in group else None
        count, size = len(self.acquisitions), (self.grid.height, self.grid.width)
        shapes = (self.day.shape, self.usable.shape, self._values.shape, self._valid.shape)
        if count == 0 or shapes != ((count,), (count,), (count, *size, len(self.modality.bands)), (count, *size)):
            raise DataError(
                f"{path}: day, usable, values and valid are of shapes {', '.join(map(str, shapes))}, expected those of "
                f"{count} acquisitions, {size[0]} x {size[1]} px and {len(self.modality.bands)} bands; {AGAIN}"
            )

    def __len__(self) -> int:
        return len(self.day)

    def to_xarray(self) -> "xr.Dataset":
        """Physical values, lazily, as `eomm.data.dataset.dataset_of` has them."""
        from eomm.data.dataset import dataset_of

        return dataset_of(self)

    @property
    def dates(self) -> list[str]:
        """The first and the last, such as "2018-01-03"; none of a static layer."""
        return [] if self.modality.static else [str(to_date(self.day[0])), str(to_date(self.day[-1]))]

    def facts(self) -> Mapping[str, object]:
        """As of `Shown`."""
        return {
            "modality": self.modality.name,
            "bands": ", ".join(self.modality.band_names),
            "acquisitions": f"{len(self)}, {int(self.usable.sum())} usable",
            "days": " to ".join(self.dates) or "static",
            "grid": self.grid.text,
        }

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
            found = self._taken(values), self._taken(valid)
            return np.pad(found[0], (*pad, (0, 0))), np.pad(found[1], pad)

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
        return self._taken(self._screen[t, y or slice(0, self.grid.height), x or slice(0, self.grid.width)].read())

    def valid_fraction(self) -> Float64[np.ndarray, " time"]:
        """Share of the site's pixels that are valid, per acquisition; reads the masks alone, a shard at a time."""
        starts = range(0, len(self), SHARD_DATES)
        blocks = (self._taken(self._valid[t : min(t + SHARD_DATES, len(self))].read()) for t in starts)
        return np.concatenate([b.mean(axis=(1, 2), dtype=np.float64) for b in blocks])

    def _taken(self, read: Any) -> np.ndarray:
        """What was read, once it is sure that it was whole and this cube's."""
        try:
            found = np.asarray(read.result())
        except ValueError as e:
            self._identity.check()  # which is the nearer reason
            raise DataError(f"{self.path}: cannot be read ({str(e)[:300]}); the store is damaged") from e
        self._identity.check()
        return found

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


def _clip(s: slice, size: int) -> tuple[slice, tuple[int, int]]:
    start, stop = min(max(s.start, 0), size), min(max(s.stop, 0), size)
    stop = max(start, stop)
    before = max(0, min(start, s.stop) - s.start) if stop > start else s.stop - s.start
    return slice(start, stop), (before, (s.stop - s.start) - (stop - start) - before)
