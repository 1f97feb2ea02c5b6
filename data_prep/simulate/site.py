"""One simulated site from a seed to a finished folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray

from data_prep.simulate import flux, radar
from data_prep.simulate.atmosphere import TRUTH_CODES
from data_prep.simulate.covers import COVERS
from data_prep.simulate.landscape import Landscape, make_landscape, tower_position
from data_prep.simulate.parameters import SiteParameters, Streams, Switches, draw_parameters
from data_prep.simulate.scenes import (
    Revisit,
    sentinel1_schedule,
    sentinel2_schedule,
    write_sentinel1,
    write_sentinel2,
    write_tiff,
)
from data_prep.simulate.states import States, simulate_states
from data_prep.simulate.weather import Weather, day_number, simulate_weather
from eomm.errors import UsageError
from eomm.store.folders import entered, new_directory

VERSION = 2  # 2: date noise and short events


def simulate_site(
    out_dir: Path, *, site: str, seed: int, start: date, end: date, size_px: int = 96, held_out: bool = False,
    drought_year: int | None = None, radar_sees_vegetation: bool = True, stress: bool = True,
    revisit: Revisit | None = None, progress: Callable[[str], None] | None = None,
) -> Path:  # fmt: skip
    """Simulate a site's Sentinel-1 and Sentinel-2 scenes, its tower's fluxes, and the truth behind them.

    The same arguments give byte-identical files. Everything is labelled as simulated: GeoTIFF tag
    SIMULATED=YES, `"simulated": true` in site.json, SIM in the flux file's name. The folder appears under its
    name only when complete.

    Args:
        out_dir: folder to make; it must not exist or be empty.
        site: name, letters, digits, `-` and `_`; with the seed it selects the random numbers.
        seed: non-negative.
        start: first day of acquisitions and fluxes.
        end: last day, included.
        size_px: side of the square site in 10 m pixels, even, at least 24.
        held_out: draw the site's parameters from other ranges.
        drought_year: calendar year with a dry, hot summer; None for none.
        radar_sees_vegetation: False makes the radar independent of the ground.
        stress: False removes temperature, vapour-pressure and soil-water stress and their after-effects.
        revisit: how often the satellites pass.
        progress: called with a line now and then.

    Returns:
        out_dir.

    Raises:
        UsageError: out_dir is in the way, or an argument is out of range.
    """
    out_dir, revisit = entered(out_dir), revisit or Revisit()
    _check(out_dir, site, seed, start, end, size_px, drought_year, revisit)
    switches = Switches(
        held_out=held_out, drought_year=drought_year, radar_sees_vegetation=radar_sees_vegetation, stress=stress
    )
    # An empty folder makes way, anything else was refused above.
    with new_directory(out_dir, kind="simulated site", overwrite=True) as partial, rasterio.Env():
        for folder in ("s1", "s2", "truth", "flux"):
            (partial / folder).mkdir()
        _write(partial, site, seed, start, end, size_px, switches, revisit, progress or (lambda line: None))
    return out_dir


def _check(
    out_dir: Path, site: str, seed: int, start: date, end: date, size_px: int, drought_year: int | None,
    revisit: Revisit,
) -> None:  # fmt: skip
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise UsageError(f"{out_dir} exists and is not empty; name a new folder or remove it first")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", site):
        raise UsageError(f"site name {site!r}: expected letters, digits, '-' and '_'")
    if seed < 0:
        raise UsageError(f"seed {seed}: expected 0 or more")
    if end < start or start.year < 2001:
        raise UsageError(f"period {start} to {end}: expected the end after the start, and 2001 or later")
    if size_px < 24 or size_px % 2:
        raise UsageError(f"size_px {size_px}: expected an even number of at least 24")
    if drought_year is not None and not start.year <= drought_year <= end.year:
        raise UsageError(f"drought_year {drought_year}: expected a year within {start} to {end}")
    if revisit.s2_days not in (5, 10) or revisit.s2_orbits not in (1, 2) or revisit.s1_days not in (6, 12):
        raise UsageError(f"{revisit}: expected s2_days 5 or 10, s2_orbits 1 or 2, s1_days 6 or 12")


def _write(
    folder: Path, site: str, seed: int, start: date, end: date, size_px: int, switches: Switches,
    revisit: Revisit, progress: Callable[[str], None],
) -> None:  # fmt: skip
    """Everything below a site's folder; site.json last."""
    streams = Streams(seed=seed, site=site)
    parameters = draw_parameters(streams, held_out=switches.held_out)
    years = range(start.year - 1, end.year + 1)  # a year of spin-up for soil water and winter crops
    land = make_landscape(parameters, streams, size_px=size_px, years=years)
    weather = simulate_weather(parameters, streams, years=years, drought_year=switches.drought_year)
    states = simulate_states(parameters, streams, land, weather, stress=switches.stress)
    carbon = flux.simulate_carbon(parameters, land, states, weather, stress=switches.stress)
    first = day_number(start) - int(weather.day[0])
    days = slice(first, first + (end - start).days + 1)

    masks, acquisitions = [], sentinel2_schedule(streams, start=start, end=end, revisit=revisit)
    for number, acquisition in enumerate(acquisitions):
        if number % 25 == 0:
            progress(f"{site}: Sentinel-2 {number}/{len(acquisitions)} (simulated)")
        masks.append(
            write_sentinel2(
                folder / "s2", acquisition, site=parameters, streams=streams, land=land, states=states, weather=weather
            )
        )
    np.savez_compressed(
        folder / "truth" / "clouds.npz",
        mask=np.array(masks, np.uint8).reshape(-1, size_px, size_px),
        stem=np.array([a.stem for a in acquisitions], dtype="U32"),
        day=np.array([day_number(a.when.date()) for a in acquisitions], np.int32),
        codes=np.array(json.dumps({**TRUTH_CODES, 255: "outside the swath"})),
    )
    scatterers = radar.Scatterers(parameters, streams, land, states, weather, sees=switches.radar_sees_vegetation)
    tracks = radar.passes(parameters)
    overpasses = sentinel1_schedule(parameters, streams, start=start, end=end, revisit=revisit)
    for number, acquisition in enumerate(overpasses):
        if number % 50 == 0:
            progress(f"{site}: Sentinel-1 {number}/{len(overpasses)} (simulated)")
        write_sentinel1(
            folder / "s1", acquisition, streams=streams, land=land, weather=weather, scatterers=scatterers,
            track=tracks[acquisition.index],
        )  # fmt: skip
    _write_truth(folder / "truth", land, states, weather, carbon, days, start, end)
    _write_flux(folder, site, parameters, streams, land, states, weather, carbon, days, start, end)
    description = _describe(site, seed, start, end, size_px, parameters, land, switches, revisit)
    (folder / "site.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _write_truth(
    folder: Path, land: Landscape, states: States, weather: Weather, carbon: flux.Carbon, days: slice,
    start: date, end: date,
) -> None:  # fmt: skip
    """classes.tif (a band per harvest year), fields.tif (unit ids) and states.npz (daily, per unit)."""
    years = [year for year in land.years if start.year <= year <= end.year]
    rotation = np.stack([land.rotation[land.years.index(year)][land.unit - 1] for year in years])
    for name, values, bands, nodata in (
        ("classes.tif", rotation.astype(np.uint8), tuple(str(year) for year in years), 0),
        ("fields.tif", land.unit[None], ("unit",), 0),
    ):
        write_tiff(folder / name, values, transform=land.transform, crs=land.crs, bands=bands, nodata=nodata, tags={})
    arrays: dict[str, NDArray[Any]] = {
        name: values[days].astype(np.float32) for name, values in {**vars(states), **vars(carbon)}.items()
    }
    arrays["cover"] = states.cover[days].astype(np.uint8)
    arrays["day"] = weather.day[days]
    arrays["unit"] = np.arange(1, land.cover.size + 1, dtype=np.int32)
    arrays["year"] = np.array(years, np.int32)
    arrays["unit_class"] = np.stack([land.rotation[land.years.index(y)] for y in years]).astype(np.uint8)
    np.savez_compressed(folder / "states.npz", **arrays)  # type: ignore[arg-type]


def _write_flux(
    folder: Path, site: str, parameters: SiteParameters, streams: Streams, land: Landscape, states: States,
    weather: Weather, carbon: flux.Carbon, days: slice, start: date, end: date,
) -> None:  # fmt: skip
    shares, centres = flux.footprint(parameters, land, weather, days)
    table, truth = flux.tower_series(streams, land, states, weather, carbon, shares=shares, days=days)
    x, y = tower_position(land)
    truth["FOOTPRINT_X"], truth["FOOTPRINT_Y"] = x + centres[:, 0], y + centres[:, 1]
    name, years = f"FLX_{site}_FLUXNET2015", f"DD_{start.year}-{end.year}_SIM.csv"
    _round(table).to_csv(folder / "flux" / f"{name}_FULLSET_{years}", index=False, lineterminator="\n")
    units = flux.variable_information(site)
    units.to_csv(folder / "flux" / f"{name}_BIFVARINFO_{years}", index=False, lineterminator="\n")
    _round(truth).to_csv(folder / "truth" / "flux_truth.csv", index=False, lineterminator="\n")


def _round(table: pd.DataFrame) -> pd.DataFrame:
    """Five digits behind the point; missing stays -9999."""
    out = table.round(5)
    return out.replace(flux.MISSING, int(flux.MISSING))


def _describe(
    site: str, seed: int, start: date, end: date, size_px: int, parameters: SiteParameters, land: Landscape,
    switches: Switches, revisit: Revisit,
) -> dict[str, Any]:  # fmt: skip
    """What site.json says."""
    x, y = tower_position(land)
    return {
        "site": site, "simulated": True, "version": VERSION, "seed": seed, "start": str(start), "end": str(end),
        "size_px": size_px, "crs": land.crs.to_string(),
        "tower": {"x": x, "y": y, "row": land.tower_row, "col": land.tower_col},
        "classes": {str(code): cover.name for code, cover in COVERS.items() if code},
        "switches": asdict(switches), "revisit": asdict(revisit), "parameters": asdict(parameters),
    }  # fmt: skip
