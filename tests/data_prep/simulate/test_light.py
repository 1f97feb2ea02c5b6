"""What sets simulated dates apart: as much as on a real series, by band, by scene and field, and unseen by SCL."""

import numpy as np
import pytest
from eomm.experiments.date_noise import date_noise, hidden_errors

from data_prep.simulate.atmosphere import SHADOW, classify, make_sky, true_mask
from data_prep.simulate.light import SHADED_DATES, light_of_date, thin_shade
from eomm.evaluation.baselines import Observations

GROUND = np.array([487, 750, 736, 1238, 2506, 2997, 3163, 3233, 2229, 1534])[:, None, None] / 1e4  # Flanders' mean
FLANDERS = (
    np.array([118, 115, 135, 134, 246, 303, 392, 320, 228, 193]) / 1e4
)  # date noise there, experiments.date_noise
UNIT = np.repeat(np.arange(1, 26).reshape(5, 5), 4, axis=0).repeat(4, axis=1).astype(np.int32)
DATES = 400


@pytest.fixture(scope="module")
def dates():
    """Dates [date, pixel, band] of a ground that never changes."""
    ground = np.broadcast_to(GROUND, (10, *UNIT.shape))
    seen = [light_of_date(np.random.default_rng(i), ground, UNIT).reshape(10, -1).T for i in range(DATES)]
    return np.array(seen, np.float32)


def test_light_alone_explains_most_of_the_real_date_noise(dates):
    series = Observations(values=dates, valid=np.ones(dates.shape[:2], bool), day=np.arange(DATES, dtype=np.int32) * 5)
    found = date_noise([series])
    assert found["dates"] == DATES - 2
    share = np.array(found["noise"]) / FLANDERS
    assert (share > 0.5).all() and (share < 1).all()  # what else there is: haze, shade, and fields that change
    wide = np.array(found["scene_wide"])
    assert (wide > 0.24).all() and (wide < 0.9).all()  # blue is mostly aerosol


def test_fields_of_one_date_differ_and_their_pixels_do_not(dates):
    fields = dates[0].reshape(*UNIT.shape, 10)
    inside = [np.ptp(fields[UNIT == u], axis=0).max() for u in range(1, 26)]
    assert max(inside) < 1e-6 and np.ptp(fields[..., 6]) > 0.03


def test_thin_shade_is_true_shadow_that_no_class_tells():
    told, shaded = [], 0
    for i in range(300):
        rng = np.random.default_rng(i)
        sky = make_sky(rng, size_px=32, cover=-1.0, haze=0.02, sun=(40.0, 160.0))
        shaded += bool(sky.shadow.any())
        if sky.shadow.max() > 0.3 and not sky.cloud.any():
            assert (true_mask(sky)[sky.shadow > 0.25] == SHADOW).all() and not sky.misplaced.any()
            told.append(
                (classify(rng, np.broadcast_to(GROUND, (10, 32, 32)) * (1 - 0.7 * sky.shadow), sky) == 3).mean()
            )
    assert len(told) > 10 and np.mean(told) < 0.02
    assert shaded / 300 == pytest.approx(SHADED_DATES, abs=0.07)


def test_shade_comes_in_patches():
    fields = [thin_shade(np.random.default_rng(i), 64) for i in range(200)]
    shaded = [f for f in fields if f.any()]
    assert all(0 <= f.min() and f.max() <= 0.45 for f in shaded)
    near = [np.corrcoef(f[:, 1:].ravel(), f[:, :-1].ravel())[0, 1] for f in shaded]
    assert (
        np.mean(near) > 0.9 > abs(np.mean([np.corrcoef(f[:, 30:].ravel(), f[:, :-30].ravel())[0, 1] for f in shaded]))
    )


def test_a_straight_line_has_no_date_noise_and_no_hidden_error():
    day = np.arange(0, 200, 5, dtype=np.int32)
    values = np.repeat((0.1 + day[:, None, None] * 1e-3), 10, axis=2).astype(np.float32)
    series = Observations(values=values, valid=np.ones((len(day), 1), bool), day=day)
    assert np.max(date_noise([series])["noise"]) < 1e-6
    errors = hidden_errors(series, [100])
    assert max(errors["linear"].values()) < 1e-6 and errors["nearest"][60] == pytest.approx(0.065, abs=1e-5)
