import dataclasses

import numpy as np
import pytest

from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig
from eomm.data.attributes import attributes_of
from eomm.data.records import open_records
from eomm.embedding.calibrate import calibrate, timing_of
from eomm.embedding.dense import FAR
from eomm.embedding.expected_error import check_error, expected_error, fit_error
from eomm.embedding.run import embed, open_embedding
from eomm.errors import ContractError, DataError, UsageError
from tests import zoo
from tests.eomm import site


@pytest.fixture(scope="module")
def cube():
    return zoo.cube()


@pytest.fixture(scope="module")
def records():
    return zoo.records()


@pytest.fixture(scope="module", params=[("s2",), ("s2", "s1")])
def model(request):
    return site.make_model(request.param, fused=len(request.param) > 1)


def test_a_calibrated_model_embeds_to_int8_with_little_loss_and_an_expected_error(model, cube, records, tmp_path):
    found = calibrate(model, records, cube=cube, count=6)
    calibration = found.info["calibration"]
    assert found.hash != model.hash and calibration["records"] == records.data_hash  # scales change what is stored
    assert calibration == calibrate(model, records, cube=cube, count=6).info["calibration"], "the same every time"
    assert len(calibration["scale"]) == model.dim and min(calibration["scale"]) > 0
    cost = calibration["int8"]
    exact, stored = cost["hidden_mae_in_training"], cost["hidden_mae_in_training_of_int8"]
    assert exact > 0 and stored == pytest.approx(exact, rel=0.02)
    assert calibration["error"]["check"]["targets"] > 100
    ds = open_embedding(embed(found, cube, tmp_path / "e.zarr"))
    cost = attributes_of(ds)["quantisation"]
    assert 0 < cost["mean_cosine_error"] < 1e-3
    assert cost["clipped_values"] < 5e-3 * model.dim * cost["of_vectors"]
    mean, error = calibration["error"]["mean"], ds["expected_error"]
    assert min(mean) - 1e-4 <= float(error.min()) <= float(error.max()) <= max(mean) + 1e-4
    exact = open_embedding(embed(found, cube, tmp_path / "f.zarr", dtype="float32"))
    difference = np.abs(exact["embedding"].values - ds["embedding"].values)
    assert np.nanquantile(difference, 0.99) <= 0.5001 * max(calibration["scale"])  # a few are clipped


def test_errors_come_from_what_training_did_not_see_or_not_at_all(cube, records, tmp_path):
    model, other = site.make_model(), zoo.other_site("site two")
    assert calibrate(model, records, count=4).info["calibration"]["error"]["of"] == "split validation"
    assert calibrate(model, records, cube=other, count=4).info["calibration"]["error"]["of"] == "cube of site two"
    crops = CropConfig(crop_px=18, acquisitions=12, stride_px=6, stride_acquisitions=8)
    alone = open_records(build_patches(tmp_path / "r", cubes=[cube.path], split=SplitConfig(), crops=crops))
    without = calibrate(model, alone, count=4)
    assert "error" not in without.info["calibration"]
    assert "expected_error" not in open_embedding(embed(without, cube, tmp_path / "e.zarr"))
    with pytest.raises(UsageError, match="held out no day of site one"):
        calibrate(model, alone, cube=cube, count=4)
    radarless = zoo.write_cube(tmp_path / "c.zarr", site="site two", s1=False)
    with pytest.raises(DataError, match="no modality 's1'"):
        calibrate(site.make_model(("s2", "s1"), fused=True), records, cube=radarless, count=4)


def test_expected_errors_rise_with_distance_and_hold_on_other_targets():
    rng = np.random.default_rng(0)

    def targets(count):
        before, after, seen = rng.integers(1, 90, count), rng.integers(1, 90, count), rng.integers(2, 17, count)
        mean = 0.01 + 0.0005 * np.minimum(before, after)
        return before, after, seen, mean * rng.exponential(1.0, count)

    fit = fit_error(*targets(20_000))
    *timing, error = targets(20_000)
    check = check_error(expected_error(fit, *timing), error)
    np.testing.assert_allclose(check["expected"], check["found"], rtol=0.1)
    assert check["found"][4] > 2 * check["found"][0] and check["rank_correlation"] > 0.2
    near, far = (expected_error(fit, np.array(d), np.array(d), np.array(9)) for d in (3, FAR))
    assert near == pytest.approx(0.0115, rel=0.2) and far > 2 * near
    shuffled = check_error(expected_error(fit, *timing), rng.permutation(error))
    assert abs(shuffled["rank_correlation"]) < 0.05, "the check can fail"


def test_the_timing_of_a_hidden_target_is_that_of_what_is_left():
    valid = np.array([1, 1, 0, 1, 1, 1, 0, 1], bool)[:, None, None]
    day = np.array([0, 4, 9, 15, 20, 26, 33, 41], np.int32)
    hidden = np.array([0, 0, 0, 1, 1, 1, 0, 0], bool)
    before, after, seen = timing_of(valid, day, 4, hidden, (8, 8))
    assert (before[0, 0], after[0, 0], seen[0, 0]) == (16, 21, 3)
    before, after, seen = timing_of(valid, day, 4, hidden, (1, 1))
    assert (before[0, 0], after[0, 0], seen[0, 0]) == (FAR, FAR, 0), "its window holds two clouded ones"


def test_records_that_cannot_calibrate_are_refused(model, records):
    with pytest.raises(UsageError, match="2 records in the split train; calibration needs 3"):
        calibrate(model, records, count=2)
    other = dataclasses.replace(records, shapes={"s1": records.shapes["s1"]})
    with pytest.raises(ContractError, match="holds s1, the model needs s2"):
        calibrate(model, other)
