"""One simulated site from a seed to a finished folder."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
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
from data_prep.simulate.landscape import tower_position
from data_prep.simulate.parameters import Streams
from data_prep.simulate.scenes import (
    Revisit,
    sentinel1_schedule,
    sentinel2_schedule,
    write_sentinel1,
    write_sentinel2,
    write_tiff,
)
from data_prep.simulate.weather import day_number
from data_prep.simulate.world import World, make_world
from eomm.errors import UsageError
from eomm.store.fields import Json
from eomm.store.folders import entered, new_directory
from eomm.store.progress import NamedProgress

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
VERSION = 2  # 2: date noise and short events


@dataclass(frozen=True, kw_only=True)
class SiteOptions:
    """What is simulated. Raises UsageError where a value is out of range.

    Attributes:
        site: name, letters, digits, `-` and `_`; with the seed it selects the random numbers.
        seed: non-negative.
        start: first day of acquisitions and fluxes.
        end: last day, included.
        size_px: side of the square site in 10 m pixels, even, at least 24.
        held_out: draw the site's parameters from other ranges.
        drought_year: calendar year with a dry, hot summer; None for none.
        radar_sees_vegetation: False makes the radar independent of the ground (first null world).
        stress: False removes temperature, vapour-pressure and soil-water stress and their after-effects (second null
            world).
        revisit: how often the satellites pass.
    """

    site: str
    seed: int
    start: date
    end: date
    size_px: int = 96
    held_out: bool = False
    drought_year: int | None = None
    radar_sees_vegetation: bool = True
    stress: bool = True
    revisit: Revisit = Revisit()

    def __post_init__(self) -> None:
        start, end, dry, revisit = self.start, self.end, self.drought_year, self.revisit
        period, days = f"period {start} to {end}", (revisit.s2_days, revisit.s2_orbits)
        for right, found, expected in (
            (NAME.fullmatch(self.site), f"site name {self.site!r}", "letters, digits, '-' and '_'"),
            (self.seed >= 0, f"seed {self.seed}", "0 or more"),
            (start <= end and start.year > 2000, period, "the end after the start, and 2001 or later"),
            (
                self.size_px >= 24 and self.size_px % 2 == 0,
                f"size_px {self.size_px}",
                "an even number of at least 24",
            ),
            (
                start.year <= (start.year if dry is None else dry) <= end.year,
                f"drought_year {dry}",
                f"a year within {start} to {end}",
            ),
            (days[0] in (5, 10) and days[1] in (1, 2), f"{revisit}", "s2_days 5 or 10, s2_orbits 1 or 2"),
            (revisit.s1_days in (6, 12), f"{revisit}", "s1_days 6 or 12"),
        ):
            if not right:
                raise UsageError(f"{found}: expected {expected}")


def simulate_site(out_dir: Path, options: SiteOptions, progress: NamedProgress | None = None) -> Path:
    """Simulate a site's Sentinel-1 and Sentinel-2 scenes, its tower's fluxes, and the truth behind them.

    The same options give byte-identical files. Everything is labelled as simulated: GeoTIFF tag
    SIMULATED=YES, `"simulated": true` in site.json, SIM in the flux file's name. The folder appears under its
    name only when complete.

    Args:
        out_dir: folder to make; it must not exist or be empty.
        options: what to simulate.
        progress: told how far it is.

    Returns:
        out_dir.

    Raises:
        UsageError: out_dir is in the way.
    """
    out_dir = entered(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise UsageError(f"{out_dir} exists and is not empty; name a new folder or remove it first")
    # An empty folder makes way, anything else was refused above.
    with new_directory(out_dir, kind="simulated site", overwrite=True) as partial, rasterio.Env():
        for folder in ("s1", "s2", "truth", "flux"):
            (partial / folder).mkdir()
        _write(partial, options, progress or (lambda what, done, total: None))
    return out_dir


def _write(folder: Path, options: SiteOptions, progress: NamedProgress) -> None:
    """Everything below a site's folder; site.json last."""
    # A year of spin-up for soil water and winter crops.
    how = {name: getattr(options, name) for name in ("size_px", "held_out", "drought_year", "stress")}
    years = range(options.start.year - 1, options.end.year + 1)
    world = make_world(Streams(seed=options.seed, site=options.site), years=years, **how)
    when: Json = {"start": options.start, "end": options.end, "revisit": options.revisit}
    masks, acquisitions = [], sentinel2_schedule(world.streams, **when)
    for number, acquisition in enumerate(acquisitions, 1):
        masks.append(write_sentinel2(folder / "s2", acquisition, world))
        progress(f"{options.site}: Sentinel-2 (simulated)", number, len(acquisitions))
    np.savez_compressed(
        folder / "truth" / "clouds.npz",
        mask=np.array(masks, np.uint8).reshape(-1, options.size_px, options.size_px),
        stem=np.array([a.stem for a in acquisitions], dtype="U32"),
        day=np.array([day_number(a.when.date()) for a in acquisitions], np.int32),
        codes=np.array(json.dumps({**TRUTH_CODES, 255: "outside the swath"})),
    )
    scatterers = radar.Scatterers(world, sees=options.radar_sees_vegetation)
    overpasses = sentinel1_schedule(world.parameters, world.streams, **when)
    for number, acquisition in enumerate(overpasses, 1):
        write_sentinel1(folder / "s1", acquisition, world, scatterers)
        progress(f"{options.site}: Sentinel-1 (simulated)", number, len(overpasses))
    carbon = flux.simulate_carbon(world, stress=options.stress)
    first = day_number(options.start) - int(world.weather.day[0])
    days = slice(first, first + (options.end - options.start).days + 1)
    _write_truth(folder / "truth", options, world, carbon, days)
    _write_flux(folder, options, world, carbon, days)
    (folder / "site.json").write_text(json.dumps(_describe(options, world), indent=2) + "\n", encoding="utf-8")


def _write_truth(folder: Path, options: SiteOptions, world: World, carbon: flux.Carbon, days: slice) -> None:
    """classes.tif (a band per harvest year), fields.tif (unit ids) and states.npz (daily, per unit)."""
    land, states = world.land, world.states
    years = [year for year in land.years if options.start.year <= year <= options.end.year]
    rotation = np.stack([land.rotation[land.years.index(year)][land.unit - 1] for year in years])
    for name, values, bands, nodata in (
        ("classes.tif", rotation.astype(np.uint8), tuple(str(year) for year in years), 0),
        ("fields.tif", land.unit[None], ("unit",), 0),
    ):
        write_tiff(folder / name, values, (land.crs, land.transform), bands=bands, nodata=nodata, tags={})
    arrays: dict[str, NDArray[Any]] = {
        name: values[days].astype(np.float32) for name, values in {**vars(states), **vars(carbon)}.items()
    }
    arrays["cover"] = states.cover[days].astype(np.uint8)
    arrays["day"] = world.weather.day[days]
    arrays["unit"] = np.arange(1, land.cover.size + 1, dtype=np.int32)
    arrays["year"] = np.array(years, np.int32)
    arrays["unit_class"] = np.stack([land.rotation[land.years.index(y)] for y in years]).astype(np.uint8)
    np.savez_compressed(folder / "states.npz", **arrays)  # type: ignore[arg-type]


def _write_flux(folder: Path, options: SiteOptions, world: World, carbon: flux.Carbon, days: slice) -> None:
    shares, centres = flux.footprint(world, days)
    table, truth = flux.tower_series(world, carbon, shares=shares, days=days)
    x, y = tower_position(world.land)
    truth["FOOTPRINT_X"], truth["FOOTPRINT_Y"] = x + centres[:, 0], y + centres[:, 1]
    name, years = f"FLX_{options.site}_FLUXNET2015", f"DD_{options.start.year}-{options.end.year}_SIM.csv"
    _round(table).to_csv(folder / "flux" / f"{name}_FULLSET_{years}", index=False, lineterminator="\n")
    units = flux.variable_information(options.site)
    units.to_csv(folder / "flux" / f"{name}_BIFVARINFO_{years}", index=False, lineterminator="\n")
    _round(truth).to_csv(folder / "truth" / "flux_truth.csv", index=False, lineterminator="\n")


def _round(table: pd.DataFrame) -> pd.DataFrame:
    """Five digits behind the point; missing stays -9999."""
    out = table.round(5)
    return out.replace(flux.MISSING, int(flux.MISSING))


def _describe(options: SiteOptions, world: World) -> Json:
    """What site.json says."""
    x, y = tower_position(world.land)
    switches = ("held_out", "drought_year", "radar_sees_vegetation", "stress")
    return {
        "site": options.site, "simulated": True, "version": VERSION, "seed": options.seed,
        "start": str(options.start), "end": str(options.end),
        "size_px": options.size_px, "crs": world.land.crs.to_string(),
        "tower": {"x": x, "y": y, "row": world.land.tower_row, "col": world.land.tower_col},
        "classes": {str(code): cover.name for code, cover in COVERS.items() if code},
        "switches": {name: getattr(options, name) for name in switches},
        "revisit": asdict(options.revisit), "parameters": asdict(world.parameters),
    }  # fmt: skip
