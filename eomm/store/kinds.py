"""What a folder is, by the file in which every store of ours names its own kind. Not how one is written (folders.py).

A name such as `manifest.json` or `zarr.json` is used by many programs: only `eomm:kind` inside makes a folder ours.
"""

import json
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

MARK = "eomm.json"
"""In folders whose own files do not say that they are ours: {"eomm:kind": …}; and in unfinished stores but Zarr's."""

KINDS = {  # by kind: words for it, and the names that lie in it beside what its own manifest lists
    "cube": ("a cube", ()),
    "embedding": ("an embedding cube", ()),
    "composite": ("an embedding cube of means", ()),
    "records": ("a record set", ("manifest.json", "dataset_info.json", "features.json")),
    "model": ("a model", ("model.json", "params.safetensors", "CARD.md")),
    "head": ("a head", ("head.json", "arrays.safetensors")),
    "prediction": ("a prediction", ()),
    "export": ("an export", ("manifest.json", "*.aux.xml")),
    "portable model": ("a portable model", ("manifest.json", "contract.json", "README.md", "*.stablehlo", "*.bin")),
    "quality": ("a result of eomm bench quality", ("quality.json", "quality.md")),
    "figures": ("a folder of figures", ("*.png",)),
    "simulated site": ("a simulated site", ("s1", "s2", "truth", "flux", "site.json")),
}
ZARR = ("cube", "embedding", "composite", "prediction")
_HARMLESS = (MARK, ".DS_Store", "Thumbs.db", "._*", ".nfs*")  # that file systems and browsers leave
_BEGUN = (".units", ".spool")  # in embeddings and record sets of before every unfinished store had its mark


def kind_of(path: Path) -> str | None:
    """The kind, of `KINDS`, of a store of ours, finished or not; None where it is none, or cannot be read."""
    zarr = _table(path / "zarr.json").get("attributes")
    if isinstance(zarr, dict) and zarr.get("eomm:kind") in ZARR:
        return "composite" if "eomm:export" in zarr else str(zarr["eomm:kind"])
    for name in (MARK, "manifest.json", "model.json", "head.json"):
        kind = _table(path / name).get("eomm:kind")
        if isinstance(kind, str) and kind in KINDS:
            return kind
    return None


def words_of(path: Path) -> str | None:
    """A store of ours in words, such as "a cube"; None where it is none."""
    kind = kind_of(path)
    return KINDS[kind][0] if kind else None


def is_empty(path: Path) -> bool:
    """Whether a path is a folder with nothing in it."""
    return path.is_dir() and not any(path.iterdir())


def is_begun(path: Path) -> bool:
    """Whether a folder is one that a writer of ours left unfinished."""
    if path.is_symlink() or not path.is_dir():
        return False
    return kind_of(path) is not None or is_empty(path) or any((path / name).exists() for name in (MARK, *_BEGUN))


def strangers(path: Path, kind: str) -> list[str]:
    """Names in a store of ours that nothing of ours has written there."""
    known = {*KINDS[kind][1], *_HARMLESS, *_listed(path)}
    entries = sorted(path.iterdir()) if path.is_dir() else []
    return [p.name for p in entries if not any(fnmatch(p.name, k) for k in known) and not _of_zarr(p, kind)]


def _of_zarr(entry: Path, kind: str) -> bool:
    if kind not in ZARR:
        return False
    if entry.is_dir():
        return (entry / "zarr.json").is_file() or entry.name in (*_BEGUN, "c")
    return entry.suffix == ".json" or entry.name.startswith(".z")


def _listed(path: Path) -> Iterator[str]:
    """Files that a manifest lists, as names or as tables with a name; those below a folder by that folder."""
    files = _table(path / "manifest.json").get("files")
    for file in files if isinstance(files, list) else ():
        name = file.get("name") if isinstance(file, dict) else file
        if isinstance(name, str):
            yield name.split("/")[0]


def _table(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
