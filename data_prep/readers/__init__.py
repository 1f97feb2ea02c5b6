"""Readers: one file per kind of source; all give lists of `Scene`."""

from contextlib import ExitStack
from pathlib import Path

from data_prep.mappings.mapping import Mapping
from data_prep.readers import geotiff, hdf5, netcdf, safe, zarr_store
from data_prep.readers.files import Found as Found
from data_prep.readers.files import find_files, inner_store, is_store
from data_prep.readers.scene import Scene as Scene
from eomm.data.grid import Grid
from eomm.errors import DataError

WINDOWED = {"geotiff": geotiff.open_file, "safe": safe.open_file, "zarr": zarr_store.open_file}
"""Readers that leave what lies beside a site's window unread."""
WHOLE = {"netcdf": netcdf.open_file, "hdf5": hdf5.open_file}


def source_files(path: Path, mapping: Mapping) -> list[Path]:
    """The files of a source: `path` itself, or those below it that the mapping's patterns name, sorted.

    Raises:
        DataError: `path` does not exist, or nothing below it fits.
    """
    return find_source(path, mapping).files


def find_source(path: Path, mapping: Mapping) -> Found:
    """The files of a source, and how many others were passed over (`files.find_files`). Raises as `source_files`."""
    if is_store(path):
        return Found([inner_store(path)], {})
    if path.is_file():
        return Found([path], {})
    if not path.is_dir():
        raise DataError(f"{path}: does not exist; expected the files of mapping {mapping.name!r}")
    found = find_files(path, mapping.files)
    files = [f for f in found.files if mapping.in_name is None or geotiff.named(f, mapping)]
    passed = dict(found.passed_over)
    if other := len(found.files) - len(files):
        passed[f"files whose names do not fit in_name of mapping {mapping.name!r}"] = other
    if not files:
        raise _nothing(path, mapping, passed)
    return Found(files, passed)


def _nothing(path: Path, mapping: Mapping, passed: dict[str, int]) -> DataError:
    beside = "".join(f"; passed over were {count} {what}" for what, count in passed.items())
    return DataError(
        f"{path}: no file named {mapping.in_name or mapping.files}, which mapping {mapping.name!r} expects{beside}"
        "; is it the right folder, and the right mapping?"
    )


def open_scenes(files: list[Path], mapping: Mapping, keep_open: ExitStack, window: Grid | None = None) -> list[Scene]:
    """Metadata of every scene in `files`, without reading pixels; what must stay open is registered in `keep_open`.

    Of scenes that may be much larger than a site (GeoTIFF, SAFE, Zarr) only what `window` needs is read later.

    Raises:
        DataError: a file is empty, truncated, not of its kind, or lacks metadata.
        ContractError: a file lacks a time axis, or holds none of the mapping's bands.
    """
    if mapping.reader in WINDOWED:
        return [scene for file in files for scene in WINDOWED[mapping.reader](file, mapping, keep_open, window)]
    return [scene for file in files for scene in WHOLE[mapping.reader](file, mapping, keep_open)]
