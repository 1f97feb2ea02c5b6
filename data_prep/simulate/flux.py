"""Carbon fluxes of every unit and what a tower measures of them, as FLUXNET daily files.

- photosynthesis: light-use efficiency (Monteith 1972, Journal of Applied Ecology 9, 747; scalars in the form
  of MOD17, Running et al. 2004, BioScience 54, 547) with temperature, vapour-pressure deficit and soil water,
  all acting on the same day; light is absorbed by chlorophyll, not by dry leaves;
- respiration: Lloyd and Taylor (1994, Functional Ecology 8, 315) with a share of the photosynthesis;
- footprint: a crosswind-Gaussian plume upwind of the tower that moves with the day's wind, its length in the
  form of Schuepp et al. (1990, Boundary-Layer Meteorology 50, 355);
- errors: double-exponential, growing with the flux (Richardson et al. 2006, Agricultural and Forest
  Meteorology 136, 1); gaps and column names as in FLUXNET2015 (Pastorello et al. 2020, Scientific Data 7, 225).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from data_prep.simulate.covers import cover_column
from data_prep.simulate.landscape import GSD_M
from data_prep.simulate.states import FIELD_CAPACITY, WILTING
from data_prep.simulate.weather import Array, red_noise
from data_prep.simulate.world import World

MISSING = -9999.0
UNITS = {  # as variable-information files spell them
    "TA_F": "deg C", "SW_IN_F": "W m-2", "VPD_F": "hPa", "P_F": "mm d-1", "SWC_F_MDS_1": "%",
    "NEE_VUT_REF": "gC m-2 d-1", "RECO_NT_VUT_REF": "gC m-2 d-1", "GPP_NT_VUT_REF": "gC m-2 d-1",
    "GPP_DT_VUT_REF": "gC m-2 d-1",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Carbon:
    """Noise-free fluxes [time, unit] in g C m-2 d-1 and the scalars that reduce light use."""

    gpp: Array
    respiration: Array
    fapar: Array
    stress_temperature: Array
    stress_vpd: Array
    stress_soil: Array


def simulate_carbon(world: World, *, stress: bool) -> Carbon:
    """Daily photosynthesis and respiration of every unit."""
    site, land, states, weather = world.parameters, world.land, world.states, world.weather
    cover = states.cover
    fapar = 1 - np.exp(-0.5 * cover_column("clumping")[cover] * states.lai)
    fapar = fapar * states.chlorophyll / (states.chlorophyll + 12) * (1 - 0.3 * states.brown)
    share = 1 - np.bincount(land.unit.ravel() - 1, land.built.ravel(), land.cover.size) / np.bincount(
        land.unit.ravel() - 1, minlength=land.cover.size
    )
    cold, warm = cover_column("cold_c")[cover], cover_column("warm_c")[cover]
    temperature = weather.temperature_c[:, None]
    by_temperature = np.clip((temperature - cold) / (warm - cold), 0, 1)
    by_temperature = by_temperature * np.clip((38 - temperature) / 12, 0, 1)
    start = site.stress_vpd_start_hpa
    by_vpd = np.clip(1 - 0.65 * (weather.vpd_hpa[:, None] - start) / 22, 0.3, 1) * np.ones_like(fapar)
    if not stress:
        by_temperature, by_vpd = np.ones_like(fapar), np.ones_like(fapar)
    par_mj = 0.48 * 0.0864 * weather.radiation_w_m2 * (0.9 + 0.22 * weather.cloud)  # diffuse light works better
    light = cover_column("light_use")[cover] * site.light_use_scale * share * 1.35
    gpp = light * fapar * par_mj[:, None] * by_temperature * by_vpd * states.stress_soil
    recent = uniform_filter1d(gpp, 15, axis=0, origin=7)
    warmth = np.exp(308.56 * (1 / 56.02 - 1 / np.maximum(temperature + 46.02, 10)))
    wet = 0.45 + 0.55 * np.clip((states.root_moisture - WILTING) / (FIELD_CAPACITY - WILTING) / 0.5, 0, 1)
    base = np.where(cover_column("light_use")[land.cover] > 0, 1.35, 0.15) * share
    respiration = base * warmth * wet + 0.38 * recent
    return Carbon(
        gpp=gpp, respiration=respiration, fapar=fapar, stress_temperature=by_temperature, stress_vpd=by_vpd,
        stress_soil=states.stress_soil,
    )  # fmt: skip


def footprint(world: World, days: slice) -> tuple[Array, Array]:
    """Weight of each unit [time, unit] in the tower's flux, and the weights' centre [time, (x, y)] in metres.

    The centre counts from the tower, east and north. Weight outside the scene is given to the part inside.
    """
    land, weather = world.land, world.weather
    y, x = np.indices(land.unit.shape)
    east = ((x - land.tower_col) * GSD_M).ravel()
    north = (-(y - land.tower_row) * GSD_M).ravel()
    where = land.unit.ravel() - 1
    order = np.argsort(where, kind="stable")
    starts = np.searchsorted(where[order], np.arange(land.cover.size))
    east, north = east[order], north[order]
    wind = np.radians(weather.wind_from_deg[days])
    peak = world.parameters.footprint_peak_m * (0.7 + 0.12 * weather.wind_m_s[days])
    shares, centres = [], []
    for angle, length in zip(wind, peak, strict=True):
        ahead = east * np.sin(angle) + north * np.cos(angle)
        aside = east * np.cos(angle) - north * np.sin(angle)
        upwind = np.maximum(ahead + 0.5 * length, 1.0)  # half-hours of other winds reach behind the tower
        width = 12 + 0.45 * upwind
        weight = (length / upwind) ** 2 * np.exp(-2 * length / upwind - 0.5 * (aside / width) ** 2) / width
        weight /= weight.sum()
        shares.append(np.add.reduceat(weight, starts))
        centres.append((weight @ east, weight @ north))
    return np.array(shares), np.array(centres)


def tower_series(world: World, carbon: Carbon, *, shares: Array, days: slice) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The FLUXNET daily table and the noise-free truth behind it."""
    land, weather = world.land, world.weather

    def seen(values: Array) -> Array:
        return np.asarray((values[days] * shares).sum(axis=1))

    gpp, respiration = seen(carbon.gpp), seen(carbon.respiration)
    stamp = pd.to_datetime(weather.day[days].astype("int64"), unit="D").strftime("%Y%m%d")
    truth = pd.DataFrame({
        "TIMESTAMP": stamp, "GPP_TRUE": gpp, "RECO_TRUE": respiration, "NEE_TRUE": respiration - gpp,
        "FAPAR_TRUE": seen(carbon.fapar), "STRESS_TEMPERATURE": seen(carbon.stress_temperature),
        "STRESS_VPD": seen(carbon.stress_vpd), "STRESS_SOIL_WATER": seen(carbon.stress_soil),
    })  # fmt: skip
    count = gpp.size
    rng = world.streams(f"tower/{int(weather.day[days][0])}")
    scale = (0.35 + 0.1 * np.abs(respiration - gpp) + 0.04 * gpp) / np.sqrt(2)
    nee = respiration - gpp + rng.laplace(0, 1, count) * scale
    good, filled, lost = _gaps(rng, count)
    smooth = _neighbours(nee, ~filled)
    nee = np.where(filled, smooth + rng.normal(0, 0.3, count), nee)
    drift = red_noise(rng.standard_normal((count, 2)), 0.9)
    night = respiration * np.exp(0.12 * drift[:, 0]) + rng.normal(0, 0.2, count)
    gpp_night = night - nee
    gpp_day = gpp * np.exp(0.1 * drift[:, 1]) * 0.97 + 0.15 + 0.3 * (gpp_night - gpp) + rng.normal(0, 0.35, count)
    tower = int(land.unit[land.tower_row, land.tower_col]) - 1
    moisture = 100 * world.states.root_moisture[days, tower] + 0.8 * drift[:, 1]
    table = pd.DataFrame({
        "TIMESTAMP": stamp, "TA_F": weather.temperature_c[days], "SW_IN_F": weather.radiation_w_m2[days],
        "VPD_F": weather.vpd_hpa[days], "P_F": weather.rain_mm[days],
        "SWC_F_MDS_1": np.where(_gaps(rng, count)[2], MISSING, moisture),
        "NEE_VUT_REF": np.where(lost, MISSING, nee), "NEE_VUT_REF_QC": np.where(lost, MISSING, good),
        "RECO_NT_VUT_REF": np.where(lost, MISSING, night), "GPP_NT_VUT_REF": np.where(lost, MISSING, gpp_night),
        "GPP_DT_VUT_REF": np.where(lost, MISSING, gpp_day),
    })  # fmt: skip
    return table, truth


def variable_information(site: str) -> pd.DataFrame:
    """The units of the table's columns, in the layout of networks' VARINFO files."""
    rows = [
        (site, number, "GRP_VAR_INFO", what, value)
        for number, (name, unit) in enumerate(UNITS.items(), 1)
        for what, value in (("VAR_INFO_VARNAME", name), ("VAR_INFO_UNIT", unit))
    ]
    return pd.DataFrame(rows, columns=["SITE_ID", "GROUP_ID", "VARIABLE_GROUP", "VARIABLE", "DATAVALUE"])


def _gaps(rng: np.random.Generator, count: int) -> tuple[Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Fraction of good half-hours per day; days mostly gap-filled; days lost altogether."""
    good = np.clip(0.97 - 0.25 * rng.gamma(1.0, 0.6, count), 0.3, 1)
    lost = np.zeros(count, bool)
    t = int(rng.exponential(12))
    while t < count:
        length = int(rng.choice([1, 2, 5, 12], p=[0.45, 0.3, 0.18, 0.07]))
        good[t : t + length] = rng.uniform(0, 0.45, good[t : t + length].size)
        t += length + 1 + int(rng.exponential(18))
    for _ in range(int(rng.poisson(0.3 + count / 500))):
        begin = int(rng.integers(0, count))
        lost[begin : begin + int(rng.integers(12, 40))] = True
    return good, good < 0.5, lost


def _neighbours(values: Array, known: NDArray[np.bool_]) -> Array:
    """Mean of the known days within a week, the way gaps are filled from similar days."""
    total = uniform_filter1d(np.where(known, values, 0.0), 15, mode="nearest")
    weight = uniform_filter1d(known.astype(np.float64), 15, mode="nearest")
    return np.asarray(np.where(weight > 0, total / np.maximum(weight, 1e-9), values))
