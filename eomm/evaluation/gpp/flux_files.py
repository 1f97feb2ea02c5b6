"""Daily flux files as networks ship them to one table: day, GPP, its quality, weather. No scores, no folds.

Read are FLUXNET2015 and AmeriFlux (`FLX_CH-Dav_FLUXNET2015_FULLSET_DD_…csv`, `AMF_US-Ha1_FLUXNET_FULLSET_DD_…csv`), the
archives of ICOS (`ICOSETC_DE-Hai_FLUXNET_DD_L2.csv`, also INTERIM) and the naming of FLUXNET since 2025
(`AMF_US-Ha1_FLUXNET_FLUXMET_DD_…csv`). Columns are those of Pastorello et al. (2020), Scientific Data 7, 225.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from eomm.data.days import parse_days
from eomm.data.missing import FILLS, without_fills
from eomm.data.tables import read_frame
from eomm.errors import ContractError, DataError, UsageError

TARGETS = ("GPP_NT_VUT_REF", "GPP_DT_VUT_REF")
QUALITY = "NEE_VUT_REF_QC"  # by its whole name: the first column that contains "QC" belongs to the air temperature
WEATHER = ("TA_F", "SW_IN_F", "VPD_F", "P_F")
UNIT = "g C m-2 d-1"
NAME = re.compile(
    r"^[A-Za-z0-9]+_(?P<site>[A-Za-z0-9_-]+?)_FLUXNET(2015)?_"
    r"((FULLSET|SUBSET|FLUXMET)_)?(?P<step>HH|HR|DD|WW|MM|YY)_.*\.[cC][sS][vV]$"
)
PER_DAY = {"gcm-2d-1": 1.0, "umolco2m-2s-1": 12.011e-6 * 86400, "umolm-2s-1": 12.011e-6 * 86400}


@dataclass(frozen=True, kw_only=True)
class FluxSeries:
    """One tower's days.

    Attributes:
        site: such as "DE-Hai".
        table: a row per day: `day` (days since 1970-01-01, int32), `gpp` (g C m-2 d-1, negative values kept),
            `quality` (share 0..1 of half-hours measured or gap-filled well), and what there is of WEATHER
            (degrees C, W m-2, hPa, mm); NaN where missing.
        target: the column read.
        path: the file.
        simulated: whether a simulator wrote it.
    """

    site: str
    table: pd.DataFrame
    target: str
    path: Path
    simulated: bool


def read_flux(path: Path | str, *, target: str = TARGETS[0], unit: str | None = None) -> FluxSeries:
    """Read a daily file.

    Args:
        path: named as its network names it.
        target: "GPP_NT_VUT_REF" (night-time partitioning) or "GPP_DT_VUT_REF" (day-time).
        unit: of the target, such as "gC m-2 d-1". None: as the variable-information file beside it says
            (`…VARINFO…csv`); there must be one.

    Raises:
        DataError: no such file, not a daily one, a column missing, days that are no dates or occur twice, no value.
        ContractError: an unknown unit, two units, or a quality outside 0..1.
        UsageError: neither a unit nor a file that tells it.
    """
    path = Path(path)
    site = site_of(path)
    columns = (target, QUALITY)
    table = read_frame(path)
    if lost := [c for c in ("TIMESTAMP", *columns) if c not in table]:
        raise DataError(f"{path}: no column {', '.join(lost)}; expected a FULLSET, SUBSET or FLUXMET daily file")
    day = _days(path, table["TIMESTAMP"])
    factor = factor_of(path, target, unit if unit is not None else declared_unit(path, target))
    names = [c for c in (*columns, *WEATHER) if c in table]
    try:
        values = table[names].astype(np.float64)
    except ValueError as e:
        raise DataError(f"{path}: {e}; expected numbers, {FILLS[0]:g} where missing") from e
    values = without_fills(values)
    quality = values[QUALITY]
    if (bad := quality[(quality < 0) | (quality > 1)]).size:
        raise ContractError(
            f"{path}: {QUALITY} reaches {bad.max():g}; expected the share 0..1 of good half-hours. A code 0..3 (high "
            "is bad) is another quantity: give such a table by --table and --keep"
        )
    found = pd.DataFrame({"day": day, "gpp": values[target] * factor, "quality": quality})
    found = found.assign(**{c: values[c] for c in names if c in WEATHER})
    if not (found["gpp"].notna() & found["quality"].notna()).any():
        raise DataError(f"{path}: every {target} is missing; try the other partitioning or another tower")
    simulated = path.stem.endswith("_SIM")
    return FluxSeries(site=site, table=found, target=target, path=path, simulated=simulated)


def site_of(path: Path) -> str:
    """The site that a file's name tells. Raises DataError where it is not a daily flux file's."""
    found = NAME.match(path.name)
    if not found:
        raise DataError(
            f"{path}: not a name of a FLUXNET file; expected such as ICOSETC_DE-Hai_FLUXNET_DD_L2.csv, "
            "FLX_CH-Dav_FLUXNET2015_FULLSET_DD_1997-2014_1-4.csv or AMF_US-Ha1_FLUXNET_FLUXMET_DD_2010-2022_v1.3_r1.csv"
        )
    if found["step"] != "DD":
        raise DataError(f"{path}: holds {found['step']} means; expected the daily file (_DD_) of the same archive")
    return found["site"]


def declared_unit(path: Path, variable: str) -> str:
    """The unit that the variable-information file beside a flux file gives for a variable.

    Raises:
        UsageError: no such file, or it does not tell.
        ContractError: it gives two.
    """
    beside = [p for p in sorted(path.parent.iterdir()) if _is_about(p, site_of(path))]
    daily = [p for p in beside if "_DD_" in p.name] or beside
    groups = [group for info in daily for group in read_groups(info) if group.get("VAR_INFO_VARNAME") == variable]
    units = list(dict.fromkeys(filter(None, (group.get("VAR_INFO_UNIT") for group in groups))))
    if not units:
        seen = f"{', '.join(p.name for p in daily)} does not tell it" if daily else "no VARINFO file lies beside it"
        raise UsageError(f"{path}: the unit of {variable} is unknown ({seen}); say it by --unit, such as 'gC m-2 d-1'")
    if len({_plain(u) for u in units}) > 1:
        raise ContractError(
            f"{path}: {variable} has units {' and '.join(units)}; expected one, give the right by --unit"
        )
    return units[0]


def _is_about(path: Path, site: str) -> bool:
    """Whether a file is a variable-information file of a site's; not one of AppleDouble."""
    name = path.name
    return path.suffix.lower() == ".csv" and "VARINFO" in name and f"_{site}_" in name and not name.startswith("._")


def read_groups(path: Path) -> list[Mapping[str, str]]:
    """The groups of a BADM file (columns GROUP_ID, VARIABLE, DATAVALUE): variable to value. Raises DataError."""
    table = read_frame(path, text=True)
    if lost := [c for c in ("GROUP_ID", "VARIABLE", "DATAVALUE") if c not in table]:
        raise DataError(f"{path}: no column {', '.join(lost)}; expected a BADM file (GROUP_ID, VARIABLE, DATAVALUE)")
    return [dict(zip(g["VARIABLE"], g["DATAVALUE"], strict=True)) for _, g in table.groupby("GROUP_ID", sort=False)]


def factor_of(path: Path, variable: str, unit: str) -> float:
    """What a flux in `unit` is multiplied by to become g C m-2 d-1. Raises ContractError for a unit not known."""
    factor = PER_DAY.get(_plain(unit))
    if factor is None:
        raise ContractError(f"{path}: {variable} in {unit!r}; expected 'gC m-2 d-1' or 'umolCO2 m-2 s-1'")
    return factor


def _plain(unit: str) -> str:
    """A unit without the differences of spelling."""
    text = unit.lower().replace("µ", "u").replace("μ", "u").replace("day", "d").replace("**", "").replace("^", "")
    return re.sub(r"[\s._]", "", text)


def _days(path: Path, stamp: pd.Series) -> np.ndarray:
    day = parse_days(stamp, where=f"{path}, TIMESTAMP")
    if (twice := stamp[pd.Series(day).duplicated().to_numpy()]).size:
        raise DataError(f"{path}: {twice.iloc[0]} occurs twice; expected a row per day")
    return day
