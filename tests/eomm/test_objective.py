"""What training draws; the losses built on it: test_stages.py."""

import jax
import numpy as np

from eomm.objective import turn


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
