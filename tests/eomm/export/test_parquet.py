"""Tables of vectors: at points, over polygons, of every nth pixel."""

import json
import shutil

import geopandas
import numpy as np
import pyarrow.parquet
import pyproj
import pytest
import rasterio
from shapely.geometry import Polygon

from eomm.data.grid import to_date
from eomm.embedding.run import open_embedding
from eomm.errors import DataError, UsageError
from eomm.export.options import ExportOptions
from eomm.export.run import export
from tests import zoo
from tests.eomm.export.by_hand import masked, means_by_hand
from tests.eomm.site import DAYS, SIZE

GRID = zoo.GRID


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
    done = export(stores["clear"], tmp_path / "p.parquet", ExportOptions(to="parquet", points=tmp_path / "p.csv"))
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
    done = export(stores["clear"], tmp_path / "f.parquet", ExportOptions(to="parquet", polygons=file))
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
    done = export(
        stores[store], tmp_path / "p.parquet", ExportOptions(to="parquet", stride=5, composite="season", length=2)
    )
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
        export(stores["clear"], tmp_path / "o.parquet", ExportOptions(to="parquet", **{kind: file}))
    assert list(tmp_path.iterdir()) == [file]


def test_features_that_cannot_be_served_are_refused(stores, tmp_path, monkeypatch):
    far = geojson(tmp_path / "far.geojson", {"x": {"type": "Point", "coordinates": [-177.0, 1.0, 20.0]}})
    out = tmp_path / "o.parquet"
    with pytest.raises(UsageError, match="none of 1 features has a pixel"):
        export(stores["clear"], out, ExportOptions(to="parquet", points=far))
    with pytest.raises(UsageError, match="its CRS is LOCAL"):
        export(stores["local"], out, ExportOptions(to="parquet", points=far))
    with pytest.raises(DataError, match="geometry is 'Point'; expected Polygon or MultiPolygon"):
        export(stores["clear"], out, ExportOptions(to="parquet", polygons=far))
    with pytest.raises(DataError, match=r"missing\.geojson: cannot be read"):
        export(stores["clear"], out, ExportOptions(to="parquet", points=tmp_path / "missing.geojson"))
    for limit, match in {"MAX_BYTES": "MiB; at most", "MAX_FEATURES": "more than 0 features"}.items():
        with monkeypatch.context() as patch, pytest.raises(DataError, match=match):
            patch.setattr(f"eomm.export.features.{limit}", 0)
            export(stores["clear"], out, ExportOptions(to="parquet", points=far))
    with pytest.raises(UsageError, match="choose one"):
        export(stores["clear"], out, ExportOptions(to="parquet", points=far, stride=2))
    with pytest.raises(UsageError, match="are for parquet"):
        export(stores["clear"], out, ExportOptions(to="cog", points=far))
    assert list(tmp_path.iterdir()) == [far]
    out.write_text("mine")
    for overwrite, match in ((False, "already exists; choose"), (True, "is no Parquet file")):
        with pytest.raises(UsageError, match=match):
            export(stores["clear"], out, ExportOptions(to="parquet", stride=9), overwrite=overwrite)


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
        export(copy, tmp_path / f"{i}.parquet", ExportOptions(to="parquet", polygons=tmp_path / "f.geojson", length=2))
        export(copy, tmp_path / f"{i}.pixels", ExportOptions(to="parquet", stride=9, length=2))
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
