"""Short names of contents, by which a request, a contract or a store is known again. Not checksums of shards."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Iterable[tuple[str, Any]]


def digest(content: Any, arrays: Arrays = ()) -> str:
    """16 hex digits that stand for JSON types, and for named arrays in the order given."""
    return digest_text(json.dumps(content, sort_keys=True), arrays)


def digest_text(text: str | bytes, arrays: Arrays = ()) -> str:
    """The same of a text."""
    known = hashlib.sha256(text if isinstance(text, bytes) else text.encode())
    for name, array in arrays:
        known.update(name.encode())
        known.update(np.ascontiguousarray(array).tobytes())
    return known.hexdigest()[:16]


def head_digest(head: Path) -> str:
    """What stands for a store, which is replaced as a whole: `sha256` of its head; empty where there is none."""
    try:
        return sha256(head)
    except OSError:
        return ""


def sha256(path: Path) -> str:
    """64 hex digits of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
