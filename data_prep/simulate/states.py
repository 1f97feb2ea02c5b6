"""Daily states of every unit: soil water, crops' calendars, leaf area, chlorophyll, water, structure.

Leaf area, chlorophyll, leaf water and structure are separate processes with their own draws per unit and
season, so that one cannot be read off another (chlorophyll leaves first at ripening, then water, then area;
stems stand until harvest). Soil water is a two-layer bucket with Priestley-Taylor (1972, Monthly Weather
Review 100, 81) evaporation. Water stress slows photosynthesis the same day, canopy water within days,
chlorophyll and leaf area only through a memory of weeks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift as shift_series
from scipy.signal import lfilter

from data_prep.simulate.covers import MEADOW, cover_column
from data_prep.simulate.landscape import Landscape
from data_prep.simulate.parameters import SiteParameters, Streams
from data_prep.simulate.vegetation import grow
from data_prep.simulate.weather import Array, Weather, red_noise

WILTING, FIELD_CAPACITY, SATURATION = 0.08, 0.32, 0.42  # volumetric


@dataclass(frozen=True, kw_only=True)
class States:
    """The truth per day and unit, arrays [time, unit].

    Attributes:
        cover: what stands there (0 bare).
        lai: leaf area, green and dry.
        chlorophyll: ug cm-2 of leaf.
        leaf_water_cm: equivalent water thickness.
        brown: PROSPECT's brown pigment.
        canopy_water: kg m-2 in leaves and stems.
        height_m: of the standing crop or stand.
        flowers: share of the canopy covered by bright flowers.
        residue: share of the soil covered by straw or litter.
        roughness_cm, rows: RMS height and row amplitude (0..1) of the soil surface.
        surface_moisture, root_moisture: volumetric.
        stress_soil: light-use scalar of soil water.
        interception: kg m-2 of rain on the canopy at the time of the overpasses.
    """

    cover: NDArray[np.int64]
    lai: Array
    chlorophyll: Array
    leaf_water_cm: Array
    brown: Array
    canopy_water: Array
    height_m: Array
    flowers: Array
    residue: Array
    roughness_cm: Array
    rows: Array
    surface_moisture: Array
    root_moisture: Array
    stress_soil: Array
    interception: Array


def simulate_states(
    site: SiteParameters, streams: Streams, land: Landscape, weather: Weather, *, stress: bool
) -> States:
    """Daily states of all units over the weather's days."""
    plants = grow(site, streams, land, weather)
    units = land.cover.size
    texture = np.exp(streams("soil capacity").normal(0, 0.12, units))
    capacity = site.soil_capacity_mm * texture * cover_column("root")[land.cover]
    root, surface = _buckets(weather, plants.lai, capacity)
    free = np.clip((root - 0.04) / (site.stress_soil_threshold - 0.04), 0.06, 1)
    scalar = free if stress else np.ones_like(free)

    noise = streams("state noise").standard_normal((4, weather.day.size, units))
    wander = np.exp(0.06 * red_noise(noise.transpose(1, 0, 2).copy(), 0.97)).transpose(1, 0, 2)
    memory = site.stress_memory_days
    slow = shift_series(_memory(1 - scalar, memory), (0.6 * memory, 0), order=1, mode="nearest")
    weeks, days = _memory(1 - scalar, 0.8 * memory), _memory(1 - scalar, 4.0)
    lai = plants.lai * wander[0] * (1 - 0.55 * slow)
    chlorophyll = plants.chlorophyll * wander[1] * (1 - 0.35 * weeks)
    leaf_water = plants.leaf_water_cm * wander[2] * (1 - 0.3 * days)
    stem = plants.stem_water * wander[3] * (1 - 0.15 * days)
    recent = lfilter([1.0], [1.0, -0.25], weather.rain_mm)[:, None]
    return States(
        cover=plants.cover, lai=lai, chlorophyll=chlorophyll, leaf_water_cm=leaf_water,
        brown=np.clip(plants.brown + 0.5 * slow * (plants.cover == MEADOW), 0, 1),
        canopy_water=10 * leaf_water * lai + stem,
        height_m=plants.height_m, flowers=plants.flowers, residue=plants.residue,
        roughness_cm=plants.roughness_cm, rows=plants.rows,
        surface_moisture=WILTING + (SATURATION - WILTING) * surface,
        root_moisture=WILTING + (FIELD_CAPACITY - WILTING) * root,
        stress_soil=scalar,
        interception=np.clip(0.035 * recent, 0, 1) * 0.2 * np.minimum(plants.lai, 5),
    )  # fmt: skip


def _memory(series: Array, days: float) -> Array:
    """Exponential mean over the past."""
    keep = float(np.exp(-1 / days))
    return np.asarray(lfilter([1 - keep], [1.0, -keep], series, axis=0))


def _buckets(weather: Weather, lai: Array, capacity: Array) -> tuple[Array, Array]:
    """Relative filling of root zone and of the top 5 cm, [time, unit]; starts full."""
    slope = 4098 * 6.108 * np.exp(17.27 * weather.temperature_c / (weather.temperature_c + 237.3))
    slope = slope / (weather.temperature_c + 237.3) ** 2
    net_mm = np.maximum(0.58 * weather.radiation_w_m2 - 25, 0) * 0.0864 / 2.45
    demand = 1.05 * slope / (slope + 0.66) * net_mm + 0.03 * weather.vpd_hpa
    cover = 1 - np.exp(-0.5 * lai)
    root, surface = np.empty_like(lai), np.empty_like(lai)
    filling, skin = np.ones(lai.shape[1]), np.full(lai.shape[1], 0.7)
    for t, rain in enumerate(weather.rain_mm):
        take = demand[t] * (0.2 + 0.8 * cover[t]) * np.minimum(filling / 0.45, 1)
        filling = np.clip(filling + (0.9 * rain - take) / capacity, 0, 1)
        dry = 1 - np.exp(-0.16 * demand[t] * (1 - 0.6 * cover[t]) - 0.09)
        skin = skin + dry * (0.35 * filling - skin)
        skin = skin + (1 - np.exp(-rain / 11)) * (0.92 - skin)
        root[t], surface[t] = filling, skin
    return root, surface
