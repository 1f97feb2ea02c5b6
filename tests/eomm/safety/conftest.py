"""Stores that several tests spoil copies of: embedding compiles, so they are made once."""

import pytest

from tests.eomm.safety.stores import make_stores


@pytest.fixture(scope="session")
def stores(tmp_path_factory):
    return make_stores(tmp_path_factory.mktemp("stores"))
