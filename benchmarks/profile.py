"""What does dense embedding spend its time on: by modality and piece, and by kind of operation?

    taskset -c 0 python -m eomm.benchmarks.profile --json    (a minute, most of it simulating the site)

On one core: a second thread of XLA's would wait for the first in small pieces, which counts as processor time.

Pieces are timed as `eomm embed` calls them, on one block; kinds of operation alone, on arrays of the pieces' own size,
times how often a pixel-date needs each. What is then left is moving data between layouts, and elementwise work.
"""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from eomm.data.cube import Cube, open_cube
from eomm.data.cube_group import CubeGroup
from eomm.embedding.dense import (
    CHUNK,
    CPU_TOKENS,
    TARGETS,
    embed_group,
    features_of,
    fuse_dates,
    quantise,
    rows_at_once,
)
from eomm.embedding.plan import Plan, make_plan
from eomm.embedding.store import SHARD_DATES, Writer, create
from eomm.models.context import ContextEncoder
from eomm.models.directory import Model
from eomm.models.forward import on_cpu
from eomm.models.fusion import Fusion
from eomm.models.layers import LayerNorm, depthwise

from .common import Result, default_model, describe_model, machine, make_cube, matmul_flops, print_result

SIZE_PX = 64
CHAIN = 8  # operations of a kind that are timed one after the other


def run(*, size_px: int = SIZE_PX, repeats: int = 3) -> Result:
    """Microseconds per fused pixel-date, by processor time: the least of `repeats` after compilation.

    Processor time counts all cores, so that two cores that are busy throughout spend two microseconds in one; other
    work on the machine changes it little. `pieces` are what `eomm embed` calls, `operations` are computed from
    operations alone: see the module.
    """
    model = default_model()
    with tempfile.TemporaryDirectory() as folder:
        cube = open_cube(make_cube(Path(folder), size_px=size_px))
        plan = make_plan(model, cube, block=size_px, dtype="int8", clear_only=False)
        pieces = time_pieces(plan, cube, Path(folder) / "e.zarr", repeats)
    ratio, keys = pieces.pop("acquisitions_per_date"), pieces.pop("keys_per_date")
    operations, micro = time_operations(model, ratio, keys, repeats), pieces
    total = sum(micro.values())
    return {
        "pieces": micro,
        "shares": {k: v / total for k, v in micro.items()},
        "operations": operations,
        "processor_microseconds": total,
        "acquisitions_per_date": ratio,
        "keys_per_date": keys,
        "matmul_gigaflops_per_second": matmul_flops("float32", repeats=repeats) / 1e9,
        "megaflops_per_pixel_date": 2 * sum(model.macs().values()) / 1e6,
        "size_px": size_px,
        "repeats": repeats,
        **machine(),
        "model": describe_model(model.parts["s2"]["encoder"]["size"], model.dim),
        "simulated": True,
    }


def time_pieces(plan: Plan, cube: Cube, store: Path, repeats: int) -> Result:
    """Processor microseconds per fused pixel-date of everything that a unit does, by name.

    Beside them how many acquisitions, and how many keys of groups, a date has.
    """
    pixels, found, vectors, keys = plan.block[0] * plan.block[1], {}, {}, {}
    ratio = {n: float(cube[n].usable.sum() / len(plan.day)) for n in plan.used}
    for name in plan.used:
        encoder, group, params = plan.model.encoders[name], cube[name], plan.model.params[name]["encoder"]
        halo, usable = encoder.halo, np.flatnonzero(group.usable)[:CHUNK]
        window = [slice(-halo, side + halo) for side in plan.block]
        meta = {k: v[usable] for k, v in group.meta().items()}
        values, valid = read(group, usable, window)
        seconds = spent(partial(read, group, usable, window), repeats)
        found[f"reading {name}"] = seconds / CHUNK * ratio[name] / pixels
        seconds = spent(partial(jax.device_put, values), repeats)
        found[f"transfer {name}"] = seconds / CHUNK * ratio[name] / pixels

        def features(args: Any = (params, values, valid, meta), encoder: Any = encoder) -> Any:
            return features_of(*args, encoder=encoder, one_by_one=on_cpu())

        found[f"features {name}"] = spent(features, repeats) / CHUNK * ratio[name] / pixels
        schedule = plan.schedule(name)
        chunks = [features()] * (schedule.keys // CHUNK)
        first = schedule.groups[len(schedule.groups) // 2]
        keys[name] = schedule.keys / len(first.targets)
        seen = np.ones((schedule.keys, *plan.block), bool)
        day = group.day[group.usable][: schedule.keys]
        at = np.resize(np.array(first.targets) - first.first, TARGETS).astype(np.int32)

        def attend(args: Any = (params, chunks, seen, day, at), encoder: Any = encoder) -> Any:
            return embed_group(*args, encoder=encoder, rows=rows_at_once(plan.block))

        found[f"attention {name}"] = spent(attend, repeats) / len(first.targets) / pixels
        vectors[name] = attend()[0][0]
    found |= time_fusion(plan, vectors, store, repeats)
    return {k: v * 1e6 for k, v in found.items()} | {"acquisitions_per_date": ratio, "keys_per_date": keys}


def time_fusion(plan: Plan, vectors: Mapping[str, Any], store: Path, repeats: int) -> dict[str, float]:
    """Processor seconds per pixel-date of fusion, quantisation, transfer and writing."""
    shape = (SHARD_DATES, *plan.block)
    everywhere, count = np.ones(shape, bool), float(np.prod(shape))
    parts = {n: ((v,) * SHARD_DATES, everywhere, np.zeros(SHARD_DATES, np.float32)) for n, v in vectors.items()}

    def fuse() -> Any:
        params = plan.model.params["fusion"]
        return fuse_dates(params, parts, everywhere, fusion=plan.model.fusion, length=plan.length)

    fused = fuse()
    steps, _ = quantise(fused, plan.scale, everywhere)
    store.mkdir()
    create(store, plan.layout(), {"eomm:model": "", "eomm:cube": ""})
    host = np.asarray(steps)

    def write() -> None:
        with Writer(store) as writer:
            y, x = (slice(0, side) for side in plan.block)
            writer.write({"embedding": host}, slice(0, SHARD_DATES), y, x, lambda: None)
            writer.finish()

    acts: dict[str, Callable[[], Any]] = {
        "fusion": fuse,
        "quantisation": lambda: quantise(fused, plan.scale, everywhere),
        "transfer out": lambda: np.array(steps),
        "writing": write,
    }
    return {name: spent(act, repeats) / count for name, act in acts.items()}


def time_operations(
    model: Model, ratio: Mapping[str, float], keys: Mapping[str, float], repeats: int
) -> dict[str, float]:
    """Processor microseconds per fused pixel-date of all operations of a kind, from each alone and how often it is."""
    counts = operations(model, ratio, keys)
    width = next(iter(model.encoders.values())).width  # type: ignore[attr-defined]
    each = time_kinds(width, repeats)
    return {kind: counts[kind] * each[kind] * 1e6 for kind in counts}


def operations(model: Model, ratio: Mapping[str, float], keys: Mapping[str, float]) -> dict[str, float]:
    """How often a fused pixel-date needs each kind, products counted in those of [width, width].

    Args:
        model: of context encoders.
        ratio: acquisitions of each modality to a date, each with features.
        keys: acquisitions whose keys and values are made for a date.
    """
    total = {"products": 0.0, "norms": 0.0, "depthwise sums": 0.0, "attention": 0.0}
    for name, encoder in model.encoders.items():
        assert isinstance(encoder, ContextEncoder)
        blocks, again = len(encoder.dilations), ratio[name]
        total["products"] += again * 4 * blocks + 2 * keys[name] + 12 + 2 + 2 * encoder.dim / encoder.width
        total["norms"] += again * (blocks + 1) + 5
        total["depthwise sums"] += again * blocks
        total["attention"] += 2
    if isinstance(model.fusion, Fusion):
        tokens, layers = len(model.fusion.inputs), model.fusion.layers
        total["products"] += tokens + 8 * tokens * layers + 1
        total["norms"] += 2 * tokens * layers + 1
    return total


def time_kinds(width: int, repeats: int) -> dict[str, float]:
    """Processor seconds per pixel-date of one operation of each kind, in pieces as dense embedding has them."""
    pieces, side, keys, heads = 64, 64, 32, 4
    rng = iter(jax.random.split(jax.random.key(0), 8))
    tokens = jax.random.normal(next(rng), (pieces, CPU_TOKENS, width))
    square = jax.random.normal(next(rng), (width, width)) / width**0.5
    norm = LayerNorm()
    scales = norm.init(next(rng), tokens[0])
    images = jax.random.normal(next(rng), (1, 8, side + 2, side + 2, width))
    kernel = jax.random.normal(next(rng), (3, 3, width))
    series = jax.random.normal(next(rng), (16, 1, keys, 4, side, heads, width // heads))

    def attend(x: Any) -> Any:
        scores = jnp.einsum("bnyxhd,btyxhd->byxhnt", x[:, :TARGETS], x)
        return jnp.einsum("byxhnt,btyxhd->bnyxhd", jax.nn.softmax(scores, -1), x)

    def mapped(one: Callable[[Any], Any], times: int = 1) -> Callable[[Any], Any]:
        return jax.jit(lambda x: jax.lax.map(lambda y: reduce(lambda z, _: one(z), range(times), y), x))

    kinds: dict[str, tuple[Callable[[Any], Any], Any, int]] = {
        # Several in a piece, as networks have them: a lone one in a loop mostly reads the piece and writes the loop's
        # result, a product 77 ns instead of 34, depthwise sums 140 instead of 30 (jax 0.10.2).
        "products": (mapped(lambda x: x @ square, CHAIN), tokens, CHAIN * pieces * CPU_TOKENS),
        "norms": (mapped(lambda x: norm.apply(scales, x), CHAIN), tokens, CHAIN * pieces * CPU_TOKENS),
        "depthwise sums": (jax.jit(lambda x: depthwise(x, kernel, 1)), images, 8 * side * side),
        "attention": (mapped(attend), series, 16 * TARGETS * 4 * side),
    }
    return {k: spent(partial(f, x), repeats) / count for k, (f, x, count) in kinds.items()}


def read(group: CubeGroup, acquisitions: np.ndarray, window: Sequence[slice]) -> tuple[np.ndarray, np.ndarray]:
    """Values and validity of some acquisitions in a window of rows and columns."""
    return group.begin_read(acquisitions, *window)()


def spent(act: Callable[[], Any], repeats: int) -> float:
    """Processor seconds of an act, of all threads: the least of `repeats` times three, after a first."""
    jax.block_until_ready(act())
    found = []
    for _ in range(repeats):
        before = time.process_time()
        for _ in range(3):
            jax.block_until_ready(act())
        found.append((time.process_time() - before) / 3)
    return min(found)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    print_result(run, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    main()
