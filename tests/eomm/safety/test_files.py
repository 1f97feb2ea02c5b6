"""A file that a command writes replaces a file that was named, and nothing else that lies there."""

import os

import pytest

from eomm.errors import UsageError
from eomm.evaluation.result_file import check_result_free
from eomm.store.folders import check_free_file
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


def test_pictures_of_the_users_beside_a_result_stay(tmp_path):
    """A folder where figures would lie is refused before the work, --overwrite or not, unless they are ours."""
    (tmp_path / "r_figures").mkdir()
    (tmp_path / "r_figures" / "holiday.png").write_text("holiday")
    before = contents(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="r_figures: "):
            check_result_free(tmp_path / "r.json", overwrite=overwrite)
    assert contents(tmp_path) == before
