"""Requests of which no store is made."""

import dataclasses
import json
import subprocess
from datetime import date
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.data.cube import open_cube
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL1, SENTINEL1_SIGMA0
from eomm.embedding import run as embedding
from eomm.embedding.run import open_embedding
from eomm.errors import ContractError, DataError, UsageError
from tests.eomm.embedding.site import (
    GRID,
    write,
)

embed = partial(embedding.embed, dtype="float32")


def refuse(error, match, tmp_path, *args, **kwargs):
    out = tmp_path / "refused.zarr"
    with pytest.raises(error, match=match):
        embed(*args, out, **kwargs)
    assert not out.exists() and not out.with_name(out.name + ".partial").exists()


def test_bad_requests_are_refused_and_leave_nothing(model, groups, cube, tmp_path):
    s2, s1 = groups["s2"], groups["s1"]
    sigma0 = write(tmp_path / "sigma0.zarr", [s2, (SENTINEL1_SIGMA0, *s1[1:])])
    remedy = "calibration: found 'sigma0', expected 'rtc_gamma0'.*eomm train --config radar"
    refuse(ContractError, f"sigma0.zarr and model {model.hash}.*{remedy}", tmp_path, model, sigma0)
    refuse(DataError, "has no modality 's1'", tmp_path, model, write(tmp_path / "s2.zarr", [s2]))
    coarse = Grid(crs=GRID.crs, transform=(400.0, 0, 501600.0, 0, -400.0, 5630080.0), height=2, width=1)
    two = (SENTINEL1, coarse, s1[2], s1[3][:, :2, :1], np.ones((len(s1[2]), 2, 1), bool))
    refuse(ContractError, "s1 lies on another grid than s2", tmp_path, model, write(tmp_path / "grid.zarr", [s2, two]))
    refuse(UsageError, "no usable s2 acquisition there", tmp_path, model, cube, dates=(date(1999, 1, 1),) * 2)
    refuse(UsageError, "modalities", tmp_path, model, cube, modalities=["lidar"])
    refuse(UsageError, "vectors have 24", tmp_path, model, cube, length=25)
    refuse(UsageError, "no scales for int8.*calibrate", tmp_path, model, cube, dtype="int8")
    refuse(UsageError, "dtype 'int4'", tmp_path, model, cube, dtype="int4")
    refuse(UsageError, "shard 2 of 2", tmp_path, model, cube, shard=(2, 2))
    refuse(UsageError, "memory: the smallest blocks", tmp_path, model, cube, memory_bytes=1000)
    refuse(UsageError, "block is 0", tmp_path, model, cube, block=0)
    refuse(UsageError, "no fusion head", tmp_path, dataclasses.replace(model, fusion=None), cube)
    for change in (lambda a: [a[1], a[0], *a[2:]], lambda a: [a[0], a[0], *a[2:]]):  # out of order, twice
        wrong = dataclasses.replace(cube, groups={**cube.groups, "s2": open_cube(cube.path)["s2"]})
        wrong["s2"].acquisitions = change(wrong["s2"].acquisitions)
        refuse(DataError, "s2 are not distinct and in order of time", tmp_path, model, wrong)
    unusable = dataclasses.replace(cube, groups={**cube.groups, "s2": open_cube(cube.path)["s2"]})
    unusable["s2"].usable[:] = False
    refuse(DataError, "no usable s2 acquisition, so no date", tmp_path, model, unusable)
    bad = jax.tree.map(lambda x: x * jnp.nan, model.params["fusion"])
    refuse(DataError, "not finite", tmp_path, dataclasses.replace(model, params={**model.params, "fusion": bad}), cube)


def test_a_full_disk_is_named_and_nothing_is_left(model, cube, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    try:
        with pytest.raises(UsageError, match=r"disk/e.zarr.*: the disk is full"):
            embed(model, cube, disk / "e.zarr", block=16)
        assert [p.name for p in disk.iterdir()] in ([], ["e.zarr.partial"])  # what is finished stays
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_existing_output_is_kept_unless_overwritten(model, cube, tmp_path):
    out = tmp_path / "e.zarr"
    out.mkdir()
    (out / "precious").write_text("x")
    with pytest.raises(UsageError, match="already exists"):
        embed(model, cube, out)
    with pytest.raises(UsageError, match="was not made by eomm"):
        embed(model, cube, out, overwrite=True)
    with pytest.raises(UsageError, match="is the cube itself"):
        embed(model, cube, cube.path, overwrite=True)
    assert (out / "precious").read_text() == "x"
    (out / "precious").unlink()
    embed(model, cube, out, overwrite=True)  # an empty folder
    embed(model, cube, out, overwrite=True)
    assert open_embedding(out).sizes["x"] == GRID.width


def test_unfinished_stores_are_refused(model, cube, groups, tmp_path):
    store = write(tmp_path / "c.zarr", groups.values())
    for path, use in ((store.path, lambda p: embed(model, p, tmp_path / "f.zarr")), (tmp_path / "e.zarr", None)):
        use = use or (lambda p: open_embedding(embed(model, cube, p)) if not p.exists() else open_embedding(p))
        if not path.exists():
            use(path)
        root = json.loads((path / "zarr.json").read_text())
        root["attributes"]["eomm:complete"] = False
        (path / "zarr.json").write_text(json.dumps(root))
        with pytest.raises(DataError, match="never finished"):
            use(path)
