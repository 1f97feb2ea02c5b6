"""What ESA's product names say: platform, sensing time, level, orbit, tile, baseline. Nothing is read from files."""

import re
from dataclasses import dataclass
from datetime import datetime

from eomm.errors import DataError

S2 = re.compile(r"(S2[A-Z])_MSI(L\w\w)_(\d{8}T\d{6})_N(\d{2})(\d{2})_R(\d{3})_T(\w{5})_\d{8}T\d{6}")
S1 = re.compile(r"(S1[A-Z])_\w\w_([A-Z]{3})\w_\w{4}_(\d{8}T\d{6})_\d{8}T\d{6}_(\d{6})_\w{6}_\w{4}")
FIRST_ORBIT = {"S1A": 73, "S1B": 27}
"""Absolute orbit that is relative orbit 1, modulo the 175 of a cycle; on real names it gives both platforms one track
where they pass at one time of day. Other platforms' are not known here, so their relative orbit stays unknown."""
CYCLE = 175


@dataclass(frozen=True, kw_only=True)
class ProductName:
    """What one name says.

    Attributes:
        platform: such as "S2A".
        time: start of sensing, UTC.
        level: such as "L2A" or "GRD".
        relative_orbit: from 1, or None where the name does not tell.
        baseline: Sentinel-2's processing baseline such as "04.00".
        tile: Sentinel-2's tile such as "32UMD".
    """

    platform: str
    time: datetime
    level: str
    relative_orbit: int | None = None
    baseline: str | None = None
    tile: str | None = None


def parse(name: str) -> ProductName:
    """Read a Sentinel-1 GRD/SLC or Sentinel-2 MSI product name (the compact convention, since December 2016).

    Raises:
        DataError: it is none.
    """
    if found := S2.match(name):
        platform, level, time, major, minor, orbit, tile = found.groups()
        return ProductName(
            platform=platform,
            time=_time(time),
            level=level,
            relative_orbit=int(orbit),
            baseline=f"{major}.{minor}",
            tile=tile,
        )
    if found := S1.match(name):
        platform, level, time, absolute = found.groups()
        first = FIRST_ORBIT.get(platform)
        relative = None if first is None else (int(absolute) - first) % CYCLE + 1
        return ProductName(platform=platform, time=_time(time), level=level, relative_orbit=relative)
    raise DataError(
        f"{name!r} is no name of a Sentinel-1 or Sentinel-2 product; expected such as "
        "S2A_MSIL2A_20200102T102421_N0213_R065_T32UNC_20200102T115419"
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S")
