"""How every store of ours appears on disk: whole or not at all. Not for what is inside a store."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eomm.errors import DataError, UsageError

STORES = {  # the file by which each is known
    "zarr.json": "a Zarr store",
    "manifest.json": "a record set",
    "model.json": "a model",
    "config.json": "a training's run, whose model lies in model/ once it has ended",
}


@contextmanager
def new_directory(path: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `path` that becomes `path` when the block ends without an error.

    An interrupted or failing block leaves at most `path` + ".partial", which the next attempt removes; an
    existing `path` is replaced only with `overwrite`, and only after the new one is complete.

    Raises:
        UsageError: `path` exists and `overwrite` is false, or is not a store of ours; another process is writing it;
            or the disk is full.
    """
    path = Path(path)
    check_free(path, overwrite=overwrite)
    partial = partial_of(path)
    with locked(path):
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        try:
            yield partial
        except BaseException as e:
            shutil.rmtree(partial, ignore_errors=True)
            if is_disk_full(e):
                raise disk_full(path) from e
            raise
        put_in_place(partial, path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only process that writes `path`, by a lock file beside it; its folder is made.

    Two that share what is unfinished would make a store that lacks what one has removed, and calls itself complete:
    a command given twice, or a task that a cluster gives to another worker while the first is only out of reach. The
    lock ends with the process. File systems without locks are trusted.

    Raises:
        UsageError: another process is writing it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(path.name + ".lock")
    while True:
        with file.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as e:
                if e.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    raise UsageError(f"{path}: another process is writing it; wait for it, or stop it") from e
            if not file.exists() or not os.path.samestat(os.fstat(lock.fileno()), file.stat()):
                continue  # its last owner has just removed it
            try:
                yield
            finally:
                file.unlink(missing_ok=True)  # while it is ours
            return


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise UsageError where `path` exists, unless `overwrite` and it is a store of ours."""
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: already exists; choose another path, or say --overwrite to replace it")
    if path.exists() and not is_ours(path):
        raise UsageError(f"{path}: already exists and was not made by eomm, so it is not replaced; choose another path")


def check_free_file(path: Path, *, overwrite: bool) -> None:
    """Make room for a file to be written after some work: its folder, made now.

    Raises:
        UsageError: `path` exists and `overwrite` is false, or it is a directory.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a directory, expected the name of a file to write; choose another path")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: already exists; choose another path, or say --overwrite to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)


def recover(path: Path) -> None:
    """Put back what `put_in_place` had moved aside when it was killed before the new store took its place."""
    if not path.exists() and (old := replaced_of(path)).exists():
        os.replace(old, path)


def replaced_of(path: Path) -> Path:
    """Where a store goes for the moment in which another takes its place."""
    return path.with_name(path.name + ".replaced")


def partial_of(path: Path) -> Path:
    """Where a store is made before it is `path`."""
    return path.with_name(path.name + ".partial")


def put_in_place(partial: Path, path: Path) -> None:
    """Rename a complete store to `path`; a directory that is there makes way first."""
    if path.exists():
        old = replaced_of(path)
        shutil.rmtree(old, ignore_errors=True)
        os.replace(path, old)
        os.replace(partial, path)
        shutil.rmtree(old)
    else:
        os.replace(partial, path)


def is_ours(path: Path) -> bool:
    """Whether a directory may be replaced: one of our stores, a folder of figures, or an empty one."""
    if not path.is_dir():
        return False
    names = [p.name for p in path.iterdir()]
    stores = {"zarr.json", "manifest.json", "model.json"}
    return bool(stores & set(names)) or all(n.endswith(".png") for n in names)


def disk_full(path: Path) -> UsageError:
    """The error to raise where writing `path` met a full disk."""
    return UsageError(f"{path}: the disk is full; nothing unfinished was kept. Free some space and run again")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that no space is left, or no quota."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def disk_full_at(partial: Path) -> UsageError:
    """The same where what is finished of a store stays in `partial`."""
    return UsageError(f"{partial}: the disk is full; what is finished stays. Free some space and run again")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: readers see the old file or the new one."""
    write_text(path, json.dumps(content, indent=1, sort_keys=False, allow_nan=False) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write text in UTF-8 atomically, as `write_json`."""
    temporary = partial_of(path)
    temporary.write_text(content, encoding="utf-8")
    os.replace(temporary, path)


def read_json(path: Path) -> Any:
    """Read JSON. Raises DataError naming the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as e:
        raise DataError(f"{path}: missing; is {path.parent} a finished eomm store?") from e
    except ValueError as e:
        raise DataError(f"{path}: not valid JSON ({e}); the file is damaged, make the store again") from e


def check_store(path: Path, file: str, expected: str) -> None:
    """Raise DataError, saying what lies at `path`, where `file`, by which a store is known, does not lie there."""
    if not (path / file).is_file():
        raise DataError(f"{path}: {what_lies(path)}; expected {expected}")


def what_lies(path: Path) -> str:
    """What a path holds, in words that go on after its name."""
    if not path.exists():
        return "does not exist"
    if not path.is_dir():
        return "is a file"
    known = [words for file, words in STORES.items() if (path / file).is_file()]
    return f"holds {known[0]}" if known else "is a folder without a finished store of eomm"


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
