import contextlib
import io
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from eomm.cli import main
from eomm.embedding.run import open_embedding
from eomm.errors import UsageError
from eomm.export.portable import export_model
from tests import zoo
from tests.eomm.site import make_model

ALONE = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("eomm", "data_prep", "flax", "optax", "orbax", "grain", "jaxtyping", "xarray"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
import jax.export, numpy as np
model = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
for place in sys.argv[2:]:
    with np.load(place) as file:
        names = {k.split("/")[0] for k in file.files if "/" in k}
        inputs = {n: {k.split("/")[1]: file[k] for k in file.files if k.startswith(n + "/")} for n in names}
        out = model.call(inputs, file["targets"])
    np.savez(place, **{k: np.asarray(v) for k, v in out.items()})
assert not {"eomm", "flax"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder that the command makes, and what it prints."""
    out, printed = tmp_path_factory.mktemp("portable") / "portable", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["export-model", str(zoo.model_directory()), "--out", str(out), "--json"]) == 0
    return out, json.loads(printed.getvalue())


def inputs_of(cube, model, y, x, targets):
    """What the README says: all usable acquisitions of a block with its halo."""
    arrays = {"targets": np.array(targets, np.int32)}
    for name, encoder in model.encoders.items():
        group, halo = cube[name], encoder.halo
        chosen = np.flatnonzero(group.usable)
        window = slice(y.start - halo, y.stop + halo), slice(x.start - halo, x.stop + halo)
        values, valid = group.read(chosen, *window)
        arrays |= {f"{name}/values": values, f"{name}/valid": valid, f"{name}/day": group.day[chosen]}
        arrays |= {f"{name}/{k}": v[chosen] for k, v in group.meta().items()}
    return arrays


def test_the_file_alone_gives_the_embeddings_of_eomm(exported, tmp_path):
    cube, model = zoo.cube(), zoo.model()
    out, contract = exported
    ds = open_embedding(zoo.store("cloudy"), masked=False).load()
    wanted = {  # other sizes of block, series and targets with one file
        "a": (slice(0, 24), slice(0, 24), list(range(20))),
        "b": (slice(3, 12), slice(10, 24), [0, 7, 19]),
        "c": (slice(23, 24), slice(0, 1), [11]),
    }
    places = []
    for name, request in wanted.items():
        places.append(tmp_path / f"{name}.npz")
        np.savez(places[-1], **inputs_of(cube, model, *request))
    command = [sys.executable, "-W", "error", "-c", ALONE, str(out / contract["file"]), *map(str, places)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for place, (y, x, targets) in zip(places, wanted.values(), strict=True):
        with np.load(place) as out:
            want = ds.isel(time=targets, y=y, x=x)
            np.testing.assert_allclose(out["embedding"], want["embedding"], atol=1e-5)
            np.testing.assert_array_equal(out["valid"], want["valid"])
    assert not ds["valid"].values.all() and np.abs(ds["embedding"].values).max() > 0.1


def test_the_readme_runs_and_the_contract_says_what_goes_in(exported, capsys):
    out, printed = exported
    contract = json.loads((out / "contract.json").read_text())
    assert {k: v for k, v in printed.items() if k != "out"} == contract
    assert contract["model"] == zoo.model().hash and contract["platforms"] == ["cpu", "cuda", "tpu"]
    assert contract["contracts"]["s2"]["calibration"] == "surface_reflectance"
    assert contract["inputs"]["s1"]["values"]["shape"] == ["s1_t", "y + 14", "x + 14", "2"]
    code = (out / "README.md").read_text().split("```")[1].removeprefix("python\n").replace("64, 64", "9, 8")
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "(2, 9, 8, 8) (2, 9, 8)"
    assert main(["export-model", str(zoo.model_directory()), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err


def test_a_single_pixel_serves_the_block_and_an_absent_modality_is_absent(tmp_path):
    model = make_model(("s2", "s1"), fused=True, of={"s1": {"dilations": ()}})
    contract = export_model(model, tmp_path / "out", site_wide=["s1"], sizes={"n": 2})
    assert contract["inputs"]["s1"]["valid"]["shape"] == ["s1_t", "1", "1"]
    loaded = jax.export.deserialize(bytearray((tmp_path / "out" / contract["file"]).read_bytes()))
    rng, shape = np.random.default_rng(0), {"s2": (6, 19, 20), "s1": (4, 1, 1)}
    inputs = {}
    for name, dims in shape.items():
        bands = len(model.modalities[name].bands)
        meta = {"orbit": np.int32, "direction": np.int8, "incidence": np.float32}
        inputs[name] = {
            "values": rng.integers(100, 900, (*dims, bands)).astype(np.int16),
            "valid": np.ones(dims, bool),
            "day": np.arange(dims[0], dtype=np.int32) * 9 + 18000,
            **{k: np.zeros(dims[0], t) for k, t in meta.items()},
        }
    targets = np.array([1, 4], np.int32)
    near = loaded.call(inputs, targets)["embedding"]
    assert near.shape == (2, 5, 6, 8)
    inputs["s1"]["day"] = inputs["s1"]["day"] - 400
    far = np.asarray(loaded.call(inputs, targets)["embedding"])
    inputs["s1"]["valid"][:] = False
    none = np.asarray(loaded.call(inputs, targets)["embedding"])
    np.testing.assert_allclose(far, none, atol=1e-6)
    assert np.abs(near - far).max() > 1e-3


def test_what_cannot_be_exported_is_refused(tmp_path):
    model = zoo.model()
    with pytest.raises(UsageError, match="site_wide s2"):
        export_model(model, tmp_path / "out", site_wide=["s2"])
    with pytest.raises(UsageError, match="expected numbers from 1 for some of y, x, n, s2_t, s1_t"):
        export_model(model, tmp_path / "out", sizes={"z": 3})
    assert list(tmp_path.iterdir()) == []
