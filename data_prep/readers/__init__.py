"""Readers: one file per kind of source; all give lists of `Scene`."""

from contextlib import ExitStack
from pathlib import Path

from data_prep.mapping import Mapping
from data_prep.readers import geotiff, netcdf
from data_prep.readers.scene import Scene as Scene
from eomm.errors import DataError


def source_files(path: Path, mapping: Mapping) -> list[Path]:
    """The files of a source: `path` itself, or those below it that the mapping's pattern names, sorted.

    Raises:
        DataError: `path` does not exist, or nothing below it fits.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: does not exist; expected the files of mapping {mapping.name!r}")
    files = sorted(path.rglob(mapping.files))
    if not files:
        raise DataError(
            f"{path}: no file named {mapping.files}, which mapping {mapping.name!r} expects; "
            "is it the right folder, and the right mapping?"
        )
    return files


def open_scenes(files: list[Path], mapping: Mapping, keep_open: ExitStack) -> list[Scene]:
    """Metadata of every scene in `files`, without reading pixels; what must stay open is registered in `keep_open`.

    Raises:
        DataError: a file is empty, truncated, not of its kind, or lacks metadata.
        ContractError: a file lacks a time axis, or holds none of the mapping's bands.
    """
    read_file = {"netcdf": netcdf.open_file, "geotiff": geotiff.open_file}[mapping.reader]
    return [scene for file in files for scene in read_file(file, mapping, keep_open)]
