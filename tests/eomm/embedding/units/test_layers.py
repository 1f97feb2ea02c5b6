"""What stands beside the vectors: scales, flags, expected errors, conventions and the STAC item."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import xarray as xr

from eomm.data.attributes import attributes_of
from eomm.data.grid import to_date
from eomm.embedding import run as embedding
from eomm.embedding.store import FLAGS, open_embedding
from tests import zoo
from tests.eomm.embedding.site import COUNT

embed = partial(embedding.embed, dtype="float32", block=16)


def test_int8_vectors_are_multiples_of_the_models_scales(model, cube, whole, tmp_path):
    path = embed(model, cube, tmp_path / "e.zarr", dtype="int8")
    decoded, stored, exact = open_embedding(path), open_embedding(path, decode=False), open_embedding(whole)
    scale = np.asarray(model.info["calibration"]["scale"], np.float32)
    assert stored["embedding"].dtype == np.int8 and decoded["embedding"].dtype == np.float32
    np.testing.assert_array_equal(stored["embedding_scale"], scale)
    values = exact["embedding"].values
    np.testing.assert_array_equal(np.isnan(decoded["embedding"]), np.isnan(values))
    with np.errstate(invalid="ignore"):
        within = np.abs(np.round(values / scale)) <= 127
    np.testing.assert_array_less(np.abs(decoded["embedding"].values - values)[within], scale[0] * 0.5001)
    figures = attributes_of(stored)["quantisation"]
    wanted = exact["valid"].values
    assert figures["of_vectors"] == wanted.sum() and figures["clipped_values"] == (~within[wanted]).sum()
    a, b = values[wanted], decoded["embedding"].values[wanted]
    error = 1 - (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    assert figures["mean_cosine_error"] == pytest.approx(error.mean(), abs=1e-6)
    assert figures["max_cosine_error"] == pytest.approx(error.max(), abs=1e-6)
    with xr.open_zarr(path) as plain:  # three lines in a notebook
        point = plain["embedding"].isel(time=3, y=4, x=slice(2, 9, 2))  # one scale, which is CF's scale_factor
    np.testing.assert_allclose(point, decoded["embedding"][3, 4, 2:9:2], rtol=1e-6)
    np.testing.assert_array_equal(
        decoded["embedding"][::-3, [5, 1], 7, 3], decoded["embedding"].values[::-3, [5, 1], 7, 3]
    )


def test_layers_say_what_limits_a_vector(model, cube, groups, whole):
    ds = open_embedding(whole)
    (_, _, days, _, valid), usable = groups[0], cube["s2"].usable
    flags, day, valid = ds["flags"].values, np.array(days)[usable], valid[usable]
    edge = np.ones(flags.shape[1:], bool)
    edge[7:-7, 7:-7] = False
    np.testing.assert_array_equal(flags & FLAGS["edge"] > 0, np.broadcast_to(edge, flags.shape))
    np.testing.assert_array_equal(flags & FLAGS["clouded"] > 0, ~valid)
    np.testing.assert_array_equal(flags & FLAGS["alone"] > 0, np.isnan(ds["s1_offset_days"]))
    np.testing.assert_array_equal(flags & FLAGS["sparse"] > 0, ds["observations_s2"].values - valid < 3)
    assert ds["flags"].attrs["flag_meanings"] == "edge clouded alone sparse" and (flags & FLAGS["alone"]).any()
    for t, y, x in ((0, 3, 3), (20, 10, 30), (COUNT - 2, 20, 36)):
        near = [
            abs(int(day[u] - day[t])) for u in range(max(0, t - 8), min(len(day), t + 9)) if u != t and valid[u, y, x]
        ]
        expected = 0.01 + 0.04 * min(np.log1p(min(near)), 6) / 6  # the fixture's fit: by the nearer side alone
        found = float(ds["expected_error"][t, y, x])
        assert np.isnan(found) if not valid[t, y, x] else found == pytest.approx(expected, abs=6e-5)
    assert ds["expected_error"].notnull().sum() == valid.sum()


def test_nothing_is_alone_where_the_model_has_one_modality():
    flags = open_embedding(zoo.store("local"))["flags"].values
    assert (flags & FLAGS["edge"]).any() and not (flags & FLAGS["alone"]).any()


def test_conventions_and_the_stac_item_say_where_when_and_by_which_model(model, cube, tmp_path):
    out = embed(model, cube, tmp_path / "e.zarr", dtype="int8")
    attributes = attributes_of(open_embedding(out))
    assert attributes["zarr_conventions"][0]["name"] == "geoemb:" and attributes["geoemb:type"] == "pixel"
    assert attributes["geoemb:dimensions"] == 24 and attributes["geoemb:data_type"] == "int8"
    assert model.hash in attributes["geoemb:model"] and attributes["provenance"]["unusable_acquisitions"] == 1
    item = json.loads((tmp_path / "e.zarr.stac.json").read_text())
    west, south, east, north = item["bbox"]
    assert 3.01 < west < east < 3.04 and 50.81 < south < north < 50.83  # EPSG:32631, 501600 E, 5630080 N
    assert item["properties"]["start_datetime"] == f"{to_date(cube['s2'].day[0])}T00:00:00Z"
    assert item["assets"]["embedding"]["href"] == "./e.zarr" and item["properties"]["eomm:simulated"] is True
    shutil.rmtree(out)
