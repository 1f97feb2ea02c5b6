"""What training draws; the losses built on it: test_stages.py."""

import jax
import numpy as np

from eomm.models.fusion import nearest_acquisition
from eomm.training.objective import cut_edges, series_around, turn


def test_a_turned_crop_is_one_of_eight_positions_and_its_mask_turns_with_it():
    values = np.arange(64 * 2 * 3 * 3 * 1, dtype=np.int16).reshape(64, 2, 3, 3, 1)
    turned = turn(jax.random.key(0), {"values": values, "valid": values[..., 0] % 2, "day": np.arange(64)})
    np.testing.assert_array_equal(turned["valid"], np.asarray(turned["values"])[..., 0] % 2)
    seen = set()
    for before, after in zip(values, np.asarray(turned["values"]), strict=True):
        flips = [before, before[:, ::-1], before[:, :, ::-1], before[:, ::-1, ::-1]]
        positions = [*flips, *(f.swapaxes(1, 2) for f in flips)]
        seen.add(next(i for i, p in enumerate(positions) if np.array_equal(p, after)))
    assert seen == set(range(8))


def test_cut_edges_stay_within_the_halo_and_last_through_all_acquisitions():
    valid = np.ones((512, 3, 20, 22), np.uint8)
    cut = np.asarray(cut_edges(jax.random.key(0), valid, 7, 0.5))
    assert cut[:, :, 7:-7, 7:-7].all()
    assert (cut == cut[:, :1]).all()
    rows, cols = cut[:, 0].any(2), cut[:, 0].any(1)
    np.testing.assert_array_equal(cut[:, 0], rows[:, :, None] & cols[:, None])
    for kept in (rows, rows[:, ::-1], cols, cols[:, ::-1]):
        depth = kept.argmax(1)
        assert (kept.sum(1) >= kept.shape[1] - 14).all()
        assert set(depth) == set(range(8)) and 0.25 < (depth > 0).mean() < 0.65
    np.testing.assert_array_equal(cut_edges(jax.random.key(0), valid, 7, 0.0), valid)
    np.testing.assert_array_equal(cut_edges(jax.random.key(0), valid[:, :, :1, :1], 0, 1.0), valid[:, :, :1, :1])


def test_a_run_around_a_day_holds_the_whole_windows_of_the_days_it_names():
    rng = np.random.default_rng(0)
    batch, time, count, length, frames = 40, 60, 50, 20, (3, 4)
    day = np.sort(rng.permutation(600)[:time])[None].repeat(batch, 0)
    present = np.broadcast_to(np.arange(time) < count, (batch, time))
    day = np.where(present, day, 0).astype(np.int32)
    data = {"day": day, "present": present, "index": np.broadcast_to(np.arange(time), (batch, time))}
    around = rng.integers(0, 600, batch).astype(np.int32)
    run, first, last = series_around(around, data, length, frames)
    assert run["day"].shape == (batch, length) and np.asarray(run["present"]).all()
    inside = (np.asarray(first) <= around) & (around <= np.asarray(last))
    assert inside.all()  # around the day itself there is always a whole window
    for b in range(batch):
        for asked in range(-50, 650, 7):
            if not first[b] <= asked <= last[b]:
                continue
            at = int(nearest_acquisition(np.array([[asked]]), day[b : b + 1], present[b : b + 1])[0, 0])
            window = np.arange(max(at - frames[0], 0), min(at + frames[1], count - 1) + 1)
            assert np.isin(window, run["index"][b]).all()


def test_a_run_of_everything_is_everything():
    data = {"day": np.arange(6)[None], "present": np.ones((1, 6), bool)}
    for length in (0, 6, 7):
        run, first, last = series_around(np.array([3], np.int32), data, length, (1, 1))
        assert run is data and first[0] < -1000 and last[0] > 1000
