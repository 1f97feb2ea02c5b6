"""A file that a command writes replaces a file that was named, and nothing else that lies there."""

import os

import pytest

from eomm.errors import UsageError
from eomm.evaluation.gpp.figures import figure_files
from eomm.evaluation.gpp.run import run
from eomm.store.folders import check_free_file
from tests.eomm.gpp_world import make_world
from tests.eomm.safety.stores import contents


def test_devices_links_and_folders_are_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("pipe", "is a device or the like"),
        ("link", "is a link to .*mine, and links are not replaced"),
        ("lost", "is a link to .*nowhere"),
        ("folder", "is a directory"),
    ):
        for overwrite in (True, False):
            with pytest.raises(UsageError, match=f"{name}: {words}"):
                check_free_file(tmp_path / name, overwrite=overwrite)
    check_free_file(tmp_path / "mine", overwrite=True)


@pytest.mark.parametrize("name", ["series", "scatter", "sites"])
def test_a_picture_of_the_users_beside_a_result_stays(name, tmp_path):
    mine = figure_files(tmp_path / "r.json")[name]
    mine.write_text("holiday")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=rf"r-{name}.png: already exists"):
        run(make_world(sites=3), models=["ridge"], out=tmp_path / "r.json")
    assert contents(tmp_path) == before
