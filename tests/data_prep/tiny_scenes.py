"""Tiny GeoTIFF and NetCDF twins of real sources, right in CRS, dtypes, names and tags. Not tests."""

import dataclasses
from datetime import datetime, timedelta

import numpy as np
import rasterio
import xarray as xr

from data_prep.cubes.build import Source
from data_prep.mappings.mapping import load_mapping

TEN, TWENTY = ("B02", "B03", "B04", "B08"), ("B05", "B06", "B07", "B8A", "B11", "B12")
NAMES = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
GREEN = dict(zip(NAMES, (0.03, 0.06, 0.035, 0.09, 0.25, 0.32, 0.34, 0.35, 0.18, 0.09), strict=True))
BARE = dict(zip(NAMES, (0.08, 0.11, 0.15, 0.17, 0.19, 0.21, 0.23, 0.24, 0.32, 0.26), strict=True))
WEST, NORTH, SIZE, EPSG = 501360, 5629680, 40, 32631
START = datetime(2019, 4, 1, 10, 54, 21)


def reflectance(band, seed, size=SIZE):
    """Vegetation on the left, soil on the right, noise; [size, size]."""
    rng = np.random.default_rng(seed)
    left = np.arange(size) < size // 2
    return np.where(left, GREEN[band], BARE[band]) * (1 + 0.05 * rng.standard_normal((size, size)))


def write_tiff(path, bands, *, names, gsd, epsg=EPSG, west=WEST, north=NORTH, nodata=0, tags=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = np.stack(bands)
    profile = dict(driver="GTiff", height=stack.shape[1], width=stack.shape[2], count=len(stack), dtype=stack.dtype)
    with rasterio.open(
        path, "w", **profile, crs=f"EPSG:{epsg}", transform=rasterio.Affine(gsd, 0, west, 0, -gsd, north), nodata=nodata
    ) as file:
        file.write(stack)
        for i, name in enumerate(names, 1):
            if name:
                file.set_band_description(i, name)
        file.update_tags(**(tags or {}))
    return path


def write_s2(folder, when, *, seed=0, offset_dn=0, tags=None, classes=None, descriptions=None, skip=(), **place):
    """One acquisition as three files. `descriptions` renames bands (as a wrong provider would)."""
    rename = descriptions or {}
    tags = {
        "PLATFORM": "S2A", "DATETIME": when.isoformat() + "Z", "RELATIVE_ORBIT": "51", "PROCESSING_LEVEL": "L2A",
        "ORBIT_DIRECTION": "DESCENDING", "SIMULATED": "YES",
    } | (tags or {})  # fmt: skip
    stem = f"{tags['PLATFORM']}_{when:%Y%m%dT%H%M%S}_R{int(tags['RELATIVE_ORBIT']):03d}"
    for suffix, names, gsd in (("10m", TEN, 10), ("20m", TWENTY, 20)):
        size = SIZE * 10 // gsd
        dn = [np.rint(reflectance(b, seed + k, size) * 1e4 + offset_dn).astype(np.uint16) for k, b in enumerate(names)]
        if suffix not in skip:
            write_tiff(
                folder / f"{stem}_{suffix}.tif",
                dn,
                names=[rename.get(b, b) for b in names],
                gsd=gsd,
                tags=tags,
                **place,
            )
    scl = np.full((SIZE // 2, SIZE // 2), 4, np.uint8) if classes is None else classes
    if "SCL" not in skip:
        write_tiff(folder / f"{stem}_SCL.tif", [scl], names=["SCL"], gsd=20, tags=tags, **place)
    return stem


def write_s1(folder, when, *, seed=0, values=None, tags=None, **place):
    rng = np.random.default_rng(seed)
    speckle = rng.gamma(5, 1 / 5, (2, SIZE, SIZE)).astype(np.float32)
    linear = speckle * np.array([0.1, 0.02], np.float32)[:, None, None] if values is None else values
    tags = {
        "PLATFORM": "S1A", "DATETIME": when.isoformat() + "Z", "RELATIVE_ORBIT": "88", "CALIBRATION": "gamma0_rtc",
        "ORBIT_DIRECTION": "ASCENDING", "INCIDENCE_DEG": "38.5", "UNIT": "linear power", "SIMULATED": "YES",
    } | (tags or {})  # fmt: skip
    path = folder / f"{tags['PLATFORM']}_{when:%Y%m%dT%H%M%S}_A{int(tags['RELATIVE_ORBIT']):03d}.tif"
    return write_tiff(path, list(linear), names=["VV", "VH"], gsd=10, nodata=np.nan, tags=tags, **place)


def write_site(folder, *, dates=10, **s2):
    """A site's s2/ and s1/ folders: an acquisition of each every five days."""
    for k in range(dates):
        write_s2(folder / "s2", START + timedelta(days=5 * k), seed=100 * k, **s2)
        write_s1(folder / "s1", START + timedelta(days=5 * k + 1, hours=7), seed=k)
    return folder


def write_netcdf(path, *, variables, times, gsd=10, epsg=EPSG, time="timestamp", attrs=None, south_up=False):
    """A stack: name -> (array [t, y, x], attributes)."""
    height, width = next(iter(variables.values()))[0].shape[1:]
    y = NORTH - gsd * (np.arange(height) + 0.5)
    data = xr.Dataset(
        {n: ((time, "y", "x"), a[:, ::-1] if south_up else a, at) for n, (a, at) in variables.items()},
        coords={
            time: np.array(times, "M8[ns]"),
            "y": y[::-1] if south_up else y,
            "x": WEST + gsd * (np.arange(width) + 0.5),
        },
        attrs={"epsg": epsg} | (attrs or {}),
    )
    data.to_netcdf(path, engine="h5netcdf")
    return path


def sources(folder):
    return [Source(path=folder / "s2", mapping="simulated_s2"), Source(path=folder / "s1", mapping="simulated_s1")]


def optical(folder, **mapping):
    return [Source(path=folder, mapping=dataclasses.replace(load_mapping("simulated_s2"), **mapping))]
