"""Importing a released checkpoint: parity of what comes out, and errors that name what is wrong."""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from eomm.cli import main
from eomm.data.cube import Acquisition, GroupSource, open_cube, write_cube
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL1, SENTINEL1_SIGMA0, SENTINEL2
from eomm.embedding.run import embed, open_embedding
from eomm.errors import ContractError, DataError, UsageError
from eomm.models.directory import load_model
from eomm.models.predict import Predictor, read_batch
from eomm.models.published.release import import_params, import_published, read_checkpoint

MODALITIES = {"s1": SENTINEL1, "s2": SENTINEL2}


@pytest.fixture(scope="module")
def fixture(shared):
    return shared / "fixtures" / "published_model"


@pytest.fixture(scope="module")
def weights(fixture):
    return load_file(fixture / "weights.safetensors")


@pytest.fixture(scope="module")
def imported(fixture, tmp_path_factory):
    return load_model(import_published(fixture / "weights.safetensors", tmp_path_factory.mktemp("model") / "model"))


def series(arrays, name, sample):
    """One sample as a series of eleven acquisitions: stored values, days."""
    gaps = arrays[f"gaps_{name}"][sample].copy()
    # A cube holds one acquisition per day; what is left out of the gaps goes into the first.
    day = 17000 + np.concatenate([[0], np.cumsum(gaps)]).astype(np.int32)
    x = np.moveaxis(arrays[f"x_{name}"][sample], 1, -1)
    stored = np.rint(x * 10_000) if name == "s2" else np.rint((x * 35 - 30) * 100)
    return stored.astype(np.int16), day


@pytest.mark.parametrize("name", MODALITIES)
def test_published_import_embeds_as_the_release(name, imported, fixture):
    with np.load(fixture / "arrays.npz") as file:
        arrays = {k: file[k] for k in (f"x_{name}", f"gaps_{name}", f"z_{name}_time_attention")}
    encoder, params = imported.encoders[name], imported.params[name]["encoder"]
    stored, day = series(arrays, name, 0)
    valid = np.ones((1, 11, 15, 15), bool)

    @jax.jit
    def run(values):
        features = encoder.features(params, values, valid, {})
        return encoder.embed(params, features, valid[:, :, 7:8, 7:8], day[None], np.array([[5]], np.int32))

    # Stored values are rounded to 1e-4 of reflectance or 0.01 dB.
    z = np.asarray(run(stored[None]))[0, 0, 0, 0]
    np.testing.assert_allclose(z, arrays[f"z_{name}_time_attention"][0], rtol=0, atol=1e-4)


def test_published_import_keeps_every_weight(imported, weights):
    total = sum(np.abs(x.astype(np.float64)).sum() for k, x in weights.items() if not twice(k))
    kept = sum(np.abs(np.asarray(x, np.float64)).sum() for x in jax.tree.leaves(imported.params))
    assert kept == pytest.approx(total, rel=1e-12)
    assert sum(x.size for x in jax.tree.leaves(imported.params)) == 7_752_249


class Foreign:
    """What a checkpoint may hold besides weights, and weights-only loading refuses."""


def twice(key):
    return "transformer_dec" in key or key.startswith(("dec_s1.positional", "dec_s2.positional"))


def test_published_import_says_what_it_is_and_assumes(imported):
    assert imported.info["imported"]["file"] == "weights.safetensors" and len(imported.info["imported"]["sha256"]) == 64
    assert "RTC gamma0" in imported.info["assumes"]["s1"] and "averaged three" in imported.info["assumes"]["s1"]
    assert imported.modalities == MODALITIES and imported.dim == 7


def test_published_import_lists_missing_and_left_over_keys(weights):
    wrong = {
        k: v for k, v in weights.items() if k not in ("head_s1.bias", "dec_s2.transformer_dec.layers.2.norm1.bias")
    }
    wrong |= {"ema.decay": np.zeros(1, np.float16), "enc_s3.token_reducer.0.bias": np.zeros(7, np.float16)}
    with pytest.raises(DataError) as e:
        import_params(wrong, "x.safetensors")
    for name in (
        "fusion/out_s1/bias",
        "s2/decoder/series/layer_2/norm_1/bias",
        "ema.decay",
        "enc_s3.token_reducer.0.bias",
    ):
        assert name in str(e.value)
    assert "x.safetensors" in str(e.value)


def test_published_import_checks_shapes_values_and_sharing(weights):
    def changed(key, array):
        return weights | {key: array}

    with pytest.raises(DataError, match=r"proj_s2\.weight.*shape \(8, 128\); expected \(9, 128\)"):
        import_params(changed("proj_s2.weight", np.zeros((128, 8), np.float16)), "x")
    with pytest.raises(DataError, match=r"norm_out\.bias holds NaN"):
        import_params(changed("norm_out.bias", np.full(128, np.nan, np.float16)), "x")
    key = "dec_s1.transformer_dec.layers.0.linear1.bias"
    with pytest.raises(DataError, match=rf"{key} differs from the encoder's"):
        import_params(changed(key, weights[key] + 1), "x")


def test_published_import_strips_a_common_prefix(weights, tmp_path):
    few = {f"model.{k}": v for k, v in list(weights.items())[:4]}
    save_file(few, tmp_path / "a.safetensors")
    assert set(read_checkpoint(tmp_path / "a.safetensors")) == set(list(weights)[:4])


def test_published_import_refuses_other_files(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="does not exist"):
        import_published(tmp_path / "none.safetensors", tmp_path / "m")
    (tmp_path / "a.safetensors").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be read"):
        import_published(tmp_path / "a.safetensors", tmp_path / "m")
    (tmp_path / "a.pth").write_bytes(b"")
    with pytest.raises(UsageError, match=r"expected \.safetensors, or \.ckpt"):
        import_published(tmp_path / "a.pth", tmp_path / "m")
    (tmp_path / "a.ckpt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)  # as where it is not installed
    with pytest.raises(UsageError, match=r"pip install 'eomm\[torch\]'"):
        import_published(tmp_path / "a.ckpt", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_published_import_reads_lightning_checkpoints(weights, tmp_path):
    torch = pytest.importorskip("torch")
    state = {f"model.{k}": torch.from_numpy(v) for k, v in weights.items()}
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "a.ckpt")
    found = read_checkpoint(tmp_path / "a.ckpt")
    assert set(found) == set(weights) and all(np.array_equal(found[k], weights[k].astype(np.float32)) for k in weights)

    torch.save({"state_dict": state, "callback": Foreign()}, tmp_path / "b.ckpt")
    with pytest.raises(DataError, match="not weights alone"):
        read_checkpoint(tmp_path / "b.ckpt")
    torch.save([1, 2], tmp_path / "c.ckpt")
    with pytest.raises(DataError, match="no state_dict"):
        read_checkpoint(tmp_path / "c.ckpt")


def make_cube(path, radar):
    """4 x 4 pixels, two dates of each sensor, one of them half clouded."""
    rng = np.random.default_rng(0)
    grid = Grid(crs="LOCAL", transform=(10, 0, 0, 0, -10, 0), height=4, width=4)
    clear = np.ones((4, 4), bool)
    cloudy = clear.copy()
    cloudy[:2] = False

    def group(modality, low, high, days):
        def read(i):
            mask = cloudy if i == 1 else clear
            values = rng.integers(low, high, (4, 4, len(modality.bands)))
            return np.where(mask[..., None], values, 0).astype(np.int16), mask

        return GroupSource(modality=modality, grid=grid, acquisitions=[Acquisition(day=d) for d in days], read=read)

    groups = [group(SENTINEL2, 100, 4000, [17000, 17010]), group(radar, -2000, -500, [17001, 17030])]
    write_cube(path, site="a", groups=groups, provenance={"simulated": True})
    return path


@pytest.mark.whole
def test_published_import_embeds_a_cube(fixture, tmp_path, capsys):
    checkpoint, out = str(fixture / "weights.safetensors"), str(tmp_path / "model")
    assert (
        main(["import-published", checkpoint, "--out", out, "--modality", "s1", "--contract", "s1_sigma0", "--json"])
        == 0
    )
    described = json.loads(capsys.readouterr().out)
    assert described["parameters"] == 3_712_061 and described["info"]["other_contracts"] == ["s1"]
    cube = make_cube(tmp_path / "c.zarr", SENTINEL1_SIGMA0)
    result = open_embedding(embed(out, cube, tmp_path / "e.zarr", dtype="float32")).load()
    assert result.sizes == {"time": 2, "y": 4, "x": 4, "feature": 2}
    np.testing.assert_array_equal(np.isfinite(result["embedding"]).all("feature"), result["valid"])
    assert float(result["embedding"].min()) > 0


@pytest.mark.whole
def test_published_import_predicts_hidden_targets(imported, tmp_path):
    cube = open_cube(make_cube(tmp_path / "c.zarr", SENTINEL1))
    batches = {n: read_batch(cube, n, row=1, col=1, size=1, halo=7) for n in ("s2", "s1")}
    predictor, targets, hidden = Predictor(imported, "s2"), np.array([0]), np.array([[True, False]])
    seen = {n: predictor.see(n, b) for n, b in batches.items()}
    other = predictor.embed_other("s1", seen["s1"], batches["s2"]["day"][0, :1])
    found = predictor.predict(seen["s2"], targets, hidden, {"s1": other})
    assert set(found) == {"encoder", "fused", "fused_alone"}
    assert all(v.shape == (1, 1, 10) and np.isfinite(v).all() for v in found.values())


def test_published_import_refuses_sigma0_unless_told(imported, fixture, tmp_path):
    cube = make_cube(tmp_path / "c.zarr", SENTINEL1_SIGMA0)
    with pytest.raises(ContractError, match="calibration: found 'sigma0', expected 'rtc_gamma0'"):
        embed(imported, cube, tmp_path / "e.zarr", dtype="float32")
    with pytest.raises(UsageError, match="not the release's"):
        bad = dataclasses.replace(SENTINEL1, bands=SENTINEL1.bands[::-1])
        import_published(fixture / "weights.safetensors", tmp_path / "m", contracts=[bad])
    with pytest.raises(UsageError, match="expected s1 and s2"):
        import_published(fixture / "weights.safetensors", tmp_path / "m", modalities=["weather"])
