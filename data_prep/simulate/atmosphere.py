"""What lies between the ground and the sensor: sun, clouds and their shadows, cirrus, haze; and what SCL says.

The scene classification (SCL) is derived from the contaminated image with detection errors, as Sen2Cor's is:
it misses thin cloud, haze and part of the shadows and takes some bright roofs for cloud (compare Baetens
et al. 2019, Remote Sensing 11, 433). The true masks are kept apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.simulate.light import thin_shade
from data_prep.simulate.optics import BANDS, WAVELENGTH_NM

Array = NDArray[np.float64]
CLEAR, CLOUD, SHADOW, THIN = range(4)
TRUTH_CODES = {CLEAR: "clear", CLOUD: "cloud", SHADOW: "cloud shadow", THIN: "cirrus or haze"}
_CLOUD_TINT = np.array([1, 1, 1, 0.99, 0.98, 0.97, 0.95, 0.94, 0.62, 0.46])[:, None, None]
_SHADOW_DEPTH = np.array([0.5, 0.56, 0.62, 0.65, 0.68, 0.7, 0.72, 0.73, 0.78, 0.8])[:, None, None]
_HAZE_TINT = 0.17 * ((WAVELENGTH_NM / 492) ** -1.1)[:, None, None]


@dataclass(frozen=True, kw_only=True)
class Sky:
    """Opacity in 0..1 per 10 m pixel.

    Attributes:
        cloud: opaque water cloud.
        shadow: share of direct light taken by that cloud, displaced by the sun, and by thin cloud elsewhere.
        misplaced: the same, displaced as by a processor that errs in the cloud's height.
        cirrus: thin high cloud.
        haze: residual aerosol.
        brightness: reflectance of thick cloud.
    """

    cloud: Array
    shadow: Array
    misplaced: Array
    cirrus: Array
    haze: Array
    brightness: float


def sun_angles(*, day: int, seconds: float, latitude_deg: float, longitude_deg: float) -> tuple[float, float]:
    """Sun zenith and azimuth (clockwise from north) in degrees (Spencer's series; good to about 0.5 degrees).

    Args:
        day: days since 1970-01-01.
        seconds: of the UTC day.
        latitude_deg: north positive.
        longitude_deg: east positive.
    """
    g = 2 * np.pi * ((day - 0.5 + seconds / 86400) % 365.2425) / 365.2425
    declination = 0.006918 - 0.399912 * np.cos(g) + 0.070257 * np.sin(g)
    declination += -0.006758 * np.cos(2 * g) + 0.000907 * np.sin(2 * g)
    minutes = 229.18 * (
        0.000075 + 0.001868 * np.cos(g) - 0.032077 * np.sin(g) - 0.014615 * np.cos(2 * g) - 0.040849 * np.sin(2 * g)
    )
    hour = np.radians((seconds / 60 + minutes + 4 * longitude_deg) / 4 - 180)
    latitude = np.radians(latitude_deg)
    up = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    north = np.cos(latitude) * np.sin(declination) - np.sin(latitude) * np.cos(declination) * np.cos(hour)
    return float(np.degrees(np.arccos(up))), float(np.degrees(np.arctan2(east, north)) % 360)


def _cloud_field(rng: np.random.Generator, size: int, slope: float) -> Array:
    """Periodic field with a power-law spectrum, unit variance: cloud shapes without a scale of their own."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) * frequency**-slope
    spectrum[0, 0] = 0.0
    field = np.fft.irfft2(spectrum, s=(size, size))
    return np.asarray(field / field.std())


def make_sky(rng: np.random.Generator, *, size_px: int, cover: float, haze: float, sun: tuple[float, float]) -> Sky:
    """Draw the sky of one acquisition.

    Args:
        rng: the acquisition's generator.
        size_px: of the scene, 10 m pixels.
        cover: the day's cloud cover in 0..1.
        haze: the site's mean residual opacity.
        sun: zenith and azimuth in degrees.
    """
    wide = max(96, int(1.6 * size_px) // 2 * 2)
    window = (slice(0, size_px), slice(0, size_px))
    here = float(np.clip(cover + 0.08 * rng.standard_normal(), 0, 1))
    here = 0.0 if here < 0.06 else 1.0 if here > 0.93 else here
    field = _cloud_field(rng, wide, rng.uniform(1.2, 1.9))
    if here == 0.0:
        cloud = np.zeros_like(field)
    else:
        cloud = 1 - np.exp(-6 * np.clip(field - np.quantile(field, 1 - here), 0, None))
        cloud = np.maximum(cloud, 0.93 + 0.07 * np.tanh(field)) if here == 1.0 else cloud
    height_m = rng.uniform(400, 2200)
    wrong_m = height_m * np.exp(rng.normal(0, 0.18))
    brightness, veil = rng.uniform(0.45, 0.85), rng.random(3)
    veils = _cloud_field(rng, wide, 1.7)  # periodic: rolled before it is cut, it has no seam
    drift, murk = veils[window], np.roll(veils, wide // 2, axis=(0, 1))[window]
    cirrus = np.clip(0.05 + 0.3 * veil[0] + 0.1 * drift, 0, 0.5) if veil[1] < 0.11 else np.zeros_like(drift)
    amount = haze * rng.gamma(2.0, 0.5) + (rng.uniform(0.04, 0.14) if veil[2] < 0.08 else 0.0)
    shade = thin_shade(rng, size_px)  # not in `misplaced`: no classification looks for it
    return Sky(
        cloud=cloud[window], shadow=np.maximum(_displaced(cloud, height_m, sun)[window], shade),
        misplaced=_displaced(cloud, wrong_m, sun)[window], cirrus=cirrus,
        haze=np.clip(amount * (1 + 0.2 * murk), 0, 0.4), brightness=brightness,
    )  # fmt: skip


def _displaced(cloud: Array, height_m: float, sun: tuple[float, float]) -> Array:
    """The cloud's shadow on the ground: away from the sun by height x tan(zenith)."""
    pixels = height_m * np.tan(np.radians(min(sun[0], 80.0))) / 10
    south, east = pixels * np.cos(np.radians(sun[1])), -pixels * np.sin(np.radians(sun[1]))
    return np.roll(cloud, (round(south), round(east)), axis=(0, 1))


def look_through(ground: Array, sky: Sky) -> Array:
    """Reflectance [band, y, x] an atmospheric correction would report under this sky."""
    seen = ground * (1 - _SHADOW_DEPTH * sky.shadow)
    seen += (_HAZE_TINT - seen) * sky.haze
    seen += (0.55 * _CLOUD_TINT - seen) * sky.cirrus
    return np.asarray(seen + (sky.brightness * _CLOUD_TINT - seen) * sky.cloud)


def true_mask(sky: Sky) -> NDArray[np.uint8]:
    """What really disturbs each 10 m pixel, coded by `TRUTH_CODES`."""
    out = np.where(np.maximum(sky.cirrus, sky.haze) > 0.07, THIN, CLEAR)
    out = np.where(sky.shadow > 0.2, SHADOW, out)
    return np.where(sky.cloud > 0.12, CLOUD, out).astype(np.uint8)


def halve(image: Array) -> Array:
    """Mean of 2 x 2 pixels over the last two axes."""
    y, x = image.shape[-2:]
    return np.asarray(image.reshape(*image.shape[:-2], y // 2, 2, x // 2, 2).mean(axis=(-3, -1)))


def classify(rng: np.random.Generator, seen: Array, sky: Sky) -> NDArray[np.uint8]:
    """SCL at 20 m: 3 shadow, 4 vegetation, 5 not vegetated, 6 water, 8 and 9 cloud, 10 cirrus."""
    b = dict(zip(BANDS, halve(seen), strict=True))
    doubt = _cloud_field(rng, b["B04"].shape[0], 1.0)
    fine = rng.standard_normal(doubt.shape)
    greenness = (b["B8A"] - b["B04"]) / np.maximum(b["B8A"] + b["B04"], 1e-3)
    scl = np.where(greenness > 0.32, 4, 5)
    scl = np.where((b["B03"] > b["B8A"]) & (b["B11"] < 0.05), 6, scl)
    dark = (halve(sky.misplaced) + 0.12 * doubt > 0.33) & (b["B8A"] < 0.26 + 0.03 * fine)
    scl = np.where(dark & (scl != 6), 3, scl)
    scl = np.where(halve(sky.cirrus) + 0.05 * doubt > 0.17, 10, scl)
    cloud = halve(sky.cloud) + 0.09 * doubt + 0.02 * fine
    bright = (b["B02"] > 0.2 + 0.02 * fine) & (greenness < 0.3)  # roofs and bright haze too
    scl = np.where((cloud > 0.3) & (b["B02"] > 0.1) | bright, 8, scl)
    scl = np.where((cloud > 0.65) & (b["B02"] > 0.3), 9, scl)
    return scl.astype(np.uint8)
