"""Vectors of others: what stands beside them in every wrong way, and holes that nobody declares."""

import json

import numpy as np
import pytest

from eomm.errors import ContractError, DataError, EommError, UsageError
from eomm.evaluation.adapters import provider, read_npy, read_tiff
from eomm.models.directory import build_part
from tests.eomm.evaluation.test_adapters import UTM, vectors, write_npy, write_tiff
from tests.eomm.safety.damage import damaged

ABOUT = {"crs": UTM.crs, "transform": list(UTM.transform), "missing": -1, "dates": ["2018-07-01"]}


def test_no_damage_of_what_stands_beside_ends_in_a_traceback(tmp_path):
    path = write_npy(tmp_path / "v.npy", vectors().astype(np.float32))
    for what, content in damaged(ABOUT, depth=3):
        path.with_suffix(".json").write_text(json.dumps(content))
        try:
            read_npy(path, UTM)
        except EommError as error:
            assert "v.json" in str(error) or "v.npy" in str(error), (what, error)


@pytest.mark.parametrize(
    "transform", [[0] * 6, [10, 0, 0, 0, 0, 0], [10, 10, 5, 10, 10, 5], [1e-300, 0, 0, 0, 1e-300, 0]]
)
def test_pixels_without_a_size_are_refused(transform, tmp_path):
    path = write_npy(tmp_path / "v.npy", vectors().astype(np.float32), transform=transform)
    with pytest.raises(ContractError, match=r"v.npy: its pixels have no size"):
        read_npy(path, UTM)


@pytest.mark.parametrize("hole", [np.nan, np.inf, -9999.0, 1e20, -3.4028234663852886e38])
def test_a_vector_with_a_hole_in_any_number_is_missing(hole, tmp_path):
    values = vectors().astype(np.float32) / 100
    values[2, 3, 1] = hole
    for features, _ in (
        read_npy(write_npy(tmp_path / "v.npy", values), UTM),
        read_tiff(write_tiff(tmp_path / "v.tif", values), UTM),
    ):
        assert not features.valid[0, 2, 3] and features.valid.sum() == features.valid.size - 1
        assert np.abs(features.values).max() < 10


@pytest.mark.parametrize("name", ["", "../x", ".x", "no such module", "os", "eomm.models.context.nothing"])
def test_what_is_no_module_is_refused_by_its_name(name):
    with pytest.raises(UsageError, match="must be an installed module with build_encoder"):
        build_part("encoder", {"code": name})
    with pytest.raises(UsageError, match=r"expected MODULE:FUNCTION|expected NAME=PATH"):
        provider(f"mine=function:{name}")


def test_dates_that_are_lists_are_refused(tmp_path):
    path = write_npy(tmp_path / "v.npy", vectors().astype(np.float32), dates=[["2018-07-01"]])
    with pytest.raises(DataError, match=r"v.json, dates: \['2018-07-01'\] is no day"):
        read_npy(path, UTM)
