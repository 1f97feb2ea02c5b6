"""Files of others that would read this machine's files, call servers, or be written through: nothing of it happens."""

import csv
import io
import json
import os
import stat
import threading
import zipfile
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import h5py
import numpy as np
import pytest
import rasterio

from data_prep.mappings.mapping import load_mapping
from data_prep.readers import find_source, open_scenes
from eomm.data.raster import open_raster
from eomm.errors import DataError, UsageError
from eomm.evaluation.labels import read_labels
from eomm.evaluation.text import as_cell
from eomm.models.directory import save_model
from eomm.store.folders import new_directory, write_json
from tests import zoo
from tests.data_prep.tiny_safe import write_safe
from tests.data_prep.tiny_scenes import START, write_netcdf, write_s2

VRT = """<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>{crs}</SRS>
<GeoTransform>{transform}</GeoTransform><VRTRasterBand dataType="UInt16" band="1"><Description>B02</Description>
<SimpleSource><SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
</VRTRasterBand></VRTDataset>"""


@contextmanager
def listener():
    """A server on loopback, and what was asked of it."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def make_vrt(image, source):
    """What an image says of itself, with another source: text that any name can be given."""
    with rasterio.open(image) as data:
        t, shape = data.transform, {"width": data.width, "height": data.height}
        return VRT.format(
            crs=data.crs.to_string(), transform=f"{t.c},{t.a},{t.b},{t.f},{t.d},{t.e}", source=source, **shape
        )


def read(path, name):
    mapping = load_mapping(name)
    with ExitStack() as stack:
        for scene in open_scenes(find_source(path, mapping).files, mapping, stack):
            for layer in scene.grids:
                scene.read(layer)


@pytest.mark.parametrize("zipped", [False, True])
def test_a_jp2_that_is_a_vrt_reads_nothing_and_calls_nobody(zipped, tmp_path):
    product = write_safe(tmp_path / "safe", START)
    image = next(product.rglob("*_B02_10m.jp2"))
    with listener() as (url, asked):
        for source in (str(next(product.rglob("*_B08_10m.jp2"))), f"/vsicurl/{url}/x.tif", f"{url}/x.tif"):
            text = make_vrt(next(product.rglob("*_B03_10m.jp2")), source)
            image.write_text(text)
            path = product
            if zipped:
                path = tmp_path / "product.zip"
                with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                    for file in sorted(product.rglob("*")):
                        archive.write(file, file.relative_to(product.parent))
            with pytest.raises(DataError, match=r"_B02_10m\.jp2 is not a readable image"):
                read(path, "safe_s2")
        assert not asked


def test_a_tif_that_is_a_vrt_reads_nothing_and_calls_nobody(tmp_path):
    folder = tmp_path / "s2"
    write_s2(folder, START)
    image = next(folder.glob("*_10m.tif"))
    labels = tmp_path / "labels.tif"
    with listener() as (url, asked):
        for source in ("/etc/hostname", str(next(folder.glob("*_20m.tif"))), f"/vsicurl/{url}/x.tif"):
            text = make_vrt(next(folder.glob("*_20m.tif")), source)
            image.write_text(text)
            with pytest.raises(DataError, match=r"_10m\.tif: not a readable GeoTIFF"):
                read(folder, "simulated_s2")
            labels.write_text(text)
            with pytest.raises(DataError, match=r"labels\.tif: cannot be read as a raster of labels"):
                read_labels(labels, zoo.cube().grid)
        for name in (f"/vsicurl/{url}/x.tif", f"{url}/x.tif"):
            with pytest.raises(rasterio.errors.RasterioIOError), open_raster(name):
                pass
        assert not asked


@pytest.mark.parametrize("how", ["external data", "external link", "virtual data set"])
def test_an_hdf5_file_that_leads_to_others_is_refused(how, tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = np.arange(8, dtype=np.uint8)
    file = tmp_path / "stack.nc"
    write_netcdf(file, variables={"B02": (np.ones((1, 4, 4), np.uint16), {})}, times=["2020-01-01"])
    with h5py.File(file, "a") as data:
        group = data.require_group("deep/er")
        if how == "external data":
            group.create_dataset("v", shape=(8,), dtype="u1", external=[(str(secret), 0, 8)])
        elif how == "external link":
            group["v"] = h5py.ExternalLink(str(secret), "/x")
        else:
            layout = h5py.VirtualLayout(shape=(8,), dtype="u1")
            layout[:] = h5py.VirtualSource(str(secret), "x", shape=(8,))
            group.create_virtual_dataset("v", layout)
        group["round"] = data["/"]  # a group that holds itself
    with pytest.raises(
        DataError, match=rf"stack\.nc: /deep/er/v is .*{how.split()[0]}.* leads to other files: refused"
    ):
        read(file, "worldcereal_s2")
    with pytest.raises(DataError, match="leads to other files"):
        read_labels(file, zoo.cube().grid, column="v")


def test_links_planted_where_files_are_written_are_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("a.json.partial", "m.partial", "m.replaced"):
        (tmp_path / name).symlink_to(victim)
    write_json(tmp_path / "a.json", {"a": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1} and not (tmp_path / "a.json").is_symlink()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "mine").touch()
    (tmp_path / "n.partial").symlink_to(folder)
    for path in (tmp_path / "m", tmp_path / "n"):
        with pytest.raises(UsageError, match="was not made by eomm"), new_directory(path, kind="model"):
            pass
    assert victim.read_text() == "precious" and os.listdir(folder) == ["mine"]
    (tmp_path / "b.json.partial").mkdir()
    with pytest.raises(UsageError, match=r"a folder lies where b\.json is written"):
        write_json(tmp_path / "b.json", {})


def test_files_of_a_store_have_the_modes_that_the_user_asked_for(tmp_path):
    before = os.umask(0o027)
    try:
        path = save_model(zoo.model("s2"), tmp_path / "m")
    finally:
        os.umask(before)
    assert {stat.filemode(p.stat().st_mode) for p in path.iterdir()} == {"-rw-r-----"}
    assert stat.filemode(path.stat().st_mode) == "drwxr-x---"


def test_no_cell_of_a_csv_is_a_formula():
    values = ['=HYPERLINK("http://x")', "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "maize", -3.5, "", None]
    out = io.StringIO()
    csv.writer(out).writerow([as_cell(v) for v in values])
    (row,) = csv.reader(io.StringIO(out.getvalue(), newline=""))
    assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in row)
    assert row[0] == "'" + values[0] and row[6:] == ["maize", "-3.5", "", ""]
