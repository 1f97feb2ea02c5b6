"""What a head is fitted on, beside the files: the options of `eomm fit`, of labels or of fluxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from eomm.evaluation.gpp.features import QUALITY


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """How labels are read, and which are held out together.

    Attributes:
        dates: whose vectors to fit on; the date on which most labelled pixels of each site have one when empty.
        target: what the labels are called; the column or file when None.
        column: NetCDF variable, property or column; like the next four as `eomm.evaluation.labels.read_labels`.
        regression: labels are numbers.
        ignore: labels that count as none.
        classes: names by label; others count as none.
        min_pixels: smaller fields are left out.
        unit: of numbers.
        groups: what is held out whole: fields, blocks or sites.
        block_px: side of blocks.
        buffer_px: labelled pixels nearer to a tested one than this are not fitted on.
        folds: at most so many.
        length: leading numbers of the vectors; all when None.
    """

    dates: Sequence[date] = ()
    target: str | None = None
    column: str | None = None
    regression: bool = False
    ignore: Sequence[str] = ()
    classes: Mapping[str, str] | None = None
    min_pixels: int = 1
    unit: str = ""
    groups: str = "fields"
    block_px: int = 32
    buffer_px: float = 9
    folds: int = 5
    length: int | None = None


@dataclass(frozen=True, kw_only=True)
class FluxOptions:
    """How fluxes are read, and what is held out together.

    Attributes:
        site_info: where towers stand.
        target: the column; the first of `eomm.evaluation.gpp.flux_files.TARGETS` when None.
        unit: None for what the file beside them says.
        extract: which pixels (`eomm.evaluation.gpp.features.Inputs`).
        quality: least share of good half-hours.
        folds: site, year or both; None: site, or year where there is one group of sites.
        length: leading numbers of the vectors; all when None.
    """

    site_info: Sequence[Path | str] = ()
    target: str | None = None
    unit: str | None = None
    extract: str = "window:3"
    quality: float = QUALITY
    folds: str | None = None
    length: int | None = None
