"""By how much is dense embedding slower with the state and its layers than with the context encoder alone?

python -m eomm.benchmarks.state --json    (five minutes on 2 idle cores)
"""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax

from eomm.data.cube import open_cube
from eomm.data.modality import SENTINEL2
from eomm.embedding.run import embed
from eomm.models.directory import Model, build_parts, load_model

from .common import Result, machine, make_cube, print_result

SIZE_PX = 64


def context_model(base: Model, **options: Any) -> Model:
    """A context encoder of base size and 64 numbers, with random parameters, as embeddings were before the state."""
    parts = {"encoder": {"size": "base", **options}, "decoder": {"width": 96}}
    encoder, decoder = build_parts(SENTINEL2, **parts)
    keys = jax.random.split(jax.random.key(0))
    params = {"encoder": jax.jit(encoder.init)(keys[0]), "decoder": jax.jit(decoder.init)(keys[1])}
    networks: dict[str, Any] = {"encoders": {"s2": encoder}, "decoders": {"s2": decoder}, "params": {"s2": params}}
    return dataclasses.replace(base, parts={"s2": parts}, **networks)


def run(*, size_px: int = SIZE_PX, repeats: int = 3) -> Result:
    """Seconds, of the clock and of the processors, that a year of Sentinel-2 of a simulated site takes as int8.

    The models take turns, so that other work on the machine meets all of them; the best of `repeats` after compilation.
    `slower` is by how much processor time with the state exceeds that of the same encoder without it, a pixel's and
    that with a halo of 7.
    """
    base = load_model("base")
    models = {
        "state": base,
        "pixel": context_model(base, dilations=()),
        "halo": context_model(base),
    }
    clock: dict[str, list[float]] = {name: [] for name in models}
    processor: dict[str, list[float]] = {name: [] for name in models}
    with TemporaryDirectory() as folder:
        cube = open_cube(make_cube(Path(folder), size_px=size_px))
        for i in range(repeats + 1):
            for name, model in models.items():
                wall, cpu = time.perf_counter(), time.process_time()
                embed(model, cube, Path(folder) / f"{name}{i}.zarr")
                clock[name].append(time.perf_counter() - wall)
                processor[name].append(time.process_time() - cpu)
    best = {name: min(seconds[1:]) for name, seconds in processor.items()}
    return {
        **{f"{name}_seconds": min(seconds[1:]) for name, seconds in clock.items()},
        **{f"{name}_processor_seconds": seconds for name, seconds in best.items()},
        "slower_than_pixel": best["state"] / best["pixel"] - 1,
        "slower_than_halo": best["state"] / best["halo"] - 1,
        "size_px": size_px,
        "repeats": repeats,
        **machine(),
        "simulated": True,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    print_result(run, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    main()
