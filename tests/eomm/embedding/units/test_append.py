"""A store continued by dates that came after equals one embedded anew."""

import shutil
from functools import partial

import numpy as np
import pytest

from eomm.data.attributes import attributes_of
from eomm.data.grid import to_date
from eomm.embedding import run as embedding
from eomm.embedding.append import open_base
from eomm.embedding.plan import make_plan
from eomm.embedding.store import open_embedding
from eomm.embedding.units import list_units
from eomm.errors import DataError, UsageError
from tests.eomm.embedding.site import COUNT, GRID, same_values, write

embed = partial(embedding.embed, dtype="float32", block=16)


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


@pytest.mark.whole
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
