"""Where the cube's pixels lie, and how other grids are brought onto them. Masks by nearest neighbour, never mixed."""

from collections.abc import Iterable

import numpy as np
import rasterio
from jaxtyping import Float
from rasterio.enums import Resampling
from rasterio.warp import reproject

from eomm.data.grid import Grid
from eomm.errors import ContractError, UsageError

METHODS = ("nearest", "bilinear", "cubic", "average")


def cube_grid(grids: Iterable[tuple[str, Grid]]) -> Grid:
    """The cube's grid: the union of the finest of `grids`, which must be aligned with one another.

    Args:
        grids: (where it comes from, grid).

    Raises:
        ContractError: neither UTM nor a local grid, several UTM zones, or finest grids that are not aligned.
    """
    distinct = {g: label for label, g in grids}
    for g, label in distinct.items():
        _check_utm(g, label)
    gsd = min(g.transform[0] for g in distinct)
    finest = {g: label for g, label in distinct.items() if g.transform[0] == gsd}
    base = next(iter(finest))
    for g, label in distinct.items():
        check_crs(g, base, label=label)
        if g in finest and g.offset(base) is None:
            raise ContractError(
                f"{label}: its {gsd:g} m grid starts at {g.transform[2]}, {g.transform[5]} and is not aligned with the "
                f"one of {finest[base]}, which starts at {base.transform[2]}, {base.transform[5]}; expected a whole "
                "number of pixels between them. Warp it onto that grid"
            )
    edges = np.array([g.bounds for g in finest])
    (west, south), (east, north) = edges[:, :2].min(0).tolist(), edges[:, 2:].max(0).tolist()
    return Grid(
        crs=base.crs,
        transform=(gsd, 0.0, west, 0.0, -gsd, north),
        height=round((north - south) / gsd),
        width=round((east - west) / gsd),
    )


def _check_utm(g: Grid, label: str) -> None:
    if not g.crs.startswith(("EPSG:326", "EPSG:327", "LOCAL")) or g.transform[0] != -g.transform[4]:
        raise ContractError(
            f"{label}: lies in {g.crs} with pixels of {g.transform[0]} x {-g.transform[4]}; expected a UTM zone "
            "(EPSG:326xx, EPSG:327xx) and square pixels. Warp it with gdalwarp"
        )


def check_crs(found: Grid, expected: Grid, *, label: str) -> None:
    """Raise ContractError unless both lie in one CRS: values are never warped between zones behind a user's back."""
    if found.crs != expected.crs:
        raise ContractError(
            f"{label}: lies in {found.crs}, expected {expected.crs}, in which the cube lies; warp it onto the cube's "
            "grid (gdalwarp -t_srs), or leave it out"
        )


def to_grid(values: Float[np.ndarray, "h w"], source: Grid, target: Grid, *, method: str) -> Float[np.ndarray, "y x"]:
    """Physical values on another grid of the same CRS; NaN is missing, and outside `source` everything is.

    Weights are normalised over the valid inputs, so missing ones never bleed into their neighbours, and an output
    whose nearest input is missing is missing. Equal grids up to a whole number of pixels are copied exactly.

    Raises:
        UsageError: unknown method.
    """
    if method not in METHODS:
        raise UsageError(f"resampling {method!r} is unknown; choose one of {', '.join(METHODS)}")
    copied = _copy(values, source, target)
    if copied is not None:
        return copied
    out = _warp(values, source, target, method)
    if method == "nearest" or (method != "average" and np.isfinite(values).all()):
        return out  # bilinear and cubic reach no further than the nearest pixel; half of the time saved
    return np.where(np.isfinite(_warp(values, source, target, "nearest")), out, np.float32(np.nan))


def power(db: np.ndarray) -> np.ndarray:
    """DB to linear power."""
    return np.power(np.float32(10), db / np.float32(10))


def decibel(linear: np.ndarray) -> np.ndarray:
    """Linear power to dB; NaN where there is no power (zero, negative or missing)."""
    positive = np.where(linear > 0, linear, np.float32(np.nan))
    return np.float32(10) * np.log10(positive)


def _copy(values: np.ndarray, source: Grid, target: Grid) -> np.ndarray | None:
    offset = source.offset(target)
    if offset is None:
        return None
    out = np.full((target.height, target.width), np.nan, values.dtype)
    (row, col), (height, width) = offset, values.shape
    to = (slice(max(row, 0), max(row + height, 0)), slice(max(col, 0), max(col + width, 0)))
    part = values[max(-row, 0) :, max(-col, 0) :]
    part = part[: max(target.height - max(row, 0), 0), : max(target.width - max(col, 0), 0)]
    out[to][: part.shape[0], : part.shape[1]] = part
    return out


def _warp(values: np.ndarray, source: Grid, target: Grid, method: str) -> np.ndarray:
    out = np.full((target.height, target.width), np.nan, values.dtype)
    # Both grids are of one CRS, so any does for those of unknown position.
    crs = rasterio.CRS.from_string("EPSG:32631" if source.crs == "LOCAL" else source.crs)
    reproject(
        np.ascontiguousarray(values),
        out,
        src_transform=rasterio.Affine(*source.transform),
        dst_transform=rasterio.Affine(*target.transform),
        src_crs=crs,
        dst_crs=crs,
        src_nodata=np.nan,
        dst_nodata=np.nan,
        resampling=Resampling[method],
    )
    return out
