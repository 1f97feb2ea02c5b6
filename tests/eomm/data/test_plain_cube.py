"""A cube in plain xarray says how its numbers are to be masked, and masked so gives the means of ours."""

import numpy as np
import xarray as xr

from tests import zoo


def test_values_say_that_they_are_zero_where_not_valid():
    cube = zoo.cube()
    with xr.open_zarr(cube.path, group="s2") as ds:
        assert ds["values"].attrs["ancillary_variables"] == "valid"
        assert "0 where valid is false" in ds["values"].attrs["comment"]
        values, valid = cube["s2"].read()
        assert not valid.all() and not values[~valid].any()
        ours = np.nanmean(np.where(valid[..., None], values, np.nan), axis=0)
        np.testing.assert_allclose(ds["values"].where(ds["valid"]).mean("time"), ours, rtol=1e-6)
