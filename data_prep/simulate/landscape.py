"""The ground that does not change within a year: parcels, land cover, soil, rows, buildings, crop rotation.

A *unit* is a parcel with one manager (field, meadow, forest stand, pond, settlement block): all daily states
belong to units, textures within them to pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points
from scipy.ndimage import distance_transform_edt

from data_prep.simulate.covers import (
    ARABLE,
    BROADLEAF,
    CEREAL,
    MEADOW,
    NEEDLELEAF,
    ROTATION,
    SETTLEMENT,
    WATER,
)
from data_prep.simulate.parameters import SiteParameters, Streams, smooth_field

Array = NDArray[np.float64]
GSD_M = 10.0


@dataclass(frozen=True, kw_only=True)
class Landscape:
    """One site's fixed ground; pixel arrays are [y, x] at 10 m, unit arrays [unit] (unit id - 1).

    Attributes:
        unit: unit id per pixel, from 1.
        cover: land-cover code per unit; arable units carry CEREAL here and rotate (see `rotation`).
        rotation: crop or cover code [year, unit] for the harvest years `years`.
        row_azimuth_deg: direction of the rows per unit.
        soil_dry: factor on the dry soil's brightness per pixel.
        vigour, greenness: factors on leaf area and on canopy reflectance per pixel.
        built: share of the pixel that is roof or road; 0 outside settlement.
        built_tone: brightness of the built share.
    """

    crs: CRS
    transform: Affine
    unit: NDArray[np.int32]
    cover: NDArray[np.int64]
    years: range
    rotation: NDArray[np.int64]
    row_azimuth_deg: Array
    soil_dry: Array
    vigour: Array
    greenness: Array
    built: Array
    built_tone: Array
    tower_row: int
    tower_col: int


def make_landscape(site: SiteParameters, streams: Streams, *, size_px: int, years: range) -> Landscape:
    """Draw one landscape of size_px x size_px pixels."""
    crs, transform = _grid(site, size_px)
    unit, centres = _parcels(site, streams("parcels"), size_px)
    cover = _covers(site, streams("covers"), unit, centres)
    unit, cover = _shape_water(streams("water"), unit, cover)
    texture = smooth_field(streams("texture"), (4, size_px, size_px), 3.0)
    fine = streams("fine texture").standard_normal((2, size_px, size_px))
    rough = np.where(np.isin(cover, (BROADLEAF, NEEDLELEAF)), 2.0, 1.0)[unit - 1]
    town = (cover == SETTLEMENT)[unit - 1]
    blocks = smooth_field(streams("blocks"), (2, size_px, size_px), 0.8)
    row, col = _tower(site, unit, cover)
    rng = streams("rows")
    rows = site.grain_deg + 90 * rng.integers(0, 2, cover.size) + rng.normal(0, 3, cover.size)
    return Landscape(
        crs=crs, transform=transform, unit=unit, cover=cover, years=years,
        rotation=_rotation(streams, cover, years),
        row_azimuth_deg=np.mod(rows, 180),
        soil_dry=np.exp(0.09 * texture[0] + 0.02 * fine[0]),
        vigour=np.exp(0.13 * texture[1] + 0.04 * rough * fine[1] + 0.06 * texture[2]),
        greenness=np.exp(0.015 * rough * texture[3] + 0.012 * rough * fine[1]),
        built=np.where(town, np.clip(0.55 + 0.25 * blocks[0], 0.05, 0.95), 0.0),
        built_tone=np.exp(0.35 * blocks[1]),
        tower_row=row, tower_col=col,
    )  # fmt: skip


def _grid(site: SiteParameters, size_px: int) -> tuple[CRS, Affine]:
    """UTM grid whose corner is a multiple of 20 m, so that 10 m and 20 m bands nest."""
    zone = int((site.longitude_deg + 180) // 6) + 1
    crs = CRS.from_epsg(32600 + zone)
    xs, ys = warp_points(CRS.from_epsg(4326), crs, [site.longitude_deg], [site.latitude_deg])
    west, north = (round(v / 20) * 20.0 for v in (xs[0], ys[0]))
    return crs, Affine(GSD_M, 0, west, 0, -GSD_M, north)


def tower_position(land: Landscape) -> tuple[float, float]:
    """The tower's x and y in the site's CRS: the centre of its pixel."""
    return (
        land.transform.c + (land.tower_col + 0.5) * land.transform.a,
        land.transform.f + (land.tower_row + 0.5) * land.transform.e,
    )


def _parcels(site: SiteParameters, rng: np.random.Generator, size_px: int) -> tuple[NDArray[np.int32], Array]:
    """Rectangles along the landscape's grain by repeated halving; at least about 20, even in a tiny site."""
    area_px = min(site.field_ha * 100, size_px**2 / 20)
    warp = 1.2 * smooth_field(rng, (2, size_px, size_px), 6.0)
    y, x = np.mgrid[:size_px, :size_px] - (size_px - 1) / 2
    angle = np.radians(site.grain_deg)
    along = x * np.cos(angle) + y * np.sin(angle) + warp[0]
    across = y * np.cos(angle) - x * np.sin(angle) + warp[1]
    label = np.zeros((size_px, size_px), np.int32)
    todo = [np.ones((size_px, size_px), bool)]
    count = 0
    while todo:
        mask = todo.pop()
        a, b = along[mask], across[mask]
        if mask.sum() < area_px * rng.uniform(1.0, 1.7):
            count += 1
            label[mask] = count
            continue
        axis, values = (along, a) if np.ptp(a) > 1.3 * np.ptp(b) else (across, b)
        cut = np.quantile(values, rng.uniform(0.38, 0.62))
        todo += [mask & (axis < cut), mask & (axis >= cut)]
    centres = np.array([np.argwhere(label == i).mean(axis=0) for i in range(1, count + 1)])
    return label, centres


def _covers(
    site: SiteParameters, rng: np.random.Generator, unit: NDArray[np.int32], centres: Array
) -> NDArray[np.int64]:
    """Give each parcel a cover: clusters of forest, water and settlement, meadow by wetness, else arable."""
    area = np.bincount(unit.ravel())[1:] / unit.size
    cover = np.full(area.size, CEREAL)
    rest = 1 - site.arable_share
    size = unit.shape[0]
    shares = ((WATER, 0.11), (SETTLEMENT, 0.15), (NEEDLELEAF, 0.19), (BROADLEAF, 0.23), (MEADOW, 0.32))
    for code, share in shares:
        seed = rng.uniform(0.1 * size, 0.9 * size, 2)
        scatter = 0.45 if code == MEADOW else 0.04
        far = np.hypot(*(centres - seed).T) / size + scatter * rng.random(area.size)
        order = [i for i in np.argsort(far) if cover[i] == CEREAL]
        target = share * rest
        got = 0.0
        for i in order:
            if got > 0 and got + 0.5 * area[i] > target:
                break
            cover[i] = code
            got += area[i]
    return cover


def _shape_water(
    rng: np.random.Generator, unit: NDArray[np.int32], cover: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Round the ponds: their parcels' corners become one new meadow unit on the bank."""
    water = (cover == WATER)[unit - 1]
    depth = distance_transform_edt(np.pad(water, 1, mode="edge"))[1:-1, 1:-1]
    keep = 0.7 * depth.max() * 0.35
    bank = water & (depth + 0.8 * smooth_field(rng, unit.shape, 2.0) < min(keep, 2.5))
    if not bank.any() or bank.sum() == water.sum():
        return unit, cover
    return np.where(bank, cover.size + 1, unit).astype(np.int32), np.append(cover, MEADOW)


def _rotation(streams: Streams, cover: NDArray[np.int64], years: range) -> NDArray[np.int64]:
    """Crop per harvest year and unit; a site's year is the same whatever dates are simulated."""
    first = 2000  # a fixed beginning, so that the rotation does not depend on the simulated period
    out = np.tile(cover, (len(years), 1))
    for index in np.flatnonzero(cover == CEREAL):
        rng = streams(f"rotation/{index}")
        crop = int(rng.choice(ARABLE))
        for year in range(first, years[-1] + 1):
            follow = ROTATION[crop]
            crop = int(rng.choice(list(follow), p=list(follow.values())))
            if year in years:
                out[year - years[0], index] = crop
    return out


def _tower(site: SiteParameters, unit: NDArray[np.int32], cover: NDArray[np.int64]) -> tuple[int, int]:
    """Row and column of the tower: deep inside a unit of its cover and not too far from the centre."""
    codes = cover[unit - 1]
    inside = np.zeros(unit.shape)
    for index in np.flatnonzero(cover == site.tower_cover):
        inside = np.maximum(inside, distance_transform_edt(np.pad(unit == index + 1, 1))[1:-1, 1:-1])
    middle = (unit.shape[0] - 1) / 2
    y, x = np.mgrid[: unit.shape[0], : unit.shape[1]]
    score = np.where(codes == site.tower_cover, inside - 0.1 * np.hypot(y - middle, x - middle), -np.inf)
    row, col = np.unravel_index(int(np.argmax(score)), unit.shape)
    return int(row), int(col)
