"""Paths with `..` and through links lead where the shell says, for everything that opens or makes a store."""

import shutil
from pathlib import Path

import pytest

from eomm.cli import main
from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.embedding.store import open_embedding
from eomm.export.frames import Frames
from eomm.models.directory import load_model, save_model
from eomm.store.folders import entered


@pytest.fixture
def beside(stores, tmp_path, monkeypatch):
    """Working in a folder, with the stores in another beside it, and a link to a folder that is far away."""
    shutil.copytree(next(iter(stores.values())).parent, tmp_path / "stores")
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "link").symlink_to(tmp_path / "far" / "away")
    (tmp_path / "far" / "stores").symlink_to(tmp_path / "stores")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize("way", ["../stores", "../work/../stores", "link/../stores", "./../stores/./"])
def test_every_store_opens_by_a_relative_path_with_dots(way, beside):
    cube = open_cube(f"{way}/cube")
    assert cube["s2"].read()[1].any() and cube["s2"].valid_fraction().mean() == 1
    assert open_embedding(f"{way}/embedding")["embedding"].load().notnull().all()
    assert Frames(f"{way}/composite").frames and open_records(f"{way}/records").count("train") == 24
    model = load_model(f"{way}/model")
    assert save_model(model, f"{way}/again").resolve() == beside / "stores" / "again"


def test_commands_take_and_make_such_paths(beside, capsys):
    commands = [
        "info ../stores/cube",
        "prepare check ../stores/cube --out ../pages/check.html",
        "embed --model link/../stores/model --cube ../stores/cube --out ../stores/e.zarr --dtype float32",
        "embed --status --out ../stores/e.zarr",
        "export ../stores/e.zarr --to parquet --stride 9 --out ../stores/e.parquet",
        "export ../stores/e.zarr --to cog --composite year --length 1 --out link/../maps",
        "simulate ../scenes/a --size-px 24 --start 2020-01-01 --end 2020-02-29",
        "prepare cube --site a --source simulated_s2=../scenes/a/s2 --out ../stores/b.zarr",
    ]
    for command in commands:
        assert main(command.split()) == 0, (command, capsys.readouterr().err)
    assert (beside / "far" / "maps" / "manifest.json").is_file() and (beside / "stores" / "e.parquet").is_file()


def test_the_last_part_stays_since_names_tell_what_files_hold(beside):
    Path("x.tif").symlink_to(beside / "far")
    assert entered("../work/x.tif") == beside / "work" / "x.tif"
    assert entered("a/b.zarr") == Path("a/b.zarr") and entered(".") == beside / "work" and entered("..") == beside
