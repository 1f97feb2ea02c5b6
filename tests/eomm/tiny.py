"""A record set, a stage and a configuration so small that training takes a second; run as a script to be killed."""

import argparse
import ast
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from ml_collections import ConfigDict

from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.data.records import Codec, PatchShape, finish_records, open_records, shard_name
from eomm.store.digest import sha256

SHAPES = {
    "s2": PatchShape(modality=SENTINEL2, acquisitions=3, height=4, width=4),
    "s1": PatchShape(modality=SENTINEL1, acquisitions=5, height=4, width=4),
}
POISON = 31000  # a value that makes the stage's loss NaN


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyStage:
    name: str = "tiny"
    modalities: tuple[str, ...] = ("s2",)
    init: Callable[..., Any]
    loss: Callable[..., Any]
    model: Callable[..., Any] = dict
    validation_loss: Callable[..., Any] | None = None
    scheduled: bool = False
    frozen: Any


def make_patch(rng, number, shapes=SHAPES):
    patch = {"site": "a", "row": number, "col": 0}
    for name, shape in shapes.items():
        patch[name] = {f: rng.integers(0, 2000, dims).astype(t) for f, (dims, t) in shape.fields().items()}
        patch[name] |= {"valid": rng.integers(0, 2, patch[name]["valid"].shape).astype(np.uint8)}
        patch[name]["day"][:] = number  # so that a batch tells which records it holds
    return patch


def make_batch(rng, size=16):
    """A batch of s2 alone; rows differ in how much is valid, and one has nothing."""
    patches = [make_patch(rng, i)["s2"] for i in range(size)]
    batch = {"s2": {f: np.stack([p[f] for p in patches]) for f in SHAPES["s2"].fields()}}
    share = np.linspace(0, 1, size)[:, None, None, None]
    batch["s2"]["valid"] = (rng.random(batch["s2"]["valid"].shape) < share).astype(np.uint8)
    return batch


def make_records(path, *, train=24, validation=5, poisoned=(), seed=0, shapes=SHAPES, manifest=None):
    path.mkdir(parents=True)
    rng, files, number = np.random.default_rng(seed), [], 0
    for split, count in {"train": train, "validation": validation}.items():
        for i in range(2 if count else 0):
            file = path / shard_name(split, i, 2)
            writer, part = ArrayRecordWriter(str(file), "group_size:1"), range(i, count, 2)
            for _ in part:
                patch = make_patch(rng, number, shapes)
                if number in poisoned:
                    patch["s2"]["values"][0] = POISON
                writer.write(Codec(shapes).encode(patch))
                number += 1
            writer.close()
            entry = {"name": file.name, "split": split, "records": len(part)}
            files.append({**entry, "bytes": file.stat().st_size, "sha256": sha256(file)})
    finish_records(path, shapes=shapes, files=files, manifest=manifest or {})
    return open_records(path)


def make_stage(target_scale=0.5, noise=0.01):
    """A linear map to the bands in reverse order, with noise that depends on the step's rng."""

    def init(rng):
        return {"layer": {"kernel": jax.random.normal(rng, (10, 10)) * 0.1, "bias": jnp.zeros(10)}}

    def loss(params, frozen, batch, rng):
        values, valid = batch["s2"]["values"], batch["s2"]["valid"].astype(jnp.float32)
        x = values.astype(jnp.float32) / 1000
        noisy = x + noise * jax.random.uniform(rng, (*x.shape[:1], 1, 1, 1, 1))
        predicted = noisy @ params["layer"]["kernel"] + params["layer"]["bias"]
        total = jnp.sum(jnp.mean((predicted - frozen["scale"] * x[..., ::-1]) ** 2, -1) * valid)
        count = jnp.sum(valid)
        total = jnp.where(jnp.any(values == POISON), jnp.nan, total)
        metrics = {"loss": (total, count), "squared_error": (total, count), "targets": (count, jnp.ones(()))}
        return total / jnp.maximum(count, 1e-6), metrics

    return TinyStage(init=init, loss=loss, frozen={"scale": np.float32(target_scale)})


def make_config(**changes):
    config = ConfigDict({"seed": 3, "steps": 50, "log_every": 4, "save_every": 10, "validate_every": 20})
    config.data = ConfigDict({"split": "train", "batch_size": 8, "threads": 1})
    config.optimiser = ConfigDict(
        {"learning_rate": 0.05, "warmup_steps": 5, "schedule": "cosine", "weight_decay": 0.01, "clip": 1.0}
    )
    config.mesh = ConfigDict({"data": -1, "fsdp": 1})
    for key, value in changes.items():
        config.update_from_flattened_dict({key: ConfigDict(value) if isinstance(value, dict) else value})
    return config


def die_at_batch(number, how):
    """Send this process a signal when batch `number` is asked for."""
    from eomm.training import mesh

    to_global, calls = mesh.to_global, iter(range(10**9))

    def counted(*arguments):
        if next(calls) == number:
            os.kill(os.getpid(), how)
        return to_global(*arguments)

    mesh.to_global = counted


PLATEAU = {  # the number of targets never falls: the second and every later validation lower the learning rate
    "optimiser.schedule": "plateau",
    "optimiser.plateau": {"metric": "targets", "factor": 0.5, "patience": 0},
    "validate_every": 10,
}


def main(argv=None):
    """Train in a process of its own, which may be killed, be one of several, and change the configuration."""
    from eomm.training.hosts import EndTogether, join
    from eomm.training.loop import train
    from eomm.training.sets import mixture_of

    parser = argparse.ArgumentParser()
    parser.add_argument("records", help="a path, or several between commas")
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--die", nargs=2, metavar=("BATCH", "SIGNAL"))
    parser.add_argument("--plateau", action="store_true")
    parser.add_argument("--validation")
    parser.add_argument("--host", metavar="I/N@HOST:PORT")
    parser.add_argument("--params", type=Path, help="write the layer's parameters there")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE")
    a = parser.parse_args(argv)
    if a.host:
        which, coordinator = a.host.split("@")
        join(coordinator, int(which.split("/")[1]), int(which.split("/")[0]))
    if a.die:
        die_at_batch(int(a.die[0]), getattr(signal, a.die[1]))
    changes = {k: ast.literal_eval(v) for k, v in (text.split("=", 1) for text in a.set)}
    config = make_config(**(PLATEAU if a.plateau else {}) | changes)
    validation = a.validation or ("validation" if a.plateau else None)
    records = mixture_of(config, [open_records(p) for p in a.records.split(",")])
    with EndTogether():
        done = train(make_stage(), config=config, records=records, workdir=a.workdir, validation=validation)
    if a.params and jax.process_index() == 0:
        np.savez(a.params, **done.params["layer"])


if __name__ == "__main__":
    main()
