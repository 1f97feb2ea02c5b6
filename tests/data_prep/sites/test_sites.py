import json

import pytest

from data_prep.sites.table import read_sites, sample_sites
from eomm.errors import DataError, UsageError

HEAD = "name,lon,lat,size_m,split,land_cover\n"


def csv_file(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def geojson(path, *features, **more):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(features), **more}))
    return path


def test_a_csv_list_keeps_every_column(tmp_path):
    text = HEAD + "a,3.02,50.82,900,train,crop\n\nb-1,-70.5,-33,,,forest\n"
    a, b = read_sites(csv_file(tmp_path / "s.csv", "\ufeff" + text))
    assert (a.name, a.lon, a.lat, a.size_m, a.split, a.columns) == (
        "a",
        3.02,
        50.82,
        900,
        "train",
        {"land_cover": "crop"},
    )
    assert (b.name, b.lat, b.size_m, b.split, b.value("land_cover")) == ("b-1", -33, None, None, "forest")
    with pytest.raises(UsageError, match=r"site b-1: has no 'soil'; its further columns are land_cover"):
        b.value("soil")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,3,50,,,x\nA,4,51,,,x", r"line 3: name 'A' is there already, as 'a'"),
        ("a/b,3,50,,,x", r"line 2: name is 'a/b'"),
        ("..,3,50,,,x", r"line 2: name is '\.\.'"),
        ("a,3,east,,,x", r"line 2: lat is 'east', expected a number"),
        ("a,3,nan,,,x", r"line 2: lat is nan"),
        ("a,501360,5629680,,,x", r"line 2: lies at longitude 501360"),
        ("a,3,50,-5,,x", r"line 2: size_m is -5"),
        ("a,3,50,,tset,x", r"line 2: split is 'tset', expected one of train"),
        ("a,3,50", r"line 2: expected 6 values"),
        ("a,3,50,,,x,y", r"line 2: expected 6 values"),
        ("", "holds no site"),
    ],
)
def test_a_bad_line_is_named(tmp_path, row, message):
    with pytest.raises(DataError, match=rf"s\.csv: {message}"):
        read_sites(csv_file(tmp_path / "s.csv", HEAD + row))


def test_a_list_that_is_none_is_refused(tmp_path):
    with pytest.raises(
        DataError,
        match=r"line 1: no column lat; found site, lon, expected name, lon, lat \(or",
    ):
        read_sites(csv_file(tmp_path / "s.csv", "site,lon\na,3\n"))
    with pytest.raises(DataError, match="does not exist"):
        read_sites(tmp_path / "none.csv")
    with pytest.raises(DataError, match="not valid JSON"):
        read_sites(csv_file(tmp_path / "s.geojson", "{"))
    with pytest.raises(DataError, match="not a GeoJSON FeatureCollection"):
        read_sites(csv_file(tmp_path / "s.geojson", "[]"))
    crs = {"crs": {"properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}}
    with pytest.raises(DataError, match="coordinates are in urn:ogc:def:crs:EPSG::32631"):
        read_sites(geojson(tmp_path / "s.geojson", **crs))


def test_points_and_polygons_of_geojson_become_sites(tmp_path):
    ring = [[3.0, 50.0], [3.02, 50.0], [3.02, 50.01], [3.0, 50.0]]
    features = [
        feature({"type": "Point", "coordinates": [3, 50, 12]}, name="p", land_cover="crop", lon="9"),
        feature({"type": "Polygon", "coordinates": [ring]}, name="q", year=2020),
        feature({"type": "MultiPolygon", "coordinates": [[ring], [[[3.1, 50.2]] * 4]]}, name="r", size_m=640),
    ]
    p, q, r = read_sites(geojson(tmp_path / "s.geojson", *features))
    assert (p.lon, p.lat, p.size_m, p.columns) == (3, 50, None, {"land_cover": "crop"})
    assert (q.lon, q.lat, q.columns) == (pytest.approx(3.01), pytest.approx(50.005), {"year": "2020"})
    assert q.size_m == pytest.approx(1434, abs=2)  # 0.02 degrees of longitude at 50 degrees north
    assert (r.lat, r.size_m) == (pytest.approx(50.1), 640)


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (feature({"type": "Point", "coordinates": [3, 50]}), "name is ''"),
        (feature({"type": "LineString", "coordinates": [[3, 50]]}, name="a"), "geometry is LineString"),
        (feature({"type": "Point", "coordinates": ["x", 50]}, name="a"), "not those of a Point"),
        (feature({"type": "Polygon", "coordinates": []}, name="a"), "not those of a Polygon"),
        (feature({"type": "Polygon", "coordinates": [[[501360, 5629680]] * 4]}, name="a"), "lies at longitude 501360"),
        (feature(None, name="a"), "geometry is None"),
        ("a", "geometry is None"),
    ],
)
def test_a_bad_feature_is_named(tmp_path, one, message):
    good = feature({"type": "Point", "coordinates": [3, 50]}, name="good")
    with pytest.raises(DataError, match=rf"s\.geojson: feature 2: .*{message}"):
        read_sites(geojson(tmp_path / "s.geojson", good, one))


def test_a_sample_has_as_many_of_each_stratum_and_grows(tmp_path):
    rows = [f"s{i},3,50,,,{'crop' if i < 40 else 'forest' if i < 57 else 'heath'}" for i in range(60)]
    sites = read_sites(csv_file(tmp_path / "s.csv", HEAD + "\n".join(rows)))
    chosen = sample_sites(sites, 18, by="land_cover", seed=1)
    counts = {c: sum(s.columns["land_cover"] == c for s in chosen) for c in ("crop", "forest", "heath")}
    assert counts["heath"] == 3 and {counts["crop"], counts["forest"]} == {7, 8} and len(chosen) == 18
    names = {s.name for s in chosen}
    assert [s.name for s in sample_sites(sites[::-1], 18, by="land_cover", seed=1)] == [s.name for s in chosen]
    assert names <= {s.name for s in sample_sites(sites, 30, by="land_cover", seed=1)}
    assert names != {s.name for s in sample_sites(sites, 18, by="land_cover", seed=2)}
    assert len(sample_sites(sites, 60)) == 60
    with pytest.raises(UsageError, match="61 of 60 sites"):
        sample_sites(sites, 61)
    with pytest.raises(UsageError, match="has no 'soil'"):
        sample_sites(sites, 3, by="soil")


def test_obvious_names_of_columns_blanks_and_a_byte_order_mark_are_read(tmp_path):
    text = '\ufeffSite, Longitude , Latitude, size_m, land_cover\n a , 3.02, 50.82, 900, "crop, wheat"\n'
    (site,) = read_sites(csv_file(tmp_path / "s.csv", text))
    assert (site.name, site.lon, site.lat, site.size_m) == ("a", 3.02, 50.82, 900)
    assert site.columns == {"land_cover": "crop, wheat"}
    both = "name,site,lon,lat\na,field 7,3,50\n"  # our own name goes before
    (site,) = read_sites(csv_file(tmp_path / "b.csv", both))
    assert site.name == "a" and site.columns == {"site": "field 7"}
    with pytest.raises(DataError, match="line 1: column lon is there twice"):
        read_sites(csv_file(tmp_path / "c.csv", "name,lon,lat,lon\na,3,50,4\n"))
    point = feature({"type": "Point", "coordinates": [3, 50]}, Site="a", soil="clay")
    (site,) = read_sites(geojson(tmp_path / "s.geojson", point))
    assert site.name == "a" and site.columns == {"soil": "clay"}


def box(west, south, east, north):
    return [[[west, south], [east, south], [east, north], [west, north], [west, south]]]


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "MultiPolygon", "coordinates": [box(179.99, -17, 180, -16.98), box(-180, -17, -179.99, -16.98)]},
        {"type": "Polygon", "coordinates": box(179.99, -17, 180.01, -16.98)},
        {"type": "Polygon", "coordinates": box(179.99, -17, -179.99, -16.98)},
        {"type": "Polygon", "coordinates": box(-180.01, -17, -179.99, -16.98)},
    ],
)
def test_a_polygon_across_180_degrees_has_its_centre_there(tmp_path, geometry):
    (site,) = read_sites(geojson(tmp_path / "s.geojson", feature(geometry, name="fiji")))
    assert abs(abs(site.lon) - 180) < 1e-9 and site.lat == pytest.approx(-16.99)
    assert 2125 < site.size_m < 2220
