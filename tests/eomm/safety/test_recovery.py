"""What a kill between the two renames of an overwrite moved aside is back at the next open, whatever opens it."""

import os
import signal
import subprocess
import sys

import pytest

from eomm.cli import main
from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.embedding.store import open_embedding
from eomm.embedding.units import status
from eomm.errors import DataError, UsageError
from eomm.models.directory import load_model
from eomm.report.gather import gather
from eomm.store.folders import check_free, locked, put_in_place, recover
from eomm.store.kinds import kind_of
from tests.eomm.safety.stores import contents, copy

OPENERS = {
    "cube": [open_cube],
    "embedding": [open_embedding, status],
    "composite": [open_embedding],
    "records": [open_records],
    "model": [load_model],
    "export": [lambda path: check_free(path, overwrite=True, kind="export")],
}
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from eomm.store import folders
kind, path, new = sys.argv[1:]
def kill(a, b, rename=os.rename, count=[0]):
    count[0] += 1
    rename(a, b)
    if count[0] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
folders.os.rename = kill
with folders.new_directory(path, kind=kind, overwrite=True) as partial:
    shutil.copytree(new, partial, dirs_exist_ok=True)
"""


@pytest.mark.parametrize("kind", OPENERS)
def test_the_old_store_is_back_at_the_next_open(kind, stores, tmp_path, capsys):
    for opener in [*OPENERS[kind], lambda path: main(["info", str(path)])]:
        path = copy(stores[kind], tmp_path, "x")
        before = contents(path)
        killed = subprocess.run([sys.executable, "-c", KILLED, kind, str(path), str(stores[kind])])
        assert killed.returncode == -signal.SIGKILL and not path.exists()
        opener(path)
        assert contents(path) == before
        with pytest.raises(UsageError, match="already exists"):
            check_free(path, overwrite=False, kind=kind)
        check_free(path, overwrite=True, kind=kind)  # and what the killed process left is no hindrance
        for left in tmp_path.iterdir():
            os.rename(left, tmp_path.parent / f"{left.name}-{opener}-{len(list(tmp_path.parent.iterdir()))}")


def test_a_folder_is_searched_for_them_too(stores, tmp_path):
    copy(stores["cube"], tmp_path, "c.zarr.replaced")
    copy(stores["model"], tmp_path, "m.partial")
    assert gather([tmp_path]).cubes == [tmp_path / "c.zarr"] and gather([tmp_path]).models == []


def test_what_is_not_ours_is_not_taken_for_what_was_moved_aside(tmp_path):
    (tmp_path / "a.replaced").mkdir()
    (tmp_path / "a.replaced" / "mine.txt").touch()
    with pytest.raises(DataError, match="does not exist"):
        open_cube(tmp_path / "a")
    assert [p.name for p in tmp_path.iterdir()] == ["a.replaced"]


def test_a_reader_that_recovers_while_a_writer_renames_does_not_stop_it(stores, tmp_path, monkeypatch):
    path, new = copy(stores["model"], tmp_path, "m"), copy(stores["model"], tmp_path, "m.partial")
    (new / "mark").touch()
    rename, calls = os.rename, []

    def with_reader(a, b):
        rename(a, b)
        calls.append(b)
        if len(calls) == 1:
            recover(path)  # at the worst moment
            assert kind_of(path) == "model"

    monkeypatch.setattr(os, "rename", with_reader)
    put_in_place(new, path)
    assert (path / "mark").exists() and os.listdir(tmp_path) == ["m"]


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "x.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"x\.lock"), locked(tmp_path / "x"):
        pass
    assert not (tmp_path / "elsewhere").exists()
