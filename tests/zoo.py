"""One world of one shape that many tests look at: made once per session, on disk, and read by all workers.

A test of an export, a page or a score needs no network of its own, but a store or a result of one. Each member is made
by the process that asks first, while others that ask wait. Members are read and never written: what a test changes it
copies (`shutil.copytree`), or replaces in memory (`dataclasses.replace`). A session in which one was changed fails.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from eomm.data.cube import Cube, open_cube
from eomm.data.grid import Grid
from eomm.embedding.run import embed
from eomm.evaluation.hidden.reconstruction import evaluate
from eomm.models.directory import Model, save_model
from tests.environment import COMMON
from tests.eomm.site import SIZE, TEST_DAYS, make_cube, make_model

GRID = Grid(crs="EPSG:32631", transform=(10.0, 0.0, 501600.0, 0.0, -10.0, 5630080.0), height=SIZE, width=SIZE)
GAPS = (0, 20)


@functools.cache
def cube() -> Cube:
    """A clouded, simulated site of 24 x 24 px with Sentinel-2 and Sentinel-1 and a position."""
    return open_cube(_member("cube.zarr", _write_cube))


@functools.cache
def local() -> Cube:
    """A cloudless site of Sentinel-2 alone, called real, without a position."""
    return open_cube(_member("local.zarr", lambda path: make_cube(path, s1=False)))


@functools.cache
def model(name: str = "fused") -> Model:
    """Untrained, the same in every process: "s2", "s1", or "fused" of both."""
    if name != "fused":
        return make_model((name,))
    scale = {"calibration": {"scale": np.linspace(0.02, 0.05, 8).tolist()}}
    return dataclasses.replace(make_model(("s2", "s1"), fused=True), info=scale)


def model_directory(name: str = "fused") -> Path:
    """`model` on disk."""
    return _member(f"model-{name}", lambda path: save_model(model(name), path))


def store(name: str) -> Path:
    """An embedding cube: of `cube` by the fused model "clear", "cloudy" or "int8"; of `local` by the s2 model."""
    options: dict[str, Any] = {"dtype": "int8"} if name == "int8" else {"dtype": "float32"}
    if name == "cloudy":
        options["clear_only"] = False
    of, site = (model("s2"), local) if name == "local" else (model(), cube)
    return _member(f"{name}.embedding.zarr", lambda path: embed(of, site(), path, **options))


def evaluation() -> dict[str, Any]:
    """What `evaluate` says of the fused model at `cube`."""

    def write(path: Path) -> None:
        path.write_text(json.dumps(evaluate(model(), cube(), dates=TEST_DAYS, gaps=GAPS)))

    result: dict[str, Any] = json.loads(_member("evaluation.json", write).read_text())
    return result


def _write_cube(path: Path) -> None:
    make_cube(path, site="site one", clouds=0.3, grid=GRID, simulated=True)


def _member(name: str, make: Callable[[Path], Any]) -> Path:
    folder = Path(os.environ[COMMON]) / "zoo"
    folder.mkdir(exist_ok=True)
    path, seal = folder / name, folder / f"{name}.seal"
    with FileLock(folder / f"{name}.made"):  # .lock is what our own writers lock
        if not seal.exists():
            make(path)
            seal.write_text(_state(path))
    return path


def changed(common: Path) -> list[str]:
    """Names of members that are not as they were made."""
    seals = sorted((common / "zoo").glob("*.seal"))
    return [s.stem for s in seals if _state(s.with_suffix("")) != s.read_text()]


def _state(path: Path) -> str:
    files = [path, *sorted(path.rglob("*"))]
    return json.dumps([(str(f.relative_to(path)), f.stat().st_mtime_ns, f.stat().st_size) for f in files])
