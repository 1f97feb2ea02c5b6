"""A static layer in records: all of it is in every one, whatever dates a record has, and no date of its own leads."""

import dataclasses
import itertools
from contextlib import closing

import numpy as np
import pytest

from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig
from eomm.data.batches import batches
from eomm.data.cube import Acquisition, open_cube
from eomm.data.grid import to_date
from eomm.data.records import open_records
from eomm.errors import UsageError
from tests.data_prep.records.test_build_patches import S2_DAYS, SMALL, WEATHER, grid, group, patches, write

RELIEF = dataclasses.replace(WEATHER, name="relief", unit="m", static=True)


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    layer = dataclasses.replace(group(RELIEF, [0], grid(), clear=0.8), acquisitions=[Acquisition(day=0)])
    return write(tmp_path_factory.mktemp("static") / "a.zarr", "a", more=(layer,))


def test_every_record_of_every_block_of_dates_has_the_layer(cube, tmp_path):
    last = [to_date(d) for d in (S2_DAYS[-14], S2_DAYS[-1])]
    split = SplitConfig(dates={"test": (last[0], last[1])})
    out = build_patches(tmp_path / "r", cubes=[cube], split=split, crops=SMALL)
    records = open_records(out)
    values, valid = open_cube(cube)["relief"].read()
    assert records.shapes["relief"].acquisitions == 1 and records.shapes["relief"].modality == RELIEF
    for split in ("train", "test"):
        found = list(patches(out, split))
        assert found
        for patch in found:
            y, x = (slice(patch[k], patch[k] + 8) for k in ("row", "col"))
            assert patch["relief"]["present"].tolist() == [1] and patch["relief"]["day"].tolist() == [0]
            np.testing.assert_array_equal(patch["relief"]["values"], values[:, y, x])
            np.testing.assert_array_equal(patch["relief"]["valid"], valid[:, y, x])
    source = records.manifest["sources"][0]["modalities"]["relief"]
    assert (source["dates"], source["acquisitions"]) == ([], 1)


def test_every_drawn_crop_has_the_layers_part(cube, tmp_path):
    large = {"crop_px": 20, "acquisitions": 30, "margin_px": 2, "draw_px": 10, "draw_acquisitions": 6}
    crops = CropConfig(window=(0, 0), **large)
    records = open_records(build_patches(tmp_path / "r", cubes=[cube], split=SplitConfig(), crops=crops))
    values = open_cube(cube)["relief"].read()[0][0]
    places = np.lib.stride_tricks.sliding_window_view(values, (10, 10), axis=(0, 1)).reshape(-1, 100)
    with closing(batches(records, split="train", batch_size=2, seed=1)) as data:
        for batch in itertools.islice(data, 6):
            relief = batch["relief"]
            assert relief["values"].shape == (2, 1, 10, 10, 1) and relief["present"].all()
            for own in relief["values"]:
                assert (places == own.reshape(1, 100)).all(1).any()


def test_it_leads_no_records_and_has_no_window(cube, tmp_path):
    for options in ({"reference": "relief"}, {"windows": {"relief": (3, 3)}}):
        with pytest.raises(UsageError, match="relief is static: it has no dates for records to follow"):
            crops = dataclasses.replace(SMALL, **options)
            build_patches(tmp_path / "r", cubes=[cube], split=SplitConfig(), crops=crops)
