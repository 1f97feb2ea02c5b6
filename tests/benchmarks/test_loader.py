import h5py
import numpy as np
import pytest

from benchmarks import loader
from benchmarks.common import make_cube as simulated_cube
from benchmarks.common import make_records
from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.training.config import load_config
from tests.eomm.site import DAYS, make_cube


def test_published_samples_are_windows_of_the_cube_with_gaps_filled(tmp_path):
    cube = make_cube(tmp_path / "a.zarr", clouds=0.3, s1=False)
    stored, valid = open_cube(cube.path)["s2"].read()
    count = loader.write_published(tmp_path / "p.h5", cube["s2"])
    with h5py.File(tmp_path / "p.h5") as file:
        values, mask, day = (file[name][:] for name in ("values", "valid", "day"))
        assert file["values"].chunks is None
    assert count == len(values) and 0 < count < 4  # 2 x 2 places in 24 px, less those whose centre is clouded
    assert values.shape[1:] == (11, 10, 15, 15) and values.dtype == np.float32
    assert mask[:, 5, 7, 7].all() and (np.diff(day) > 0).all()
    index = [DAYS.index(d) for d in day[0]]
    found = [
        (row, col)
        for row in (0, 9)
        for col in (0, 9)
        if (valid[index, row : row + 15, col : col + 15] == mask[0]).all()
    ]
    assert len(found) == 1
    (row, col), scaled = found[0], np.clip(stored[index] * 1e-4, 0, 1)
    window = np.moveaxis(scaled[:, row : row + 15, col : col + 15], -1, 1)
    seen = np.broadcast_to(mask[0][:, None], window.shape)
    np.testing.assert_allclose(values[0][seen], window[seen], atol=1e-6)
    filled = values[0][:, 3][~mask[0]]
    np.testing.assert_allclose(filled, window[:, 3][mask[0]].mean(), rtol=1e-4)


@pytest.mark.whole
def test_reading_is_compared_on_the_same_site(tmp_path):
    cube = simulated_cube(tmp_path, size_px=32)
    records = open_records(make_records(tmp_path, cube))
    config = load_config("experiments.s2", ["objective.targets=2"])
    result = loader.compare(config, records, cube, steps=2, repeats=1)
    assert 0 < result["targets_per_record"] < 2 * 18 * 18 and result["published_layout_samples"] > 0
    assert result["times_as_many"] > 5
    sample = 11 * 15 * 15 * (10 * 4 + 1) + 11 * 4
    assert result["published_layout_bytes_per_target"] == sample > 20 * result["bytes_per_target"]
