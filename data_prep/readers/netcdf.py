"""NetCDF files: stacks of variables [time, y, x] (see stack). Each kind of source has a file of its own."""

from contextlib import ExitStack
from pathlib import Path

import xarray as xr

from data_prep.mappings.mapping import Mapping
from data_prep.readers.scene import Scene
from data_prep.readers.stack import bands_apart, scenes_of
from eomm.data.raster import check_self_contained
from eomm.errors import DataError


def open_file(file: Path, mapping: Mapping, keep_open: ExitStack) -> list[Scene]:
    """The scenes of one stack, one per time step. Raises DataError or ContractError as `open_scenes` says."""
    check_self_contained(file)
    try:
        # SCL's declared NaN fill breaks xarray's decoding of integers, and float64 would cost four times the memory.
        data = keep_open.enter_context(
            xr.open_dataset(file, engine="h5netcdf", mask_and_scale=False, decode_times=False)
        )
    except (OSError, ValueError, KeyError) as e:
        raise DataError(f"{file}: not a readable NetCDF4 file ({e}); it is empty, truncated or of another kind") from e
    return scenes_of(bands_apart(data, file, mapping), file, mapping)
