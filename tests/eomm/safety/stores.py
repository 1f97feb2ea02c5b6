"""One small store of every kind, and what other people keep under the same names."""

import json
import shutil
from pathlib import Path

import numpy as np
import zarr

from eomm.export.options import ExportOptions
from eomm.export.run import export
from tests import zoo
from tests.eomm.tiny import make_records


def make_stores(folder: Path) -> dict[str, Path]:
    """Path by kind; all of one site, model and cube."""
    made = {kind: folder / kind for kind in ("cube", "embedding", "composite", "records", "model", "export")}
    members = {"cube": zoo.local().path, "model": zoo.model_directory("s2"), "embedding": zoo.store("local")}
    for kind, path in members.items():
        shutil.copytree(path, made[kind])
    export(made["embedding"], made["composite"], ExportOptions(to="zarr", composite="month"))
    export(made["embedding"], made["export"], ExportOptions(to="cog", composite="year", length=1))
    make_records(made["records"])
    return made


def make_foreign(folder: Path) -> dict[str, Path]:
    """Folders of others that resemble ours."""
    contents = {
        "web app": {"manifest.json": '{"name": "My app", "icons": []}', "index.html": "<html>"},
        "manifest that is a list": {"manifest.json": "[1, 2]"},
        "manifest that is no JSON": {"manifest.json": "not JSON"},
        "model of others": {"model.json": '{"layers": 12}', "params.safetensors": "x"},
        "photos": {"a.png": "holiday", "b.png": "holiday"},
        "notes": {"notes.txt": "mine"},
    }
    for name, files in contents.items():
        (folder / name).mkdir(parents=True)
        for file, text in files.items():
            (folder / name / file).write_text(text)
    zarr.create_group(folder / "zarr of others", attributes={"title": "mine"}).create_array("a", data=np.arange(3))
    return {path.name: path for path in folder.iterdir()}


def contents(path: Path) -> dict[str, bytes]:
    """Every file below a path with its bytes, and every link with where it leads."""
    if path.is_file():
        return {"": path.read_bytes()}
    found = {str(p.relative_to(path)): p for p in sorted(path.rglob("*"))}
    return {
        n: str(p.readlink()).encode() if p.is_symlink() else p.read_bytes() for n, p in found.items() if p.is_file()
    }


def copy(store: Path, folder: Path, name: str | None = None) -> Path:
    """A store of one's own to spoil."""
    target = folder / (name or store.name)
    shutil.copytree(store, target, symlinks=True)
    return target


def change_json(file: Path, change) -> None:
    """Apply a function to a JSON file's content."""
    content = json.loads(file.read_text())
    file.write_text(json.dumps(change(content) or content))
