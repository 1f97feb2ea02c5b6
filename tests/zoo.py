"""One world of one shape that many tests look at: made once per session, on disk, and read by all workers.

A test of an export, a page or a score needs no network of its own, but a store or a result of one. Each member is made
by the process that asks first, while others that ask wait. Members are read and never written: what a test changes it
copies (`shutil.copytree`), or replaces in memory (`dataclasses.replace`). A session in which one was changed fails.
"""

import contextlib
import dataclasses
import functools
import io
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig
from eomm.cli import main
from eomm.data.cube import Cube, open_cube
from eomm.data.grid import Grid, to_date
from eomm.data.records import RecordSet, open_records
from eomm.embedding.run import embed
from eomm.models.directory import Model, save_model
from eomm.training.experiment import run_experiment
from experiments.common import pretrain
from tests.environment import COMMON, state
from tests.eomm.evaluation.fields import field_map, write_labels
from tests.eomm.gpp_world import gpp_table, make_world
from tests.eomm.site import OPTIONS, SIZE, TEST_DAYS, make_cube, make_model

GRID = Grid(crs="EPSG:32631", transform=(10.0, 0.0, 501600.0, 0.0, -10.0, 5630080.0), height=SIZE, width=SIZE)
GAPS = (0, 20)
APART = {"site two": 1000, "site three": 2000}  # px to the east: as far as sites of one split may not be


@functools.cache
def cube() -> Cube:
    """A clouded, simulated site of 24 x 24 px with Sentinel-2 and Sentinel-1 and a position."""
    return open_cube(member("cube.zarr", write_cube))


@functools.cache
def other_site(name: str) -> Cube:
    """As `cube`, at another place of APART."""
    return open_cube(member(f"{name}.zarr", partial(write_cube, site=name, east_px=APART[name])))


@functools.cache
def local() -> Cube:
    """A cloudless site of Sentinel-2 alone, called real, without a position."""
    return open_cube(member("local.zarr", lambda path: make_cube(path, s1=False)))


@functools.cache
def model(name: str = "fused") -> Model:
    """Untrained, the same in every process: "s2", "s1", or "fused" of both."""
    if name != "fused":
        return make_model((name,))
    scale = {"calibration": {"scale": np.linspace(0.02, 0.05, 8).tolist()}}
    return dataclasses.replace(make_model(("s2", "s1"), fused=True), info=scale)


def model_directory(name: str = "fused") -> Path:
    """`model` on disk."""
    return member(f"model-{name}", lambda path: save_model(model(name), path))


def store(name: str) -> Path:
    """An embedding cube: of `cube` by the fused model "clear", "cloudy" or "int8"; of `local` by the s2 model."""
    options: dict[str, Any] = {"dtype": "int8"} if name == "int8" else {"dtype": "float32"}
    if name == "cloudy":
        options["clear_only"] = False
    of, site = (model("s2"), local) if name == "local" else (model(), cube)
    return member(f"{name}.embedding.zarr", lambda path: embed(of, site(), path, **options))


def records() -> RecordSet:
    """Records of `cube` to train on, its TEST_DAYS held out, and of two other sites to validate and to test on."""

    def write(path: Path) -> None:
        others = [other_site(name).path for name in APART]
        sites = {"train": ["site one"], "validation": ["site two"], "test": ["site three"]}
        split = SplitConfig(sites=sites, hold_out_days=tuple(TEST_DAYS))
        crops = CropConfig(crop_px=18, acquisitions=12, stride_px=3, stride_acquisitions=4)
        build_patches(path, cubes=[cube().path, *others], split=split, crops=crops)

    return open_records(member("records", write))


def trained() -> Path:
    """The directory of a run that trained the s2 model three steps on `records` and calibrated it (`model`)."""

    def write(path: Path) -> None:
        config = pretrain("s2")
        config.update({"steps": 3, "log_every": 1, "calibrate_records": 4})
        config.data.update({"records": str(records().path), "batch_size": 1})
        config.encoder.update(OPTIONS)
        config.decoder.width = 16
        config.objective.update({"targets": 3, "queries": 2, "prefixes": (4,)})
        config.optimiser.warmup_steps = 1
        run_experiment(config, path)

    return member("run", write)


def result(kind: str) -> Path:
    """What `eomm evaluate KIND` writes: "reconstruction", "fusion", "coherence", "probes" or "gpp", figures beside it.

    Of the untrained fused model at `cube`, but for gpp, whose table is gpp_world's.
    """

    def write(folder: Path) -> None:
        folder.mkdir()
        words = ["evaluate", kind, *_request(kind, folder), "--out", folder / f"{kind}.json"]
        with contextlib.redirect_stdout(io.StringIO()):
            assert main([str(w) for w in words]) == 0

    return member(f"result-{kind}", write) / f"{kind}.json"


def evaluation() -> dict[str, Any]:
    """The result "reconstruction", read."""
    found: dict[str, Any] = json.loads(result("reconstruction").read_text())
    return found


def _request(kind: str, folder: Path) -> list[Any]:
    """The rest of the words after `eomm evaluate KIND`; inputs that only this result needs are written into folder."""
    dates = [to_date(d) for d in TEST_DAYS]
    of = ["--model", model_directory(), "--cube", cube().path]
    if kind == "reconstruction":
        return [*of, "--records", records().path, "--gaps", *GAPS]
    if kind == "fusion":
        return [*of, "--dates", *dates, "--gap", 20, "--shares", 0, 1, "--ages", 0, "--gaps", *GAPS]
    if kind == "coherence":
        return [*of, "--embedding", store("clear")]
    if kind == "probes":
        labels = write_labels(folder / "labels.tif", (field_map() + 1).astype(np.uint8), GRID, nodata=0)
        few = ["--seeds", 1, "--shares", 100, "--folds", 2, "--buffer-px", 2, "--probe", "linear"]
        return [*of, "--embedding", store("clear"), "--labels", labels, "--date", dates[0], *few]
    table = gpp_table(make_world(sites=4, years=(2018, 2019), simulated=True), folder / "table.csv")
    columns = ["--site", "site", "--date", "date", "--target", "gpp", "--unit", "gC m-2 d-1", "--type", "kind"]
    features = ["--features", "state=state_0", "--features", "weather=weather_0,weather_1", "--tested", "state"]
    return ["--table", table, *columns, *features, "--model", "ridge", "--simulated"]


def write_cube(path: Path, site: str = "site one", east_px: int = 0, **changes: Any) -> Cube:
    """`cube`, or the same site with other values (`make_cube`'s options), elsewhere."""
    a, b, west, *rest = GRID.transform
    grid = dataclasses.replace(GRID, transform=(a, b, west + a * east_px, *rest))
    return make_cube(path, site=site, clouds=0.3, grid=grid, simulated=True, seed=east_px, **changes)


def member(name: str, make: Callable[[Path], Any]) -> Path:
    """The file or folder of this name that `make` writes for the whole session, to be read and never written."""
    folder = Path(os.environ[COMMON]) / "zoo"
    folder.mkdir(exist_ok=True)
    path, seal = folder / name, folder / f"{name}.seal"
    with FileLock(folder / f"{name}.made"):  # .lock is what our own writers lock
        if not seal.exists():
            make(path)
            seal.write_text(state(path))
    return path
