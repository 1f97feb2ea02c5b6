import json

import numpy as np
import pytest

from benchmarks import clouds
from data_prep.mappings.mapping import load_mapping
from eomm.errors import UsageError


def test_each_step_takes_its_own_and_the_later_ones_take_what_is_cloudy(shared, tmp_path, capsys):
    """On a plot the provider's probabilities leave cloud, which the pixels' own series shows."""
    plot = shared / "data" / "forest_plots" / "Abies_alba_1_1005_WEFL_NLF.h5"
    clouds.main(["--source", f"forest_s2={plot}", "--figure", str(tmp_path / "c.png"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert sum(found[s]["share"] for s in clouds.STEPS) == pytest.approx(1, abs=3e-4)
    assert found["pixel_dates"] == 146 * 36 - 12  # 12 pixel-dates have the number 1
    assert found["kept"]["off"] < 0.05 < 0.5 < found["haze"]["off"] and found["mask"]["off"] > 0.9
    assert (tmp_path / "c.png").stat().st_size > 20_000


def test_excess_is_counted_from_the_other_dates():
    green = np.full((5, 2, 2), 0.1, np.float32)
    green[2] = 0.3
    kept = np.ones(green.shape, bool)
    kept[2] = False
    excess = clouds._excess(green, kept, np.array([0, 10, 20, 30, 200]))
    np.testing.assert_allclose(excess[2], 0.2, atol=1e-6)
    assert np.isnan(excess[[0, 1, 3, 4]]).all()  # fewer than three other clear dates within 60 days


def test_a_source_without_a_mask_is_refused():
    with pytest.raises(UsageError, match=r"'worldcereal_s1' has no \[mask\]; nothing to compare"):
        list(clouds.variants(load_mapping("worldcereal_s1")))
