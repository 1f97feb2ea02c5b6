"""How every store of ours appears on disk: whole or not at all. Not for what is inside a store."""

import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from eomm.errors import DataError, DiskFull, UsageError
from eomm.store.kinds import KINDS, MARK, ZARR, is_begun, is_empty, kind_of, strangers, words_of

UNMARKED = ("figures", "quality")  # kinds whose own files do not tell
TRIES = 100
NO_SPACE = ("No space left", "quota exceeded")  # the system's words, which libraries repeat

STORES = {  # the file by which each is known
    "zarr.json": "a Zarr store that is not of eomm",
    "manifest.json": "a manifest.json that is not of eomm",
    "model.json": "a model.json that is not of eomm",
    "config.json": "a training's run, whose model lies in model/ once it has ended",
}


@contextmanager
def new_directory(path: Path | str, *, kind: str, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `path` that becomes `path` when the block ends without an error.

    An interrupted or failing block leaves at most `path` + ".partial", which the next attempt removes; an
    existing `path` is replaced only with `overwrite`, and only after the new one is complete.

    Args:
        path: the store to be.
        kind: what it is, of `kinds.KINDS`; only what is of this kind is replaced.
        overwrite: replace an existing one.

    Raises:
        UsageError: `check_free` says why, or another process is writing it.
        DiskFull: nothing of it was kept.
    """
    path = entered(path)
    check_free(path, overwrite=overwrite, kind=kind)
    partial = partial_of(path)
    with locked(path), naming_full_disk(path):
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        try:
            if kind not in ZARR:  # whose first file tells; zarr warns of others
                write_json(partial / MARK, {"eomm:kind": kind, "eomm:unfinished": True})
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if kind in UNMARKED:
            write_json(partial / MARK, {"eomm:kind": kind})
        else:
            (partial / MARK).unlink(missing_ok=True)
        put_in_place(partial, path)


@contextmanager
def locked(path: Path, *, file: Path | None = None) -> Iterator[None]:
    """Be the only process that writes `path`, by a lock file, beside it unless another is named; its folder is made.

    Two that share what is unfinished would make a store that lacks what one has removed, and calls itself complete:
    a command given twice, or a task that a cluster gives to another worker while the first is only out of reach. The
    lock ends with the process. File systems without locks are trusted.

    Raises:
        UsageError: another process is writing it.
    """
    file = file or path.with_name(path.name + ".lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with open(file, "a", opener=_not_a_link) as lock:
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


def _not_a_link(file: str, flags: int) -> int:
    """Opens a lock file; a link that somebody has put there is an error (ELOOP), not a file made elsewhere."""
    return os.open(file, flags | os.O_NOFOLLOW, 0o666)


def check_free(path: Path, *, overwrite: bool, kind: str) -> None:
    """Whether a store may be made at `path`, which is not touched.

    Raises:
        UsageError: it exists, and `overwrite` is false, or it is no store of ours of this kind, or holds what is none
            of the store's; or something that is not ours lies where the store is made.
    """
    if not path.name:
        raise UsageError(f"{path}: is no name for {KINDS[kind][0]}; choose another path")
    check_outside(path)
    recover(path)
    for leftover in (partial_of(path), replaced_of(path)):
        if os.path.lexists(leftover) and not is_begun(leftover) and os.path.lexists(leftover):  # not just renamed
            raise UsageError(
                f"{leftover}: lies where {path.name} is made and was not made by eomm; move it away, or choose another "
                "path"
            )
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise UsageError(f"{path}: already exists; choose another path, or say --overwrite to replace it")
    if path.is_symlink():
        raise UsageError(f"{path}: is a link to {os.readlink(path)}, and links are not replaced; name that, or another")
    if not is_empty(path):
        _check_all_ours(path, kind)


def _check_all_ours(path: Path, kind: str) -> None:
    """Raise UsageError unless a path is a store of a kind, and holds nothing else."""
    found = kind_of(path)
    if found != kind:
        what = f"is {KINDS[found][0]}, not {KINDS[kind][0]}" if found else "was not made by eomm"
        raise UsageError(f"{path}: already exists and {what}, so it is not replaced; choose another path")
    if others := strangers(path, kind):
        some = ", ".join(others[:3]) + (" …" if len(others) > 3 else "")
        raise UsageError(
            f"{path}: holds {some}, which is no part of {KINDS[kind][0]} and would be lost; move it elsewhere, or "
            "choose another path"
        )


def check_outside(path: Path) -> None:
    """Raise UsageError where `path` lies inside a store of ours, which nothing may change."""
    for folder in path.resolve().parents:
        if found := words_of(folder):
            raise UsageError(f"{path}: lies inside {found} ({folder}), which nothing may change; choose another path")


def check_apart(
    out: Path | str, inputs: Mapping[str, Path | str | None], *, replaced: bool = True, searched: bool = False
) -> None:
    """Raise UsageError where writing `out` would change what it is made of.

    Args:
        out: a store or file to be made.
        inputs: what is read, by its name in messages, such as "the cube"; None and addresses of the net are passed.
        searched: the inputs are folders in which others may lie beside what is read.
        replaced: `out` is made whole, so that an input in it would go; else files are added to it.
    """
    real = Path(out).resolve()
    for name, given in inputs.items():
        if given is None or re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(given)):
            continue
        source = Path(given).resolve()
        if real == source:
            raise UsageError(f"{out}: is {name} itself; choose another path")
        if replaced and real in source.parents:
            raise UsageError(f"{out}: holds {name} ({given}), which would be replaced with it; choose another path")
        if not searched and source in real.parents:
            raise UsageError(f"{out}: lies inside {name} ({given}), which nothing may change; choose another path")


def entered(path: Path | str) -> Path:
    """A path as a user gave it, without `..`: resolved once, where it enters.

    Readers of stores refuse such parts or take them word by word, which links make wrong. The last part stays, since
    names of files and folders tell what they hold.
    """
    path = Path(path)
    if path.name in ("", ".."):  # ".", "..": what they stand for has a name
        return path.resolve()
    return path.parent.resolve() / path.name if ".." in path.parts else path


def check_free_file(path: Path, *, overwrite: bool) -> None:
    """Make room for a file to be written after some work: its folder, made now.

    Raises:
        UsageError: `path` exists and `overwrite` is false; it is a directory, a link or a device; or it lies in a
            store.
    """
    check_outside(path)
    if path.is_symlink():
        raise UsageError(f"{path}: is a link to {os.readlink(path)}, and links are not replaced; name that, or another")
    if path.exists() and not path.is_file():
        what = "a directory" if path.is_dir() else "a device or the like"
        raise UsageError(f"{path}: is {what}, expected the name of a file to write; choose another path")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: already exists; choose another path, or say --overwrite to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)


def recover(path: Path) -> None:
    """Put back what `put_in_place` had moved aside when it was killed before the new store took its place."""
    old = replaced_of(path)
    if not os.path.lexists(path) and not old.is_symlink() and kind_of(old):
        with suppress(OSError):  # another process was faster, or has put the new one there, or nobody may write here
            os.rename(old, path)


def replaced_of(path: Path) -> Path:
    """Where a store goes for the moment in which another takes its place."""
    return path.with_name(path.name + ".replaced")


def partial_of(path: Path) -> Path:
    """Where a store is made before it is `path`."""
    return path.with_name(path.name + ".partial")


def put_in_place(partial: Path, path: Path) -> None:
    """Rename a complete store to `path`; a store of ours or an empty folder that is there makes way first."""
    old = replaced_of(path)
    for _ in range(TRIES):
        if os.path.lexists(path):
            shutil.rmtree(old, ignore_errors=True)
            os.rename(path, old)
        try:
            os.rename(partial, path)
            break
        except OSError as e:  # a reader has put the old one back, as `recover` does
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    else:
        raise UsageError(f"{path}: cannot be replaced, other processes keep opening it; {partial} is complete")
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def naming_full_disk(path: Path, *, kept: bool = False) -> Iterator[None]:
    """Turn what the system and libraries say of a full disk in this block into one error of ours.

    Args:
        path: what is written.
        kept: what is finished of it stays.

    Raises:
        DiskFull: no space is left, or no quota.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as e:
        if is_disk_full(e):
            raise disk_full(path, kept=kept) from e
        raise


def disk_full(path: Path, *, kept: bool = False) -> DiskFull:
    """The error to raise where writing `path` met a full disk."""
    stays = "what is finished stays" if kept else "nothing unfinished was kept"
    return DiskFull(f"{path}: the disk is full; {stays}. Free some space and run again")


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that no space is left, or no quota: by its type or number, or in a library's words."""
    if isinstance(error, DiskFull):
        return True
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    said = str(error)
    if isinstance(error, ValueError) and "RESOURCE_EXHAUSTED" in said:  # tensorstore's; of others it is memory
        return True
    return isinstance(error, OSError | ValueError | RuntimeError) and any(words in said for words in NO_SPACE)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically: readers see the old file or the new one."""
    write_text(path, json.dumps(content, indent=1, sort_keys=False, allow_nan=False) + "\n")


def write_text(path: Path, content: str) -> None:
    """Write text in UTF-8 atomically, as `write_json`."""
    with new_file(path) as partial:
        partial.write_text(content, encoding="utf-8")


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """An empty file beside `path` that becomes it when the block ends without an error, and else goes.

    What a killed process left there goes first. A link that somebody has put there is not followed.

    Raises:
        UsageError: a folder lies there.
    """
    partial = _beside(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    temporary = partial_of(path)
    try:
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except (IsADirectoryError, PermissionError) as e:  # the latter on macOS
        if temporary.is_dir():
            raise UsageError(f"{temporary}: a folder lies where {path.name} is written; move it away") from e
        raise
    return temporary


def read_json(path: Path) -> Any:
    """Read JSON. Raises DataError naming the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise DataError(f"{path}: missing; is {path.parent} a finished eomm store?") from e
    except (ValueError, RecursionError) as e:
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
    if own := words_of(path):
        return f"holds {own}"
    known = [words for file, words in STORES.items() if (path / file).is_file()]
    return f"holds {known[0]}" if known else "is a folder without a finished store of eomm"


def cache_folder() -> Path | None:
    """Where this user keeps what can be made again; None where the environment tells neither a cache nor a home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():  # as the specification has it, anything else does not count
        return Path(given) / "eomm"
    try:
        return Path.home() / ".cache" / "eomm"
    except RuntimeError:  # HOME is not set, and the user is in no list
        return None
