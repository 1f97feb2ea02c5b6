"""Which acquisitions are targets, what each may see, and which blocks of the site are scored. Scores nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from jaxtyping import Bool, Int, Int32

from eomm.data.cube import CubeGroup
from eomm.data.days import parse_day
from eomm.data.grid import EPOCH, to_date
from eomm.errors import DataError, UsageError

BUFFER_PX = 9  # half a window and the reach of resampling: nearer pixels are not unseen


@dataclass(frozen=True, kw_only=True)
class HiddenTask:
    """Hidden targets at one site; times index the usable acquisitions.

    Attributes:
        day: of the usable acquisitions.
        targets: the test acquisitions.
        gaps: days on both sides of the current target that are hidden besides all test acquisitions.
        columns: (start, stop) of the block that training has never seen, or None.
        height: of the site in pixels.
        width: of the site in pixels.
    """

    day: Int32[np.ndarray, " t"]
    targets: Int[np.ndarray, " n"]
    gaps: tuple[int, ...]
    columns: tuple[int, int] | None
    height: int
    width: int

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

    def hidden(self, index: Int[np.ndarray, " n"], gap: int) -> Bool[np.ndarray, "n t"]:
        """What the targets `index` may not see: every test acquisition, and whatever lies within the gap."""
        near = np.abs(self.day[None].astype(np.int64) - self.day[index][:, None]) <= gap
        return near | self.is_test[None]

    def hidden_but_itself(self) -> Bool[np.ndarray, "n t"]:
        """For the visible centre: every test acquisition but the target."""
        return self.is_test[None] & (np.arange(len(self.day)) != self.targets[:, None])

    def regions(self, row: int, col: int, size: int) -> dict[str, Bool[np.ndarray, " p"]]:
        """Pixels of a block that count, by region: all, and those of the unseen block."""
        rows, cols = (g.ravel() for g in np.mgrid[row : row + size, col : col + size])
        inside = (rows < self.height) & (cols < self.width)
        regions = {"all": inside}
        if self.columns:
            regions["unseen block"] = inside & (cols >= self.columns[0]) & (cols < self.columns[1])
        return regions

    def may_fit(self, row: int, col: int, size: int) -> Bool[np.ndarray, " p"]:
        """Pixels of a block on which linear baselines may be fitted: those away from the unseen block."""
        inside = self.regions(row, col, size)["all"]
        if self.columns is None:
            return inside
        cols = np.tile(np.arange(col, col + size), size)
        return inside & ((cols < self.columns[0] - BUFFER_PX) | (cols >= self.columns[1] + BUFFER_PX))

    def fit_dates(self, count: int) -> Int[np.ndarray, " m"]:
        """Up to `count` acquisitions, evenly spread, on which linear baselines may be fitted: no test dates."""
        dates = np.flatnonzero(~self.is_test)
        return dates[np.unique(np.linspace(0, len(dates) - 1, count).round().astype(int))]

    def fit_blocks(self, corners: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
        """A quarter of the blocks, at least two: plenty for a few hundred coefficients."""
        usable = [k for k in corners if self.may_fit(*k, size).any()]
        return usable[: max(2, -(-len(usable) // 4))]

    def blocks(self, size: int, max_pixels: int, *, seed: int) -> list[tuple[int, int]]:
        """(row, col) of blocks to score: all, or as many random ones as `max_pixels` allows.

        Blocks of the unseen columns and the others take turns, so that a sample holds both.
        """
        corners = [(r, c) for r in range(0, self.height, size) for c in range(0, self.width, size)]
        corners = [corners[i] for i in np.random.default_rng(seed).permutation(len(corners))]
        unseen = [k for k in corners if "unseen block" in (g := self.regions(*k, size)) and g["unseen block"].any()]
        others = [k for k in corners if k not in unseen]
        turns = [k for i in range(len(corners)) for group in (unseen, others) for k in group[i : i + 1]]
        return turns[: max(1, max_pixels // size**2)]


def make_task(
    group: CubeGroup,
    dates: Sequence[int | str | date],
    gaps: Sequence[int],
    columns: tuple[int, int] | None,
) -> HiddenTask:
    """Check what is asked against the cube.

    Raises:
        UsageError: no date, a date without a usable acquisition, every date a target, columns outside the site.
    """
    day = group.day[group.usable]
    wanted = sorted({_to_day(d) for d in dates})
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
        day=day,
        targets=targets,
        gaps=tuple(sorted(set(gaps))),
        columns=columns,
        height=group.grid.height,
        width=group.grid.width,
    )


def _to_day(d: int | str | date) -> int:
    if isinstance(d, str):
        try:
            d = parse_day(d, where="a date to hide")
        except DataError as e:
            raise UsageError(str(e)) from e
    return (d - EPOCH).days if isinstance(d, date) else int(d)
