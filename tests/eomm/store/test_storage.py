"""Stores appear whole or not at all, also where several processes want to write one."""

import os
import signal
import subprocess
import sys
import time

import pytest

from eomm.errors import DataError, UsageError
from eomm.store.folders import check_store, locked, new_directory

WRITER = """
import sys, time
from pathlib import Path
from eomm.store.folders import new_directory
with new_directory(sys.argv[1], kind="model") as partial:
    (partial / "a").write_text("first")
    Path(sys.argv[2]).touch()
    while Path(sys.argv[2]).exists():
        time.sleep(0.02)
    (partial / "b").write_text("second")
"""


@pytest.fixture
def writer(tmp_path):
    """Another process that has begun to write a store, and goes on when its mark is removed."""
    store, mark = tmp_path / "folder" / "store", tmp_path / "mark"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(store), str(mark)])
    deadline = time.monotonic() + 60
    while not mark.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    yield store, mark, process
    process.kill()
    process.wait()


def write(store):
    with new_directory(store, kind="model") as partial:
        (partial / "c").touch()


def test_nobody_takes_away_what_another_process_is_writing(writer):
    store, mark, process = writer
    with pytest.raises(UsageError, match=r"store: another process is writing it"):
        write(store)
    mark.unlink()
    assert process.wait(60) == 0
    assert sorted(p.name for p in store.iterdir()) == ["a", "b"] and os.listdir(store.parent) == ["store"]


def test_what_a_killed_process_has_begun_is_no_hindrance(writer):
    store, _, process = writer
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    write(store)
    assert os.listdir(store) == ["c"] and os.listdir(store.parent) == ["store"]


def test_a_lock_ends_with_its_block_also_by_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), locked(tmp_path / "x"):
            assert os.listdir(tmp_path) == ["x.lock"]
            raise ZeroDivisionError
        assert os.listdir(tmp_path) == []


def test_a_path_of_another_kind_is_named_by_what_it_holds(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "run" / "model").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text("{}")
    holds = {"none": "does not exist", "file": "is a file", ".": "without a finished store", "run": "lies in model/"}
    for name, words in holds.items():
        with pytest.raises(DataError, match=f"{words}.*; expected a record set"):
            check_store(tmp_path / name, "manifest.json", "a record set")
    (tmp_path / "run" / "manifest.json").write_text("{}")
    check_store(tmp_path / "run", "manifest.json", "a record set")
