"""The hidden targets of a cube before any method: what is asked of all, and the blocks that are scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from eomm.data.cube import Cube
from eomm.data.grid import to_date
from eomm.data.held_out import dates_unseen, days_to_hide, held_out
from eomm.data.records import open_records
from eomm.evaluation.hidden.task import HiddenTask, make_task

Options = dict[str, Any]  # of a plan, and what the evaluation takes besides
GAPS = (0, 10, 30, 45, 60)


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
class Setting:
    """Hidden targets of a cube.

    Attributes:
        cube: opened.
        reference: modality that is hidden.
        task: the targets.
        size: side of a block.
        corners: (row, column) of the blocks that are scored.
        fit_dates: training dates that linear baselines and probes are fitted on.
        unseen: whether training has seen the dates; None where nobody knows.
    """

    cube: Cube
    reference: str
    task: HiddenTask
    size: int
    corners: Sequence[tuple[int, int]]
    fit_dates: int
    unseen: bool | None

    @property
    def fit_corners(self) -> Sequence[tuple[int, int]]:
        """Of the blocks that baselines and probes are fitted on."""
        return self.task.fit_blocks(self.corners, self.size)

    @property
    def work(self) -> int:
        """Blocks that a scorer goes through."""
        return len(self.corners) + len(self.fit_corners)

    @property
    def facts(self) -> Mapping[str, object]:
        """What results say of it, JSON types."""
        task = self.task
        return {
            "site": self.cube.site,
            "modality": self.reference,
            "unit": self.cube[self.reference].modality.error_unit[0],
            "days": task.days,
            "dates": [str(to_date(d)) for d in task.days],
            "dates_unseen": self.unseen,
            "columns": list(task.columns) if task.columns else None,
            "pixels_read": min(len(self.corners) * self.size**2, task.height * task.width),
        }


def make_setting(
    plan: Plan, cube: Cube, reference: str, manifest: Mapping[str, Any] | None, gaps: Sequence[int]
) -> Setting:
    """Hidden targets as a plan asks for them.

    Args:
        plan: dates, blocks.
        cube: opened.
        reference: modality that is hidden.
        manifest: of the records trained on; None where there is none.
        gaps: days hidden on both sides, of all cases.

    Raises:
        UsageError: dates or columns that the cube does not have.
    """
    kept_days, kept_columns = held_out(manifest or {}, cube.site, reference)
    dates = kept_days if plan.dates is None else plan.dates
    task = make_task(cube[reference], dates, gaps, plan.columns or kept_columns)
    size = min(plan.block_px, max(task.height, task.width))
    corners = task.blocks(size, plan.max_pixels, seed=plan.seed)
    return Setting(
        cube=cube,
        reference=reference,
        task=task,
        size=size,
        corners=corners,
        fit_dates=plan.fit_dates,
        unseen=dates_unseen(manifest, cube.site, task.days, reference),
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
