"""What the known catalogues say of their numbers, keys and signatures, and what of it is refused."""

import dataclasses
import json
import os
from types import SimpleNamespace

import pytest

from data_prep.fetch import catalogues
from data_prep.fetch.net import Net
from data_prep.fetch.run import FetchOptions, fetch_scenes
from eomm.errors import ContractError, DataError
from eomm.store.notes import Notes
from tests.data_prep.fetch.ask import DATES, OLD_CALLS, first_s2

pytestmark = OLD_CALLS


def test_uncalibrated_radar_and_top_of_atmosphere_are_listed_with_the_reason(world, tmp_path):
    folder = tmp_path / "raw"
    radar = json.loads(next(world[1].glob("S1*/item.json")).read_text())
    radar |= {"collection": "sentinel-1-grd"}
    optical = json.loads((world[1] / first_s2(world) / "item.json").read_text())
    optical["properties"]["s2:product_type"] = "S2MSI1C"
    folder.mkdir()
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": [radar, optical]}))
    ask = {"site": "a", "source": str(folder / "items.json"), "dates": DATES}
    radar = FetchOptions(collection="sentinel-1-grd", like="planetary-computer-s1-rtc", **ask)
    result = fetch_scenes(tmp_path / "s1", world[2], radar)
    assert "not terrain-corrected gamma0; " in result["missing"][0]["reason"]
    assert "sar_backscatter" in result["missing"][0]["reason"]
    result = fetch_scenes(tmp_path / "s2", world[2], FetchOptions(collection="s2", **ask))
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
    options = FetchOptions(site="a", source="cdse-s2", dates=DATES, net=Net(timeout_s=2, tries=1))
    result = fetch_scenes(tmp_path / "out", world[2], options)
    assert result["missing"] == [] and result["complete"] == 1
    assert "AWS_S3_ENDPOINT" not in os.environ


@pytest.mark.whole
def test_items_are_signed_where_their_catalogue_asks_for_it(world, server, tmp_path, monkeypatch):
    known = catalogues.KNOWN["planetary-computer-s2"]
    twin = dataclasses.replace(known, address=f"{server.url}/catalog.json", collection="s2")
    monkeypatch.setitem(catalogues.KNOWN, "planetary-computer-s2", twin)
    options = FetchOptions(site="a", source="planetary-computer-s2", dates=DATES, net=Net(tries=1))
    first = fetch_scenes(tmp_path / "one", world[2], options)
    assert first["missing"] == []  # addresses that are not theirs stay as they are
    assert Notes(tmp_path / "one" / "fetch-planetary-computer-s2").request["site"] == "a"
    refused = lambda item: (_ for _ in ()).throw(ConnectionError("no token"))  # noqa: E731
    monkeypatch.setattr("planetary_computer.sign", refused)
    result = fetch_scenes(tmp_path / "two", world[2], options)
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
