"""Many sites in a folder: one that fails stops no other, a full disk stops all, wherever it was met."""

import errno
import pickle

import pytest

from eomm.errors import DataError, DiskFull, EommError
from eomm.store.folders import is_disk_full, naming_full_disk
from eomm.store.many import do_sites, format_standing, standing
from eomm.store.notes import Notes
from eomm.store.workers import Pool


def write(site):
    """A site's work, which wraps the system's error as all our writers do."""
    name, error = site
    with naming_full_disk(name):
        if error is not None:
            raise error


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_site_that_fails_is_noted_and_stops_no_other(tmp_path):
    notes, told = Notes(tmp_path), []
    notes.begin()
    sites = [("a", DataError("odd")), ("b", None)]
    do_sites(write, sites, notes, Pool(), finished=1, progress=lambda *n: told.append(n))
    assert told == [(2, 3), (3, 3)] and notes.failures() == {"a": "DataError: odd"}
    found = standing(["a", "b", "c"], notes, ["b"])
    assert format_standing(found, where=" in x") == ("3 sites in x: 1 done, 1 failed, 1 waiting\n  a: DataError: odd")


def write_elsewhere(site):
    """As `write`, in another process: what caused an error is lost on the way back."""
    try:
        write(site)
    except EommError as e:
        raise pickle.loads(pickle.dumps(e)) from None


def test_a_full_disk_of_a_worker_ends_the_run_though_its_cause_stays_behind(tmp_path):
    notes = Notes(tmp_path)
    notes.begin()
    with pytest.raises(DiskFull, match="a: the disk is full; nothing unfinished was kept") as error:
        do_sites(write_elsewhere, [("a", FULL), ("b", None)], notes, Pool(), finished=0, progress=None)
    assert error.value.__cause__ is None, "else this shows nothing"
    assert "disk is full" in notes.failures()["a"]


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        ValueError("RESOURCE_EXHAUSTED: Error writing"),  # tensorstore
        RuntimeError("write() failed: No space left on device"),  # array_record
    ],
)
def test_a_full_disk_is_known_in_everybodys_words_and_others_are_not_taken_for_one(error):
    with pytest.raises(DiskFull, match="x: the disk is full; what is finished stays"), naming_full_disk("x", kept=True):
        raise error
    assert is_disk_full(pickle.loads(pickle.dumps(DiskFull("x"))))
    for other in (
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
        OSError(errno.EIO, "bad"),
        DataError("No space left"),
    ):
        assert not is_disk_full(other)


def test_a_damaged_request_is_not_taken_for_none(tmp_path):
    notes = Notes(tmp_path / "n")
    assert notes.request is None
    notes.begin({"site": "a"})
    assert notes.request == {"site": "a"}
    (tmp_path / "n" / "request.json").write_text('{"site": ')
    with pytest.raises(DataError, match=r"n/request.json: damaged.* remove .*n to begin anew"):
        _ = notes.request
