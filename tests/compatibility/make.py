"""Made the stores in `v1/`, on 28 November 2026, with eomm at commit 5754800. Not to be run again: they must stay old.

`XLA_FLAGS=--xla_backend_optimization_level=0 python tests/compatibility/make.py FOLDER`, with that commit checked out
and installed and this file copied there; on CPU, the versions are in the stores. It calls that commit's commands,
and makes everything of simulated scenes (SIMULATED). Two sites give the records; of a third comes the cube that is
embedded, once without its last clear Sentinel-2 acquisition and once with it. Networks are of the smallest size and
trained a few steps, so that all their parameters have moved. The published model has one size, of 31 MB: its parameters
are a pattern, which packs into 80 kB, and it is there to be loaded.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

SEEDS = {"meadow": 2, "valley": 6, "ridge": 5}
LAST = "20200703"  # the acquisition that `newer` alone has
PERIODS = {"meadow": "2020-05-20", "valley": "2020-05-20", "ridge": "2020-05-02"}  # first dates; a smaller set
PLACE = ["--at", "2.62616,51.48134", "--size-m", "200", "--crs", "EPSG:32631"]  # 20 of the 24 px of ridge
DRAWN = {"targets": 3, "queries": 4}  # of records that are as short as these
COMMON = {
    "data.records": "records",
    "data.validation": "validation",
    "seed": 1,
    "log_every": 5,
    "optimiser.warmup_steps": 2,
    "calibrate_records": 4,
}
TINY = {"steps": 20, "encoder.size": "tiny", "encoder.frames": "3,3", "encoder.dim": 8, "decoder.width": 16}
HEAD = {"steps": 10, "encoders": "models/s2,models/s1", "fusion.dim": 8, "fusion.width": 16, "fusion.heads": 2}
STORES = {
    "float32": ["--dtype", "float32"],
    "int8": [],
    "cloudy": ["--cloudy"],
}


def main(out: Path) -> None:
    """Write everything to `out`, which must not exist."""
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        make_cubes(work)
        make_models(work)
        for name, options in STORES.items():
            eomm(work, "embed", "--model", "models/fusion", "--cube", "cube.zarr", "--out", f"{name}.zarr", *options)
        for store in ("cube.zarr", "newer.zarr", "records", *(f"{name}.zarr" for name in STORES)):
            pack(work / store, out / f"{store.removesuffix('.zarr')}.zip")
        shutil.copytree(work / "models", out / "models")
        make_published(work / "published")
        pack(work / "published", out / "published.zip")


def make_cubes(work: Path) -> None:
    """Scenes, cubes and records."""
    for site, seed in SEEDS.items():
        dates = ["--start", PERIODS[site], "--end", "2020-07-05"]
        eomm(work, "simulate", site, "--seed", seed, "--size-px", 24, *dates)
    for site in ("meadow", "valley"):
        prepare_cube(work, site, f"{site}.zarr")
    prepare_cube(work, "ridge", "newer.zarr", *PLACE)
    for file in (work / "ridge" / "s2").glob(f"*_{LAST}T*"):
        file.unlink()
    prepare_cube(work, "ridge", "cube.zarr", *PLACE)
    crops = ["--crop-px", 16, "--stride-px", 8, "--acquisitions", 6, "--stride-acquisitions", 6, "--window", "s1=2,2"]
    sites = ["--sites", "train=meadow", "--sites", "validation=valley"]
    eomm(work, "prepare", "records", "meadow.zarr", "valley.zarr", *sites, *crops, "--out", "records")


def prepare_cube(work: Path, site: str, out: str, *more: str) -> None:
    """Scenes of both sensors to a cube."""
    sources = [text for s in ("s2", "s1") for text in ("--source", f"simulated_{s}={site}/{s}")]
    eomm(work, "prepare", "cube", "--site", site, *sources, "--out", out, *more)


def make_models(work: Path) -> None:
    """The three stages by the experiments of that commit."""
    for name in ("s2", "s1", "fusion"):
        parts = ("objective.s2", "objective.s1") if name == "fusion" else ("objective",)
        values = COMMON | (HEAD if name == "fusion" else TINY)
        values |= {f"{part}.{key}": value for part in parts for key, value in DRAWN.items()}
        overrides = [f"--config.{key}={value}" for key, value in values.items()]
        eomm(work, "train", "--config", f"experiments.{name}", "--workdir", f"runs/{name}", *overrides)
        shutil.copytree(work / "runs" / name / "model", work / "models" / name)


def make_published(path: Path) -> None:
    """The published model of both sensors, by functions of that commit, since no command makes one without weights."""
    import numpy as np
    from eomm.import_published import RELEASED, make_model
    from eomm.model import Model, expected_params, save_model, unflatten

    model = make_model(RELEASED, {})
    pattern = np.arange(1, 9, dtype=np.float32) / 100
    params = unflatten({name: np.resize(pattern, x.shape) for name, x in expected_params(model).items()})
    info = {"simulated": True, "about": "no weights, a pattern in their place"}
    save_model(Model(**{**vars(model), "params": params, "info": info}), path)


def eomm(work: Path, *arguments: object) -> None:
    """Run a command in `work`, so that no path of this machine enters a store."""
    command = [Path(sys.executable).with_name("eomm"), *map(str, arguments)]
    subprocess.run(command, cwd=work, check=True)


def pack(store: Path, file: Path) -> None:
    """One zip of a store, whose files lie at its root."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(p for p in store.rglob("*") if p.is_file()):
            archive.writestr(zipfile.ZipInfo(str(path.relative_to(store))), path.read_bytes(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
