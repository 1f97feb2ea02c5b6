"""Models by name: aliases stand for the newest version, a folder wins over a name, what is neither is refused."""

import shutil
from pathlib import Path

import pytest

from eomm.embedding import golden
from eomm.errors import UsageError
from eomm.models import shipped
from eomm.models.directory import load_model

GOLDEN = Path(golden.__file__).parent / "model"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Three shipped models, all of them the golden one."""
    folder = tmp_path / "weights"
    for name in ("base-1", "base-2", "base-10", "base_past-1"):
        shutil.copytree(GOLDEN, folder / name)
        (folder / name / "CARD.md").write_text(f"# {name}\n")
    monkeypatch.setattr(shipped, "FOLDER", folder)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def test_an_alias_is_the_newest_version(weights):
    assert shipped.aliases() == {"base": "base-10", "base_past": "base_past-1"}
    assert shipped.find_model("base") == weights / "base-10" and shipped.find_model("base-2") == weights / "base-2"
    assert load_model("base-1").hash == load_model(GOLDEN).hash


def test_a_folder_of_that_name_wins_and_it_is_said(weights, tmp_path):
    shutil.copytree(GOLDEN, tmp_path / "here" / "base")
    with pytest.warns(UserWarning, match="the folder here is used, not the shipped model"):
        assert shipped.find_model("base").resolve() == tmp_path / "here" / "base"


def test_a_name_of_nothing_is_refused_with_the_names_that_there_are(weights):
    with pytest.raises(UsageError, match="bass: no folder of that name here, and no shipped model; shipped are base,"):
        load_model("bass")
    with pytest.raises(UsageError, match="bass: no shipped model"):
        shipped.card("bass")


def test_what_ships_is_described(weights):
    found = shipped.describe_shipped()
    assert list(found) == ["base-1", "base-10", "base-2", "base_past-1"] and found["base-10"]["alias"] == "base"
    assert found["base-1"]["hash"] == load_model(GOLDEN).hash and found["base-1"]["bytes"] > 1000
    assert shipped.card("base") == "# base-10\n"
