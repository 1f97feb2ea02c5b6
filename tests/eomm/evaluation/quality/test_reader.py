import numpy as np
import pytest

from eomm.errors import UsageError
from eomm.evaluation.quality import reader
from eomm.evaluation.quality.reader import fit_reader


def rows(count, seed, columns=6):
    rng = np.random.default_rng(seed)
    x, base = rng.normal(size=(count, columns)), rng.uniform(0.1, 0.4, (count, 10))
    return x, base, base + 0.05 * np.abs(x[:, :1]) * np.linspace(0.2, 1, 10)


@pytest.mark.whole
def test_it_adds_to_the_base_what_vectors_tell_and_repeats_itself():
    x, base, truth = rows(2000, 0)
    read, again, other = (fit_reader(x, base, truth, seed=seed) for seed in (0, 0, 9))
    x, base, truth = rows(500, 1)
    error = np.abs(read(x, base) - truth).mean()
    assert error < 0.3 * np.abs(base - truth).mean()  # not linear in x
    np.testing.assert_array_equal(read(x, base), again(x, base))
    assert np.abs(other(x, base) - read(x, base)).max() > 0


def test_scales_of_inputs_and_constant_ones_do_not_matter(monkeypatch):
    monkeypatch.setattr(reader, "STEPS", 100)
    x, base, truth = rows(500, 0)
    moved = x * 1000 + 5
    np.testing.assert_allclose(
        fit_reader(moved, base, truth)(moved, base), fit_reader(x, base, truth)(x, base), atol=2e-3
    )
    flat = np.concatenate([x, np.full((500, 1), 7.0)], axis=1)
    assert np.isfinite(fit_reader(flat, base, truth)(flat, base)).all()


def test_what_tells_nothing_leaves_the_base():
    x, base, _ = rows(500, 0)
    np.testing.assert_allclose(fit_reader(x, base, base + 0.0)(x, base), base, atol=5e-3)


def test_one_row_teaches_nothing():
    with pytest.raises(UsageError, match="1 hidden dates"):
        fit_reader(*rows(1, 0))
