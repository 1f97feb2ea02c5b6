"""Files of others opened as what they say they are, and nothing else read through them. Not what is in them.

GDAL goes by content, not by name: a `.tif` whose text is a VRT, a WMS description or a GTI index makes it read any file
of this machine, or call any server. HDF5 (NetCDF4) has links, external and virtual data sets that do the like.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import rasterio
from rasterio.errors import RasterioIOError

from eomm.errors import DataError

GEOTIFF = ("GTiff",)
JPEG2000 = ("JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID")  # the first is in the wheels of rasterio
BESIDE = (".msk", ".MSK", ".ovr", ".OVR")
"""Endings of what GDAL opens beside a raster by whatever driver fits: its mask, its overviews."""
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
OFFLINE = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none"}
"""GDAL's options under which no file system of the net (/vsicurl/, /vsis3/, …) opens anything."""


@contextmanager
def open_raster(name: Path | str, drivers: tuple[str, ...] = GEOTIFF, *, remote: bool = False) -> Iterator[Any]:
    """A raster file, opened by the drivers named and no other.

    Args:
        name: a path; or what GDAL calls a file in a zip.
        drivers: tried in order, of those that this GDAL has.
        remote: `name` is an address that was asked for; else GDAL is kept off the net.

    Raises:
        RasterioError: it is of another kind, or damaged.
        DataError: its mask or its overviews, in a file beside it, are no TIFF.
    """
    if not remote:
        _check_beside(name)
    with rasterio.Env(**({} if remote else OFFLINE)) as env:
        known = [d for d in drivers if d in env.drivers()] or list(drivers[:1])
        for driver in known[:-1]:
            try:
                data = rasterio.open(name, driver=driver)
                break
            except RasterioIOError:
                continue
        else:
            data = rasterio.open(name, driver=known[-1])
        with data:
            yield data


def _check_beside(name: Path | str) -> None:
    for file in (Path(f"{name}{ending}") for ending in BESIDE):
        try:
            with file.open("rb") as opened:
                head = opened.read(4)
        except OSError:  # mostly there is none
            continue
        if head not in TIFF:
            raise DataError(
                f"{file}: lies beside {Path(name).name} as its mask or overviews and is no TIFF, so that it may have "
                "other files read: refused. Remove it"
            )


def check_self_contained(file: Path) -> None:
    """Raise DataError where an HDF5 or NetCDF4 file would have others read: external links or data, virtual data sets.

    What is no HDF5 file at all passes: its reader says so.
    """
    if not h5py.is_hdf5(file):
        return
    try:
        with h5py.File(file) as data:
            found = next(_leading_out(data, set()), None)
    except (OSError, RuntimeError, KeyError, ValueError):  # truncated or damaged
        return
    if found:
        raise DataError(
            f"{file}: {found[0]} is {found[1]}, which leads to other files: refused. Copy the data into the file "
            "(h5repack, ncks, or xarray's to_netcdf)"
        )


def _leading_out(group: h5py.Group, seen: set[int]) -> Iterator[tuple[str, str]]:
    where = h5py.h5o.get_info(group.id).addr
    if where in seen:  # groups may hold each other
        return
    seen.add(where)
    for name in group:
        path = f"{group.name.rstrip('/')}/{name}"
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            yield path, "an external link"
            continue
        member = group.get(name)
        if isinstance(member, h5py.Group):
            yield from _leading_out(member, seen)
        elif isinstance(member, h5py.Dataset) and member.external:
            yield path, "a data set with external data"
        elif isinstance(member, h5py.Dataset) and member.is_virtual:
            yield path, "a virtual data set"
