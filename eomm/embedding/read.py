"""Opening an embedding cube, of any version. Not what is read of it (dataset.py) or how it is laid out (store.py).

Versions: 1 and 2 have the dimension `embedding`, zeros where there is no vector, an `embedding_scale` in any int8
store, no checksums, and dicts as attributes; 3 has what store.py says.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from eomm.data.attributes import open_attributes
from eomm.store.folders import entered
from eomm.store.zarr_errors import damaged_zarr

if TYPE_CHECKING:
    import xarray as xr

VERSION = 3
KIND = "embedding"
MISSING = -128  # int8 where there is no vector; stored numbers are from -127 to 127


def open_embedding(path: Path | str, *, decode: bool = True, masked: bool = True) -> "xr.Dataset":
    """A finished embedding cube, read lazily: `embedding` [time, y, x, feature] and the layers beside it.

    Attributes are texts, numbers and lists, so that the data set can be written as NetCDF;
    `eomm.attributes_of(data)` has provenance and the like as dicts. The CRS is the coordinate `spatial_ref`.

    Args:
        path: the store.
        decode: int8 vectors as float32; else as stored, to be multiplied by `embedding_scale` [feature].
        masked: vectors are NaN where not `valid`. Else they are what the store holds: those of clouded pixels where it
            has them (`eomm embed --cloudy`), and in stores of before version 3 zeros where there is no vector. What is
            not decoded is never masked.

    Raises:
        DataError: not an embedding cube, unfinished, damaged (a file of it is missing) or of a later eomm. Reading its
            arrays raises it where a chunk is damaged, or the store was replaced meanwhile.
    """
    path = entered(path)
    open_attributes(path, kind=KIND, newest=VERSION)
    with damaged_zarr(path):
        from eomm.embedding.dataset import dataset_of  # xarray takes longer to import than a small site to embed

        return dataset_of(path, decode=decode, masked=masked)
