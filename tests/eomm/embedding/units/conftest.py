"""The long series, a calibrated model and its embedding in units of 16 px: made once a session."""

import dataclasses

import numpy as np
import pytest

from eomm.data.cube import open_cube
from eomm.embedding.run import embed
from tests import zoo
from tests.eomm.embedding.site import long_groups, make_model, write


@pytest.fixture(scope="session")
def groups():
    return long_groups()


@pytest.fixture(scope="session")
def cube(groups):
    return open_cube(zoo.member("long.zarr", lambda path: write(path, groups)))


@pytest.fixture(scope="session")
def model():
    error = {
        "unit": "reflectance",
        "step": 1e-4,
        "weights": [0.0, 1.0, 0.0, 0.0],
        "score": [0, 6],
        "mean": [0.01, 0.05],
    }
    scale = np.full(24, 3.0 / 127).tolist()
    return dataclasses.replace(make_model(), info={"calibration": {"scale": scale, "error": error}})


@pytest.fixture(scope="session")
def whole(model, cube):
    return zoo.member("long.embedding.zarr", lambda path: embed(model, cube, path, dtype="float32", block=16))
