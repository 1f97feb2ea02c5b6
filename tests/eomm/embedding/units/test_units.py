import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from eomm.data.attributes import attributes_of
from eomm.data.grid import to_date
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.embedding import run as embedding
from eomm.embedding.append import open_base
from eomm.embedding.plan import make_plan
from eomm.embedding.store import FLAGS, open_embedding
from eomm.embedding.units import by_block, list_units, share, status
from eomm.errors import DataError, UsageError
from eomm.models.directory import save_model
from tests.environment import with_devices
from tests.eomm.embedding.test_embedding import GRID, make_group, make_model, write

ROOT = Path(__file__).parents[3]
COUNT = 40  # dates: three shards, the last not full
embed = partial(embedding.embed, dtype="float32", block=16)


@pytest.fixture(scope="module")
def groups():
    rng = np.random.default_rng(1)
    days = 17000 + np.cumsum(rng.integers(1, 5, COUNT))
    s1_days = np.arange(days[0] - 20, days[-1] + 30, 6)
    return make_group(rng, SENTINEL2, days, unusable=(5,)), make_group(rng, SENTINEL1, s1_days, share=0.9)


@pytest.fixture(scope="module")
def cube(groups, tmp_path_factory):
    return write(tmp_path_factory.mktemp("cube") / "site.zarr", groups)


@pytest.fixture(scope="module")
def model():
    plain = make_model()
    error = {
        "unit": "reflectance",
        "step": 1e-4,
        "weights": [0.0, 1.0, 0.0, 0.0],
        "score": [0, 6],
        "mean": [0.01, 0.05],
    }
    scale = np.full(24, 3.0 / 127).tolist()
    return dataclasses.replace(plain, info={"calibration": {"scale": scale, "error": error}})


@pytest.fixture(scope="module")
def whole(model, cube, tmp_path_factory):
    return embed(model, cube, tmp_path_factory.mktemp("out") / "whole.zarr")


def same(a, b):
    """Two stores hold the same arrays, bit for bit."""
    a, b = (open_embedding(p, decode=False).load() for p in (a, b))
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


def test_units_cover_everything_once_and_shards_split_them():
    units = list_units(COUNT, (GRID.height, GRID.width), (16, 32))
    seen = np.zeros((COUNT, 32, 64), int)
    for u in units:
        seen[u.dates, u.y, u.x] += 1
    assert (seen == 1).all() and [u.number for u in units] == list(range(len(units)))
    parts = [share(units, i, 5) for i in range(5)]
    assert [u for p in parts for u in p] == units and len(list(by_block(units))) == 4
    assert [share(units, i, 50) for i in range(50)].count([]) == 38


@pytest.mark.whole
def test_a_run_that_is_killed_again_and_again_ends_as_an_uninterrupted_one(model, cube, whole, tmp_path):
    save_model(model, tmp_path / "model")
    out, rng, kills = tmp_path / "e.zarr", np.random.default_rng(0), 0
    script = (
        "import sys, eomm; from pathlib import Path\n"
        "eomm.embed(*map(Path, sys.argv[1:4]), dtype='float32', block=16, "
        "progress=lambda *n: print(*n, flush=True))"
    )
    command = [sys.executable, "-c", script, tmp_path / "model", cube.path, out]
    while True:
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if kills < 3:  # somewhere between the first reported unit of this run and its end
                process.stdout.readline()
                time.sleep(float(rng.uniform(0, 0.4)))
                process.send_signal(signal.SIGKILL)
            process.communicate()
        if process.returncode == 0:
            break
        kills += 1
        assert not out.exists() and 0 < status(out)["done"] < 18 and kills < 9
    assert kills == 3 and not out.with_name("e.zarr.partial").exists()
    same(out, whole)
    assert status(out) == {"embedding": str(out), "complete": True, "units": 18, "done": 18, "missing": 0, "failed": {}}


def test_shards_in_any_order_make_one_store_and_the_last_completes_it(model, cube, whole, tmp_path):
    out = tmp_path / "e.zarr"
    for i in (2, 0, 1):
        assert not out.exists()
        embed(model, cube, out, shard=(i, 3))
        if i == 2:
            assert status(out)["complete"] is False and status(out)["missing"] == 12
    same(out, whole)
    before = out.stat().st_mtime_ns
    calls = []
    embed(model, cube, out, progress=lambda *n: calls.append(n))
    assert out.stat().st_mtime_ns == before and not calls, "a complete store is left alone"


@pytest.mark.whole
def test_processes_that_begin_at_once_make_one_store(model, cube, whole, tmp_path):
    save_model(model, tmp_path / "model")
    script = "import sys, eomm; eomm.embed(*sys.argv[1:4], dtype='float32', block=16, shard=(int(sys.argv[4]), 2))"
    out = tmp_path / "e.zarr"
    arguments = [sys.executable, "-c", script, tmp_path / "model", cube.path, out]
    running = [subprocess.Popen([*arguments, str(i)], cwd=ROOT) for i in range(2)]
    assert [p.wait() for p in running] == [0, 0]
    same(out, whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.zarr", "e.zarr.stac.json", "model"]


def test_a_failing_shard_does_not_take_the_store_from_others(model, groups, tmp_path):
    cube, out = write(tmp_path / "site.zarr", groups), tmp_path / "e.zarr"
    shard = next((cube.path / "s2" / "values" / "c").rglob("0/0/0/0"))
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DataError, match="6 of 6 units failed"):
        embed(model, cube, out, shard=(0, 3))
    assert len(status(out)["failed"]) == 6
    with pytest.raises(DataError, match="cannot be read"):
        embed(model, cube, tmp_path / "alone.zarr")
    assert not (tmp_path / "alone.zarr.partial").exists(), "nothing was done, nothing is left"


def test_a_store_is_found_again_after_a_kill_between_its_renames(model, cube, whole, tmp_path):
    out = tmp_path / "e.zarr"
    shutil.copytree(whole, out)
    out.rename(tmp_path / "e.zarr.replaced")
    assert status(out)["complete"] and embed(model, cube, out) == out
    same(out, whole)
    embed(model, cube, out, overwrite=True)  # the same again: there is nothing to overwrite
    embed(model, cube, out, shard=(49, 50), overwrite=True)
    assert status(out)["complete"] and not (tmp_path / "e.zarr.partial").exists()


def test_what_does_not_tell_its_units_is_refused_by_name(model, cube, whole, tmp_path):
    old = tmp_path / "old.zarr"
    shutil.copytree(whole, old)
    head = json.loads((old / "zarr.json").read_text())
    del head["attributes"]["eomm:request"]
    (old / "zarr.json").write_text(json.dumps(head))
    with pytest.raises(DataError, match="does not tell what it was made of"):
        embed(model, cube, old, append=True)
    with pytest.raises(DataError, match="does not tell its units"):
        status(old)


def test_another_request_does_not_touch_what_is_there(model, cube, whole, tmp_path):
    out = tmp_path / "e.zarr"
    embed(model, cube, out, shard=(0, 3))
    with pytest.raises(UsageError, match=r"e.zarr.partial: is of another request: length 24 there, 7 now"):
        embed(model, cube, out, length=7)
    assert status(out)["done"] == 6
    embed(model, cube, out)
    with pytest.raises(UsageError, match="already exists"):
        embed(model, cube, out, length=7)
    same(out, whole)
    embed(model, cube, out, length=7, overwrite=True)
    assert open_embedding(out).sizes["feature"] == 7


@pytest.mark.parametrize("after", [1, 18])
def test_a_cube_that_is_replaced_meanwhile_gives_no_store(after, model, groups, tmp_path):
    cube, out = write(tmp_path / "site.zarr", groups), tmp_path / "e.zarr"

    def replace(done, _):
        if done == after:
            shutil.rmtree(cube.path)
            write(cube.path, groups[:1])  # the last unit may be done by now: its store would bear the old cube's digest

    with pytest.raises(DataError, match=r"site\.zarr: was replaced or removed while it was being read"):
        embed(model, cube, out, progress=replace)
    assert not out.exists()


def test_a_store_that_is_replaced_meanwhile_is_not_continued(model, cube, whole, tmp_path, monkeypatch):
    out = tmp_path / "e.zarr"
    shutil.copytree(whole, out)
    base = open_base(out, make_plan(model, cube, block=16))
    unit = list_units(COUNT - 1, (GRID.height, GRID.width), (16, 16))[0]
    shutil.rmtree(out)
    embed(model, cube, out, length=7)
    with pytest.raises(DataError, match=r"e\.zarr: was replaced or removed while it was being read"):
        base.link(tmp_path / "partial", unit, make_plan(model, cube, block=16))


def test_a_store_without_a_layer_of_today_is_not_continued(model, cube, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "e.zarr")
    head = tmp_path / "e.zarr/zarr.json"
    head.write_text(head.read_text().replace('\\"expected_error\\":', '\\"other\\":'))
    shutil.move(tmp_path / "e.zarr/expected_error", tmp_path / "e.zarr/other")
    with pytest.raises(UsageError, match=r"e\.zarr: cannot be continued, it has no expected_error; embed anew"):
        open_base(tmp_path / "e.zarr", make_plan(model, cube, block=16))


def test_a_damaged_part_of_the_cube_costs_its_units_only(model, groups, whole, tmp_path):
    cube, out = write(tmp_path / "site.zarr", groups), tmp_path / "e.zarr"
    shard = next((cube.path / "s2" / "values" / "c").rglob("0/0/0/0"))
    good = shard.read_bytes()
    embed(model, cube, out, shard=(0, 3))
    shard.write_bytes(good[: len(good) // 2])
    with pytest.raises(DataError, match=r"e.zarr.partial: .* of 18 units failed; unit 6: .*s2: cannot be read"):
        embed(model, cube, out)
    state = status(out)
    assert state["done"] == 6 and len(state["failed"]) == 12 and not out.exists()
    shard.write_bytes(good)
    embed(model, cube, out)
    same(out, whole)


def test_int8_vectors_are_multiples_of_the_models_scales(model, cube, whole, tmp_path):
    path = embed(model, cube, tmp_path / "e.zarr", dtype="int8")
    decoded, stored, exact = open_embedding(path), open_embedding(path, decode=False), open_embedding(whole)
    scale = np.asarray(model.info["calibration"]["scale"], np.float32)
    assert stored["embedding"].dtype == np.int8 and decoded["embedding"].dtype == np.float32
    np.testing.assert_array_equal(stored["embedding_scale"], scale)
    values = exact["embedding"].values
    np.testing.assert_array_equal(np.isnan(decoded["embedding"]), np.isnan(values))
    with np.errstate(invalid="ignore"):
        within = np.abs(np.round(values / scale)) <= 127
    np.testing.assert_array_less(np.abs(decoded["embedding"].values - values)[within], scale[0] * 0.5001)
    figures = attributes_of(stored)["quantisation"]
    wanted = exact["valid"].values
    assert figures["of_vectors"] == wanted.sum() and figures["clipped_values"] == (~within[wanted]).sum()
    a, b = values[wanted], decoded["embedding"].values[wanted]
    error = 1 - (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    assert figures["mean_cosine_error"] == pytest.approx(error.mean(), abs=1e-6)
    assert figures["max_cosine_error"] == pytest.approx(error.max(), abs=1e-6)
    with xr.open_zarr(path) as plain:  # three lines in a notebook
        point = plain["embedding"].isel(time=3, y=4, x=slice(2, 9, 2))  # one scale, which is CF's scale_factor
    np.testing.assert_allclose(point, decoded["embedding"][3, 4, 2:9:2], rtol=1e-6)
    np.testing.assert_array_equal(
        decoded["embedding"][::-3, [5, 1], 7, 3], decoded["embedding"].values[::-3, [5, 1], 7, 3]
    )


def test_layers_say_what_limits_a_vector(model, cube, groups, whole):
    ds = open_embedding(whole)
    (_, _, days, _, valid), usable = groups[0], cube["s2"].usable
    flags, day, valid = ds["flags"].values, np.array(days)[usable], valid[usable]
    edge = np.ones(flags.shape[1:], bool)
    edge[7:-7, 7:-7] = False
    np.testing.assert_array_equal(flags & FLAGS["edge"] > 0, np.broadcast_to(edge, flags.shape))
    np.testing.assert_array_equal(flags & FLAGS["clouded"] > 0, ~valid)
    np.testing.assert_array_equal(flags & FLAGS["alone"] > 0, np.isnan(ds["s1_offset_days"]))
    np.testing.assert_array_equal(flags & FLAGS["sparse"] > 0, ds["observations_s2"].values - valid < 3)
    assert ds["flags"].attrs["flag_meanings"] == "edge clouded alone sparse" and (flags & FLAGS["alone"]).any()
    for t, y, x in ((0, 3, 3), (20, 10, 30), (COUNT - 2, 20, 36)):
        near = [
            abs(int(day[u] - day[t])) for u in range(max(0, t - 8), min(len(day), t + 9)) if u != t and valid[u, y, x]
        ]
        expected = 0.01 + 0.04 * min(np.log1p(min(near)), 6) / 6  # the fixture's fit: by the nearer side alone
        found = float(ds["expected_error"][t, y, x])
        assert np.isnan(found) if not valid[t, y, x] else found == pytest.approx(expected, abs=6e-5)
    assert ds["expected_error"].notnull().sum() == valid.sum()


def test_dates_that_came_after_are_appended_and_equal_embedding_everything_anew(model, groups, tmp_path):
    def until(last, skip=()):
        parts = []
        for modality, grid, days, values, valid in groups:
            at = [i for i, d in enumerate(days) if d <= last and d not in skip]
            parts.append((modality, grid, [days[i] for i in at], values[at], valid[at]))
        return parts

    days = groups[0][2]
    early, late = (write(tmp_path / f"{n}.zarr", until(d)) for n, d in (("early", days[-6]), ("late", days[-1])))
    out = embed(model, early, tmp_path / "e.zarr")
    linked = sorted((out / "embedding" / "c" / "0").rglob("*"))
    inodes = {p.relative_to(out): p.stat().st_ino for p in linked if p.is_file()}
    embed(model, late, out, append=True)
    anew = embed(model, late, tmp_path / "anew.zarr")
    same_values(out, anew)
    assert inodes and all((out / p).stat().st_ino == i for p, i in inodes.items()), "old shards are not written again"
    continued = attributes_of(open_embedding(out))["provenance"]["continued"]
    assert continued["new"] == [str(to_date(d)) for d in days[-5:]] and 8 < len(continued["changed"]) < 24
    assert continued["kept"] + len(continued["changed"]) + 5 == COUNT - 1
    changed = open_embedding(out)["time"].dt.strftime("%Y-%m-%d").values[-5 - len(continued["changed"]) : -5]
    assert list(changed) == continued["changed"]
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    embed(model, late, out, append=True)
    assert before == {p: p.stat().st_mtime_ns for p in out.rglob("*")}, "nothing came, nothing is done"

    int8 = embed(model, late, embed(model, early, tmp_path / "i.zarr", dtype="int8"), dtype="int8", append=True)
    figures = attributes_of(open_embedding(int8))["quantisation"]
    assert figures["of_vectors"] > open_embedding(int8)["valid"].sum() and 0 < figures["mean_cosine_error"] < 1e-3

    hole = write(tmp_path / "hole.zarr", until(days[-1], skip=(days[9],)))
    filled = embed(model, hole, tmp_path / "filled.zarr")
    embed(model, late, filled, append=True)  # an acquisition that was delivered late
    same_values(filled, anew)
    (*s2, valid), s1 = groups
    worse = [(*s2, valid & (np.arange(COUNT) != 20)[:, None, None]), s1]
    unusable = write(tmp_path / "worse.zarr", worse)  # a date that turned out to be haze
    embed(model, unusable, filled, append=True)
    same_values(filled, embed(model, unusable, tmp_path / "worse.out"))
    assert attributes_of(open_embedding(filled))["provenance"]["continued"]["dropped"] == [str(to_date(days[20]))]
    with pytest.raises(UsageError, match=rf"holds {to_date(days[9])}, which .*hole.zarr \(or --dates\) has not"):
        embed(model, hole, out, append=True)
    with pytest.raises(UsageError, match="cannot be continued, length 24 there, 7 now"):
        embed(model, late, out, append=True, length=7)
    with pytest.raises(DataError, match="does not exist"):
        embed(model, late, tmp_path / "none.zarr", append=True)
    same_values(out, anew)


def same_values(a, b):
    a, b = (open_embedding(p).load() for p in (a, b))
    np.testing.assert_array_equal(a["time"], b["time"])
    assert "embedding" in a.data_vars and set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        np.testing.assert_allclose(a[name].values, b[name].values, atol=1e-5, err_msg=str(name))


def test_the_seam_is_embedded_twice_and_the_difference_noted(model, cube, tmp_path):
    for block in (16, 64):  # 16: the smallest blocks there are, laid elsewhere
        store = open_embedding(embed(model, cube, tmp_path / f"{block}.zarr", block=block, check=True))
        seam = attributes_of(store)["seam"]
        assert 0 <= seam["max_difference"] < 1e-5 and seam["pixel_dates"] > 1000
        assert seam["blocks"] == ([[16, 16]] * 2 if block == 16 else [[32, 48], [16, 32]])


def test_smaller_blocks_where_memory_is_short(model, cube, tmp_path):
    large = make_plan(model, cube, block=64)
    small = make_plan(model, cube, block=64, memory_bytes=large.memory_bytes() // 2)
    assert small.block < large.block and small.memory_bytes() <= large.memory_bytes() // 2


MEASURE = """
import resource, sys, eomm
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
options = {"dtype": "float32", "memory_bytes": int(sys.argv[4])}
eomm.embed(sys.argv[1], sys.argv[2], sys.argv[2] + ".out", **options)  # what compiling takes is not counted
before = peak()
eomm.embed(sys.argv[1], sys.argv[3], sys.argv[3] + ".out", **options)
print(peak() - before)
"""


@pytest.mark.whole
def test_a_cube_larger_than_the_memory_allowed_is_embedded_within_it(tmp_path):
    rng, allowed = np.random.default_rng(0), 8 * 2**20
    save_model(make_model(names=("s2",), frames=(2, 2)), tmp_path / "model")
    for name, size in (("small", 32), ("large", 192)):
        grid = dataclasses.replace(GRID, height=size, width=size)
        write(tmp_path / name, [make_group(rng, SENTINEL2, 17000 + 5 * np.arange(40), grid=grid)])
    large = 192 * 192 * 40 * 21  # bytes of int16 values and a mask
    command = [sys.executable, "-c", MEASURE, *(tmp_path / n for n in ("model", "small", "large")), str(allowed)]
    grown = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert grown < 2 * allowed < large, f"{grown / 2**20:.0f} MiB more, the cube has {large / 2**20:.0f}"


@pytest.mark.whole
def test_devices_share_the_blocks(model, cube, whole, tmp_path):
    save_model(model, tmp_path / "model")
    script = (
        "import sys, eomm, jax; assert len(jax.local_devices()) == 3\n"
        "eomm.embed(*sys.argv[1:4], dtype='float32', block=16)"
    )
    command = [sys.executable, "-c", script, tmp_path / "model", cube.path, tmp_path / "e.zarr"]
    subprocess.run(command, cwd=ROOT, env=with_devices(3), check=True)
    same_values(tmp_path / "e.zarr", whole)


def test_a_cube_of_a_single_date_is_embedded(model, groups, tmp_path):
    parts = [(m, g, days[:1], v[:1], ok[:1]) for m, g, days, v, ok in groups]
    ds = open_embedding(embed(model, write(tmp_path / "c.zarr", parts), tmp_path / "e.zarr")).load()
    assert ds.sizes["time"] == 1 and np.isfinite(ds["embedding"].values[ds["valid"].values]).all() and ds["valid"].any()
    assert (ds["flags"].values & FLAGS["sparse"]).all()


def test_conventions_and_the_stac_item_say_where_when_and_by_which_model(model, cube, tmp_path):
    out = embed(model, cube, tmp_path / "e.zarr", dtype="int8")
    attributes = attributes_of(open_embedding(out))
    assert attributes["zarr_conventions"][0]["name"] == "geoemb:" and attributes["geoemb:type"] == "pixel"
    assert attributes["geoemb:dimensions"] == 24 and attributes["geoemb:data_type"] == "int8"
    assert model.hash in attributes["geoemb:model"] and attributes["provenance"]["unusable_acquisitions"] == 1
    item = json.loads((tmp_path / "e.zarr.stac.json").read_text())
    west, south, east, north = item["bbox"]
    assert 3.01 < west < east < 3.04 and 50.81 < south < north < 50.83  # EPSG:32631, 501600 E, 5630080 N
    assert item["properties"]["start_datetime"] == f"{to_date(cube['s2'].day[0])}T00:00:00Z"
    assert item["assets"]["embedding"]["href"] == "./e.zarr" and item["properties"]["eomm:simulated"] is True
    shutil.rmtree(out)


@pytest.mark.whole
def test_workers_make_the_same_store_also_when_one_of_them_is_killed(model, cube, whole, tmp_path):
    save_model(model, tmp_path / "model")
    script = (
        "import sys; from eomm.embedding.cluster import embed_on_workers\n"
        "if __name__ == '__main__':\n"
        "    embed_on_workers(*sys.argv[1:4], workers=2, dtype='float32', block=16)"
    )
    (tmp_path / "run.py").write_text(script)
    out = tmp_path / "e.zarr"
    command = [sys.executable, tmp_path / "run.py", tmp_path / "model", cube.path, out]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        marks = out.with_name("e.zarr.partial") / ".units"
        while process.poll() is None and not list(marks.glob("*.json")):
            time.sleep(0.05)
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        workers = [c for c in children if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]
        os.kill(int(workers[-1]), signal.SIGKILL)
    assert process.returncode == 0
    same(out, whole)
