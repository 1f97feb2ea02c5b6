"""What a batch takes of a record that is larger than it: a place and a run of dates, drawn on the host. No JAX.

Records of rasters need not overlap by more than a window's halo where crops are drawn within them: a cube is then
stored a third to half larger than it is, and no byte is sent to the device that no target may see.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eomm.data.records import Patch, PatchShape
from eomm.errors import DataError
from eomm.store.fields import Json


@dataclass(frozen=True, kw_only=True)
class Draw:
    """How crops are drawn from the records of a set; the manifest's "draw".

    Attributes:
        reference: the modality that leads.
        crop_px: side of a drawn crop, its margin included.
        margin_px: of a crop and of a record, on every side; targets lie within it.
        acquisitions: consecutive reference acquisitions of a drawn run.
        windows: other modality -> acquisitions before the first and after the last of the run.
        lengths: modality -> acquisitions that any drawn run fits, to which it is padded.
        per_record: how many crops are drawn of a record in an epoch.
    """

    reference: str
    crop_px: int
    margin_px: int
    acquisitions: int
    windows: Mapping[str, tuple[int, int]]
    lengths: Mapping[str, int]
    per_record: int

    @classmethod
    def from_manifest(cls, described: Mapping[str, Any]) -> "Draw":
        """From JSON types. Raises DataError for what is not such."""
        try:
            windows = {n: (int(a), int(b)) for n, (a, b) in described["windows"].items()}
            return cls(**{**described, "windows": windows})
        except (TypeError, KeyError, ValueError) as e:
            raise DataError(f"manifest: 'draw' cannot be read ({e}); was it written by another version?") from e

    def to_manifest(self) -> Json:
        """JSON types."""
        return dataclasses.asdict(self) | {"windows": {n: list(w) for n, w in self.windows.items()}}

    def shapes(self, stored: Mapping[str, PatchShape]) -> dict[str, PatchShape]:
        """Of what is drawn: of a modality of a single pixel its pixel."""
        return {
            name: dataclasses.replace(
                shape,
                acquisitions=self.lengths[name],
                height=1 if shape.site_wide else self.crop_px,
                width=1 if shape.site_wide else self.crop_px,
            )
            for name, shape in stored.items()
        }

    def of(self, patch: Patch, shapes: Mapping[str, PatchShape], rng: np.random.Generator) -> Patch:
        """A crop of a record: a place and a run around a target that is drawn evenly from all pixels and dates.

        Args:
            patch: a decoded record.
            shapes: the modalities wanted, as `shapes` gives them.
            rng: of this crop alone.
        """
        lead = patch[self.reference]
        height, width = lead["valid"].shape[1:]
        row, col = (draw_start(rng, n, self.crop_px, self.margin_px) for n in (height, width))
        count = int(lead["present"].sum())
        begin = draw_start(rng, count, min(self.acquisitions, count), 0)
        run = slice(begin, min(begin + self.acquisitions, count))
        days = (int(lead["day"][run.start]), int(lead["day"][run.stop - 1]))
        found: Patch = {"site": patch["site"], "row": patch["row"] + row, "col": patch["col"] + col}
        for name, shape in shapes.items():
            fields = patch[name]
            times = run if name == self.reference else self._around(name, fields, days)
            first = (0, 0) if shape.site_wide else (row, col)
            area = [slice(a, a + n) for a, n in zip(first, (shape.height, shape.width), strict=True)]
            found[name] = _take(fields, times, area, shape, days[1])
        return found

    def _around(self, name: str, fields: Mapping[str, np.ndarray], days: tuple[int, int]) -> slice:
        before, after = self.windows[name]
        return run_around(fields["day"][: int(fields["present"].sum())], days, before, after)


def run_around(day: np.ndarray, days: tuple[int, int], before: int, after: int) -> slice:
    """The acquisitions from so many before the first day to so many after the last."""
    first = max(0, int(np.searchsorted(day, days[0], side="left")) - before)
    return slice(first, min(len(day), int(np.searchsorted(day, days[1], side="right")) + after))


def draw_start(rng: np.random.Generator, size: int, length: int, margin: int) -> int:
    """Where a stretch of `length` begins so that a place drawn evenly inside the margins of [0, size) is in its middle.

    At the ends it is pushed inwards, so that places there are inside about as often as others.
    """
    middle = int(rng.integers(margin, size - margin))
    return min(max(middle - length // 2, 0), size - length)


def longest_runs(
    day: Mapping[str, np.ndarray], draw: Mapping[str, tuple[int, int]], reference: str, acquisitions: int
) -> dict[str, int]:
    """Modality -> acquisitions of the longest run that may be drawn from records with these days."""
    lead = day[reference]
    length = min(acquisitions, len(lead))
    found = {reference: length}
    for name, (before, after) in draw.items():
        runs = (
            run_around(day[name], (int(lead[a]), int(lead[a + length - 1])), before, after)
            for a in range(len(lead) - length + 1)
        )
        found[name] = max(r.stop - r.start for r in runs)
    return found


def _take(
    fields: Mapping[str, np.ndarray], times: slice, area: Sequence[slice], shape: PatchShape, fallback: int
) -> dict[str, np.ndarray]:
    taken: dict[str, np.ndarray] = {}
    for field, (dims, dtype) in shape.fields().items():
        part = fields[field][times]
        if field in ("values", "valid"):
            part = part[:, area[0], area[1]]
        array: np.ndarray = np.zeros(dims, dtype)
        array[: len(part)] = part
        if field == "day":
            array[len(part) :] = part[-1] if len(part) else fallback
        taken[field] = array
    return taken
