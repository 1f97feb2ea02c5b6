"""What a simulated site draws once: its numbers, their ranges, and its named random streams.

Held-out sites draw from the second range of each parameter, which does not overlap the first where the
parameter matters to a score (soil, leaves, radar, light use), so that a model tested there extrapolates.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Range = tuple[float, float]

TOWER_COVERS = (1, 5, 6, 7)  # winter cereal (rotating), meadow, broadleaf, needleleaf


def drawn(ordinary: Range, held_out: Range) -> Any:
    """A number that is drawn uniformly from the first range, or at held-out sites from the second."""
    return field(metadata={"ranges": (ordinary, held_out)})


@dataclass(frozen=True, kw_only=True)
class SiteParameters:
    """The numbers one site is made with, and the ranges that they are drawn from.

    Attributes:
        tower_cover: land-cover code the flux tower stands in.
        (others): the unit is the end of the name, scales are factors on the tables of covers.py.
    """

    tower_cover: int
    latitude_deg: float = drawn((49.5, 52.5), (47.0, 49.0))
    longitude_deg: float = drawn((1.5, 4.5), (7.5, 10.5))
    temperature_mean_c: float = drawn((9.5, 11.5), (8.0, 9.3))
    temperature_amplitude_c: float = drawn((7.0, 8.5), (8.6, 10.0))
    rain_mm_per_wet_day: float = drawn((4.5, 6.0), (6.1, 7.5))
    cloud_bias: float = drawn((-0.08, 0.08), (-0.2, -0.1))
    drought_rain_factor: float = drawn((0.16, 0.26), (0.27, 0.36))
    field_ha: float = drawn((2.0, 3.5), (3.6, 6.0))
    grain_deg: float = drawn((-40.0, 40.0), (-40.0, 40.0))
    arable_share: float = drawn((0.42, 0.55), (0.35, 0.41))
    soil_brightness: float = drawn((0.85, 1.08), (1.1, 1.25))
    soil_redness: float = drawn((-0.06, 0.06), (0.08, 0.16))
    soil_capacity_mm: float = drawn((150.0, 190.0), (120.0, 140.0))
    plough_roughness_cm: float = drawn((1.7, 2.4), (2.5, 3.2))
    row_gain: float = drawn((0.3, 0.8), (0.9, 1.3))
    season_shift_days: float = drawn((-6.0, 6.0), (7.0, 14.0))
    lai_scale: float = drawn((0.95, 1.15), (0.8, 0.93))
    chlorophyll_scale: float = drawn((0.9, 1.05), (1.07, 1.2))
    leaf_water_scale: float = drawn((0.9, 1.1), (0.78, 0.88))
    structure_scale: float = drawn((0.9, 1.1), (1.15, 1.35))
    chlorophyll_lead_days: float = drawn((8.0, 14.0), (3.0, 7.0))  # loss of chlorophyll before loss of leaf area
    vegetation_backscatter_db: float = drawn((-0.6, 0.6), (0.8, 1.6))
    incidence_ascending_deg: float = drawn((34.0, 40.0), (41.0, 44.0))
    incidence_descending_deg: float = drawn((38.0, 43.0), (32.0, 36.0))
    view_zenith_deg: float = drawn((3.0, 7.0), (7.5, 10.5))
    haze: float = drawn((0.018, 0.028), (0.029, 0.04))
    light_use_scale: float = drawn((0.92, 1.1), (0.8, 0.9))
    stress_soil_threshold: float = drawn((0.38, 0.46), (0.48, 0.56))
    stress_vpd_start_hpa: float = drawn((8.0, 11.0), (6.0, 7.5))
    stress_memory_days: float = drawn((14.0, 20.0), (21.0, 28.0))
    footprint_peak_m: float = drawn((35.0, 55.0), (56.0, 75.0))


RANGES: dict[str, tuple[Range, Range]] = {f.name: f.metadata["ranges"] for f in fields(SiteParameters) if f.metadata}
"""Name -> (range of ordinary sites, of held-out ones)."""


@dataclass(frozen=True, kw_only=True)
class Streams:
    """Named random generators: a switch or another date range never shifts an unrelated stream."""

    seed: int
    site: str

    def __call__(self, name: str) -> np.random.Generator:
        """A fresh generator that depends only on seed, site and name."""
        return np.random.default_rng([self.seed, zlib.crc32(self.site.encode()), zlib.crc32(name.encode())])


def draw_parameters(streams: Streams, *, held_out: bool) -> SiteParameters:
    """Draw one site's parameters."""
    rng = streams("parameters")
    found = {name: round(float(rng.uniform(*ranges[int(held_out)])), 5) for name, ranges in RANGES.items()}
    return SiteParameters(tower_cover=int(streams("tower").choice(TOWER_COVERS)), **found)


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], sigma_px: float) -> NDArray[np.float64]:
    """Gaussian random field of unit variance over the last two axes, correlated over about sigma_px."""
    white = rng.standard_normal(shape)
    sigma = (0.0,) * (len(shape) - 2) + (sigma_px, sigma_px)
    smooth = gaussian_filter(white, sigma, mode="wrap")
    return (smooth - smooth.mean(axis=(-2, -1), keepdims=True)) / smooth.std(axis=(-2, -1), keepdims=True)
