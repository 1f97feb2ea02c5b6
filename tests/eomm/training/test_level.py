"""Levelling learned numbers: their variances sum to the weight squared, and the decoder decodes as before."""

import jax
import numpy as np
from ml_collections import ConfigDict

from eomm.data.modality import SENTINEL2
from eomm.models.directory import Model, build_parts
from eomm.training.level import level_learned
from eomm.training.noise import vectors_of, with_noise
from tests.eomm.training.test_noise import series
from tests.parameters import parameters

OPTIONS = {
    "code": "eomm.models.state",
    "dim": 34,
    "mixed": True,
    "weights": (1.0, 0.5, 0.5),
    "inner": {"size": "tiny", "dilations": (), "frames": (2, 2), "start": 30},
}


def test_learned_numbers_are_levelled_and_decoded_as_before():
    one, _ = series(SENTINEL2)
    options = with_noise(OPTIONS, SENTINEL2, [one])
    assert "weights" not in options and len(options["inner"]["mix"][0]) == 11
    encoder, decoder = build_parts(SENTINEL2, options, {"width": 8, "leading": 30})
    params = {"encoder": parameters(encoder), "decoder": parameters(decoder)}
    model = Model(
        encoders={"s2": encoder},
        decoders={"s2": decoder},
        fusion=None,
        params={"s2": params},
        parts={"s2": {"encoder": options, "decoder": {"width": 8, "leading": 30}}},
        info={},
    )
    level = level_learned(model, "s2", [one], weight=0.5)
    draw = lambda m: vectors_of(m.encoders["s2"], one, np.random.default_rng(2), m.params["s2"]["encoder"])  # noqa: E731
    before, after = draw(model), draw(level)
    np.testing.assert_allclose(after[:, 30:].mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(after[:, 30:].var(0), 0.25 / 4, rtol=1e-3)
    np.testing.assert_array_equal(before[:, :30], after[:, :30])
    np.testing.assert_allclose(after[:, :10].var(0).sum(), 1, rtol=0.1)
    queries = {n: np.zeros((1, 1, 2)) for n in ("days", "day", "dy", "dx", "same_orbit", "direction", "incidence")}
    a, b = (
        m.decoders["s2"].decode(
            m.params["s2"]["decoder"],
            z[None, :50, None, None],
            {n: np.repeat(v, 50, axis=1) for n, v in queries.items()},
        )
        for m, z in ((model, before), (level, after))
    )
    np.testing.assert_allclose(a, b, atol=1e-4)
    assert level.hash != model.hash and level_learned(level, "s2", [one], weight=0.5) is level
    assert isinstance(ConfigDict(level.parts["s2"]), ConfigDict) and jax.tree.leaves(level.params)
