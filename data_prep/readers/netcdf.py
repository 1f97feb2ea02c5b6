"""NetCDF files: stacks of variables [time, y, x] (see stack). Each kind of source has a file of its own."""

from contextlib import ExitStack
from pathlib import Path

from data_prep.mappings.mapping import Mapping
from data_prep.readers.arrays import bands_apart, open_arrays
from data_prep.readers.scene import Scene
from data_prep.readers.stack import scenes_of


def open_file(file: Path, mapping: Mapping, keep_open: ExitStack) -> list[Scene]:
    """The scenes of one stack, one per time step. Raises DataError or ContractError as `open_scenes` says."""
    data = bands_apart(keep_open.enter_context(open_arrays(file)), file, mapping.layers.values())
    return scenes_of(data, file, mapping)
