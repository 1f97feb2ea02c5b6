"""Exports to GeoTIFF and Zarr hold what the store holds, where it lies."""

import json
import shutil
import subprocess
from datetime import date

import numpy as np
import pytest
import rasterio

from eomm.cli import main
from eomm.data.grid import to_date
from eomm.embedding.run import open_embedding
from eomm.errors import DataError, UsageError
from eomm.export.cog import quantise
from eomm.export.options import ExportOptions
from eomm.export.run import export
from tests import zoo
from tests.eomm.export.by_hand import masked
from tests.eomm.site import DAYS

GRID = zoo.GRID


def test_cogs_hold_the_store_exactly_where_it_lies(stores, tmp_path, small):
    calls = []
    some = {"dates": (to_date(DAYS[0]), to_date(DAYS[6]))}
    done = export(
        stores["clear"], tmp_path / "out", ExportOptions(to="cog", **some), progress=lambda *c: calls.append(c)
    )
    want, ds = masked(stores["clear"]), open_embedding(stores["clear"])
    assert done["frames"] == [str(to_date(d)) for d in DAYS[:7]] and len(done["files"]) == 7
    assert calls == [(i, calls[-1][1]) for i in range(1, calls[-1][1] + 1)] and len(calls) == 3 * 4
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*done["files"], "manifest.json"])
    for i, name in enumerate(done["files"]):
        assert name == f"site_one_{to_date(DAYS[i])}.tif"
        with rasterio.open(tmp_path / "out" / name) as file:
            found = np.moveaxis(file.read(), 0, -1)
            assert file.crs.to_epsg() == 32631 and file.transform == rasterio.Affine(*GRID.transform)
            assert np.isnan(file.nodata) and file.dtypes[0] == "float32"
            assert file.descriptions == tuple(f"embedding {k}" for k in range(8))
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            tags = file.tags()
            assert tags["date"] == str(to_date(DAYS[i])) and tags["site"] == "site one"
            assert tags["model"] == ds.attrs["eomm:model"] and tags["simulated"] == "true"
            row, col = file.index(float(ds.x[5]), float(ds.y[9]))
        assert (row, col) == (9, 5)
        np.testing.assert_array_equal(found, want[i])
    assert np.isnan(want).any() and np.isfinite(want).any()


@pytest.mark.parametrize(("dtype", "nodata"), [("int16", -32768), ("int8", -128)])
def test_int8_is_exported_as_it_is_stored(dtype, nodata, stores, tmp_path):
    some = {"dates": (to_date(DAYS[0]), to_date(DAYS[1])), "length": 5}
    if dtype == "int8":
        with pytest.warns(UserWarning, match=r"misread by GDAL before 3\.7"):
            done = export(stores["int8"], tmp_path / "out", ExportOptions(to="cog", dtype="int8", **some))
    else:
        done = export(stores["int8"], tmp_path / "out", ExportOptions(to="cog", **some))
    wide = export(stores["int8"], tmp_path / "wide", ExportOptions(to="cog", dtype="float32", **some))
    stored = open_embedding(stores["int8"], decode=False).load()
    assert done["dtype"] == dtype and stored["embedding"].dtype == np.int8
    assert ("warning" in done) == (dtype == "int8")
    for i, name in enumerate(done["files"]):
        there = stored["valid"].values[i].astype(bool)
        with rasterio.open(tmp_path / "out" / name) as file:
            found = np.moveaxis(file.read(), 0, -1)
            assert set(file.dtypes) == {dtype} and file.nodata == nodata
            np.testing.assert_allclose(file.scales, stored["embedding_scale"][:5])
            scaled = found * np.array(file.scales)
        want = stored["embedding"].values[i, ..., :5].astype(np.int16)
        np.testing.assert_array_equal(found, np.where(there[..., None], want, nodata))
        with rasterio.open(tmp_path / "wide" / wide["files"][i]) as file:
            vectors = np.moveaxis(file.read(), 0, -1)
        np.testing.assert_allclose(vectors[there], scaled[there], rtol=1e-6)
        assert np.isnan(vectors[~there]).all() and there.any() and not there.all()


def test_the_command_warns_of_int8_in_one_line(stores, tmp_path, capsys):
    one = ["--dates", str(to_date(DAYS[0])), str(to_date(DAYS[0]))]
    assert (
        main(["export", str(stores["int8"]), "--to", "cog", "--out", str(tmp_path / "o"), "--dtype", "int8", *one]) == 0
    )
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(said) == 1 and said[0].startswith("eomm: warning: int8 GeoTIFFs are misread by GDAL before 3.7")


def test_overviews_are_means_of_what_there_is(stores, tmp_path, monkeypatch):
    monkeypatch.setattr("eomm.export.cog.TILE", 128)
    from eomm.export.cog import to_cog

    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, 300, 300)).astype(np.float32)
    data[:, :150] = np.nan
    profile = {"driver": "GTiff", "width": 300, "height": 300, "count": 2, "dtype": "float32", "nodata": np.nan}
    with rasterio.open(tmp_path / "a.raw", "w", **profile, transform=rasterio.Affine(10, 0, 0, 0, -10, 0)) as file:
        file.write(data)
    to_cog(tmp_path / "a.raw", tmp_path / "a.tif", compress="zstd", dtype="float32")
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.overviews(1) == [2, 4] and file.block_shapes[0] == (128, 128)
        half = file.read(out_shape=(2, 150, 150))
    np.testing.assert_allclose(half[:, 75:], data[:, 150:].reshape(2, 75, 2, 150, 2).mean((2, 4)), atol=1e-5)
    assert np.isnan(half[:, :75]).all() and not (tmp_path / "a.raw").exists()


def test_dates_length_and_clouded_pixels_are_chosen(stores, tmp_path):
    first, last = to_date(DAYS[3]), to_date(DAYS[6])
    options = {"to": "cog", "dates": (first, last), "length": 3, "compress": "zstd"}
    done = export(stores["cloudy"], tmp_path / "clear", ExportOptions(**options))
    everywhere = export(stores["cloudy"], tmp_path / "all", ExportOptions(**options, cloudy=True))
    assert done["frames"] == [str(to_date(d)) for d in DAYS[3:7]] and done["length"] == 3
    for i, name in enumerate(done["files"]):
        with rasterio.open(tmp_path / "clear" / name) as a, rasterio.open(tmp_path / "all" / name) as b:
            clear, cloudy = a.read(), b.read()
        np.testing.assert_array_equal(np.moveaxis(clear, 0, -1), masked(stores["clear"])[3 + i, ..., :3])
        np.testing.assert_array_equal(np.moveaxis(cloudy, 0, -1), masked(stores["cloudy"], True)[3 + i, ..., :3])
        assert np.isnan(clear).any() and np.isfinite(cloudy).all()
    assert everywhere["files"] == done["files"]


def test_a_site_of_unknown_position_gives_files_without_a_crs(stores, tmp_path):
    done = export(stores["local"], tmp_path / "out", ExportOptions(to="cog", dates=(to_date(DAYS[0]),) * 2))
    assert done["crs"] is None and done["simulated"] is False
    with rasterio.open(tmp_path / "out" / done["files"][0]) as file:
        assert file.crs is None and file.transform.a == 10


def test_int8_numbers_come_back_exactly_and_minus_128_is_no_data():
    rng = np.random.default_rng(0)
    scale = rng.uniform(1e-3, 3, 8).astype(np.float32)
    stored = rng.integers(-127, 128, (50, 8)).astype(np.int8)
    present = rng.random(50) < 0.8
    found = quantise(stored * scale, present, scale)
    np.testing.assert_array_equal(found, np.where(present[:, None], stored, -128))
    assert found.dtype == np.int8 and (found == -128).any()


@pytest.mark.parametrize("to", ["cog", "zarr", "parquet"])
def test_a_store_that_is_replaced_meanwhile_is_not_exported(to, stores, tmp_path, small):
    copy = tmp_path / "e.zarr"
    shutil.copytree(stores["clear"], copy)

    def replace(done, _):
        if done == 1:
            shutil.rmtree(copy)
            shutil.copytree(stores["cloudy"], copy)

    composite = {"composite": "month"} if to == "zarr" else {}
    with pytest.raises(DataError, match=r"e\.zarr: was replaced or removed while it was being read"):
        export(copy, tmp_path / "out", ExportOptions(to=to, **composite), progress=replace)
    assert [p.name for p in tmp_path.iterdir()] == ["e.zarr"]


def test_bad_requests_are_refused_and_leave_nothing(stores, tmp_path):
    out, store = tmp_path / "out", stores["clear"]
    for match, options in {
        "to 'png'": {"to": "png"},
        "length is 9": {"to": "cog", "length": 9},
        "no date from 1999-01-01": {"to": "cog", "dates": (date(1999, 1, 1),) * 2},
        "can be exported to cog as float32;": {"to": "cog", "dtype": "int8"},
        "is that already": {"to": "zarr"},
        "composite 'week'": {"to": "zarr", "composite": "week"},
        "Parquet files hold float32|exported as float32": {"to": "parquet", "dtype": "int8"},
        "stride is 0": {"to": "parquet", "stride": 0},
        "compress 'jpeg'": {"to": "cog", "compress": "jpeg"},
    }.items():
        with pytest.raises(UsageError, match=match):
            export(store, out, ExportOptions(**options))
    with pytest.raises(DataError, match="does not exist"):
        export(tmp_path / "none.zarr", out, ExportOptions(to="cog"))
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    (out / "mine.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="already exists"):
            export(store, out, ExportOptions(to="cog"), overwrite=overwrite)


@pytest.mark.parametrize("to", ["cog", "parquet"])
def test_a_full_disk_is_named_and_nothing_is_left(to, stores, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    try:
        with pytest.raises(UsageError, match="disk"):
            export(stores["clear"], disk / "out", ExportOptions(to=to))
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_command_exports_again_only_over_its_own(stores, tmp_path, capsys):
    command = ["export", stores["clear"], "--to", "cog", "--out", tmp_path / "out", "--dates", to_date(DAYS[0])]
    command = [str(a) for a in (*command, to_date(DAYS[1]), "--json")]
    assert main(command) == 0
    done = json.loads(capsys.readouterr().out)
    assert len(done["files"]) == 2 and done["out"] == str(tmp_path / "out")
    assert main(command) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
