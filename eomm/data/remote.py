"""Record sets in buckets: copied to this machine once, whole and checked by the hashes of their manifest.

Training reads records at random for days: from a disk, not over a network. No JAX in here.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from eomm.errors import DataError, UsageError
from eomm.store.digest import digest_text, sha256
from eomm.store.folders import cache_folder
from eomm.store.progress import progress_bar

MANIFEST = "manifest.json"
BESIDE = ("dataset_info.json", "features.json")  # by which TensorFlow Datasets opens the set


def is_url(path: Path | str) -> bool:
    """Whether a path is of a bucket or of the net; `Path("gs://bucket")`, which is `gs:/bucket`, is known too."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)) is not None


def fetch_records(url: Path | str) -> Path:
    """The copy of a record set on this machine, made where it is missing: in the user's cache directory.

    Args:
        url: such as "gs://bucket/records" or "s3://bucket/records"; what fsspec can read.

    Raises:
        UsageError: fsspec or what it needs for this kind of address is not installed.
        DataError: no finished record set there, or a file is not what the manifest says.
    """
    text = re.sub(r"^([^:]+):/+", r"\1://", str(url))
    try:
        import fsspec

        files, root = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as e:
        raise UsageError(f"{text}: cannot be read ({e}); pip install 'eomm[buckets]', or copy the records") from e
    raw = read(files, f"{root}/{MANIFEST}", text)
    try:
        listed = {str(f["name"]): str(f["sha256"]) for f in json.loads(raw)["files"]}
    except (ValueError, KeyError, TypeError) as e:
        raise DataError(f"{text}/{MANIFEST}: is no manifest of records ({e})") from e
    check_names(listed, f"{text}/{MANIFEST}")
    target = cache() / digest_text(text.encode() + raw)
    if target.exists():
        return target
    partial = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.partial")
    partial.mkdir(parents=True)
    try:
        names = [n for n in (*listed, *BESIDE) if n in listed or files.exists(f"{root}/{n}")]
        with progress_bar(f"fetch {text}") as bar:
            for done, name in enumerate(names, 1):
                copy(files, f"{root}/{name}", partial / name, text, listed.get(name))
                bar.counted(done, len(names))
        (partial / MANIFEST).write_bytes(raw)
        os.rename(partial, target)
    except OSError:
        if not target.exists():  # else another process was faster
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def check_names(names: Iterable[Any], manifest: Path | str) -> None:
    """Raise DataError unless a manifest's files are names without a folder: what it lists is opened and copied."""
    for name in names:
        if not isinstance(name, str) or PurePosixPath(name).name != name or name in ("", ".", "..") or "\\" in name:
            raise DataError(f"{manifest}: names a file {name!r}; expected names without a folder")


def cache() -> Path:
    """Where copies lie. Raises UsageError where this user has no folder for such."""
    folder = cache_folder()
    if folder is None:
        raise UsageError("records in a bucket are copied to a cache, and there is no home: set XDG_CACHE_HOME")
    return folder / "records"


def read(files: Any, path: str, url: str) -> bytes:
    """A small file. Raises DataError where it is missing."""
    try:
        content: bytes = files.cat_file(path)
        return content
    except FileNotFoundError as e:
        raise DataError(f"{url}: no {MANIFEST} there; expected a finished record set of `eomm prepare records`") from e


def copy(files: Any, path: str, target: Path, url: str, digest: str | None) -> None:
    """One file to this machine. Raises DataError where it is missing, or is not that of the digest."""
    try:
        files.get_file(path, str(target))
    except FileNotFoundError as e:
        raise DataError(f"{url}: lacks {target.name}, which its manifest lists; upload the records again") from e
    if digest is not None and sha256(target) != digest:
        raise DataError(f"{url}/{target.name}: its content differs from the manifest; upload the records again")


def local_path(path: Path | str, why: str) -> Path:
    """A path of a file system, as a Path.

    Args:
        path: as the user gave it.
        why: a file system is needed.

    Raises:
        UsageError: it is in a bucket or elsewhere on the net: gs://, s3://, https://.
    """
    if is_url(path):
        raise UsageError(
            f"{path}: is no path of a file system, and {why}. Mount the bucket (gcsfuse, mountpoint-s3, rclone mount) "
            "and give the path there, or copy it"
        )
    return Path(path)
