"""What tests of cubes share."""

import pytest

from tests.data_prep.tiny_scenes import (
    write_site,
)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    return write_site(tmp_path_factory.mktemp("site"))
