"""Features without a model: bands of a date, the raw series of the window that an encoder sees, spectral indices."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from eomm.data.cube import Cube
from eomm.evaluation.baselines import Observations, window_features
from eomm.evaluation.features import Dates, Features, check_size, chosen_dates

MAX_OFFSET_DAYS = 12  # of the nearest acquisition of another modality, as in the fusion head
EPSILON = 1e-3

INDICES = ("NDVI", "EVI", "NIRv", "kNDVI", "NDWI", "NDMI", "NBR", "NDRE")


def bands(
    cube: Cube,
    dates: Dates,
    *,
    names: Sequence[str] = ("s2",),
    frames: Mapping[str, tuple[int, int]] | None = None,
) -> Features:
    """Physical values of every date of the first modality, and of each other modality's nearest acquisition.

    With `frames`, the raw series of the window that an encoder sees round every date, as a fixed number of columns:
    interpolations and three observations on each side (`baselines.window_features`), of no acquisition beyond so many
    usable ones before and after.

    Of other modalities: zeros where the nearest acquisition is too far or invalid, and a column that says so.
    """
    lead = cube[names[0]]
    chosen = chosen_dates(lead, dates)
    day = lead.day[chosen]
    parts, valid = [], None
    for name in names:
        if cube.site_wide(name, names[0]):
            continue  # weather and the like is the same for all pixels of a site
        group = cube[name]
        usable = np.flatnonzero(group.usable)
        stored, seen = group.read(usable)
        seen_of = frames[name] if frames and not group.modality.static else None
        count = (10 if seen_of else 1) * len(group.modality.bands)
        check_size(lead.grid, len(day), count, name)
        series = Observations.of_map(group.modality.decode(stored), seen, group.day[usable])
        at = np.searchsorted(usable, chosen) if name == names[0] else nearest(day, series.day)
        columns = np.stack([_columns(series, int(i), seen_of) for i in at])
        own = series.valid[at]
        apart = np.abs(series.day[at].astype(np.int64) - day)
        near = own & ((apart <= MAX_OFFSET_DAYS) | group.modality.static)[:, None]
        if valid is None:
            valid = own
        else:
            columns = np.concatenate([np.where(near[..., None], columns, 0), near[..., None]], axis=-1)
        parts.append(columns.astype(np.float32))
    assert valid is not None
    values = np.nan_to_num(np.concatenate(parts, axis=-1))
    shape = (len(day), lead.grid.height, lead.grid.width)
    return Features.masked(values.reshape(*shape, -1), valid.reshape(shape), day)


def nearest(day: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """For each day the position of the nearest of theirs (ties: the earlier)."""
    return np.argmin(np.abs(theirs[None].astype(np.int64) - day[:, None]), axis=1)


def _columns(series: Observations, at: int, frames: tuple[int, int] | None) -> np.ndarray:
    if frames is None:
        return series.values[at]
    part = slice(max(0, at - frames[0]), at + frames[1] + 1)
    near = Observations(values=series.values[part], valid=series.valid[part], day=series.day[part])
    return window_features(near, int(series.day[at]))


def indices(cube: Cube, dates: Dates) -> Features:
    """INDICES of every Sentinel-2 date.

    Sources: NDVI Rouse 1974; EVI Huete 2002, doi 10.1016/S0034-4257(02)00096-2; NIRv Badgley 2017, doi
    10.1126/sciadv.1602244; kNDVI Camps-Valls 2021, doi 10.1126/sciadv.abc7447 (tanh of NDVI squared); NDWI McFeeters
    1996; NDMI Gao 1996; NBR Key 2006; NDRE Barnes 2000.
    """
    raw = bands(cube, dates)
    names = cube["s2"].modality.band_names
    blue, green, red, edge, near, narrow, swir1, swir2 = (
        raw.values[..., names.index(b)] for b in ("B02", "B03", "B04", "B05", "B08", "B8A", "B11", "B12")
    )
    ndvi = ratio(near, red)
    found = {
        "NDVI": ndvi,
        "EVI": np.clip(2.5 * (near - red) / np.maximum(near + 6 * red - 7.5 * blue + 1, 0.1), -2, 2),
        "NIRv": ndvi * near,
        "kNDVI": np.tanh(ndvi**2),
        "NDWI": ratio(green, near),
        "NDMI": ratio(narrow, swir1),
        "NBR": ratio(narrow, swir2),
        "NDRE": ratio(near, edge),
    }
    return Features.masked(np.stack([found[n] for n in INDICES], axis=-1), raw.valid, raw.day)


def ratio(a: Float32[np.ndarray, "*n"], b: Float32[np.ndarray, "*n"]) -> Float32[np.ndarray, "*n"]:
    """Normalised difference, -1 to 1; 0 where both are 0 or less in sum."""
    total = a + b
    return np.where(total > EPSILON, np.clip((a - b) / np.where(total > EPSILON, total, 1), -1, 1), 0)
