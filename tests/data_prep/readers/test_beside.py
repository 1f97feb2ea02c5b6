"""What lies beside or below a source is looked at before it is trusted, links too."""

import json
import shutil

import numpy as np
import pytest
import rasterio

from data_prep.mappings.mapping import load_mapping
from data_prep.readers import find_source, open_scenes
from data_prep.readers.files import files_below
from eomm.errors import DataError
from tests.data_prep.readers.test_coordinates import scenes
from tests.data_prep.readers.test_zarr_source import write_deepfeatures
from tests.data_prep.tiny_safe import write_safe
from tests.data_prep.tiny_scenes import START, write_tiff

S2 = load_mapping("simulated_s2")
VRT = (
    '<VRTDataset rasterXSize="4" rasterYSize="4"><VRTRasterBand dataType="Byte" band="1"><Metadata>'
    '<MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata><SimpleSource><SourceFilename>{}</SourceFilename>'
    "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
)


def tiff(path):
    values = [np.full((4, 4), 500, np.uint16)]
    return write_tiff(path, values, names=["B02"], gsd=10, nodata=None, tags={"DATETIME": "2019-04-01"})


@pytest.mark.parametrize("ending", [".msk", ".ovr", ".MSK"])
def test_a_mask_that_is_in_truth_a_vrt_is_refused(tmp_path, ending):
    path = tiff(tmp_path / "S2.tif")
    write_tiff(tmp_path / "secret.tif", [np.zeros((4, 4), np.uint8)], names=["m"], gsd=10, nodata=None)
    beside = path.with_name(path.name + ending)
    beside.write_text(VRT.format(tmp_path / "secret.tif"))
    with pytest.raises(DataError, match=rf"S2.tif{ending}: lies beside S2.tif .* no TIFF.*refused"):
        scenes(path, S2)
    beside.unlink()
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as file:
        file.write_mask(np.arange(16).reshape(4, 4) % 4 != 0)
    ((_, values),) = scenes(path, S2)
    assert (tmp_path / "S2.tif.msk").exists() and np.isnan(values).sum() == 4


def test_a_linked_folder_of_a_zarr_store_is_checked_too(tmp_path):
    store = write_deepfeatures(tmp_path / "a.zarr", zarr_format=2)
    shutil.move(store / "cloud_mask", tmp_path / "elsewhere")
    (store / "cloud_mask").symlink_to(tmp_path / "elsewhere")
    mapping = load_mapping("deepfeatures_s2")
    scenes(store, mapping)  # a link is as good as a folder
    head = json.loads((tmp_path / "elsewhere/.zarray").read_text())
    head |= {"dtype": "|O", "filters": [{"id": "pickle"}]}
    (tmp_path / "elsewhere/.zarray").write_text(json.dumps(head))
    with pytest.raises(DataError, match=r"cloud_mask/.zarray: holds Python objects .* refused"):
        scenes(store, mapping)


def test_linked_granules_of_a_safe_folder_are_read(tmp_path):
    product = write_safe(tmp_path, START, size=8, baseline="05.09")
    mapping = load_mapping("safe_s2")
    plain = [(s.time, v.tolist()) for s, v in scenes(product, mapping)]
    shutil.move(product / "GRANULE", tmp_path / "disk")
    (product / "GRANULE").symlink_to(tmp_path / "disk")
    assert [(s.time, v.tolist()) for s, v in scenes(product, mapping)] == plain


def test_folders_that_lead_round_are_entered_once(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_text("x")
    (tmp_path / "a/round").symlink_to(tmp_path)
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    assert files_below(tmp_path) == [tmp_path / "a/x"]


@pytest.mark.parametrize("twice", [False, True])
def test_a_safe_folder_in_another_is_read_and_a_fork_alone_is_told_as_such(tmp_path, twice):
    product = write_safe(tmp_path / "in", START, size=8, baseline="05.09")
    nested = tmp_path / "again" / product.name / product.name
    shutil.copytree(product, nested / product.name if twice else nested)
    mapping = load_mapping("safe_s2")
    assert len(open_nested(tmp_path / "again", mapping)) == 1
    fork = tmp_path / "forks" / product.name
    fork.mkdir(parents=True)
    (fork / "._MTD_MSIL2A.xml").write_bytes(b"\x00\x05\x16\x07")
    with pytest.raises(DataError, match="nothing but Apple's notes on other files") as error:
        open_nested(tmp_path / "forks", mapping)
    assert "Download" not in str(error.value)


def test_an_incomplete_nested_product_says_what_it_lacks(tmp_path):
    product = write_safe(tmp_path / "in", START, size=8, baseline="05.09")
    outer = tmp_path / "again" / product.name
    shutil.copytree(product / "GRANULE", outer / product.name / "GRANULE")
    with pytest.raises(DataError, match=r"MTD_MSIL2A.xml is missing among its \d+ files"):
        open_nested(tmp_path / "again", load_mapping("safe_s2"))


def open_nested(folder, mapping):
    from contextlib import ExitStack

    with ExitStack() as stack:
        return open_scenes(find_source(folder, mapping).files, mapping, stack)
