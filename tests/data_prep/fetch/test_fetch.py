"""Fetching through the real clients (pystac-client, odc-stac, GDAL) from a server on loopback."""

import dataclasses
import json

import numpy as np
import pytest
import rasterio
import rasterio.shutil
import zarr

from data_prep.cubes.build import Source, build_cube
from data_prep.fetch.place import site_grid
from data_prep.fetch.run import FetchOptions, fetch_scenes
from data_prep.mappings.mapping import load_mapping
from eomm.cli import main
from eomm.data.attributes import attributes_of
from eomm.data.grid import Grid
from eomm.errors import DataError, UsageError
from eomm.store.notes import Notes
from tests.data_prep.fetch.ask import DATES, OLD_CALLS, fetch, first_s2

pytestmark = OLD_CALLS
S2 = dataclasses.replace(load_mapping("fetched_s2"), clipped=())  # half of the items have an offset, half clip at 1


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


@pytest.mark.whole
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


@pytest.mark.whole
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


@pytest.mark.whole
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
    (notes,) = (Notes(folder) for folder in out.glob("fetch-*"))
    assert notes.failures() == {f"item-{lost}": missing["reason"]}

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


@pytest.mark.whole
def test_an_api_is_searched_page_by_page_and_equals_the_static_catalogue(world, server, tmp_path):
    grid = world[2]
    api = fetch(server, tmp_path / "api", grid, source="/api", collection="s2")
    assert server.requests["/api/search"] > 1 and api["found"] > server.page
    static = fetch(server, tmp_path / "static", grid, collection="s2")
    options = FetchOptions(site="a", source=str(world[1] / "catalog.json"), dates=DATES, collection="s2")
    local = fetch_scenes(tmp_path / "local", grid, options)
    for other in (static, local):
        assert list(other["items"]) == list(api["items"]) and other["missing"] == []
    for one in sorted((tmp_path / "api").glob("*.tif")):  # the tag SOURCE differs
        for folder in ("static", "local"):
            with rasterio.open(one) as a, rasterio.open(tmp_path / folder / one.name) as b:
                np.testing.assert_array_equal(a.read(), b.read())


@pytest.mark.whole
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


@pytest.mark.whole
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
        fetch_scenes(tmp_path, grid, FetchOptions(site="a", source="planetary", dates=DATES))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(UsageError, match=r"own keys; make them at https://eodata-s3keysmanager.*AWS_ACCESS_KEY_ID"):
        fetch_scenes(tmp_path, grid, FetchOptions(site="a", source="cdse-s2", dates=DATES))
    fetch(server, tmp_path / "one", grid, collection="s2", tries=1)
    with pytest.raises(UsageError, match=r"fetched for another request: grid is .*choose another --out"):
        fetch(server, tmp_path / "one", dataclasses.replace(grid, width=20), collection="s2")
    (noted,) = (tmp_path / "one").glob("fetch-*/request.json")
    for damaged, message in (
        ("{", r"request.json: damaged.* remove .*fetch-"),
        ("[]", r"request.json: .*remove .*fetch-"),
    ):
        noted.write_text(damaged)
        with pytest.raises(DataError, match=message):
            fetch(server, tmp_path / "one", dataclasses.replace(grid, width=20), collection="s2")


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


@pytest.mark.whole
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
