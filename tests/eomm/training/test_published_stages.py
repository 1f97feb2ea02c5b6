"""The published training: which windows are drawn, how they are paired and weighted, and that everything trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from eomm.errors import ContractError, UsageError
from eomm.models.directory import Model, load_model, save_model
from eomm.models.published import build_encoder, fill
from eomm.models.published.loss import MIXTURES, published_loss
from eomm.training.published import Places, Sampling, count_metrics, cut_windows, draw_places, pair
from eomm.training.stages import build_stage
from tests.eomm.helpers import MODALITIES, random_batch, random_group
from tests.eomm.training.test_stages import records

CODE = "eomm.models.published"
SAMPLING = Sampling(samples=40, tries=16)


def config(stage, **changes):
    sampling = {"samples": 1, "consecutive": 20, "span_days": 200, "tries": 8}
    parts = {"encoder": {"code": CODE}, "decoder": {"code": CODE}}
    return ConfigDict(
        {"stage": stage, "sampling": sampling, "fusion": {"code": CODE}, "finetune": True, **parts, **changes}
    )


@pytest.fixture(scope="module")
def batch():
    return random_batch(np.random.default_rng(0), batch=2, size=17, times={"s2": 26, "s1": 44})


@pytest.fixture(scope="module")
def models(batch, tmp_path_factory):
    """Two saved models whose parameters are all 0.01."""
    paths = []
    for name in ("s1", "s2"):
        stage = build_stage(config("published_pretrain", modality=name), records(batch))
        params = jax.tree.map(lambda x: np.full(x.shape, 0.01, x.dtype), jax.eval_shape(stage.init, jax.random.key(0)))
        paths.append(str(save_model(stage.model(params), tmp_path_factory.mktemp("published") / name)))
    return tuple(paths)


def draw(data, sampling):
    drawn = jax.jit(lambda rng, data: vars(draw_places(rng, data, sampling)))
    return jax.tree.map(np.asarray, drawn(jax.random.key(1), data))


def test_windows_are_drawn_as_published(batch):
    data = dict(batch["s2"], present=batch["s2"]["present"].copy())
    data["present"][1, 22:] = 0
    places = draw(data, SAMPLING)
    assert places["kept"].all() and places["index"].shape == (2, 40, 11)
    steps = np.diff(places["index"], axis=-1)
    assert steps.min() >= 1 and steps.max() > 1
    span = places["index"][..., -1] - places["index"][..., 0]
    assert span.max() < 20 and places["index"][1].max() == 21 and places["index"][0].max() == 25
    assert places["index"].min() == 0
    for name in ("row", "col"):
        assert set(places[name].ravel()) == {7, 8, 9}
    b = np.arange(2)[:, None]
    assert data["valid"][b, places["index"][..., 5], places["row"], places["col"]].all()


def test_windows_that_cannot_be_drawn_are_lost_and_counted():
    data = random_group(np.random.default_rng(0), MODALITIES["s2"], batch=5, time=22, size=15)
    data["valid"][0] = 0
    data["present"][1, 10:] = 0
    data["day"][2] = 17000 + 30 * np.arange(22)
    data["present"][3] = 0  # what fills up the last batch of validation
    places = draw(data, Sampling(samples=3))
    assert places["kept"].tolist() == [[False] * 3] * 4 + [[True] * 3]
    metrics = count_metrics({"mae": jnp.asarray(0.5)}, data, Places(**places))
    found = {name: (float(total), float(count)) for name, (total, count) in metrics.items()}
    assert found == {"mae": (1.5, 3.0), "targets": (3.0, 1.0), "lost": (9.0, 12.0)}


def test_windows_are_cut_scaled_and_filled(batch):
    encoder, data = build_encoder(MODALITIES["s2"], {}), batch["s2"]
    index = np.stack([np.arange(0, 22, 2), np.arange(3, 14)])[:, None].astype(np.int32)
    places = Places(index=index, row=np.array([[7], [9]]), col=np.array([[8], [7]]), kept=np.ones((2, 1), bool))
    windows = cut_windows(jax.tree.map(jnp.asarray, data), places, encoder)
    for i, (rows, cols) in enumerate(((slice(0, 15), slice(1, 16)), (slice(2, 17), slice(0, 15)))):
        at = (i, index[i, 0], rows, cols)
        np.testing.assert_array_equal(windows.valid[i], data["valid"][at])
        expected = fill(encoder.scale(data["values"][at]), data["valid"][at])
        np.testing.assert_allclose(windows.values[i], expected, atol=1e-6)
        np.testing.assert_array_equal(windows.days[i], data["day"][i, index[i, 0]] - data["day"][i, index[i, 0, 0]])


def test_every_acquisition_meets_the_nearest_of_the_other_modality_however_far():
    day = jnp.arange(0, 110, 10)[None]
    corner = jnp.zeros((1, 1), jnp.int32)
    places = Places(index=jnp.arange(11)[None, None], row=corner, col=corner, kept=corner == 0)
    other = {"day": jnp.array([[4, 16, 95, 97, 97]]), "present": jnp.array([[1, 1, 1, 1, 0]])}
    assert pair(places, day, other).index[0, 0].tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_windows_that_are_lost_do_not_count():
    rng = np.random.default_rng(0)
    predicted, observed = rng.random((2, 4, 11, 15, 15, 10)).astype(np.float32)
    valid, kept = rng.random((4, 11, 15, 15)) < 0.8, np.array([True, False, True, False])
    mixture = MIXTURES["pretrain"]["s2"]
    loss = jax.jit(lambda *windows: published_loss(mixture, *windows))
    found, expected = loss(predicted, observed, valid, kept), loss(predicted[::2], observed[::2], valid[::2])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)
    none = loss(predicted, observed, valid, np.zeros(4, bool))
    assert all(leaf == 0 for leaf in jax.tree.leaves(none))


@pytest.mark.whole
def test_pretraining_moves_everything_and_validation_drops_nothing(batch):
    """The one test that compiles the networks, quickly rather than well; so does not their initialisation."""
    one, rng = jax.tree.map(lambda x: x[:1], batch), np.random.default_rng(0)
    stage = build_stage(config("published_pretrain", modality="s1"), records(one))
    start = lambda x: rng.normal(0, np.prod(x.shape[:-1]) ** -0.5, x.shape).astype(x.dtype)  # noqa: E731
    params = jax.tree.map(start, jax.eval_shape(stage.init, jax.random.key(0)))
    step = jax.jit(jax.value_and_grad(stage.loss, has_aux=True)).lower(params, {}, one, jax.random.key(1))
    quickly = step.compile(compiler_options={"xla_backend_optimization_level": 0})
    (loss, metrics), grads = quickly(params, {}, one, jax.random.key(1))
    assert np.isfinite(loss) and set(metrics) == {"loss", "mae", "centre_mae", "targets", "lost"}
    for path, g in jax.tree_util.tree_leaves_with_path(grads):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(g).all() and np.abs(g).max() > 0, name
    validation = jax.make_jaxpr(stage.validation_loss)(params, {}, one, jax.random.key(1))
    assert len(str(validation)) < len(str(jax.make_jaxpr(stage.loss)(params, {}, one, jax.random.key(1))))


@pytest.mark.whole
@pytest.mark.parametrize("finetune", [True, False])
def test_fusion_tunes_everything_or_freezes_what_it_stands_on(batch, models, finetune, tmp_path):
    stage = build_stage(config("published_fuse", encoders=models, finetune=finetune), records(batch))
    params = jax.eval_shape(stage.init, jax.random.key(0))
    assert set(params) == ({"fusion", "s1", "s2"} if finetune else {"fusion"})
    step = jax.value_and_grad(stage.loss, has_aux=True)
    (loss, metrics), grads = jax.eval_shape(step, params, stage.frozen, batch, jax.random.key(1))
    assert loss.shape == () and jax.tree.structure(grads) == jax.tree.structure(params)
    assert {"loss", "centre_mae", "s1_mae", "s2_sam", "pair_delta_days", "targets", "lost"} <= set(metrics)
    model = stage.model(jax.tree.map(lambda x: np.full(x.shape, 0.02, x.dtype), params))
    loaded = load_model(save_model(model, tmp_path / "fused"))
    assert isinstance(loaded, Model) and loaded.dim == 7
    tuned = {name: float(jax.tree.leaves(loaded.params[name])[0].ravel()[0]) for name in loaded.params}
    assert tuned == pytest.approx(
        {"fusion": 0.02, "s1": 0.02, "s2": 0.02} if finetune else {"fusion": 0.02, "s1": 0.01, "s2": 0.01}
    )


def test_what_does_not_fit_is_refused(batch, models):
    def build(stage, data=batch, **changes):
        return build_stage(config(stage, **changes), records(data))

    with pytest.raises(ContractError, match="modality is 's3'"):
        build("published_pretrain", modality="s3")
    with pytest.raises(UsageError, match="networks are ContextEncoder and Decoder"):
        build("published_pretrain", modality="s2", encoder={}, decoder={})
    with pytest.raises(UsageError, match="windows have 15 x 15"):
        build("published_pretrain", random_batch(np.random.default_rng(0), size=14), modality="s2")
    with pytest.raises(UsageError, match=r"records hold 10 acquisitions.*windows have 11"):
        build("published_pretrain", random_batch(np.random.default_rng(0)), modality="s2")
    with pytest.raises(UsageError, match=r"config.encoders give \['s1'\]"):
        build("published_fuse", encoders=models[:1])
    with pytest.raises(ContractError, match="one grid"):
        other = random_batch(np.random.default_rng(0), size=20, times={"s2": 26, "s1": 44})
        build("published_fuse", {"s1": batch["s1"], "s2": other["s2"]}, encoders=models)
