"""What do devices tell one another in a training step, and what share of its time is that, on 1, 2, 4 and 8 of them?

    python -m eomm.benchmarks.scaling --json    (five minutes on 2 cores, all of it compiling)

Weak scaling: every device has the same batch. The devices are simulated, 8 on one CPU, which share its cores: wall time
would say nothing, and nothing is run. The step is compiled for each mesh, the collectives are read from the compiled
program, and their time is computed: round a ring for the links given, one after the other, hidden behind nothing.
Compilers for GPUs and TPUs combine small collectives and hide some: an upper bound.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

from .common import Result

DEVICES = (1, 2, 4, 8)
MESHES = ("data", "fsdp")
LINKS = {"900 Gb/s": 112.5e9, "400 Gb/s": 50e9, "100 Gb/s": 12.5e9, "10 Gb/s": 1.25e9}
LATENCY = 20e-6  # seconds of a collective besides its bytes; assumed
DEVICE_FLOPS = 30e12  # per second and device; assumed: 3 % of an H100's peak, since memory binds (`eomm plan train`)
BATCH = 16  # records on every device
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
ITEM_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "u64": 8, "f64": 8}
OPERATION = re.compile(rf"= (\([^)]*\)|\S+) ({'|'.join(COLLECTIVES)})\(")
ARRAY = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


def run(
    *,
    devices: Sequence[int] = DEVICES,
    meshes: Sequence[str] = MESHES,
    batch: int = BATCH,
    overrides: Sequence[str] = (),
) -> Result:
    """`experiments/s2.py` on every number of devices and kind of mesh, compiled in a process of its own."""
    arguments = json.dumps({"devices": devices, "meshes": meshes, "batch": batch, "overrides": overrides})
    # LLVM need not optimise what is not run; what devices exchange is decided before it.
    flags = f"--xla_force_host_platform_device_count={max(devices)} --xla_backend_optimization_level=0"
    code = f"import sys; from {__package__}.scaling import compile_all; compile_all(sys.argv[1])"
    found = subprocess.run(
        [sys.executable, "-c", code, arguments],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    compiled = json.loads(found.stdout)
    return {
        "rows": [row | shares(row) for row in compiled["rows"]],
        **{k: v for k, v in compiled.items() if k != "rows"},
        "assumed_latency_seconds": LATENCY,
        "assumed_flops_per_second_and_device": DEVICE_FLOPS,
    }


def compile_all(arguments: str) -> None:
    """In the process that has the simulated devices: compile the step on every mesh, print what was found as JSON."""
    with redirect_stdout(sys.stderr):
        import jax

        from eomm.training import mesh as meshes
        from eomm.training.config import load_config
        from eomm.training.cost import training_flops
        from eomm.training.plan import assumed_records, tree_bytes
        from eomm.training.program import abstract_batch
        from eomm.training.stages import build_stage
        from eomm.training.step import make_step

        from .common import machine

        options = json.loads(arguments)
        rows: list[Result] = []
        for kind in options["meshes"]:
            for count in options["devices"]:
                if count == 1 and kind != options["meshes"][0]:
                    continue  # the same program
                config = load_config("s2", options["overrides"])
                config.data.batch_size = options["batch"] * count
                records = assumed_records(config)
                stage = build_stage(config, records)
                batch = abstract_batch(stage, records, config.data.batch_size)
                mesh = meshes.make_mesh({kind: count}, jax.devices()[:count])
                step, init = make_step(stage, config, batch, whole=meshes.replicated(mesh))
                rng = jax.random.key(0)
                state = jax.eval_shape(init, rng)
                places, whole = meshes.state_sharding(state, mesh), meshes.replicated(mesh)
                # As the training loop compiles it (eomm/training/loop.py).
                lowered = jax.jit(
                    step,
                    donate_argnums=0,
                    in_shardings=(places, whole, whole, meshes.batch_sharding(mesh)),
                    out_shardings=(places, whole),
                ).lower(state, rng, stage.frozen, batch)
                found = collectives(lowered.compile().as_text() or "")
                print(f"{kind} {count}: {found}", file=sys.stderr)
                rows.append({"mesh": kind, "devices": count, "collectives": found})
        flops, parameters = training_flops(stage, batch) / config.data.batch_size, tree_bytes(state["params"])
    print(
        json.dumps(
            {
                "rows": [r | {"flops_per_device": flops * options["batch"]} for r in rows],
                "batch_per_device": options["batch"],
                "parameter_bytes": parameters,
                "model": f"context encoder, size {config.encoder.size}",
                **machine(),
            }
        )
    )


def collectives(program: str) -> dict[str, dict[str, int]]:
    """{collective: {"count", "bytes"}} of a compiled program, bytes being those of the results.

    What stands in a loop counts once; the shipped steps have none round a collective.
    """
    found: dict[str, dict[str, int]] = {}
    for result, name in OPERATION.findall(program):
        entry = found.setdefault(name, {"count": 0, "bytes": 0})
        entry["count"] += 1
        entry["bytes"] += sum(
            ITEM_BYTES.get(kind, 4) * math.prod(int(n) for n in dims.split(",") if n)
            for kind, dims in ARRAY.findall(result)
        )
    return found


def collective_seconds(name: str, entry: Mapping[str, int], devices: int, link: float) -> float:
    """Seconds that collectives of one kind take round a ring of devices, by the bytes of their results."""
    # An all-reduce is a reduce-scatter and an all-gather; a reduce-scatter's result is a part of what was sent.
    journeys = {"all-reduce": 2, "reduce-scatter": devices, "collective-permute": devices / max(devices - 1, 1)}
    sent = journeys.get(name, 1) * entry["bytes"] * (devices - 1) / devices
    return sent / link + entry["count"] * LATENCY


def shares(row: Mapping[str, Any]) -> Result:
    """Operations and bytes in all, and communication's share of the step's time for every link."""
    found, devices = row["collectives"], row["devices"]
    computing = row["flops_per_device"] / DEVICE_FLOPS
    talking = {
        name: sum(collective_seconds(kind, entry, devices, link) for kind, entry in found.items())
        if devices > 1
        else 0.0
        for name, link in LINKS.items()
    }
    return {
        "count": sum(e["count"] for e in found.values()),
        "bytes": sum(e["bytes"] for e in found.values()),
        "communication_share": {name: t / (t + computing) for name, t in talking.items()},
    }


def format_result(result: Result) -> str:
    """A table for people, and what it rests on."""
    links = list(LINKS)
    lines = ["mesh devices collectives        MB  share of a step's time at " + ", ".join(links)]
    for row in result["rows"]:
        share = "  ".join(f"{row['communication_share'][link]:6.2%}" for link in links)
        lines.append(f"{row['mesh']:4} {row['devices']:7} {row['count']:11} {row['bytes'] / 1e6:9.3f}  {share}")
    rest = {k: v for k, v in result.items() if k != "rows"}
    return "\n".join([*lines, *(f"{name:36} {value}" for name, value in rest.items())])


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--batch", type=int, default=BATCH, help="records on every device (default: %(default)s)")
    parser.add_argument("--override", action="append", default=[], metavar="KEY=VALUE", help="of experiments/s2.py")
    arguments = parser.parse_args(argv)
    result = run(batch=arguments.batch, overrides=arguments.override)
    print(json.dumps(result) if arguments.json else format_result(result))


if __name__ == "__main__":
    main()
