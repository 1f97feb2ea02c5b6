"""A store is made of units: in any order, by any share of processes, it is the same."""

import json
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from eomm.data.attributes import attributes_of
from eomm.embedding import run as embedding
from eomm.embedding.cluster import embed_on_workers
from eomm.embedding.plan import make_plan, within_memory
from eomm.embedding.store import FLAGS, open_embedding
from eomm.embedding.units import by_block, list_units, share, status
from eomm.errors import DataError, UsageError
from eomm.models.directory import save_model
from eomm.store.workers import Pool
from tests.eomm.embedding.site import (
    COUNT,
    GRID,
    same,
    write,
)

ROOT = Path(__file__).parents[4]
embed = partial(embedding.embed, dtype="float32", block=16)


def test_units_cover_everything_once_and_shards_split_them():
    units = list_units(COUNT, (GRID.height, GRID.width), (16, 32))
    seen = np.zeros((COUNT, 32, 64), int)
    for u in units:
        seen[u.dates, u.y, u.x] += 1
    assert (seen == 1).all() and [u.number for u in units] == list(range(len(units)))
    parts = [share(units, i, 5) for i in range(5)]
    assert [u for p in parts for u in p] == units and len(list(by_block(units))) == 4
    assert [share(units, i, 50) for i in range(50)].count([]) == 38


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


def test_workers_share_the_part_that_is_asked_for(model, cube, whole, tmp_path):
    out = tmp_path / "e.zarr"
    save_model(model, tmp_path / "model")
    for i in (1, 0):
        embed_on_workers(tmp_path / "model", cube.path, out, pool=Pool(), shard=(i, 2), dtype="float32", block=16)
        if i:
            assert status(out)["done"] == status(out)["units"] // 2
    same(out, whole)
    with pytest.raises(UsageError, match="shard 2 of 2"):
        embed_on_workers(tmp_path / "model", cube.path, tmp_path / "o", pool=Pool(), shard=(2, 2))


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_embedded_at_once_on_a_cpu_are_those_embedded_one_by_one(model, cube, whole, tmp_path, threads):
    seen = set()
    calls = []

    def progress(done, total):
        seen.add(threading.get_ident())
        calls.append((done, total))

    embed(model, cube, tmp_path / "e.zarr", threads=threads, progress=progress)
    same(tmp_path / "e.zarr", whole)
    assert len(seen) == threads and calls == [(i + 1, 18) for i in range(18)]


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


@pytest.mark.whole
def test_the_seam_is_embedded_twice_and_the_difference_noted(model, cube, tmp_path):
    for block in (16, 64):  # 16: the smallest blocks there are, laid elsewhere
        store = open_embedding(embed(model, cube, tmp_path / f"{block}.zarr", block=block, check=True))
        seam = attributes_of(store)["seam"]
        assert 0 <= seam["max_difference"] < 1e-5 and seam["pixel_dates"] > 1000
        assert seam["blocks"] == ([[16, 16]] * 2 if block == 16 else [[32, 48], [16, 32]])


def test_smaller_blocks_where_memory_is_short(model, cube, tmp_path):
    large = make_plan(model, cube, block=64)
    small = within_memory(large, large.memory_bytes() // 2)
    assert small.block < large.block and small.memory_bytes() <= large.memory_bytes() // 2


def test_a_cube_of_a_single_date_is_embedded(model, groups, tmp_path):
    parts = [(m, g, days[:1], v[:1], ok[:1]) for m, g, days, v, ok in groups]
    ds = open_embedding(embed(model, write(tmp_path / "c.zarr", parts), tmp_path / "e.zarr")).load()
    assert ds.sizes["time"] == 1 and np.isfinite(ds["embedding"].values[ds["valid"].values]).all() and ds["valid"].any()
    assert (ds["flags"].values & FLAGS["sparse"]).all()
