"""A catalogue of the net cannot make us read, or take for images, what it does not serve itself."""

import json
import re
import shutil

import pytest
import rasterio
import rasterio.shutil

from eomm.errors import DataError
from tests.data_prep.fetch.ask import OLD_CALLS, fetch, first_s2
from tests.data_prep.stac_server import serve

pytestmark = OLD_CALLS


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


@pytest.mark.whole
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


@pytest.mark.whole
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
