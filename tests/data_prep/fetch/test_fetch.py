"""Fetching through the real clients (pystac-client, odc-stac, GDAL) from a server on loopback."""

import dataclasses
import json
import os
import re
import shutil
from datetime import date
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import zarr

from data_prep.cubes.build import Source, build_cube
from data_prep.fetch import catalogues, items
from data_prep.fetch.place import site_grid
from data_prep.fetch.run import fetch_scenes
from data_prep.mappings.mapping import load_mapping
from data_prep.simulate import simulate_site
from eomm.cli import main
from eomm.data.attributes import attributes_of
from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError, UsageError
from tests.data_prep.stac_server import publish, serve

# odc-geo 0.5.3 calls what shapely 2.2 and affine 3.1 have superseded, planetary-computer 1.0.0 what pydantic 2 has.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'shapely.ops:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Support for class-based `config`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
]
DATES = (date(2020, 5, 1), date(2020, 5, 22))
S2 = dataclasses.replace(load_mapping("fetched_s2"), clipped=())  # half of the items have an offset, half clip at 1


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(the simulated site's folder, its catalogue's folder, its grid)."""
    folder = tmp_path_factory.mktemp("world")
    site = simulate_site(folder / "site", site="a", seed=3, start=DATES[0], end=DATES[1], size_px=40)
    publish(site, folder / "catalogue")
    with rasterio.open(next((site / "s2").glob("*_10m.tif"))) as file:
        t = file.transform
        grid = Grid(crs=str(file.crs), transform=(t.a, t.b, t.c, t.d, t.e, t.f), height=40, width=40)
    return site, folder / "catalogue", grid


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """A proxy that nobody serves, from which loopback is exempt, as behind a firewall; and no long waits."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    monkeypatch.setattr(items, "FIRST_WAIT_S", 0.02)


@pytest.fixture
def server(world):
    with serve(world[1]) as state:
        yield state


def fetch(server, out, grid, *, source="/catalog.json", **options):
    return fetch_scenes(
        out, site="a", source=server.url + source, grid=grid, dates=DATES,
        **{"timeout_s": 1, "tries": 3, "parallel": 4} | options,
    )  # fmt: skip


def first_s2(world):
    return sorted(p.parent.name for p in world[1].glob("S2*/item.json"))[0]


def content(cube, group):
    g = zarr.open_group(cube, mode="r")[group]
    return {k: np.asarray(g[k][:]) for k in ("values", "valid", "day")} | {
        "orbits": [a["orbit"] for a in attributes_of(g)["acquisitions"]]
    }


def assert_same_cube(one, two):
    for group in ("s2", "s1"):
        a, b = content(one, group), content(two, group)
        assert a["orbits"] == b["orbits"] and len(a["day"]) >= 4
        for k in ("values", "valid", "day"):
            np.testing.assert_array_equal(a[k], b[k])


def test_a_fetched_cube_equals_the_one_of_local_scenes(world, server, tmp_path):
    site, _, grid = world
    result = fetch(server, tmp_path / "scenes", grid, collection="s2")
    assert result["missing"] == [] and result["complete"] == result["found"] == result["fetched"]
    radar = fetch(server, tmp_path / "scenes", grid, collection="sentinel-1-rtc", like="planetary-computer-s1-rtc")
    assert radar["missing"] == [] and radar["modality"] == "s1"
    fetched = build_cube(
        tmp_path / "fetched.zarr",
        site="a",
        sources=[Source(path=tmp_path / "scenes", mapping=m) for m in (S2, "fetched_s1")],
    )
    local = build_cube(
        tmp_path / "local.zarr",
        site="a",
        sources=[Source(path=site / "s2", mapping=S2), Source(path=site / "s1", mapping="fetched_s1")],
    )
    assert_same_cube(fetched, local)
    group = zarr.open_group(fetched, mode="r")["s2"]
    assert attributes_of(group)["acquisitions"][0]["sun_zenith_deg"] > 20
    assert attributes_of(zarr.open_group(fetched, mode="r"))["provenance"]["simulated"]
    assert not list(tmp_path.rglob("*.partial"))


def test_what_fails_for_a_while_is_fetched_in_the_end(world, server, tmp_path):
    grid = world[2]
    folders = sorted(p.parent.name for p in world[1].glob("S2*/item.json"))
    server.faults = {
        f"/{folders[0]}/B02.tif": ["500", "500"],
        f"/{folders[0]}/B8A.tif": ["truncate", "truncate", "truncate"],
        f"/{folders[1]}/SCL.tif": ["stall", "stall"],
        f"/{folders[1]}/B04.tif": ["429", "429", "429", "429", "429"],
        f"/{folders[1]}/item.json": ["truncate", "429"],
        "/catalog.json": ["500"],
    }
    result = fetch(server, tmp_path / "flaky", grid, collection="s2", tries=4)
    assert result["missing"] == []
    waited = server.times[f"/{folders[1]}/item.json"]
    assert waited[2] - waited[1] >= 1  # as Retry-After asked
    server.faults = {}
    healthy = fetch(server, tmp_path / "healthy", grid, collection="s2")
    hashes = [{k: e["files"] for k, e in r["items"].items()} for r in (result, healthy)]
    assert hashes[0] == hashes[1]


def test_what_stays_missing_is_listed_and_another_run_fetches_only_that(world, server, tmp_path):
    grid, out, lost = world[2], tmp_path / "scenes", first_s2(world)
    server.faults = {f"/{lost}/B11.tif": "404"}
    result = fetch(server, out, grid, collection="s2", tries=2)
    (missing,) = result["missing"]
    assert (
        missing["item"] == lost
        and missing["reason"].startswith("asset B11 (http://127")
        and missing["time"].startswith("2020-05")
    )
    assert result["complete"] == result["found"] - 1
    assert not list(out.glob(f"*{lost}*")) and not list(out.glob("*.partial"))
    (index,) = out.glob("fetch-*.json")
    assert json.loads(index.read_text())["items"][lost]["state"] == "failed"

    server.faults = {}
    before = server.requests.copy()
    again = fetch(server, out, grid, collection="s2")
    assert again["missing"] == [] and again["fetched"] == 1 and again["complete"] == again["found"]
    asked = {path.split("/")[1] for path, n in (server.requests - before).items() if path.endswith(".tif")}
    assert asked == {lost}

    damaged = sorted(out.glob("*_10m.tif"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    server.faults = {f"/{name}/B02.tif": "404" for name in again["items"]}
    assert len(fetch(server, out, grid, collection="s2", tries=1)["missing"]) == 1
    assert not damaged.exists()  # no cube is built from it
    server.faults = {}
    assert fetch(server, out, grid, collection="s2")["fetched"] == 1 and damaged.exists()

    written = sorted(out.glob("*_20m.tif"))[0]
    written.unlink()
    written.with_name(written.name + ".partial").mkdir()
    with pytest.raises(UsageError, match=r"_20m.tif.partial: a folder lies where .*_20m.tif is written"):
        fetch(server, out, grid, collection="s2")


def test_an_api_is_searched_page_by_page_and_equals_the_static_catalogue(world, server, tmp_path):
    grid = world[2]
    api = fetch(server, tmp_path / "api", grid, source="/api", collection="s2")
    assert server.requests["/api/search"] > 1 and api["found"] > server.page
    static = fetch(server, tmp_path / "static", grid, collection="s2")
    local = fetch_scenes(
        tmp_path / "local", site="a", source=str(world[1] / "catalog.json"), grid=grid, dates=DATES, collection="s2"
    )
    for other in (static, local):
        assert list(other["items"]) == list(api["items"]) and other["missing"] == []
    for one in sorted((tmp_path / "api").glob("*.tif")):  # the tag SOURCE differs
        for folder in ("static", "local"):
            with rasterio.open(one) as a, rasterio.open(tmp_path / folder / one.name) as b:
                np.testing.assert_array_equal(a.read(), b.read())


def test_a_window_is_the_tile_there_and_another_zone_is_warped(world, server, tmp_path):
    _, catalogue, grid = world
    a, _, c, *_, f = grid.transform
    inner = Grid(crs=grid.crs, transform=(a, 0.0, c + 100, 0.0, -a, f - 60), height=8, width=6)
    first = first_s2(world)
    result = fetch(server, tmp_path / "inner", inner, collection="s2")
    name = {e["name"][-7:]: e["name"] for e in result["items"][first]["files"]}
    with (
        rasterio.open(tmp_path / "inner" / name["10m.tif"]) as got,
        rasterio.open(catalogue / first / "B03.tif") as whole,
    ):
        np.testing.assert_array_equal(got.read(2), whole.read(1)[6:14, 10:16])
        assert got.descriptions == ("B02", "B03", "B04", "B08") and got.transform.a == 10
        assert got.tags()["BOA_OFFSET"] == "0" and got.tags()["PROCESSING_BASELINE"] == "02.14"
        assert got.tags()["RELATIVE_ORBIT"] == "51" and got.tags()["SOURCE_ITEM"] == first
    with (
        rasterio.open(tmp_path / "inner" / name["20m.tif"]) as got,
        rasterio.open(catalogue / first / "B11.tif") as whole,
    ):
        np.testing.assert_array_equal(got.read(5), whole.read(1)[3:7, 5:8])
    west, south, east, north = json.loads((catalogue / first / "item.json").read_text())["bbox"]
    other = site_grid(at=((west + east) / 2, (south + north) / 2), size_m=120, crs="EPSG:32632")
    result = fetch(server, tmp_path / "zone", other, collection="s2")
    with rasterio.open(tmp_path / "zone" / result["items"][first]["files"][0]["name"]) as got:
        assert got.crs.to_epsg() == 32632 and got.shape == (12, 12) and (got.read() > 0).all()


def test_a_request_that_cannot_be_met_says_why(world, server, tmp_path, monkeypatch):
    grid = world[2]
    far = site_grid(at=(-70, -10), size_m=200)
    with pytest.raises(DataError, match=r"nothing from 2020-05-01 to 2020-05-22 touches -70.00"):
        fetch(server, tmp_path, far)
    with pytest.raises(DataError, match=r"nowhere.json: cannot be searched \(APIError"):
        fetch(server, tmp_path, grid, source="/nowhere.json", tries=1)
    with pytest.raises(UsageError, match=r"look like radar.*--like planetary-computer-s1-rtc"):
        fetch(server, tmp_path, grid, collection="sentinel-1-rtc")
    with pytest.raises(UsageError, match="neither a known catalogue"):
        fetch_scenes(tmp_path, site="a", source="planetary", grid=grid, dates=DATES)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(UsageError, match=r"own keys; make them at https://eodata-s3keysmanager.*AWS_ACCESS_KEY_ID"):
        fetch_scenes(tmp_path, site="a", source="cdse-s2", grid=grid, dates=DATES)
    fetch(server, tmp_path / "one", grid, collection="s2", tries=1)
    with pytest.raises(UsageError, match=r"fetched for another request: grid is .*choose another --out"):
        fetch(server, tmp_path / "one", dataclasses.replace(grid, width=20), collection="s2")


def test_a_catalogue_of_the_net_cannot_make_us_read_local_files(world, tmp_path):
    folder = tmp_path / "evil"
    item = json.loads((world[1] / first_s2(world) / "item.json").read_text())
    for asset in item["assets"].values():
        asset["href"] = "/etc/hostname"
    item["assets"]["B02"]["href"] = "file:///etc/hostname"
    folder.mkdir()
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    with serve(folder) as state:
        result = fetch(state, tmp_path / "out", world[2], source="/items.json")
    assert "refers to file:///etc/hostname; expected addresses of the net" in result["missing"][0]["reason"]


def test_redirects_and_references_out_of_a_catalogue_of_the_net_are_not_followed(world, server, tmp_path):
    name, secret = first_s2(world), next((world[0] / "s2").glob("*_10m.tif"))
    for target in (f"file://{secret}", str(secret)):
        server.faults = {f"/{name}/B02.tif": f"to {target}", f"/{name}/item.json": None}
        found = fetch(server, tmp_path / "out", world[2], collection="s2", tries=1)
        assert [m["item"] for m in found["missing"]] == [name]
        server.faults = {"/catalog.json": f"to {target}"}
        with pytest.raises(DataError, match="cannot be searched"):
            fetch(server, tmp_path / "none", world[2], collection="s2", tries=1)
    server.faults = {}
    for href in ("../../../../../../../../etc/hostname", f"{'../' * 9}..{secret}", "/vsicurl/http://x/a.tif"):
        folder = tmp_path / "evil" / str(len(href))
        folder.mkdir(parents=True)
        item = json.loads((world[1] / name / "item.json").read_text())
        item["assets"]["B02"]["href"] = href
        link = {"rel": "item", "href": f"{'../' * 9}..{secret}"}
        (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
        (folder / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "c", "links": [link]}))
        with serve(folder) as state:
            assert fetch(state, folder / "out", world[2], source="/items.json", tries=1)["missing"]
            with pytest.raises(DataError):
                fetch(state, folder / "none", world[2], tries=1)


def test_an_asset_that_is_no_image_is_not_what_gdal_takes_it_for(world, tmp_path):
    """A VRT named as GeoTIFF, at an address, of a file of this machine and of one that only the machine can reach."""
    name, root = first_s2(world), tmp_path / "evil"
    shutil.copytree(world[1], root)
    secret = next((world[0] / "s2").glob("*_10m.tif"))
    with serve(world[1]) as inner, serve(root) as outer:
        for source in (str(secret), f"/vsicurl/{inner.url}/{name}/B02.tif"):
            (root / name / "B02.tif").unlink()
            rasterio.shutil.copy(secret, root / name / "B02.tif", driver="VRT")
            text = (root / name / "B02.tif").read_text()
            shown = re.sub(r"<SourceFilename[^>]*>[^<]*", f'<SourceFilename relativeToVRT="0">{source}', text)
            (root / name / "B02.tif").write_text(shown)
            found = fetch(outer, tmp_path / f"out{len(source)}", world[2], collection="s2", tries=1)
            assert [m["item"] for m in found["missing"]] == [name] and "asset B02" in found["missing"][0]["reason"]
        assert not inner.requests


def test_the_grid_of_a_site_is_that_of_sentinel_2():
    grid = site_grid(at=(3.02, 50.82), size_m=1280)
    assert (grid.crs, grid.height, grid.width) == ("EPSG:32631", 128, 128)
    assert grid.transform[2] % 20 == grid.transform[5] % 20 == 0
    assert site_grid(at=(-70, -10)).crs == "EPSG:32719" and site_grid(at=(180, 0)).crs == "EPSG:32660"
    norway = {(5.3, 60.4): 32, (5.3, 64.1): 31, (15.6, 78.2): 33, (5.0, 78.0): 31, (22.0, 78.0): 35, (41.0, 72.0): 37}
    assert {at: int(site_grid(at=at).crs[-2:]) for at in norway} == norway  # Bergen's tiles are 32V, Svalbard's 33X
    box = site_grid(bbox=(3.0, 50.8, 3.02, 50.82))
    assert 140 < box.width < 150 and 222 <= box.height < 228
    for bad in ({}, {"at": (50.82, 103.02)}, {"at": (3, 50), "crs": "EPSG:3857"}, {"at": (3, 50), "size_m": 1e6}):
        with pytest.raises(UsageError):
            site_grid(**bad)


def test_the_command_lists_what_is_missing_and_says_so_by_its_status(world, server, tmp_path, capsys):
    box = json.loads((world[1] / first_s2(world) / "item.json").read_text())["bbox"]
    lon, lat = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    command = [
        "prepare", "fetch", "--from", f"{server.url}/catalog.json", "--collection", "s2", "--site", "a", "--at",
        f"{lon},{lat}", "--size-m", "200", "--dates", *map(str, DATES), "--out", str(tmp_path / "scenes"),
        "--tries", "1",
    ]  # fmt: skip
    server.faults = {f"/{first_s2(world)}/B11.tif": "404"}
    assert main(command) == 1
    said = capsys.readouterr()
    assert f"missing: 2020-05-03T10:54:37+00:00 {first_s2(world)}: asset B11" in said.out and "run the same" in said.out
    server.faults = {}
    assert main([*command, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["fetched"] == 1 and result["missing"] == []
    cube = ["prepare", "cube", "--source", f"fetched_s2={tmp_path / 'scenes'}", "--site", "a", "--out"]
    assert main([*cube, str(tmp_path / "all.zarr")]) == 0
    place = ["--at", f"{lon},{lat}", "--size-m", "100"]
    assert main([*cube, str(tmp_path / "part.zarr"), *place]) == 0
    whole, part = (zarr.open_group(tmp_path / n, mode="r")["s2"] for n in ("all.zarr", "part.zarr"))
    (_, _, x0, _, _, y0), (_, _, x, _, _, y) = (g.attrs["proj:transform"] for g in (whole, part))
    row, col = int(y0 - y) // 10, int(x - x0) // 10
    assert part["values"].shape[1:3] == (10, 10) and 3 < row < 8 and 3 < col < 8
    inner = (slice(None), slice(row, row + 10), slice(col, col + 10))
    both = whole["valid"][:][inner] & part["valid"][:]  # masks near the edge see less
    assert both.mean() > 0.2
    np.testing.assert_array_equal(whole["values"][:][inner][both], part["values"][:][both])


def test_uncalibrated_radar_and_top_of_atmosphere_are_listed_with_the_reason(world, tmp_path):
    folder = tmp_path / "raw"
    radar = json.loads(next(world[1].glob("S1*/item.json")).read_text())
    radar |= {"collection": "sentinel-1-grd"}
    optical = json.loads((world[1] / first_s2(world) / "item.json").read_text())
    optical["properties"]["s2:product_type"] = "S2MSI1C"
    folder.mkdir()
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [radar, optical]}))
    ask = {"site": "a", "source": str(folder / "items.json"), "grid": world[2], "dates": DATES}
    result = fetch_scenes(tmp_path / "s1", collection="sentinel-1-grd", like="planetary-computer-s1-rtc", **ask)
    assert "not terrain-corrected gamma0; " in result["missing"][0]["reason"]
    assert "sar_backscatter" in result["missing"][0]["reason"]
    result = fetch_scenes(tmp_path / "s2", collection="s2", **ask)
    assert "is S2MSI1C (top of atmosphere), expected L2A" in result["missing"][0]["reason"]


def test_buckets_that_need_keys_are_read_with_the_settings_of_their_catalogue(world, server, tmp_path, monkeypatch):
    folder = tmp_path / "cdse"
    item = json.loads((world[1] / first_s2(world) / "item.json").read_text())
    names = catalogues.KNOWN["cdse-s2"].assets
    item |= {
        "collection": "sentinel-2-l2a",
        "assets": {
            names[layer]: {"href": f"s3://{item['id']}/{layer}.tif", "raster:offset": 0} for layer in item["assets"]
        },
    }
    folder.mkdir()
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    settings = {
        "AWS_S3_ENDPOINT": server.url.removeprefix("http://"),
        "AWS_VIRTUAL_HOSTING": "FALSE",
        "AWS_HTTPS": "NO",
    }
    twin = dataclasses.replace(catalogues.KNOWN["cdse-s2"], address=str(folder / "items.json"), settings=settings)
    monkeypatch.setitem(catalogues.KNOWN, "cdse-s2", twin)
    for name in twin.credentials:
        monkeypatch.setenv(name, "x")
    result = fetch_scenes(
        tmp_path / "out", site="a", source="cdse-s2", grid=world[2], dates=DATES, timeout_s=2, tries=1
    )
    assert result["missing"] == [] and result["complete"] == 1
    assert "AWS_S3_ENDPOINT" not in os.environ


def test_items_are_signed_where_their_catalogue_asks_for_it(world, server, tmp_path, monkeypatch):
    known = catalogues.KNOWN["planetary-computer-s2"]
    twin = dataclasses.replace(known, address=f"{server.url}/catalog.json", collection="s2")
    monkeypatch.setitem(catalogues.KNOWN, "planetary-computer-s2", twin)
    ask = {"site": "a", "source": "planetary-computer-s2", "grid": world[2], "dates": DATES, "tries": 1}
    assert fetch_scenes(tmp_path / "one", **ask)["missing"] == []  # addresses that are not theirs stay as they are
    assert (tmp_path / "one" / "fetch-planetary-computer-s2.json").is_file()
    refused = lambda item: (_ for _ in ()).throw(ConnectionError("no token"))  # noqa: E731
    monkeypatch.setattr("planetary_computer.sign", refused)
    result = fetch_scenes(tmp_path / "two", **ask)
    assert {m["reason"] for m in result["missing"]} == {"cannot be signed: ConnectionError: no token"}


def item_of(properties, offsets=None):
    assets = {n: SimpleNamespace(extra_fields={} if offsets is None else offsets) for n in ("blue", "B02", "B02_10m")}
    return SimpleNamespace(id="S2A_31UDS_0", properties=properties, assets=assets, collection_id="c")


@pytest.mark.parametrize(
    ("name", "properties", "offsets", "expected"),
    [
        ("planetary-computer-s2", {"s2:processing_baseline": "03.01"}, None, 0),
        ("planetary-computer-s2", {"s2:processing_baseline": "04.00"}, None, -1000),
        ("earth-search-s2", {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}, -0.1, 0),
        ("earth-search-s2", {"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": False}, -0.1, -1000),
        ("earth-search-s2", {"s2:processing_baseline": "02.12", "earthsearch:boa_offset_applied": False}, -0.1, 0),
        ("cdse-s2", {"processing:version": "05.11"}, -0.1, -1000),
        ("cdse-s2", {"s2:product_uri": "S2A_MSIL2A_20180101T105441_N0206_R051_T31UDS_20180101T125441.SAFE"}, 0, 0),
        ("cdse-s2", {"processing:version": "05.11"}, 0, r"name the offsets \[0\], expected -1000 of baseline 05.11"),
        ("planetary-computer-s2", {"datetime": "2023-01-01"}, None, "states no processing baseline"),
    ],
)
def test_the_offset_is_decided_by_the_baseline_and_the_catalogues_word(name, properties, offsets, expected):
    item = item_of(properties, None if offsets is None else {"raster:bands": [{"scale": 1e-4, "offset": offsets}]})
    if isinstance(expected, str):
        with pytest.raises((ContractError, DataError), match=expected):
            catalogues.boa_offset(item, catalogues.KNOWN[name])
    else:
        assert catalogues.boa_offset(item, catalogues.KNOWN[name]) == expected


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"raster:bands": [{"scale": 2e-4}]}, r"asset B0. \(B0.\): states the scale 0.0002, expected 0.0001"),
        ({"raster:scale": 1}, "states the scale 1, expected 0.0001"),
        ({"bands": [{"nodata": -9999}]}, "states the nodata -9999, expected 0"),
        ({"raster:bands": [{"scale": 1e-4, "nodata": "nan"}]}, None),
    ],
)
def test_what_assets_state_of_their_numbers_is_compared(stated, message):
    item = item_of({}, stated)
    if message is None:
        catalogues.check_numbers(item, catalogues.KNOWN["planetary-computer-s2"])
        return
    with pytest.raises(ContractError, match=message):
        catalogues.check_numbers(item, catalogues.KNOWN["planetary-computer-s2"])
