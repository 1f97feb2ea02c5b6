"""Which acquisitions are targets, what each may see, and which blocks of the site are scored. Scores nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, Int32

from eomm.data.cube import Cube, CubeGroup
from eomm.data.days import parse_day
from eomm.data.grid import EPOCH, to_date
from eomm.data.held_out import dates_unseen, days_to_hide, held_out
from eomm.data.records import open_records
from eomm.errors import DataError, UsageError

BUFFER_PX = 9  # half a window and the reach of resampling: nearer pixels are not unseen
GAPS = (0, 10, 30, 45, 60)
Options = dict[str, Any]  # of a plan, and what the evaluation takes besides
Corner = tuple[int, int]  # row and column of a block


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked of hidden targets, whatever predicts them.

    Attributes:
        dates: test dates that training has not seen; those that the manifest holds out when None.
        gaps: days hidden on both sides of the target.
        columns: (start, stop) of the block that training has not seen; the manifest's test block when None.
        reference: modality that is hidden; "s2", or the model's only one.
        block_px: side of the blocks in which the cube is read.
        max_pixels: larger sites are sampled by blocks, drawn by `seed`.
        fit_dates: training dates that linear baselines and probes are fitted on.
        seed: of samples, intervals, and whatever else is drawn.
    """

    dates: Sequence[int | str | date] | None = None
    gaps: Sequence[int] = GAPS
    columns: tuple[int, int] | None = None
    reference: str | None = None
    block_px: int = 32
    max_pixels: int = 16_384
    fit_dates: int = 24
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class HiddenTask:
    """Hidden targets of a cube; times index the usable acquisitions.

    Attributes:
        cube: opened.
        reference: modality that is hidden.
        plan: what was asked.
        day: of the usable acquisitions.
        targets: the test acquisitions.
        gaps: days on both sides of the current target that are hidden besides all test acquisitions.
        columns: (start, stop) of the block that training has never seen, or None.
        unseen: whether training has seen the dates; None where nobody knows.
    """

    cube: Cube
    reference: str
    plan: Plan
    day: Int32[np.ndarray, " t"]
    targets: Int[np.ndarray, " n"]
    gaps: tuple[int, ...]
    columns: tuple[int, int] | None
    unseen: bool | None

    @property
    def group(self) -> CubeGroup:
        """The series that is hidden."""
        return self.cube[self.reference]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the site in pixels."""
        return self.group.grid.height, self.group.grid.width

    @property
    def size(self) -> int:
        """Side of a block, px."""
        return min(self.plan.block_px, max(self.shape))

    @property
    def is_test(self) -> Bool[np.ndarray, " t"]:
        """Acquisitions hidden from every method, always."""
        return np.isin(self.day, self.day[self.targets])

    @property
    def days(self) -> list[int]:
        """Of the targets."""
        return [int(d) for d in self.day[self.targets]]

    @property
    def names(self) -> list[str]:
        """Of the regions that are scored."""
        return ["all"] + (["unseen block"] if self.columns else [])

    @property
    def facts(self) -> Mapping[str, object]:
        """What results say of it, JSON types."""
        return {
            "site": self.cube.site,
            "modality": self.reference,
            "unit": self.group.modality.error_unit[0],
            "days": self.days,
            "dates": [str(to_date(d)) for d in self.days],
            "dates_unseen": self.unseen,
            "columns": list(self.columns) if self.columns else None,
            "pixels_read": min(len(self.corners) * self.size**2, self.shape[0] * self.shape[1]),
        }

    def hidden(self, index: Int[np.ndarray, " n"], gap: int) -> Bool[np.ndarray, "n t"]:
        """What the targets `index` may not see: every test acquisition, and whatever lies within the gap."""
        near = np.abs(self.day[None].astype(np.int64) - self.day[index][:, None]) <= gap
        return near | self.is_test[None]

    def hidden_but_itself(self) -> Bool[np.ndarray, "n t"]:
        """For the visible centre: every test acquisition but the target."""
        return self.is_test[None] & (np.arange(len(self.day)) != self.targets[:, None])

    def regions(self, corner: Corner) -> dict[str, Bool[np.ndarray, " p"]]:
        """Pixels of a block that count, by region: all, and those of the unseen block."""
        rows, cols = self._pixels(corner)
        inside = (rows < self.shape[0]) & (cols < self.shape[1])
        regions = {"all": inside}
        if self.columns:
            regions["unseen block"] = inside & (cols >= self.columns[0]) & (cols < self.columns[1])
        return regions

    def may_fit(self, corner: Corner) -> Bool[np.ndarray, " p"]:
        """Pixels of a block on which linear baselines may be fitted: those away from the unseen block."""
        inside, cols = self.regions(corner)["all"], self._pixels(corner)[1]
        if self.columns is None:
            return inside
        return inside & ((cols < self.columns[0] - BUFFER_PX) | (cols >= self.columns[1] + BUFFER_PX))

    def _pixels(self, corner: Corner) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
        rows, cols = np.mgrid[corner[0] : corner[0] + self.size, corner[1] : corner[1] + self.size]
        return rows.ravel(), cols.ravel()

    @property
    def fit_dates(self) -> Int[np.ndarray, " m"]:
        """Acquisitions, evenly spread, on which linear baselines may be fitted: no test dates."""
        dates = np.flatnonzero(~self.is_test)
        return dates[np.unique(np.linspace(0, len(dates) - 1, self.plan.fit_dates).round().astype(int))]

    @cached_property
    def fit_corners(self) -> list[Corner]:
        """A quarter of the blocks, at least two: plenty for a few hundred coefficients."""
        usable = [k for k in self.corners if self.may_fit(k).any()]
        return usable[: max(2, -(-len(usable) // 4))]

    @cached_property
    def corners(self) -> list[Corner]:
        """Blocks to score: all, or as many random ones as the plan allows.

        Blocks of the unseen columns and the others take turns, so that a sample holds both.
        """
        corners = [(r, c) for r in range(0, self.shape[0], self.size) for c in range(0, self.shape[1], self.size)]
        corners = [corners[i] for i in np.random.default_rng(self.plan.seed).permutation(len(corners))]
        unseen = [k for k in corners if self.regions(k)[self.names[-1]].any()] if self.columns else []
        others = [k for k in corners if k not in unseen]
        turns = [k for i in range(len(corners)) for part in (unseen, others) for k in part[i : i + 1]]
        return turns[: max(1, self.plan.max_pixels // self.size**2)]

    @property
    def work(self) -> int:
        """Blocks that a scorer goes through."""
        return len(self.corners) + len(self.fit_corners)


def make_task(
    plan: Plan,
    cube: Cube,
    reference: str,
    *,
    manifest: Mapping[str, Any] | None = None,
    gaps: Sequence[int] | None = None,
) -> HiddenTask:
    """Hidden targets as a plan asks for them.

    Args:
        plan: dates, blocks.
        cube: opened.
        reference: modality that is hidden.
        manifest: of the records trained on; None where there is none.
        gaps: days hidden on both sides, of all cases; the plan's when None.

    Raises:
        UsageError: no date, a date without a usable acquisition, every date a target, columns outside the site.
    """
    group = cube[reference]
    kept_days, kept_columns = held_out(manifest or {}, cube.site, reference)
    day, columns = group.day[group.usable], plan.columns or kept_columns
    wanted = sorted({_to_day(d) for d in (kept_days if plan.dates is None else plan.dates)})
    missing = [str(to_date(d)) for d in wanted if d not in day]
    if not wanted or missing:
        raise UsageError(
            f"{group.path}: no usable acquisition on {', '.join(missing)}; choose test dates among its usable ones"
            if missing
            else f"{group.path}: no test dates; name some, or evaluate with records that hold out days"
        )
    targets = np.flatnonzero(np.isin(day, wanted))
    if len(targets) == len(day):
        raise UsageError(f"{group.path}: all {len(day)} usable acquisitions are test dates; nothing is left to see")
    if columns is not None and not 0 <= columns[0] < columns[1] <= group.grid.width:
        raise UsageError(f"{group.path}: columns {columns} do not lie within the site's {group.grid.width}")
    return HiddenTask(
        cube=cube,
        reference=reference,
        plan=plan,
        day=day,
        targets=targets,
        gaps=tuple(sorted(set(plan.gaps if gaps is None else gaps))),
        columns=columns,
        unseen=dates_unseen(manifest, cube.site, day[targets].tolist(), reference),
    )


def with_records(cube: Cube, reference: str, records: Path | str | None, options: Mapping[str, Any]) -> Options:
    """Options with the manifest of a record set, and with the dates that it kept from training where none are named.

    Where the records hold no days out, a site that trained nothing is tested on every third of its clear dates.

    Raises UsageError: the site was trained on and no day was held out; or nothing is clear.
    """
    manifest = open_records(records).manifest if records else None
    dates = options.get("dates")
    dates = days_to_hide(cube, reference, manifest, records) if dates is None else dates
    return {**options, "dates": dates, "manifest": manifest}


def _to_day(d: int | str | date) -> int:
    if isinstance(d, str):
        try:
            d = parse_day(d, where="a date to hide")
        except DataError as e:
            raise UsageError(str(e)) from e
    return (d - EPOCH).days if isinstance(d, date) else int(d)
