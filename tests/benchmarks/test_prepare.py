import h5py
import numpy as np
import pytest

from benchmarks import loader, prepare
from benchmarks.published import cut_samples
from tests.data_prep.tiny_scenes import write_site
from tests.eomm.site import make_cube


def test_the_plain_loop_cuts_the_samples_that_the_loader_is_timed_on(tmp_path):
    cube = make_cube(tmp_path / "a.zarr", clouds=0.3, s1=False)
    count = cut_samples(tmp_path / "loop.h5", cube.path)
    assert count == loader.write_published(tmp_path / "fast.h5", cube["s2"]) > 0
    with h5py.File(tmp_path / "loop.h5") as one, h5py.File(tmp_path / "fast.h5") as other:
        for name in ("values", "valid", "day"):
            assert one[name].dtype == other[name].dtype
            np.testing.assert_allclose(one[name][:], other[name][:], atol=1e-6)


@pytest.mark.whole
def test_preparation_is_timed_and_weighed_beside_the_loop(tmp_path):
    scenes = write_site(tmp_path / "scenes", dates=24)
    found = prepare.measure(scenes, tmp_path, repeats=1)
    assert (found["records"], found["acquisitions"]) == (4, 48) and 0 < found["loop_samples"] <= 9
    assert found["times_as_fast_by_cpu"] > 5 and found["share_of_bytes"] < 1 / 3  # what is promised
    assert found["bytes_per_target"] == pytest.approx(found["bytes_per_record"] / found["targets_per_record"])
    assert found["cube_peak_mib"] > found["imports_mib"] > 50
    assert found["loop_bytes_per_target"] > 11 * 15 * 15 * (10 * 4 + 1)


def test_half_a_series_has_whole_acquisitions(tmp_path):
    scenes = write_site(tmp_path / "scenes", dates=5)
    half = prepare._first_half(scenes, tmp_path / "half")
    assert len(list((half / "s2").iterdir())) == 2 * 3 and len(list((half / "s1").iterdir())) == 2
