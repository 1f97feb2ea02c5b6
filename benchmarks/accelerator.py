"""What does one accelerator give: embedding, training, the batch that fits, agreement, the better depthwise form?

    python -m eomm.benchmarks.accelerator --out accelerator.json    (under 8 minutes on one GPU)

Parts follow one another and each is written to --out when it is done; a part that would begin after --minutes is left
out and named. On a CPU it runs too, at a small size for a look: `--size-px 32 --steps 2`. Without --cube and --records
a site is simulated first, which takes a minute of the host; prepare them beforehand where the device is lent.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eomm.data.cube import Cube, open_cube
from eomm.data.records import RecordSet, open_records
from eomm.embedding.compute import embed_unit, open_series
from eomm.embedding.plan import make_plan
from eomm.embedding.run import embed, open_embedding
from eomm.embedding.units import by_block, list_units
from eomm.embedding.verify import verify, with_dtype
from eomm.models.layers import depthwise
from eomm.store.folders import write_json
from eomm.training.accelerators import find_accelerator
from eomm.training.config import load_config

from .common import (
    Result,
    best_seconds,
    default_model,
    describe_model,
    machine,
    make_cube,
    make_records,
    matmul_flops,
    show,
)
from .train import largest_batch, measure

MINUTES = 8.0
DTYPES = ("float32", "bfloat16")
TILE_YEAR = 8.4e9  # pixel-dates of a Sentinel-2 tile in a year


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is measured.

    Attributes:
        size_px: of the simulated site that is embedded.
        block: pixels on a side embedded at once.
        steps: of training that are timed.
        repeats: of which the best counts.
        limit: largest batch that is tried.
        cube: embedded instead of a simulated one.
        records: trained on instead of those of a simulated site.
        overrides: of the training's configuration.
        minutes: after which no part begins.
    """

    size_px: int = 256
    block: int = 256
    steps: int = 10
    repeats: int = 3
    limit: int = 2**12
    cube: Path | None = None
    records: Path | None = None
    overrides: Sequence[str] = ()
    minutes: float = MINUTES


def run(asked: Asked, note: Callable[[Result], None] = lambda _: None) -> Result:
    """All parts, by name; `note` is called with what is known so far."""
    began = time.perf_counter()
    result: Result = {**machine(), "model": describe_model("base", default_model().dim), "left_out": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        site = open_cube(asked.cube or make_cube(folder, size_px=asked.size_px))
        parts: dict[str, Callable[[], Result]] = {"verify": agreement, "depthwise": depthwise_forms}
        for dtype in DTYPES:
            parts[f"embedding_{dtype}"] = partial(
                embedding, site, folder / dtype, dtype=dtype, block=asked.block, repeats=asked.repeats
            )
        parts["training"] = partial(training, folder, asked)
        for part, act in parts.items():
            if time.perf_counter() - began > 60 * asked.minutes:
                result["left_out"].append(part)
            else:
                result[part] = act()
            result["seconds"] = time.perf_counter() - began
            note(result)
    return result


def embedding(cube: Cube, folder: Path, *, dtype: str, block: int, repeats: int) -> Result:
    """Rates of a fused embedding: written as int8; of the device alone, what it reads being at hand; of reading alone.

    Computed pixel-dates, clouded ones too. `share_of_peak` counts the networks' multiply-adds against what the maker
    states, `share_of_matmul` against a large product of the same dtype measured here. `share_of_bandwidth` takes the
    least that a pixel-date moves, every layer's result written and read once, against what the maker states.
    """
    model = with_dtype(default_model(), dtype)
    plan = make_plan(model, cube, block=block, dtype="int8")
    grid = cube[plan.reference].grid
    units = next(by_block(list_units(len(plan.day), (grid.height, grid.width), plan.block)))
    count = len(plan.day) * plan.block[0] * plan.block[1]
    folder.mkdir()
    seconds = []
    for i in range(repeats + 1):
        start = time.perf_counter()
        out = embed(model, cube, folder / f"{i}.zarr", block=block)
        seconds.append(time.perf_counter() - start)
    written = open_embedding(out)["valid"].size / min(seconds[1:])

    def alone() -> None:
        series = open_series(plan, units[0])
        for unit in units:
            embed_unit(plan, series, unit)

    computed = count / best_seconds(alone, lambda: None, 1, repeats)
    read = count / best_seconds(lambda: read_block(plan, cube), lambda: None, 1, repeats)
    flops = 2 * sum(model.macs().values()) * computed
    moved = activations(model) * jnp.dtype(dtype).itemsize * 2 * computed
    stated = find_accelerator(jax.devices()[0].device_kind)
    return {
        "pixel_dates_per_second": written,
        "one_block_per_second": computed,
        "reading_alone_per_second": read,
        "reading_ahead_of_device": read / computed,
        "first_run_seconds": seconds[0],
        "hours_per_tile_year": TILE_YEAR / written / 3600,
        "flops_per_second": flops,
        "share_of_matmul": flops / matmul_flops(dtype, repeats=repeats),
        "share_of_peak": flops / stated.peak if stated else None,
        "share_of_bandwidth": moved / stated.bandwidth if stated else None,
    }


def read_block(plan: Any, cube: Cube) -> None:
    """Read all that the first block needs."""
    for name in plan.used:
        group, halo = cube[name], plan.model.encoders[name].halo
        usable = np.flatnonzero(group.usable)
        window = [slice(-halo, side + halo) for side in plan.block]
        for read in [group.begin_read(usable[i : i + 16], *window) for i in range(0, len(usable), 16)]:
            read()


def activations(model: Any) -> float:
    """Numbers that the layers of a fused pixel-date make: a layer of `width` for every [width, width] product."""
    width = next(iter(model.encoders.values())).width
    return float(sum(model.macs().values()) / width)


def training(folder: Path, asked: Asked) -> Result:
    """Rates of `experiments/s2.py` at its own batch, and the largest batch that fits, in both dtypes."""
    config, how = load_config("s2", asked.overrides), {"steps": asked.steps, "repeats": asked.repeats}
    records = asked.records or make_records(folder, make_cube(folder, size_px=64, site="train"))
    found: RecordSet = open_records(records)
    result = {"as_configured": measure(config, found, **how)}
    for dtype in DTYPES:
        result[dtype] = largest_batch(config, found, dtype, limit=asked.limit, **how)
    return result


def agreement() -> Result:
    """By how much this device's numbers differ from the golden vectors, in both dtypes."""
    names = ("equal", "max_abs_error", "max_cosine_error", "tolerance")
    return {dtype: {n: found[n] for n in names} for dtype in DTYPES for found in [verify(dtype=dtype)]}


def depthwise_forms(side: int = 128, width: int = 64) -> Result:
    """Milliseconds of the depthwise 3x3 as nine shifted products and as a grouped convolution, forward and gradient."""
    image = jax.random.normal(jax.random.key(0), (4, 1, side, side, width))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, width))

    def convolved(x: Any, k: Any) -> Any:
        dims = ("NHWC", "HWIO", "NHWC")
        options: dict[str, Any] = {"dimension_numbers": dims, "feature_group_count": width}
        return jax.lax.conv_general_dilated(x[:, 0], k[:, :, None], (1, 1), "VALID", **options)[:, None]

    forms = {"shifted": lambda x, k: depthwise(x, k, 1), "convolution": convolved}
    found: Result = {}
    for dtype in DTYPES:
        x, k = image.astype(dtype), kernel.astype(dtype)
        for name, form in forms.items():
            gradient = jax.grad(lambda x, k, form=form: form(x, k).astype(jnp.float32).sum(), argnums=(0, 1))
            for kind, act in (("forward", jax.jit(form)), ("gradient", jax.jit(gradient))):
                jax.block_until_ready(act(x, k))
                seconds = best_seconds(partial(waited, act, x, k), lambda: None, 5, 3)
                found[f"{name}_{kind}_{dtype}_ms"] = 1e3 * seconds / 5
    return found


def waited(act: Callable[..., Any], *arguments: Any) -> None:
    """Call and wait for the device."""
    jax.block_until_ready(act(*arguments))


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size-px", type=int, default=256)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--limit", type=int, default=2**12, help="largest batch that is tried")
    parser.add_argument("--cube", type=Path, help="instead of a simulated one")
    parser.add_argument("--records", type=Path, help="instead of those of a simulated site")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="after which no part begins")
    parser.add_argument("--out", type=Path, help="JSON, written after every part")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    a = parser.parse_args(argv)
    asked = Asked(**{n: v for n, v in vars(a).items() if n not in ("out", "json")})
    with redirect_stdout(sys.stderr):
        note = partial(write_json, a.out) if a.out else (lambda _: None)
        result = run(asked, note)
    show(result, as_json=a.json)


if __name__ == "__main__":
    main()
