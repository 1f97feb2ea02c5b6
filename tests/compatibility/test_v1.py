"""What eomm wrote at commit 5754800 (`make.py`) still opens, trains, embeds, is continued, scored and exported.

All that users may hold is named as they name it: public functions and commands alone, and literals of that day.
A change that breaks one of these breaks what lies on other people's disks.
"""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr
from array_record.python.array_record_module import ArrayRecordReader

import eomm
from eomm.cli import main
from eomm.view.layers import Layers

V1 = Path(__file__).parent / "v1"
STORES = ("cube", "newer", "float32", "int8", "cloudy")
CONTRACTS = {"s2": "706bf9f04f1500cc", "s1": "c4b511b20d48136e"}
MODELS = {"s2": "6b97525b7e19541b", "s1": "e34a970e1a8c67a2", "fusion": "997167ba68686a2c"}
PUBLISHED = "4d817e09693545af"
RECORDS = "eb4d1a895f6c0b5f"
S2_DAYS = [18386, 18391, 18396, 18401, 18406, 18411, 18416, 18421, 18426, 18431, 18436, 18441]
UNUSABLE = (2, 3, 4)
NEW_DAY = 18446
VALUES = {"s2": "9123289801f65080", "s1": "bc0e20e3f35355dc"}  # `digest` of what the cube reads
LAYERS = {  # `digest` of what every store holds as stored
    "valid": "39af20e2991862ce",
    "observations_s2": "11fed8f02f3a498c",
    "observations_s1": "50d2e0638883c015",
    "flags": "51b7725fc6c95123",
    "s1_offset_days": "3284e0c5a434dde4",
}
VECTORS = {"float32": "ab4674528e17e420", "int8": "587207dec6dddefe", "cloudy": "c80a97370f760bc8"}
WINDOWS = {18386: "1761f77f742ea1a4", 18441: "d44dba28755b4dde"}


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:16]


def run(*arguments):
    assert main([str(a) for a in arguments]) == 0


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The stores as they lay on disk; tests that change one copy it."""
    folder = tmp_path_factory.mktemp("v1")
    for name in (*STORES, "records", "published"):
        with zipfile.ZipFile(V1 / f"{name}.zip") as archive:
            archive.extractall(folder / (f"{name}.zarr" if name in STORES else name))
    shutil.copytree(V1 / "models", folder / "models")
    return folder


@pytest.fixture(scope="module")
def again(old, tmp_path_factory):
    """The old cube embedded by the old model today, clouded pixels too."""
    out = tmp_path_factory.mktemp("again") / "e.zarr"
    return eomm.embed(old / "models/fusion", old / "cube.zarr", out, dtype="float32", clear_only=False)


# --- Opened ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["s2", "s1"])
def test_the_cube_gives_its_values_under_its_contract(old, modality):
    cube = eomm.open_cube(old / "cube.zarr")
    group = cube[modality]
    assert cube.site == "ridge" and cube.provenance["simulated"] is True
    assert group.modality.contract_hash == CONTRACTS[modality]
    assert group.modality == {"s2": eomm.SENTINEL2, "s1": eomm.SENTINEL1}[modality]
    assert digest(*group.read()) == VALUES[modality]
    assert group.grid == eomm.Grid(
        crs="EPSG:32631", transform=(10.0, 0.0, 473940.0, 0.0, -10.0, 5703520.0), height=20, width=20
    )


def test_the_cube_tells_its_acquisitions(old):
    group = eomm.open_cube(old / "cube.zarr")["s2"]
    first = group.acquisitions[0]
    assert group.day.tolist() == S2_DAYS and np.flatnonzero(~group.usable).tolist() == list(UNUSABLE)
    assert (first.day, first.platform, first.orbit, first.incidence_deg) == (18386, "S2B", "R051", 5.642)
    assert first.sun_zenith_deg == 36.863 and group.digests[0] == "20c92876fd02be60"
    newer = eomm.open_cube(old / "newer.zarr")["s2"]
    assert newer.day.tolist() == [*S2_DAYS, NEW_DAY] and newer.digests[:-1] == group.digests


def test_the_records_are_whole_and_decode(old):
    records = eomm.open_records(old / "records", {"s2": eomm.SENTINEL2, "s1": eomm.SENTINEL1})
    records.verify()
    assert records.data_hash == RECORDS and records.manifest["simulated"] is True
    assert {split: records.count(split) for split in ("train", "validation", "test")} == {
        "train": 4,
        "validation": 4,
        "test": 0,
    }
    assert {n: (s.acquisitions, s.height, s.width) for n, s in records.shapes.items()} == {
        "s2": (6, 16, 16),
        "s1": (16, 16, 16),
    }
    (file,) = records.files("train")
    reader = ArrayRecordReader(str(file))
    patch = records.codec.decode(reader.read([0])[0])
    reader.close()
    assert (patch["site"], patch["row"], patch["col"]) == ("meadow", 0, 0)
    assert digest(*(patch[m][f] for m in ("s2", "s1") for f in sorted(patch[m]))) == "f04ea5c464d35e50"


@pytest.mark.parametrize("name", MODELS)
def test_the_models_load_with_their_hash(old, name):
    model = eomm.load_model(old / "models" / name)
    assert model.hash == MODELS[name] == json.loads((old / "models" / name / "model.json").read_text())["hash"]
    assert {n: m.contract_hash for n, m in model.modalities.items()} == {n: CONTRACTS[n] for n in model.encoders}
    assert model.dim == 8 and model.info["simulated"] is True and model.info["records"] == RECORDS
    assert {"scale", "int8", "error"} <= set(model.info["calibration"])
    for part in model.encoders:
        assert model.parts[part]["encoder"]["code"] == "eomm.models.context"
        assert "code" not in model.parts[part]["decoder"], "what no code is named for is ours"


def test_the_published_model_loads_by_the_code_that_its_directory_names(old):
    model = eomm.load_model(old / "published")
    assert model.hash == PUBLISHED and set(model.encoders) == {"s1", "s2"} and model.fusion is not None
    parts = [*(model.parts[n][kind] for n in ("s1", "s2") for kind in ("encoder", "decoder")), model.parts["fusion"]]
    assert parts == [{"code": "eomm.models.published"}] * 5
    assert {n: m.contract_hash for n, m in model.modalities.items()} == CONTRACTS


@pytest.mark.parametrize("store", VECTORS)
def test_the_embeddings_hold_what_was_written(old, store):
    ds = eomm.open_embedding(old / f"{store}.zarr", decode=False)
    assert digest(ds["embedding"].values) == VECTORS[store]
    assert {name: digest(ds[name].values) for name in LAYERS} == LAYERS
    assert ds.attrs["eomm:model"] == MODELS["fusion"]
    assert WINDOWS.items() <= {day: window for day, window in eomm.attributes_of(ds)["eomm:windows"]}.items()
    with xr.open_zarr(old / f"{store}.zarr", consolidated=False, chunks=None) as plain:
        assert str(plain["time"].values[0])[:10] == "2020-05-04" and "crs_wkt" in plain["spatial_ref"].attrs


# --- Used -----------------------------------------------------------------------------------------------------------


def test_the_old_model_gives_the_old_vectors_of_the_old_cube(old, again):
    now, then = eomm.open_embedding(again), eomm.open_embedding(old / "float32.zarr")
    valid = then["valid"].values
    np.testing.assert_array_equal(now["valid"], valid)
    np.testing.assert_allclose(now["embedding"].values[valid], then["embedding"].values[valid], rtol=0, atol=1e-5)
    for name in ("flags", "observations_s2", "observations_s1", "s1_offset_days"):
        np.testing.assert_array_equal(now[name], then[name], err_msg=name)
    error = now["expected_error"].values[valid] - then["expected_error"].values[valid]
    assert np.abs(error).max() <= 1.01e-4, "one step of its storage, where rounding differs"


@pytest.mark.parametrize("store", ["int8", "cloudy"])
def test_old_int8_vectors_are_those_of_today_to_half_a_step(old, again, store):
    then = eomm.open_embedding(old / f"{store}.zarr", masked=False)
    has_vector = then["valid"].values if store == "int8" else np.ones(then["valid"].shape, bool)
    scale = np.asarray(eomm.load_model(old / "models/fusion").info["calibration"]["scale"])
    now = np.clip(eomm.open_embedding(again, masked=False)["embedding"].values, -127 * scale, 127 * scale)
    steps = np.abs(now - then["embedding"].values)[has_vector] / scale
    assert steps.max() < 0.5 + 1e-5 / scale.min()


def test_an_old_store_is_continued_by_a_newer_cube_and_keeps_its_dates(old, tmp_path):
    out = tmp_path / "e.zarr"
    shutil.copytree(old / "int8.zarr", out)
    before = eomm.open_embedding(out, decode=False).load()
    eomm.embed(old / "models/fusion", old / "newer.zarr", out, append=True)
    after = eomm.open_embedding(out, decode=False)
    continued = eomm.attributes_of(after)["provenance"]["continued"]
    assert continued["converted_from_version"] == 2
    assert continued["kept"] == 6 and len(continued["changed"]) == 3 and not continued["dropped"]
    assert continued["new"] == ["2020-07-03"] and after.sizes["time"] == before.sizes["time"] + 1
    for name in before.data_vars:
        kept = slice(None) if name == "embedding_scale" else slice(0, 6)  # three acquisitions reach the new one
        then = before[name].values[kept]
        if name == "embedding":  # where there is no vector zeros lay once
            then = np.where(before["valid"].values[kept][..., None], then, -128)
        np.testing.assert_array_equal(after[name].values[kept], then, err_msg=name)


@pytest.mark.whole
@pytest.mark.parametrize("stage", ["s2", "fusion"])
def test_training_goes_on_from_the_old_records_and_encoders(old, tmp_path, stage):
    values = {"data.records": old / "records", "steps": 2, "log_every": 1, "calibrate_records": 0}
    values |= {"optimiser.warmup_steps": 1}
    if stage == "s2":
        values |= {"encoder.size": "tiny", "encoder.frames": "3,3", "encoder.dim": 8, "decoder.width": 16}
        values |= {"objective.targets": 3, "objective.queries": 4}
    else:
        values |= {"encoders": f"{old}/models/s2,{old}/models/s1", "fusion.dim": 8, "fusion.width": 16}
        values |= {"fusion.heads": 2}
        values |= {f"objective.{m}.{k}": v for m in ("s2", "s1") for k, v in (("targets", 3), ("queries", 4))}
    overrides = [f"--config.{key}={value}" for key, value in values.items()]
    run("train", "--config", f"experiments.{stage}", "--workdir", tmp_path / "run", *overrides)
    model = eomm.load_model(tmp_path / "run/model")
    assert model.info["steps"] == 2 and model.info["records"] == RECORDS


def test_the_old_store_is_scored(old, tmp_path):
    cube, labels = eomm.open_cube(old / "cube.zarr"), tmp_path / "labels.tif"
    fields = np.kron(np.indices((5, 5)).sum(0) % 2 + 1, np.ones((4, 4), int)).astype(np.uint8)
    profile = {"driver": "GTiff", "height": 20, "width": 20, "count": 1, "dtype": "uint8", "nodata": 0}
    grid = {"crs": cube.grid.crs, "transform": rasterio.Affine(*cube.grid.transform)}
    with rasterio.open(labels, "w", **profile, **grid) as file:
        file.write(fields, 1)
    what = ["--cube", old / "cube.zarr", "--model", old / "models/fusion", "--embedding", old / "int8.zarr"]
    few = ["--labels", labels, "--only", "model", "bands", "--probe", "linear", "--date", "2020-06-03"]
    few += ["--seeds", 1, "--shares", 100, "--folds", 2, "--buffer-px", 0]
    run("evaluate", "probes", *what, *few, "--out", tmp_path / "probes.json")
    assert json.loads((tmp_path / "probes.json").read_text())["simulated"] is True


def test_the_old_store_is_exported(old, tmp_path):
    run("export", old / "int8.zarr", "--to", "cog", "--out", tmp_path / "maps", "--dates", "2020-06-03", "2020-06-03")
    (tif,) = (tmp_path / "maps").glob("*.tif")
    with rasterio.open(tif) as file:
        assert (file.count, file.height, file.width, str(file.crs)) == (8, 20, 20, "EPSG:32631")
    run("export", old / "cloudy.zarr", "--to", "parquet", "--cloudy", "--stride", 7, "--out", tmp_path / "e.parquet")
    assert (tmp_path / "e.parquet").stat().st_size > 0
    month = ["--composite", "month", "--out", tmp_path / "months.zarr"]
    run("export", old / "float32.zarr", "--to", "zarr", *month)
    assert eomm.open_embedding(tmp_path / "months.zarr").sizes["time"] == 2


def test_the_old_store_is_shown(old, tmp_path):
    run("view", old / "int8.zarr", "--cube", old / "cube.zarr", "--out", tmp_path / "page.html")
    zeros = (eomm.open_embedding(old / "int8.zarr", decode=False)["embedding"].values == 0).all(-1)
    found = Layers(old / "int8.zarr").read("vectors", slice(None), slice(0, 20), slice(0, 20))
    assert zeros.any() and (found.transpose(0, 2, 3, 1)[zeros] == -128).all()


@pytest.mark.parametrize("name", [*(f"{store}.zarr" for store in STORES), "records", "models/fusion"])
def test_every_old_store_is_described(old, capsys, name):
    run("info", old / name, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["complete"] is True and found["simulated"] is True


def test_an_old_store_becomes_one_of_today_when_nothing_came(old, tmp_path):
    out = tmp_path / "e.zarr"
    shutil.copytree(old / "float32.zarr", out)
    before = eomm.open_embedding(out).load()
    eomm.embed(old / "models/fusion", old / "cube.zarr", out, append=True, dtype="float32")
    after = eomm.open_embedding(out)
    for name in before.data_vars:
        np.testing.assert_array_equal(after[name].values, before[name].values, err_msg=name)
    assert after.attrs["eomm:version"] == 3 and after["embedding"].dims == ("time", "y", "x", "feature")
    with xr.open_zarr(out) as plain:
        np.testing.assert_array_equal(plain["embedding"], before["embedding"])
    stamp = (out / "zarr.json").stat().st_mtime_ns
    eomm.embed(old / "models/fusion", old / "cube.zarr", out, append=True, dtype="float32")
    assert (out / "zarr.json").stat().st_mtime_ns == stamp, "once is enough"
