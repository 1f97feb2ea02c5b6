import json
import shutil
import subprocess
from datetime import date

import geopandas
import numpy as np
import pyarrow.parquet
import pyproj
import pytest
import rasterio
import xarray as xr
from shapely.geometry import Polygon

from eomm.cli import main
from eomm.cli.info import describe
from eomm.data.attributes import attributes_of
from eomm.data.grid import to_date
from eomm.embedding.run import open_embedding
from eomm.errors import DataError, UsageError
from eomm.export import frames as export_frames
from eomm.export.cog import quantise
from eomm.export.frames import period_of
from eomm.export.run import export
from tests import zoo
from tests.eomm.site import DAYS, SIZE

GRID = zoo.GRID


@pytest.fixture(scope="module")
def stores():
    """Embeddings of a clouded site with and without vectors of clouded pixels, and of one without a position."""
    return {name: zoo.store(name) for name in ("clear", "cloudy", "int8", "local")}


@pytest.fixture
def small(monkeypatch):
    """Many blocks and groups of frames also on a small site."""
    monkeypatch.setattr("eomm.embedding.blocks.TILE", 16)
    monkeypatch.setattr(export_frames, "TOGETHER", 3)


def masked(store, cloudy=False):
    """Vectors of a store [time, y, x, d], NaN where there is none."""
    return open_embedding(store, masked=not cloudy)["embedding"].values


def test_cogs_hold_the_store_exactly_where_it_lies(stores, tmp_path, small):
    calls = []
    some = {"dates": (to_date(DAYS[0]), to_date(DAYS[6]))}
    done = export(stores["clear"], tmp_path / "out", to="cog", **some, progress=lambda *c: calls.append(c))
    want, ds = masked(stores["clear"]), open_embedding(stores["clear"])
    assert done["frames"] == [str(to_date(d)) for d in DAYS[:7]] and len(done["files"]) == 7
    assert calls == [(i, calls[-1][1]) for i in range(1, calls[-1][1] + 1)] and len(calls) == 7 + 3 * 4
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
            done = export(stores["int8"], tmp_path / "out", to="cog", dtype="int8", **some)
    else:
        done = export(stores["int8"], tmp_path / "out", to="cog", **some)
    wide = export(stores["int8"], tmp_path / "wide", to="cog", dtype="float32", **some)
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


def test_int16_means_are_finer_than_the_store(stores, tmp_path):
    done = export(stores["int8"], tmp_path / "out", to="cog", composite="season")
    assert done["dtype"] == "int16"
    for name, (_, mean, _) in zip(done["files"][::2], means_by_hand(masked(stores["int8"]), "season"), strict=True):
        with rasterio.open(tmp_path / "out" / name) as file:
            assert set(file.dtypes) == {"int16"} and file.nodata == -32768
            raw = np.moveaxis(file.read().astype(float), 0, -1)
            found = np.where(raw == file.nodata, np.nan, raw * np.array(file.scales))
        np.testing.assert_array_equal(np.isnan(found), np.isnan(mean))
        assert np.nanmax(np.abs(found - mean) / (np.array(file.scales) * 256)) <= 0.51 / 256


def test_the_command_warns_of_int8_in_one_line(stores, tmp_path, capsys):
    one = ["--dates", str(to_date(DAYS[0])), str(to_date(DAYS[0]))]
    assert (
        main(["export", str(stores["int8"]), "--to", "cog", "--out", str(tmp_path / "o"), "--dtype", "int8", *one]) == 0
    )
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(said) == 1 and said[0].startswith("eomm: warning: int8 GeoTIFFs are misread by GDAL before 3.7")


def test_a_composite_of_int8_is_int8_with_the_same_scales(stores, tmp_path):
    export(stores["int8"], tmp_path / "c.zarr", to="zarr", composite="season")
    ds, scale = open_embedding(tmp_path / "c.zarr").load(), np.linspace(0.02, 0.05, 8)
    stored = open_embedding(tmp_path / "c.zarr", decode=False)
    assert stored["embedding"].dtype == np.int8
    np.testing.assert_array_equal(stored["embedding"] == -128, np.repeat(~ds["valid"].values[..., None], 8, axis=-1))
    for i, (_, mean, count) in enumerate(means_by_hand(masked(stores["int8"]), "season")):
        error = np.abs(ds["embedding"].values[i] - np.where(count[..., None] > 0, mean, np.nan))
        assert (error <= 0.501 * scale)[count > 0].all() and np.isnan(error[count == 0]).all()
    again = export(tmp_path / "c.zarr", tmp_path / "y.zarr", to="zarr", composite="year")
    assert again["frames"] == ["2018"] and again["dtype"] == "int8", "a composite is an embedding cube"


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
    done = export(stores["cloudy"], tmp_path / "clear", **options)
    everywhere = export(stores["cloudy"], tmp_path / "all", **options, cloudy=True)
    assert done["frames"] == [str(to_date(d)) for d in DAYS[3:7]] and done["length"] == 3
    for i, name in enumerate(done["files"]):
        with rasterio.open(tmp_path / "clear" / name) as a, rasterio.open(tmp_path / "all" / name) as b:
            clear, cloudy = a.read(), b.read()
        np.testing.assert_array_equal(np.moveaxis(clear, 0, -1), masked(stores["clear"])[3 + i, ..., :3])
        np.testing.assert_array_equal(np.moveaxis(cloudy, 0, -1), masked(stores["cloudy"], True)[3 + i, ..., :3])
        assert np.isnan(clear).any() and np.isfinite(cloudy).all()
    assert everywhere["files"] == done["files"]


def test_a_site_of_unknown_position_gives_files_without_a_crs(stores, tmp_path):
    done = export(stores["local"], tmp_path / "out", to="cog", dates=(to_date(DAYS[0]),) * 2)
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


def test_periods_end_where_the_next_begins():
    assert period_of(date(2020, 2, 29), "month") == ("2020-02", 18293, 18321)
    assert period_of(date(2019, 12, 31), "season") == ("2020-DJF", 18231, 18321)
    assert period_of(date(2020, 1, 1), "season") == period_of(date(2020, 2, 29), "season")[:3]
    assert period_of(date(2020, 11, 30), "season") == ("2020-SON", 18506, 18596)
    assert period_of(date(2020, 12, 1), "year") == ("2020", 18262, 18627)
    assert period_of(date(2020, 12, 1), "month") == ("2020-12", 18597, 18627)


def means_by_hand(vectors, composite):
    """By period: name, mean over its dates where there is a vector, and over how many."""
    names = [period_of(to_date(d), composite)[0] for d in DAYS]
    for name in dict.fromkeys(names):
        own = vectors[[n == name for n in names]]
        count = np.isfinite(own[..., 0]).sum(0)
        yield name, np.where(count[..., None] > 0, np.nansum(own, 0) / np.maximum(count, 1)[..., None], np.nan), count


@pytest.mark.parametrize("composite", ["month", "season", "year"])
def test_a_composite_is_the_mean_over_the_dates_that_have_a_vector(composite, stores, tmp_path, small):
    out = tmp_path / "c.zarr"
    done = export(stores["clear"], out, to="zarr", composite=composite)
    ds, want = open_embedding(out).load(), list(means_by_hand(masked(stores["clear"]), composite))
    assert done["frames"] == [name for name, *_ in want] and ds.sizes["time"] == len(want)
    np.testing.assert_array_equal(ds["dates"], [count for *_, count in want])
    np.testing.assert_array_equal(ds["valid"], [count > 0 for *_, count in want])
    np.testing.assert_allclose(ds["embedding"].where(ds["valid"]), [mean for _, mean, _ in want], atol=1e-6)
    assert np.isnan(ds["embedding"].values[~ds["valid"].values]).all()
    assert attributes_of(ds)["eomm:export"]["composite"] == composite
    first, after = (np.asarray(ds["time_bounds"][:, i]).astype("datetime64[D]") for i in (0, 1))
    np.testing.assert_array_equal(ds["time"].values.astype("datetime64[D]"), first)
    days = np.array(DAYS, "datetime64[D]")
    assert sum(((days >= a) & (days < b)).sum() for a, b in zip(first, after, strict=True)) == len(DAYS)
    info = describe(out)
    assert info["complete"] and info["simulated"] and info["arrays"]["dates"].startswith("uint16")
    with xr.open_zarr(out) as plain:  # consolidated metadata are there: no warning
        assert "32631" in plain["spatial_ref"].attrs["crs_wkt"]


def test_a_composite_counts_few_dates_and_none(stores, tmp_path):
    done = export(stores["clear"], tmp_path / "m", to="cog", composite="month", dates=(to_date(DAYS[0]),) * 2)
    assert done["files"] == ["site_one_2018-03.tif", "site_one_2018-03_dates.tif"]
    with rasterio.open(tmp_path / "m" / done["files"][0]) as a, rasterio.open(tmp_path / "m" / done["files"][1]) as b:
        mean, count = np.moveaxis(a.read(), 0, -1), b.read(1)
        assert b.descriptions == ("dates",) and b.dtypes == ("uint16",) and b.nodata == 0
        assert a.tags()["date"] == "2018-03-01" and a.tags()["last_date"] == "2018-03-31"
    np.testing.assert_array_equal(mean, masked(stores["clear"])[0])
    np.testing.assert_array_equal(count, np.isfinite(mean[..., 0]))
    assert (count == 0).any() and (count == 1).any()


def lonlat(col, row, grid=GRID):
    """Position of fractional pixel coordinates."""
    x, y = rasterio.Affine(*grid.transform) @ (col, row)
    return pyproj.Transformer.from_crs(grid.crs, "OGC:CRS84", always_xy=True).transform(x, y)


def geojson(path, geometries, **more):
    features = [{"type": "Feature", "id": i, "properties": None, "geometry": g} for i, g in geometries.items()]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features, **more}))
    return path


def ring(corners):
    return {"type": "Polygon", "coordinates": [[list(lonlat(*c)) for c in (*corners, corners[0])]]}


def test_points_have_the_row_of_their_pixel_at_every_date(stores, tmp_path, small):
    places = {"a": (3.5, 4.5), "edge": (15.99, 16.01), "far": (500, 3), "last": (23.9, 23.9)}
    table = "\n".join(["id,lat,lon,note", *(f"{k},{lonlat(*v)[1]},{lonlat(*v)[0]},x" for k, v in places.items())])
    (tmp_path / "p.csv").write_text(table)
    done = export(stores["clear"], tmp_path / "p.parquet", to="parquet", points=tmp_path / "p.csv")
    assert done["outside"] == ["far"] and done["rows"] == 3 * len(DAYS)
    found, ds = geopandas.read_parquet(tmp_path / "p.parquet"), open_embedding(stores["clear"]).load()
    assert found.crs == "OGC:CRS84" and len(found) == done["rows"]
    vectors = [f"e{i:02}" for i in range(8)]
    for name, (col, row) in places.items():
        if name == "far":
            continue
        own, at = found[found.id == name].reset_index(), ds.isel(y=int(row), x=int(col))
        assert own.date.dtype.kind == "M" and own.frame.tolist() == [str(to_date(d)) for d in DAYS]
        np.testing.assert_array_equal(own.date, np.array(DAYS, "datetime64[D]"))
        assert own.note.tolist() == ["x"] * len(DAYS)
        assert (own.pixels == at.valid.values).all() and (own.pixels_total == 1).all()
        there = at.valid.values.astype(bool)
        np.testing.assert_allclose(own[vectors].values[there], at.embedding.values[there], atol=1e-6)
        assert own[vectors][~there].isna().values.all() and there.any() and not there.all()
        np.testing.assert_array_equal(own.s1_offset_days[there], at.s1_offset_days.values[there])
        np.testing.assert_array_equal(own.observations_s2[there], at.observations_s2.values[there])
        np.testing.assert_allclose([own.geometry[0].x, own.geometry[0].y], lonlat(col, row))
    about = json.loads(pyarrow.parquet.read_schema(tmp_path / "p.parquet").metadata[b"eomm"])
    assert about["site"] == "site one" and about["simulated"] is True and about["model"] == ds.attrs["eomm:model"]


def test_polygons_have_the_mean_over_the_valid_pixels_whose_centre_they_hold(stores, tmp_path, small):
    shapes = {"field": [(10.2, 3), (20, 9.3), (12, 19.8)], "over": [(-5, 20), (3, 20), (3, 40), (-5, 40)]}
    shapes["between"] = [(2.1, 2.1), (2.4, 2.1), (2.4, 2.4)]  # no centre
    file = geojson(tmp_path / "f.geojson", {name: ring(corners) for name, corners in shapes.items()})
    done = export(stores["clear"], tmp_path / "f.parquet", to="parquet", polygons=file)
    assert done["outside"] == ["between"]
    found, ds = geopandas.read_parquet(tmp_path / "f.parquet"), open_embedding(stores["clear"]).load()
    centres = geopandas.points_from_xy(*(v.ravel() + 0.5 for v in np.meshgrid(range(SIZE), range(SIZE))))
    for name in ("field", "over"):
        inside = centres.within(Polygon(shapes[name])).reshape(SIZE, SIZE)
        own = found[found.id == name]
        present = ds.valid.values.astype(bool) & inside
        assert (own.pixels_total == inside.sum()).all() and inside.sum() > 9
        np.testing.assert_array_equal(own.pixels, present.sum((1, 2)))
        means = [ds.embedding.values[i][present[i]].mean(0) for i in range(len(DAYS))]
        np.testing.assert_allclose(own[[f"e{i:02}" for i in range(8)]].values, means, atol=1e-5)
        offsets = [np.nanmean(ds.s1_offset_days.values[i][present[i]]) for i in range(len(DAYS))]
        np.testing.assert_allclose(own.s1_offset_days, offsets, atol=1e-5)
    assert found.geometry.geom_type.unique().tolist() == ["Polygon"]


@pytest.mark.parametrize("store", ["clear", "local"])
def test_pixels_of_every_nth_row_and_column_have_rows_where_there_is_a_vector(store, stores, tmp_path, small):
    done = export(stores[store], tmp_path / "p.parquet", to="parquet", stride=5, composite="season", length=2)
    want = list(means_by_hand(masked(stores[store]), "season"))
    found = geopandas.read_parquet(tmp_path / "p.parquet")
    assert done["rows"] == len(found) == sum((count[::5, ::5] > 0).sum() for *_, count in want)
    assert list(found.columns) == ["row", "col", "frame", "date", "e00", "e01", "dates", "geometry"]
    by_name = {name: (mean, count) for name, mean, count in want}
    for row in found.sample(20, random_state=0).itertuples():
        mean, count = by_name[row.frame]
        np.testing.assert_allclose([row.e00, row.e01], mean[row.row, row.col, :2], atol=1e-6)
        assert row.dates == count[row.row, row.col] and row.row % 5 == row.col % 5 == 0
        a, _, c, _, e, f = open_embedding(stores[store]).attrs["proj:transform"]
        assert (row.geometry.x, row.geometry.y) == (c + a * (row.col + 0.5), f + e * (row.row + 0.5))
    assert (found.crs is None) if store == "local" else (found.crs.to_epsg() == 32631)


SQUARE = [[3.0, 50.0], [3.1, 50.0], [3.1, 50.1], [3.0, 50.0]]
BAD_FEATURES = {
    "p.csv: line 3.*expected degrees as numbers": "lon,lat,id\n3,50,a\nx,50,b",
    "p.csv: line 2.*not on Earth.*metres": "lon,lat,id\n501600,5630080,a",
    "p.csv: line 2.*not on Earth": "lon,lat,id\nnan,50,a",
    "p.csv: its first line names x, y; expected lon": "x,y\n1,2",
    "p.csv: line 2: 2 values; the first line names 3": "lon,lat,id\n3,50",
    "p.csv: two features have the id 'a'": "lon,lat,id\n3,50,a\n3,51,a",
    "p.csv: no feature": "lon,lat,id",
    "p.csv: cannot be read": b"\xff\xfe\x00lon",
    "g.json: not valid JSON.*expected GeoJSON": "{",
    "g.json: not valid JSON \\(NaN": '{"type": "Point", "coordinates": [NaN, 1]}',
    "g.json: not valid JSON \\(maximum recursion": "[" * 100_000,
    "g.json: holds a list": "[]",
    "g.json: its features are a dict": {"type": "FeatureCollection", "features": {}},
    "g.json: its crs is 'EPSG:3857'": {"crs": {"properties": {"name": "EPSG:3857"}}, "type": "Point"},
    "g.json: feature 0 .*geometry is 'LineString'; expected Poly": {"type": "LineString", "coordinates": SQUARE},
    "g.json: feature 0 .*geometry is 'None'": {"type": "Feature", "geometry": None},
    "g.json: feature 0 .*at least four": {"type": "Polygon", "coordinates": [SQUARE[:3]]},
    "g.json: feature 0 .*rings are closed": {"type": "Polygon", "coordinates": [[*SQUARE[:3], [3.0, 50.2]]]},
    "g.json: feature 0 .*is not a position": {"type": "Polygon", "coordinates": [[["3", 50], *SQUARE[1:]]]},
    "g.json: feature 0 .*not on Earth": '{"type": "Polygon", "coordinates": [[[1e400, 5], [3, 5], [3, 6], [1e9, 5]]]}',
    "g.json: feature 0 .*has no coordinates": {"type": "MultiPolygon", "coordinates": {}},
    "g.json: feature 0 .*no ring": {"type": "MultiPolygon", "coordinates": [[]]},
    "g.json: feature 0 .*Self-intersection": {
        "type": "Polygon",
        "coordinates": [[[3, 50], [3.1, 50.1], [3.1, 50], [3, 50.1], [3, 50]]],
    },
}


@pytest.mark.parametrize("match", BAD_FEATURES)
def test_a_wrong_feature_is_named(match, stores, tmp_path):
    content = BAD_FEATURES[match]
    content = json.dumps(content) if isinstance(content, dict) else content
    file = tmp_path / match[: match.index(":")]
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    kind = "points" if "csv" in file.name else "polygons"
    with pytest.raises(DataError, match=match):
        export(stores["clear"], tmp_path / "o.parquet", to="parquet", **{kind: file})
    assert list(tmp_path.iterdir()) == [file]


def test_features_that_cannot_be_served_are_refused(stores, tmp_path, monkeypatch):
    far = geojson(tmp_path / "far.geojson", {"x": {"type": "Point", "coordinates": [-177.0, 1.0, 20.0]}})
    out = tmp_path / "o.parquet"
    with pytest.raises(UsageError, match="none of 1 features has a pixel"):
        export(stores["clear"], out, to="parquet", points=far)
    with pytest.raises(UsageError, match="its CRS is LOCAL"):
        export(stores["local"], out, to="parquet", points=far)
    with pytest.raises(DataError, match="geometry is 'Point'; expected Polygon or MultiPolygon"):
        export(stores["clear"], out, to="parquet", polygons=far)
    with pytest.raises(DataError, match=r"missing\.geojson: cannot be read"):
        export(stores["clear"], out, to="parquet", points=tmp_path / "missing.geojson")
    for limit, match in {"MAX_BYTES": "MiB; at most", "MAX_FEATURES": "more than 0 features"}.items():
        with monkeypatch.context() as patch, pytest.raises(DataError, match=match):
            patch.setattr(f"eomm.export.features.{limit}", 0)
            export(stores["clear"], out, to="parquet", points=far)
    with pytest.raises(UsageError, match="choose one"):
        export(stores["clear"], out, to="parquet", points=far, stride=2)
    with pytest.raises(UsageError, match="are for parquet"):
        export(stores["clear"], out, to="cog", points=far)
    assert list(tmp_path.iterdir()) == [far]
    out.write_text("mine")
    for overwrite, match in ((False, "already exists; choose"), (True, "is no Parquet file")):
        with pytest.raises(UsageError, match=match):
            export(stores["clear"], out, to="parquet", stride=9, overwrite=overwrite)


def test_columns_have_one_order_and_properties_their_names_and_types(stores, tmp_path):
    said = [
        {
            "crop": "maize",
            "date": "2018-05-01",
            "id": "a",
            "area_ha": 2,
            "organic": True,
            "plan": {"b": [1]},
            "mixed": 1,
        },
        {"crop": None, "date": "2018-05-02", "id": "b", "area_ha": 2.5, "organic": False, "mixed": "x", "new": 7},
    ]
    rings = [ring([(2, 2), (9, 2), (9, 9)]), ring([(10, 2), (20, 2), (20, 9)])]
    features = [{"type": "Feature", "properties": p, "geometry": g} for p, g in zip(said, rings, strict=True)]
    (tmp_path / "f.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    orders = []
    for i in range(2):
        copy = tmp_path / f"{i}.zarr"
        shutil.copytree(stores["clear"], copy)
        export(copy, tmp_path / f"{i}.parquet", to="parquet", polygons=tmp_path / "f.geojson", length=2)
        export(copy, tmp_path / f"{i}.pixels", to="parquet", stride=9, length=2)
        orders.append([pyarrow.parquet.read_schema(tmp_path / f"{i}.{kind}").names for kind in ("parquet", "pixels")])
    layers = ["observations_s1", "observations_s2", "s1_offset_days"]
    own = ["crop", "property_date", "area_ha", "organic", "plan", "mixed", "new"]
    pixels = ["frame", "date", "pixels", "pixels_total", "e00", "e01"]
    assert orders[0][0] == ["id", *own, *pixels, *layers, "geometry"]
    assert orders[0][1] == ["row", "col", "frame", "date", "e00", "e01", "flags", *layers, "geometry"]
    assert orders[0] == orders[1]
    found = geopandas.read_parquet(tmp_path / "0.parquet")
    assert found.date.dtype.kind == "M" and found.area_ha.dtype == float and found.organic.dtype == bool
    first, second = (found[found.id == i].iloc[0] for i in ("a", "b"))
    assert (first.crop, first.property_date, first.area_ha, bool(first.organic)) == ("maize", "2018-05-01", 2.0, True)
    assert json.loads(first.plan) == {"b": [1]} and (first.mixed, second.mixed) == ("1", "x") and second.new == 7
    assert (np.isnan(first.new) and second.crop is None) or np.isnan(second.crop)


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
        export(copy, tmp_path / "out", to=to, progress=replace, **composite)
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
            export(store, out, **options)
    with pytest.raises(DataError, match="does not exist"):
        export(tmp_path / "none.zarr", out, to="cog")
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    (out / "mine.txt").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="already exists"):
            export(store, out, to="cog", overwrite=overwrite)


@pytest.mark.parametrize("to", ["cog", "parquet"])
def test_a_full_disk_is_named_and_nothing_is_left(to, stores, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here (needs root)")
    try:
        with pytest.raises(UsageError, match="disk"):
            export(stores["clear"], disk / "out", to=to)
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
