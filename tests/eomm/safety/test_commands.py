"""Whatever command meets a store first puts back what a kill had moved aside, or says plainly what lies there."""

import os

import pytest

from eomm.cli import main
from eomm.data.records import open_records
from eomm.embedding.calibrate import calibrate
from eomm.errors import UsageError
from eomm.models.directory import load_model
from tests.eomm.safety.stores import contents, copy


@pytest.mark.parametrize("kind", ["cube", "embedding", "records", "model"])
def test_verify_puts_back_what_was_moved_aside(kind, stores, tmp_path):
    path = copy(stores[kind], tmp_path)
    before = contents(path)
    os.rename(path, path.with_name(path.name + ".replaced"))
    assert main(["verify", str(path)]) == 0 and contents(path) == before


def test_a_report_puts_back_the_embedding_that_it_is_given(stores, tmp_path, capsys):
    path = copy(stores["embedding"], tmp_path)
    before = contents(path)
    os.rename(path, path.with_name(path.name + ".replaced"))
    assert main(["report", "--embedding", str(path), "--out", str(tmp_path / "r.html")]) == 2
    assert "its cube was not found" in capsys.readouterr().err and contents(path) == before


def test_a_folder_with_a_damaged_store_is_gathered_without_it(stores, tmp_path, capsys):
    (copy(stores["embedding"], tmp_path) / "zarr.json").write_text('{"node_type": "group", "attributes": 7}')
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 2
    assert "holds no run, model, cube, embedding or evaluation" in capsys.readouterr().err


def test_info_says_what_an_export_is(stores, capsys):
    assert main(["info", str(stores["export"])]) == 0
    said = capsys.readouterr().out
    assert "export, finished, real data" in said and "to: cog" in said and "composite: year" in said
    map_ = min(stores["export"].glob("*.tif"))
    assert main(["info", str(map_)]) == 0
    assert "map, finished, real data" in (said := capsys.readouterr().out) and "1 band, " in said


def test_records_whose_crops_hold_no_window_do_not_calibrate(stores):
    with pytest.raises(UsageError, match=r"records: crops are 4 x 4 px; the encoder needs 15 or more"):
        calibrate(load_model(stores["model"]), open_records(stores["records"]))
