"""Acquisitions and their GeoTIFF files: when the satellites pass, what is in a file, and its tags."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as shift_image

from data_prep.simulate import atmosphere, optics, radar
from data_prep.simulate.atmosphere import Sky, halve, sun_angles
from data_prep.simulate.light import light_of_date
from data_prep.simulate.parameters import SiteParameters, Streams
from data_prep.simulate.weather import day_number
from data_prep.simulate.world import World

BANDS_10M = ("B02", "B03", "B04", "B08")
BANDS_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")
S2_ORBITS = ((51, 10 * 3600 + 54 * 60 + 21, 1.0), (8, 10 * 3600 + 44 * 60 + 20, -1.0))  # orbit, time, view side
Tags = dict[str, str]
S1_SECONDS = {True: 17 * 3600 + 32 * 60 + 11, False: 5 * 3600 + 58 * 60 + 44}


@dataclass(frozen=True, kw_only=True)
class Revisit:
    """How often the satellites pass.

    Attributes:
        s2_days: between Sentinel-2 acquisitions of one orbit: 5 (two platforms) or 10 (one).
        s2_orbits: 1 or 2 relative orbits; the second passes two days after the first.
        s1_days: between Sentinel-1 acquisitions of one orbit: 6 (two platforms) or 12 (one). There is always
            an ascending and a descending orbit, so 6 gives one acquisition every 3 days.
    """

    s2_days: int = 5
    s2_orbits: int = 1
    s1_days: int = 6


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """One overpass; `stem` begins its file names."""

    platform: str
    when: datetime
    orbit: int
    index: int  # of the orbit, in S2_ORBITS or radar.passes
    stem: str


def sentinel2_schedule(streams: Streams, *, start: date, end: date, revisit: Revisit) -> list[Acquisition]:
    """Sentinel-2 acquisitions from start to end, both included."""
    out = []
    phase = int(streams("s2 phase").integers(0, 10))
    for index in range(revisit.s2_orbits):
        orbit, seconds, _ = S2_ORBITS[index]
        for day in _days(start, end):
            turn = (day_number(day) + phase - 2 * index) % 10
            if turn % revisit.s2_days == 0:
                out.append(_acquisition("S2" + "AB"[turn // 5], day, seconds, orbit, index, f"R{orbit:03d}"))
    return sorted(out, key=lambda a: a.when)


def sentinel1_schedule(
    site: SiteParameters, streams: Streams, *, start: date, end: date, revisit: Revisit
) -> list[Acquisition]:
    """Sentinel-1 acquisitions from start to end; the descending orbit passes mid-way between two ascending."""
    out = []
    phase = int(streams("s1 phase").integers(0, 12))
    for index, track in enumerate(radar.passes(site)):
        for day in _days(start, end):
            turn = (day_number(day) + phase - 3 * index) % 12
            if turn % revisit.s1_days == 0:
                seconds = S1_SECONDS[track.ascending]
                out.append(_acquisition("S1" + "AB"[turn // 6], day, seconds, track.orbit, index, track.name))
    return sorted(out, key=lambda a: a.when)


def _days(start: date, end: date) -> list[date]:
    return [start + timedelta(days=i) for i in range((end - start).days + 1)]


def _acquisition(platform: str, day: date, seconds: int, orbit: int, index: int, name: str) -> Acquisition:
    jitter = (day.toordinal() * 7) % 20  # the overpass time wanders by seconds
    when = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=seconds + jitter)
    return Acquisition(
        platform=platform, when=when, orbit=orbit, index=index, stem=f"{platform}_{when:%Y%m%dT%H%M%S}_{name}"
    )


def write_tiff(
    path: Path, values: NDArray, place: tuple[CRS, Affine], *, bands: tuple[str, ...], nodata: float, tags: Tags
) -> None:
    """Write [band, y, x] as a deflated GeoTIFF with band descriptions and tags; dtype as given."""
    profile = {
        "driver": "GTiff", "count": values.shape[0], "height": values.shape[1], "width": values.shape[2],
        "dtype": values.dtype.name, "crs": place[0], "transform": place[1], "nodata": nodata,
        "compress": "deflate", "zlevel": 1,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values)
        file.descriptions = bands
        file.update_tags(SIMULATED="YES", **tags)


def write_sentinel2(folder: Path, acquisition: Acquisition, world: World) -> NDArray[np.uint8]:
    """Simulate and write one Sentinel-2 acquisition (three files); returns its true mask at 10 m."""
    site, land, weather = world.parameters, world.land, world.weather
    rng = world.streams(f"s2/{acquisition.stem}")
    day = day_number(acquisition.when.date())
    t = day - int(weather.day[0])
    seconds = acquisition.when.hour * 3600.0 + acquisition.when.minute * 60 + acquisition.when.second
    sun = sun_angles(day=day, seconds=seconds, latitude_deg=site.latitude_deg, longitude_deg=site.longitude_deg)
    side = S2_ORBITS[acquisition.index][2]
    view = (site.view_zenith_deg + (0.2 if acquisition.platform == "S2B" else 0.0), 104.0 if side > 0 else 286.0)
    sky = atmosphere.make_sky(rng, size_px=land.unit.shape[0], cover=float(weather.cloud[t]), haze=site.haze, sun=sun)
    seen = _sense(rng, world, t, sky=sky, sun=sun, view=view)
    scl = atmosphere.classify(rng, seen, sky)
    truth = atmosphere.true_mask(sky)
    covered = _swath(rng, scl.shape, chance=0.02)
    fine = covered.repeat(2, axis=0).repeat(2, axis=1)
    scl, truth = np.where(covered, scl, 0).astype(np.uint8), np.where(fine, truth, 255).astype(np.uint8)
    cloudy = np.isin(scl, (8, 9, 10)).sum() / max(int(covered.sum()), 1)
    tags = {
        **_tags(acquisition), "ORBIT_DIRECTION": "DESCENDING", "PROCESSING_LEVEL": "L2A", "BOA_OFFSET": "0",
        "SUN_ZENITH": f"{sun[0]:.3f}", "SUN_AZIMUTH": f"{sun[1]:.3f}", "VIEW_ZENITH": f"{view[0]:.3f}",
        "VIEW_AZIMUTH": f"{view[1]:.3f}", "CLOUD_FRACTION": f"{cloudy:.4f}",
    }  # fmt: skip
    index = {band: i for i, band in enumerate(optics.BANDS)}
    ten = _digital(seen[[index[b] for b in BANDS_10M]], fine)
    twenty = _digital(halve(seen[[index[b] for b in BANDS_20M]]), covered)
    coarse = Affine(2 * land.transform.a, 0, land.transform.c, 0, 2 * land.transform.e, land.transform.f)
    for suffix, values, bands, grid in (
        ("10m", ten, BANDS_10M, land.transform),
        ("20m", twenty, BANDS_20M, coarse),
        ("SCL", scl[None], ("SCL",), coarse),
    ):
        path = folder / f"{acquisition.stem}_{suffix}.tif"
        write_tiff(path, values, (land.crs, grid), bands=bands, nodata=0, tags=tags)
    return truth


def _sense(
    rng: np.random.Generator, world: World, t: int, *, sky: Sky, sun: tuple[float, float], view: tuple[float, float]
) -> NDArray[np.float64]:
    """Ground to processed reflectance [band, y, x]: direction, optics' blur, misregistration, sky, noise."""
    kernels = optics.kernels(
        sun_zenith_deg=min(sun[0], 78.0), view_zenith_deg=view[0], relative_azimuth_deg=sun[1] - view[1]
    )
    bloom = float(np.clip(rng.normal(0.35 + 0.35 * np.cos(np.radians(sun[0] - 30) * 2.5), 0.1), 0, 1))
    ground = optics.surface_reflectance(world, t, view=kernels, algae=bloom)
    ground = gaussian_filter(ground, (0, 0.5, 0.5), mode="nearest", truncate=3.0)
    offset = rng.normal(0, 0.25, 2)  # pixels; 20 m bands carry the same error
    ground = shift_image(ground, (0, *offset), order=1, mode="nearest")
    seen = atmosphere.look_through(ground, sky)
    seen = light_of_date(rng, seen, world.land.unit)
    seen += 0.0015 * rng.standard_normal(seen.shape)
    return np.asarray(seen)


def write_sentinel1(folder: Path, acquisition: Acquisition, world: World, scatterers: radar.Scatterers) -> None:
    """Simulate and write one Sentinel-1 acquisition."""
    land, track = world.land, radar.passes(world.parameters)[acquisition.index]
    rng = world.streams(f"s1/{acquisition.stem}")
    t = day_number(acquisition.when.date()) - int(world.weather.day[0])
    image = radar.observe(rng, scatterers.mean_gamma0(rng, t, track))
    covered = _swath(rng, land.unit.shape, chance=0.015)
    image = np.where(covered, image, np.nan).astype(np.float32)
    tags = {
        **_tags(acquisition), "ORBIT_DIRECTION": "ASCENDING" if track.ascending else "DESCENDING",
        "INCIDENCE_DEG": f"{track.incidence_deg:.3f}", "CALIBRATION": "gamma0_rtc", "UNIT": "linear power",
    }  # fmt: skip
    path = folder / f"{acquisition.stem}.tif"
    write_tiff(path, image, (land.crs, land.transform), bands=("VV", "VH"), nodata=np.nan, tags=tags)


def _tags(acquisition: Acquisition) -> dict[str, str]:
    return {
        "PLATFORM": acquisition.platform,
        "DATETIME": acquisition.when.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "RELATIVE_ORBIT": str(acquisition.orbit),
    }


def _swath(rng: np.random.Generator, shape: tuple[int, ...], *, chance: float) -> NDArray[np.bool_]:
    """Where the swath reaches: everywhere, or now and then cut by an oblique edge."""
    cut, where = rng.random(2)
    y, x = np.indices(shape)
    if cut >= chance:
        return np.ones(shape, bool)
    return np.asarray(x + 0.2 * y > (0.2 + 0.7 * where) * shape[1])


def _digital(reflectance: NDArray[np.float64], covered: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """Reflectance x 10,000; 0 is no data, so that dark pixels are at least 1."""
    numbers = np.clip(np.rint(reflectance * 10_000), 1, 60_000)
    return np.where(covered, numbers, 0).astype(np.uint16)
