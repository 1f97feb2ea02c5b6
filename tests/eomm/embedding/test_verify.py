import json
import shutil

import numpy as np
import pytest
import zarr

from eomm.cli import main
from eomm.embedding import verify as module
from eomm.embedding.run import embed
from eomm.embedding.verify import Difference, golden, rounding, verify, verify_store
from eomm.errors import DataError, UsageError
from eomm.models.directory import save_model
from tests.eomm.embedding.make_golden import SIZE
from tests.eomm.site import DAYS, make_cube, make_model


@pytest.fixture(scope="module")
def result():
    return verify()


def test_this_machine_gives_the_golden_vectors(result):
    assert result["equal"], result
    assert result["device"].startswith("cpu") and result["tolerance"] < 2e-5
    assert result["max_abs_error"] < 1e-5 and result["max_cosine_error"] < 1e-9
    assert result["vectors"] > 300 and 0.1 < result["rms"] < 10
    assert json.loads(json.dumps(result)) == result and result["made"]["versions"]["jax"]


def test_the_golden_data_are_small_and_ask_something_of_every_part():
    with golden() as folder:
        shipped = [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        assert sum(p.stat().st_size for p in shipped) < 300_000
        with np.load(folder / "cube.npz") as cube, np.load(folder / "expected.npz") as expected:
            assert cube["s2_valid"].shape[1:] == (SIZE, SIZE) and SIZE > 15
            usable = cube["s2_valid"].mean((1, 2)) >= 0.03
            assert len(expected["embedding"]) == usable.sum() < len(usable)
            assert 0.2 < expected["valid"].mean() < 0.95
            vectors = expected["embedding"][expected["valid"]]
    assert (vectors.std(0) > 0.03).all(), "every number varies"


def test_a_model_that_differs_by_a_thousandth_is_told_from_the_golden_one(monkeypatch):
    real = module.load_model

    def moved(path, **_):
        model = real(path)
        layer = model.params["s1"]["encoder"]["time"]["embedding_out"]
        layer["bias"] = layer["bias"] + 1e-3
        return model

    monkeypatch.setattr(module, "load_model", moved)
    changed = verify()
    assert not changed["equal"] and changed["tolerance"] < changed["max_abs_error"] < 0.01


def test_bfloat16_stays_within_what_is_stated_and_is_not_float32(result):
    half = verify(dtype="bfloat16")
    assert half["equal"] and 1e-3 < half["max_abs_error"] < half["tolerance"] and half["max_cosine_error"] < 0.01


def test_errors_are_counted_beyond_what_a_store_rounds():
    rng = np.random.default_rng(0)
    vectors, scale = rng.normal(size=(40, 6)).astype(np.float32), np.full(6, 0.02, np.float32)
    stored = np.clip(np.rint(vectors / scale), -127, 127) * scale
    difference = Difference()
    difference.add(vectors, stored, rounding(stored, np.dtype("int8"), scale))
    assert difference.result(1e-5)["equal"] and 0.005 < difference.max_abs_error and np.abs(vectors).max() > 127 * 0.02
    difference.add(vectors + 0.02, stored, rounding(stored, np.dtype("int8"), scale))
    assert not difference.result(1e-5)["equal"]
    half = vectors.astype(np.float16).astype(np.float32)
    for round_off, equal in ((rounding(half, np.dtype("float16"), None), True), (0.0, False)):
        difference = Difference()
        difference.add(vectors, half, round_off)
        assert difference.result(1e-5)["equal"] is equal
    assert not Difference().result(1e-5)["equal"], "nothing compared is not equal"
    assert not Difference(valid_differs=1, vectors=1, numbers=1).result(1e-5)["equal"]


def test_any_model_cube_and_embedding_are_compared(tmp_path, capsys):
    model, cube = make_model(), make_cube(tmp_path / "c.zarr", s1=False, clouds=0.2)
    save_model(model, tmp_path / "model")
    out = embed(model, cube, tmp_path / "e.zarr", length=5, dtype="float16", clear_only=False)
    given = ["--model", tmp_path / "model", "--cube", cube.path, "--expected", out]
    command = ["verify", *map(str, given)]
    assert main([*command, "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert same["equal"] and same["same_model"] and same["vectors"] == len(DAYS) * 24 * 24
    array = zarr.open_group(out)["embedding"]
    block = array[3:4]
    block[0, 10, 11, 2] += 0.3
    array[3:4] = block
    assert main(command) == 1
    assert "OTHER NUMBERS" in capsys.readouterr().out
    other = make_cube(tmp_path / "other.zarr", s1=False, change={DAYS[2]: np.zeros((24, 24, 10), np.int16)}, clouds=0.9)
    assert not verify_store(tmp_path / "model", other.path, out)["equal"]


def test_what_cannot_be_compared_is_refused(tmp_path, capsys, monkeypatch):
    assert main(["verify", "--model", str(tmp_path)]) == 2
    assert "go together" in capsys.readouterr().err
    with pytest.raises(UsageError, match="dtype 'float8'"):
        verify(dtype="float8")
    with golden() as folder:
        shutil.copytree(folder, tmp_path / "golden", ignore=shutil.ignore_patterns("__pycache__"))
    text = (tmp_path / "golden" / "model" / "model.json").read_text()
    (tmp_path / "golden" / "model" / "model.json").write_text(text.replace('"heads": 2', '"heads": 1'))
    with pytest.raises(DataError, match="copy the model again"):
        module.load_model(tmp_path / "golden" / "model")
