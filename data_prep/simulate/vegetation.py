"""What farmers and phenology do to each unit, before water stress: calendars of crops, meadows and trees.

Curves of leaf area are double logistic in days shifted by the warmth of the past weeks (the usual form for
satellite phenology: Zhang et al. 2003, Remote Sensing of Environment 84, 471); chlorophyll, leaf water and
stems have their own dates, drawn independently per unit and season.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import expit

from data_prep.simulate.covers import (
    ARABLE,
    BARE,
    BEET,
    BROADLEAF,
    CEREAL,
    CROPS,
    MAIZE,
    MEADOW,
    NEEDLELEAF,
    RAPESEED,
    SETTLEMENT,
    WATER,
    Crop,
)
from data_prep.simulate.landscape import Landscape
from data_prep.simulate.parameters import SiteParameters, Streams
from data_prep.simulate.weather import Array, Weather, day_number

SEEDBED_CM, WEATHERED_CM = 1.25, 0.9
Tillage = tuple[list[tuple[float, float, float]], list[tuple[float, float]]]  # (day, roughness, rows), (day, residue)
GRAZED_MEADOWS, EATEN = 0.4, 0.65  # share of the meadows; share of the grass that a herd takes


@dataclass(frozen=True, kw_only=True)
class Plants:
    """Unstressed states [time, unit]; units as in `States`."""

    cover: NDArray[np.int64]
    lai: Array
    chlorophyll: Array
    leaf_water_cm: Array
    brown: Array
    stem_water: Array
    height_m: Array
    flowers: Array
    residue: Array
    roughness_cm: Array
    rows: Array


@dataclass(frozen=True, kw_only=True)
class _Clock:
    """Time as plants and soil feel it: day, warmth-shifted day, and cumulative rain."""

    day: Array
    warm_day: Array
    rain: Array
    new_year: dict[int, int]  # year -> day number of 1 January

    @property
    def doy(self) -> Array:
        """Day of the year as plants feel it."""
        return np.mod(self.warm_day - self.new_year[min(self.new_year)], 365.25)


@dataclass(frozen=True, kw_only=True)
class _Unit:
    """One unit on its way through the years: its states [time] by name, which its calendar writes."""

    site: SiteParameters
    streams: Streams
    clock: _Clock
    index: int
    states: dict[str, Array]


def grow(site: SiteParameters, streams: Streams, land: Landscape, weather: Weather) -> Plants:
    """Run every unit's calendar over the weather's days."""
    shape = (weather.day.size, land.cover.size)
    start = {"chlorophyll": 32.0, "leaf_water_cm": 0.012, "lai": 0.02, "roughness_cm": WEATHERED_CM}
    names = [f.name for f in fields(Plants) if f.name != "cover"]
    states = {name: np.full(shape, start.get(name, 0.0)) for name in names}
    cover = np.tile(land.cover, (shape[0], 1))
    warmth = np.asarray(lfilter([1 / 45], [1.0, -44 / 45], weather.anomaly_c))
    years = [*land.years, land.years[-1] + 1]
    clock = _Clock(
        day=weather.day.astype(np.float64),
        warm_day=weather.day + 3.0 * warmth - site.season_shift_days,
        rain=np.cumsum(weather.rain_mm),
        new_year={year: day_number(date(year, 1, 1)) for year in years},
    )
    for index, code in enumerate(land.cover):
        column = {name: values[:, index] for name, values in states.items()}
        unit = _Unit(site=site, streams=streams, clock=clock, index=index, states=column)
        if code == CEREAL:
            cover[:, index] = _field(unit, land.rotation[:, index], land.years)
        elif code in (MEADOW, SETTLEMENT):
            _meadow(unit, weather, mown=code == MEADOW)
        elif code in (BROADLEAF, NEEDLELEAF):
            _forest(unit, int(code))
        elif code == WATER:
            column["lai"][:] = 0.0
    return Plants(cover=cover, **states)


def _field(unit: _Unit, crops: NDArray[np.int64], years: range) -> NDArray[np.int64]:
    """One arable field through its rotation; returns the cover code per day."""
    site, streams, clock, index = unit.site, unit.streams, unit.clock, unit.index
    code = np.full(clock.day.size, BARE)
    after = int(streams(f"season/{years[-1] + 1}/{index}").choice(ARABLE))
    sequence = [*(int(c) for c in crops), after]
    events: list[tuple[float, float, float]] = [(clock.day[0] - 60, 1.5, 0.1)]  # day, roughness, rows
    straw: list[tuple[float, float]] = []  # day, residue cover
    stubble: dict[int, float] = {}  # year of a ripe harvest -> day
    for crop, year in zip(sequence, [*years, years[-1] + 1], strict=True):
        rng = streams(f"season/{year}/{index}")
        sown = clock.new_year[year] + CROPS[crop].sow + rng.normal(0, 5)
        until = clock.new_year[year] + CROPS[crop].harvest + rng.normal(0, 4)
        if CROPS[crop].sow > 0:  # ploughed in the winter before, mostly
            ploughed = clock.new_year[year] + rng.choice([-25.0, 60.0]) + rng.normal(0, 8)
        else:
            ploughed = sown - rng.uniform(2, 12)
        events += [(ploughed, site.plough_roughness_cm * rng.uniform(0.85, 1.15), 0.5)]
        events += [(sown, SEEDBED_CM * rng.uniform(0.8, 1.2), 0.25 if CROPS[crop].sow < 0 else 0.7)]
        straw += [(ploughed, 0.06), (until, 0.25 if crop == BEET else rng.uniform(0.55, 0.8))]
        if crop in (CEREAL, RAPESEED):
            stubble[year] = until
        growing = (clock.day >= sown + 8) & (clock.day < until)
        code[growing] = crop
        if growing.any():
            _season(unit, rng, growing, CROPS[crop], clock.new_year[year])
    _catch_crops(unit, code, sequence, years)
    for year, harvest in stubble.items():
        _stubble(unit, year, code, harvest, (events, straw))
    _surface(unit, events, straw)
    return code


def _season(unit: _Unit, rng: np.random.Generator, growing: NDArray[np.bool_], crop: Crop, origin: int) -> None:
    """One crop from emergence to harvest, written into the field's states."""
    site, clock, s = unit.site, unit.clock, unit.states
    t = clock.warm_day[growing] - origin
    real = clock.day[growing] - origin
    shift = rng.normal(0, (4, 3, 3, 3, 4))  # green-up, loss of area, of chlorophyll, of water; stems
    size = np.exp(rng.normal(0, (0.1, 0.08, 0.08, 0.12)))
    shed, hungry = rng.uniform(0.35, 0.7), rng.uniform((0.0, 5.0), (0.3, 35.0))
    up = crop.green_up + shift[0]
    fall = crop.lai_fall + shift[1]
    pale = fall - (site.chlorophyll_lead_days if crop.ripens else 0) + shift[2]
    dry = fall - 0.35 * site.chlorophyll_lead_days + shift[3]
    emerged = expit((real - (crop.sow + 22)) / 5)
    rise = expit((t - up) / crop.green_up_days)
    top = crop.lai_max * site.lai_scale * size[0]
    lai = crop.winter_lai * emerged * (1 - rise) + top * rise
    s["lai"][growing] = 0.03 + lai * (1 - shed * expit((t - fall) / (7 if crop.ripens else 14)))
    ripe = expit((t - pale) / 5) if crop.ripens else 0.3 * expit((t - pale) / 14)
    nitrogen = 0.8 + 0.2 * expit((t - up - 10) / 7)
    nitrogen = nitrogen * (1 - hungry[0] * np.exp(-(((t - up - hungry[1]) / 12) ** 2)))  # until the next dose
    peak = crop.chlorophyll * site.chlorophyll_scale * size[1]
    s["chlorophyll"][growing] = peak * nitrogen * (1 - 0.97 * ripe)
    s["brown"][growing] = (0.95 * expit((t - pale - 6) / 5)) if crop.ripens else 0.05
    dried = 0.85 * expit((t - dry) / 5) if crop.ripens else 0.0
    s["leaf_water_cm"][growing] = crop.leaf_water_cm * site.leaf_water_scale * size[2] * (1 - dried)
    tall = expit((t - up - 10 - shift[4]) / (0.9 * crop.green_up_days))
    stems = crop.stem_kg_m2 * site.structure_scale * size[3]
    dried_stem = 0.7 * expit((t - dry - 6) / 6) if crop.ripens else 0.0
    s["stem_water"][growing] = stems * tall * (1 - dried_stem)
    s["height_m"][growing] = crop.height_m * site.structure_scale * size[3] * tall
    if crop.flowering is not None:
        bloom = (t - crop.flowering - 0.6 * shift[0]) / 9
        s["flowers"][growing] = 0.42 * np.exp(-(bloom**4))


def _catch_crops(unit: _Unit, code: NDArray[np.int64], sequence: list[int], years: range) -> None:
    """Mustard or grass between a cereal and a spring crop, on most such fields."""
    clock, s = unit.clock, unit.states
    for year, before, after in zip(years, sequence, sequence[1:], strict=False):
        rng = unit.streams(f"catch crop/{year}/{unit.index}")
        begin, end = (clock.new_year[year] + d for d in rng.normal((244, 385), (6, 25)))
        peak = rng.uniform(1.2, 3.0)
        if before != CEREAL or after not in (MAIZE, BEET) or rng.random() > 0.7:
            continue
        inside = (clock.day >= begin) & (clock.day < end) & (code == BARE)
        t = clock.day[inside] - begin
        s["lai"][inside] = peak * expit((t - 35) / 7) * (1 - 0.4 * expit((t - 100) / 12))
        s["chlorophyll"][inside] = 38 - 10 * expit((t - 90) / 12)
        s["brown"][inside] = 0.15 * expit((t - 90) / 10)
        s["leaf_water_cm"][inside] = 0.017
        s["stem_water"][inside] = 0.5 * expit((t - 45) / 8)
        s["height_m"][inside] = 0.5 * expit((t - 45) / 8)
        code[inside] = MEADOW


def _stubble(unit: _Unit, year: int, code: NDArray[np.int64], harvest: float, tillage: Tillage) -> None:
    """In the weeks after a ripe harvest: straw worked in, lost grain that greens the field, and a second pass."""
    rng, clock, s = unit.streams(f"stubble/{year}/{unit.index}"), unit.clock, unit.states
    events, straw = tillage
    first, second = harvest + rng.uniform(2, 16), harvest + rng.uniform(28, 50)
    events += [(first, 1.3, 0.1), (second, 1.5, 0.1)]
    straw += [(first, rng.uniform(0.15, 0.4)), (second, 0.1)]
    inside = (clock.day >= first) & (clock.day < second) & (code == BARE)
    s["lai"][inside] = rng.uniform(0.2, 1.6) * expit((clock.day[inside] - first - 14) / 4)
    s["chlorophyll"][inside], s["leaf_water_cm"][inside] = 36.0, 0.016
    code[inside] = MEADOW


def _surface(unit: _Unit, events: list[tuple[float, float, float]], straw: list[tuple[float, float]]) -> None:
    """Roughness and rows after each tillage, smoothed by rain (Zobeck and Onstad 1987); straw rots slowly."""
    clock, s = unit.clock, unit.states
    for day, roughness, rows in sorted(events):
        later = clock.day >= day
        if later.any():
            settled = np.exp(-0.006 * (clock.rain[later] - clock.rain[later][0]))
            s["roughness_cm"][later] = WEATHERED_CM + (roughness - WEATHERED_CM) * settled
            s["rows"][later] = rows * settled**0.5
    for day, residue in sorted(straw):
        later = clock.day >= day
        s["residue"][later] = residue * np.exp(-(clock.day[later] - day) / 150)


def _meadow(unit: _Unit, weather: Weather, *, mown: bool) -> None:
    """Grass that regrows after each cut or each turn of the herd; gardens (mown=False) are kept short and even."""
    site, streams, clock, index, s = unit.site, unit.streams, unit.clock, unit.index, unit.states
    doy = clock.doy
    season = expit((doy - 92) / 13) * (1 - 0.75 * expit((doy - 292) / 16))
    standing = 0.75 + (4.3 if mown else 2.2) * site.lai_scale * season
    grazed = streams(f"herd/{index}").random() < GRAZED_MEADOWS
    ago = np.full(clock.day.size, 200.0)  # days since grass was last taken
    for year, origin in clock.new_year.items():
        rng = streams(f"cuts/{year}/{index}")
        cuts = rng.normal((138, 184, 232, 278), 8)[rng.random(4) < (0.95, 0.8, 0.85, 0.5)]
        if grazed:
            cuts = np.arange(rng.uniform(100, 130), 290, rng.uniform(22, 34))
        for cut in cuts if mown else ():
            later = clock.day >= origin + np.round(cut)
            ago[later] = clock.day[later] - (origin + np.round(cut))
    taken = (EATEN if grazed else 1.0) * np.exp(-(((ago + 3) / 24) ** 1.3))
    rng = streams(f"meadow/{index}")
    size = np.exp(rng.normal(0, (0.1, 0.1, 0.1)))
    cold = expit((3 - np.asarray(lfilter([0.05], [1.0, -0.95], weather.temperature_c))) / 2)
    s["lai"][:] = 0.35 + (standing * size[0] - 0.35) * (1 - taken)
    lush = np.exp(-(((doy - 125) / 40) ** 2))
    s["chlorophyll"][:] = (32 + 7 * lush) * site.chlorophyll_scale * size[1] * (1 - 0.2 * cold)
    s["brown"][:] = np.clip(0.08 + 0.22 * cold + 0.25 * np.exp(-ago / 8) * (EATEN if grazed else 1.0), 0, 1)
    s["leaf_water_cm"][:] = 0.014 * site.leaf_water_scale * size[2] * (1 - 0.15 * cold)
    s["stem_water"][:] = 0.25 * s["lai"] * site.structure_scale
    s["height_m"][:] = 0.12 * s["lai"]
    s["residue"][:] = 0.45
    s["roughness_cm"][:] = 0.9


def _forest(unit: _Unit, code: int) -> None:
    """Trees over an understorey; needles change their area and chlorophyll little."""
    site, doy, s = unit.site, unit.clock.doy, unit.states
    rng = unit.streams(f"forest/{unit.index}")
    shift, size = rng.normal(0, (3, 4, 4)), np.exp(rng.normal(0, (0.07, 0.07, 0.07)))
    if code == BROADLEAF:
        out = expit((doy - 116 - shift[0]) / 5)
        on = out * (1 - expit((doy - 301 - shift[1]) / 8))
        under = 0.7 * expit((doy - 85) / 9) * (1 - 0.6 * on)
        mature = expit((doy - 130 - shift[0]) / 9) * (1 - 0.8 * expit((doy - 286 - shift[2]) / 7))
        s["lai"][:] = 0.35 + under + 5.0 * site.lai_scale * size[0] * on
        s["chlorophyll"][:] = (16 + 30 * mature) * site.chlorophyll_scale * size[1]
        s["brown"][:] = 0.06 + 0.5 * expit((doy - 294 - shift[2]) / 7) + 0.25 * (1 - out) * (1 - under)
        s["leaf_water_cm"][:] = 0.0115 * site.leaf_water_scale * size[2]
        s["height_m"][:], s["residue"][:] = 22.0 * size[0], 0.85
    else:
        flush = np.exp(-(((doy - 165) / 35) ** 2))
        s["lai"][:] = (4.3 + 0.7 * flush) * site.lai_scale * size[0]
        s["chlorophyll"][:] = (46 + 7 * np.cos(2 * np.pi * (doy - 215) / 365.25)) * site.chlorophyll_scale
        s["brown"][:] = 0.12
        s["leaf_water_cm"][:] = 0.02 * site.leaf_water_scale * size[2]
        s["height_m"][:], s["residue"][:] = 19.0 * size[0], 0.7
    s["roughness_cm"][:] = 1.5
