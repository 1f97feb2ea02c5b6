"""What the benchmarks share: a simulated site, the shipped default model with random parameters, the output."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from data_prep.cubes.build import Source, build_cube
from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig
from data_prep.simulate import SiteOptions, simulate_site
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.models.directory import Model, build_parts
from eomm.models.fusion import Fusion
from eomm.training.config import load_config

Result = dict[str, Any]
# Made up, as the parameters are; what it takes to write int8 and expected errors does not depend on it.
ERROR = {"unit": "reflectance", "step": 1e-4, "weights": [0.0, 1.0, 0.5, -0.5], "score": [0, 9], "mean": [0.01, 0.05]}
CALIBRATION = {"error": ERROR}
YEAR = (date(2020, 1, 1), date(2020, 12, 31))


def make_cube(folder: Path, *, size_px: int, seed: int = 0, site: str = "bench") -> Path:
    """A simulated site's cube: one year of Sentinel-1 and Sentinel-2."""
    options = SiteOptions(site=site, seed=seed, start=YEAR[0], end=YEAR[1], size_px=size_px)
    scenes = simulate_site(folder / f"{site}-scenes", options)
    sources = [Source(path=scenes / s, mapping=f"simulated_{s}") for s in ("s2", "s1")]
    return build_cube(folder / f"{site}.zarr", site=site, sources=sources)


def make_records(folder: Path, cube: Path) -> Path:
    """Training records of a cube, as shipped (32 x 32 px, 32 acquisitions)."""
    return build_patches(folder / "records", cubes=[cube], split=SplitConfig(), crops=CropConfig(stride_px=8))


def default_model() -> Model:
    """The model that the shipped experiments train, with random parameters: speed does not depend on them."""
    rng = iter(jax.random.split(jax.random.key(0), 5))
    encoders, decoders = {}, {}
    params: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for name, modality in (("s2", SENTINEL2), ("s1", SENTINEL1)):
        config = load_config(name)
        parts[name] = {"encoder": config.encoder.to_dict(), "decoder": config.decoder.to_dict()}
        encoders[name], decoders[name] = build_parts(modality, **parts[name])
        params[name] = {
            part: jax.jit(network.init)(next(rng))
            for part, network in (("encoder", encoders[name]), ("decoder", decoders[name]))
        }
    parts["fusion"] = load_config("fusion").fusion.to_dict()
    fusion = Fusion.build({n: e.dim for n, e in encoders.items()}, parts["fusion"])
    params["fusion"] = jax.jit(fusion.init)(next(rng))
    return Model(
        encoders=encoders,
        decoders=decoders,
        fusion=fusion,
        params=params,
        parts=parts,
        info={"random_parameters": True, "calibration": CALIBRATION | {"scale": [4 / 127] * fusion.dim}},
    )


def machine() -> Result:
    """What a rate depends on besides the code; `load` is that of the last minute, this benchmark included."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone: the cores this process may use
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {device.device_kind}",
        "cores": len(affinity(0)) if affinity else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "jax": jax.__version__,
    }


def best_seconds(act: Callable[[], object], state: Callable[[], Any], times: int, repeats: int) -> float:
    """Seconds that `times` actions take, the least of several repeats, counted until `state()` is there."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(times):
            act()
        jax.block_until_ready(state())
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def matmul_flops(dtype: str, *, repeats: int = 3) -> float:
    """Operations per second of a large square matrix product on one device: the peak that a program can reach."""
    cpu = jax.devices()[0].platform == "cpu"
    size, times = (2048, 2) if cpu else (8192, 20)
    square = jnp.ones((size, size), dtype)
    product = jax.jit(lambda a, b: a @ b)
    found = product(square, square)

    def act() -> None:
        nonlocal found
        found = product(square, square)

    jax.block_until_ready(found)
    return 2 * size**3 * times / best_seconds(act, lambda: found, times, repeats)


def describe_model(size: Any, dim: int) -> str:
    """One line: which model was timed."""
    return f"context encoder, size {size}, dimension {dim}, random parameters"


def print_result(run: Callable[..., Result], description: str, argv: Sequence[str] | None = None) -> None:
    """Run a benchmark and print its result: a table, or one JSON object with --json; all else goes to stderr."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--repeats", type=int, default=3, help="measure so often and give the best")
    arguments = parser.parse_args(argv)
    with redirect_stdout(sys.stderr):
        result = run(repeats=arguments.repeats)
    show(result, as_json=arguments.json)


def show(result: Result, *, as_json: bool) -> None:
    """Print a result: one JSON object, or a table."""
    if as_json:
        print(json.dumps(result))
    else:
        print_table(result)


def print_table(result: Result, indent: str = "") -> None:
    """A line per value; what holds values of its own is indented."""
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            print_table(value, indent + "  ")
        else:
            print(f"{indent}{name:32} {value:,.6g}" if isinstance(value, float) else f"{indent}{name:32} {value}")
