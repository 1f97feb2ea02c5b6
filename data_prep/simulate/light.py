"""What sets a date apart from its neighbours over unchanged ground: light, of the scene and of fields, and thin shade.

Shaped after a real series of Flanders, 2017 and 2018; `python -m experiments.date_noise` prints real beside
simulated. Of what linear interpolation between the clear dates before and after leaves, a third to a half of the
variance is common to the scene and the rest lies in patches of some 100 m. Both are drawn as factors with a standard
deviation per band: light and its correction, aerosol (short waves), water on leaves and soil (long waves), and of
fields the angles of their leaves and rows. Fields that really change within days are vegetation.py's matter.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_prep.simulate.parameters import smooth_field

Array = NDArray[np.float64]


def _spectrum(*values: float) -> Array:
    return np.array(values, np.float64)[:, None, None]


# standard deviations by band, B02 to B12: shares of the reflectance but for AEROSOL
LIGHT = _spectrum(0.05, 0.055, 0.055, 0.06, 0.062, 0.062, 0.078, 0.06, 0.04, 0.04)
WATER = _spectrum(0, 0, 0, 0.01, 0, 0, 0, 0, 0.02, 0.03)
AEROSOL = _spectrum(0.0055, 0.004, 0.0045, 0.003, 0, 0, 0, 0, 0, 0)
FIELD_ANGLES = _spectrum(0.01, 0.02, 0.01, 0.04, 0.065, 0.065, 0.07, 0.065, 0.03, 0.015)
FIELD_WATER = _spectrum(0.06, 0.05, 0.07, 0.06, 0.01, 0, 0, 0.01, 0.06, 0.08)
EACH = 0.01  # of every band by itself
SHADED_DATES = 0.14  # share of dates with thin shade
SHADE = (0.1, 0.45)  # its range of depths


def light_of_date(rng: np.random.Generator, seen: Array, unit: NDArray[np.int32]) -> Array:
    """Reflectance [band, y, x] under one date's light and its correction for it; `unit` [y, x] from 1."""
    light, water, aerosol = rng.standard_normal(3)
    share = LIGHT * light + WATER * water + EACH * rng.standard_normal((len(seen), 1, 1))
    angles, moist = rng.standard_normal((2, unit.max()))[:, unit - 1]
    return np.asarray(seen * np.exp(share + FIELD_ANGLES * angles + FIELD_WATER * moist) + AEROSOL * aerosol)


def thin_shade(rng: np.random.Generator, size_px: int) -> Array:
    """Share of direct light taken by thin cloud [y, x] in patches of some 100 m; on most dates none."""
    chance, depth = rng.random(), rng.uniform(*SHADE)
    field = smooth_field(rng, (size_px, size_px), 8.0)
    if chance >= SHADED_DATES:
        return np.zeros_like(field)
    return np.asarray(depth * np.clip(0.5 + 0.5 * field, 0, 1))
