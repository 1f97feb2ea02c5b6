"""C-band backscatter: soil under vegetation, water, buildings, and speckle.

- vegetation: the water-cloud model (Attema and Ulaby 1978, Radio Science 13, 357) with canopy water as its
  variable and the covers' opacity as its parameter, so stems and structure act apart from leaf area;
- soil: the semi-empirical model of Oh (2004, IEEE Transactions on Geoscience and Remote Sensing 42, 596) from
  moisture and roughness, raised where rows lie across the look direction;
- frost dries the soil and the canopy dielectrically; intercepted rain adds canopy water;
- speckle: gamma distributed with four looks, correlated over about two pixels as in 20 m data on a 10 m grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from data_prep.simulate.covers import NEEDLELEAF, SETTLEMENT, WATER, cover_column
from data_prep.simulate.parameters import SiteParameters, smooth_field
from data_prep.simulate.world import World

Array = NDArray[np.float64]
WAVENUMBER_CM = 2 * np.pi / 5.547
LOOKS = 4
SPECKLE_SIGMA_PX = 0.72
BLUR_SIGMA_PX = 0.7


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Geometry of one radar orbit."""

    name: str
    orbit: int
    ascending: bool
    incidence_deg: float
    look_azimuth_deg: float


def passes(site: SiteParameters) -> tuple[Pass, Pass]:
    """The ascending and the descending orbit of a site; Sentinel-1 looks to the right."""
    return (
        Pass(name="A088", orbit=88, ascending=True, incidence_deg=site.incidence_ascending_deg, look_azimuth_deg=79),
        Pass(name="D037", orbit=37, ascending=False, incidence_deg=site.incidence_descending_deg, look_azimuth_deg=281),
    )  # fmt: skip


def soil_backscatter(*, moisture: Array, roughness_cm: Array, incidence_deg: float) -> tuple[Array, Array]:
    """VV and VH sigma0 (linear) of bare soil (Oh 2004)."""
    angle = np.radians(incidence_deg)
    ks = WAVENUMBER_CM * roughness_cm
    cross = 0.11 * moisture**0.7 * np.cos(angle) ** 2.2 * (1 - np.exp(-0.32 * ks**1.8))
    ratio = 0.095 * (0.13 + np.sin(1.5 * angle)) ** 1.4 * (1 - np.exp(-1.3 * ks**0.9))
    return cross / ratio, cross


def unit_backscatter(world: World, t: int, track: Pass) -> Array:
    """Gamma0 (linear) per polarisation and unit, [2, unit], of soil under vegetation."""
    site, land, states, weather = world.parameters, world.land, world.states, world.weather
    angle = np.radians(track.incidence_deg)
    cover = states.cover[t]
    coldest = weather.temperature_c[t] + 1 if track.ascending else weather.minimum_c[t]
    frozen = float(np.clip((-0.5 - coldest) / 2.5, 0, 1))
    moisture = states.surface_moisture[t] * (1 - 0.6 * frozen)
    soil = soil_backscatter(moisture=moisture, roughness_cm=states.roughness_cm[t], incidence_deg=track.incidence_deg)
    across = np.abs(np.mod(land.row_azimuth_deg - track.look_azimuth_deg, 180) - 90)
    rows = 1 + site.row_gain * 3 * states.rows[t] * np.exp(-((across / 14) ** 2))
    dew = 0.0 if track.ascending else 0.05
    water = states.canopy_water[t] * (1 - 0.45 * frozen) + states.interception[t] + dew * states.lai[t]
    water = water * (land.cover < WATER) + cover_column("wood_kg_m2")[cover] * (1 - 0.3 * frozen)
    out = []
    for pol, ground, gain in (("vv", soil[0], rows), ("vh", soil[1], rows**0.4)):
        thick = 10 ** ((cover_column(f"thick_{pol}_db")[cover] + site.vegetation_backscatter_db) / 10)
        if pol == "vh":  # leaves screen the branches that depolarise: leafy broadleaf stands drop by about 1 dB
            leafy = np.clip(states.lai[t] - 1, 0, 4) / 4
            thick = thick * np.where((cover >= 6) & (cover <= NEEDLELEAF), 1 - 0.2 * leafy, 1)
        through = np.exp(-2 * cover_column(f"opacity_{pol}")[cover] * water / np.cos(angle))
        out.append(thick * (1 - through) + through * ground * gain / np.cos(angle))
    return np.stack(out)


class Scatterers:
    """What the radar sees of one site: fixed textures and bright points, drawn once."""

    def __init__(self, world: World, *, sees: bool) -> None:
        self._world, self._sees = world, sees
        shape, streams = world.land.unit.shape, world.streams
        self._texture = np.exp(0.09 * smooth_field(streams("radar texture"), (2, *shape), 1.5))
        rng = streams("radar buildings")
        self._points = {
            track.name: 10 ** (np.array([-6.0, -13.5])[:, None, None] / 10) * rng.gamma(0.9, 1.3, (2, *shape))
            for track in passes(world.parameters)
        }
        decoy = smooth_field(streams("radar decoy"), (2, *shape), 4.0)
        self._decoy = 10 ** ((np.array([-10.5, -17.0])[:, None, None] + 1.6 * decoy) / 10)

    def mean_gamma0(self, rng: np.random.Generator, t: int, track: Pass) -> Array:
        """Gamma0 (linear) without speckle, [2, y, x]; in the null world from nothing on the ground."""
        land, shape = self._world.land, self._world.land.unit.shape
        if not self._sees:
            drift = 0.7 * rng.standard_normal((2, 1, 1)) + 0.9 * smooth_field(rng, (2, *shape), 5.0)
            return np.asarray(self._decoy * 10 ** (drift / 10))
        where = land.unit - 1
        units = unit_backscatter(self._world, t, track)
        mean = units[:, where] * self._texture
        kind = land.cover[where]
        town = land.built * (kind == SETTLEMENT)
        mean += (self._points[track.name] - mean) * town
        calm = -22.5 + 1.1 * min(float(self._world.weather.wind_m_s[t]), 6.0) - 0.15 * (track.incidence_deg - 38)
        lake = 10 ** ((calm - np.array([0.0, 6.0])) / 10)
        return np.asarray(np.where(kind == WATER, lake[:, None, None], mean))


def speckle(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Multiplicative gamma noise of mean 1, correlated over neighbours: mean power of smoothed complex looks."""
    field = gaussian_filter(
        rng.standard_normal((2 * LOOKS, *shape), dtype=np.float32),
        (0.0,) * (1 + len(shape) - 2) + (SPECKLE_SIGMA_PX,) * 2, mode="wrap", truncate=3.0,
    )  # fmt: skip
    power = (field.astype(np.float64) ** 2).sum(axis=0)
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / SPECKLE_SIGMA_PX) ** 2)
    kernel /= kernel.sum()
    return np.asarray(power / (2 * LOOKS * (kernel**2).sum() ** 2))


def observe(rng: np.random.Generator, mean: Array) -> NDArray[np.float32]:
    """One image: blurred to the sensor's resolution and speckled; linear power [2, y, x]."""
    blurred = gaussian_filter(mean, (0, BLUR_SIGMA_PX, BLUR_SIGMA_PX), mode="nearest", truncate=3.0)
    return np.maximum(blurred * speckle(rng, mean.shape), 1e-5).astype(np.float32)
