"""The short series, its embedding, and the model that made it: made once a session, looked at by every worker."""

import pytest

from eomm.data.cube import open_cube
from eomm.embedding.run import embed, open_embedding
from tests import zoo
from tests.eomm.embedding.site import make_model, short_groups, write


@pytest.fixture(scope="session")
def groups():
    return short_groups()


@pytest.fixture(scope="session")
def cube(groups):
    return open_cube(zoo.member("short.zarr", lambda path: write(path, groups.values())))


@pytest.fixture(scope="session")
def model():
    return make_model()


@pytest.fixture(scope="session")
def whole(model, cube):
    store = zoo.member("short.embedding.zarr", lambda path: embed(model, cube, path, dtype="float32", block=64))
    return open_embedding(store).load()
