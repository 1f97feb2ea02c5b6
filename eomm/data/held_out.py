"""What a record set kept from training: days and columns of a site, and which days to hide where it kept none."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eomm.data.cube import Cube, CubeGroup
from eomm.errors import UsageError

CLEAR = 0.9  # of the site, for a date to be a test date where the records name none


def held_out(
    manifest: Mapping[str, Any], site: str, reference: str = "s2"
) -> tuple[tuple[int, ...], tuple[int, int] | None]:
    """Days and columns that a record set kept from training at a site; empty and None where it kept none.

    Of the modality `reference`: on a held-out day only the acquisitions of the records' own reference were kept.
    """
    split = manifest.get("split", {})
    columns = split.get("blocks", {}).get(site, {}).get("test", {}).get("columns", [])
    days = split.get("hold_out_days", ()) if manifest.get("crop", {}).get("reference", "s2") == reference else ()
    if "hold_out_days_of" in split:  # of a mixture each set held out its own
        days = split["hold_out_days_of"].get(site, ()) if days else ()
    return tuple(days), (int(columns[0][0]), int(columns[0][1])) if columns else None


def dates_unseen(
    manifest: Mapping[str, Any] | None, site: str, days: Sequence[int], reference: str = "s2"
) -> bool | None:
    """Whether training saw no acquisition of `reference` on these days at this site; None where no manifest tells."""
    if manifest is None:
        return None
    split = manifest.get("split", {})
    trained = any(site in split.get("sites", {}).get(s, ()) for s in ("train", "validation"))
    return not trained or set(days) <= set(held_out(manifest, site, reference)[0])


def days_to_hide(
    cube: Cube, reference: str, manifest: Mapping[str, Any] | None, records: Path | str | None
) -> list[int]:
    """Days that records held out of a cube, or every third clear one where they trained nothing or there are none.

    Raises:
        UsageError: the site was trained on and no day was held out.
    """
    group = cube[reference]
    # days are held out of the whole set; a site has only some of them
    days = [d for d in held_out(manifest or {}, cube.site, reference)[0] if d in group.day[group.usable]]
    if not days and dates_unseen(manifest, cube.site, (-1,), reference) is False:
        raise UsageError(
            f"{records}: held out no day of {cube.site}, which was trained on; a score there would prove nothing. Cut "
            "records that hold out days, or evaluate a site that was not trained on"
        )
    return days or third_of_clear_days(group)


def third_of_clear_days(group: CubeGroup) -> list[int]:
    """Every third day of those at least 90 % clear, from the second on; the clearest three where these are few."""
    fraction = np.where(group.usable, group.valid_fraction(), 0)
    clear = np.unique(group.day[fraction >= CLEAR])
    if len(clear) < 9:
        clearest = np.argsort(-fraction, kind="stable")[:3]
        return sorted({int(d) for d in group.day[clearest[fraction[clearest] > 0]]})
    return [int(d) for d in clear[1::3]]
