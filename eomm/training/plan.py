"""What a training run takes on machines that one does not have: memory, speed, time. Computed; nothing is trained.

Shapes alone decide. Memory is the state and what the forward pass keeps for the backward pass: within 5 % of what XLA
allocates on a CPU for `experiments/s2.py` and `s1.py`. Time is that of a roofline (Williams et al. 2009, doi
10.1145/1498765.1498785): matrix products at a stated utilisation, what is kept written once and read once, or reading
records, whichever takes longest; then the gradients' journey. A compiler that fuses more needs less.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from jax.sharding import AbstractMesh, AxisType
from ml_collections import ConfigDict

from eomm.data.batches import record_bytes
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.data.records import PatchShape, RecordSet
from eomm.errors import UsageError
from eomm.models.interface import Tree
from eomm.store.fields import Json
from eomm.training import mesh as meshes
from eomm.training.accelerators import ACCELERATORS, Accelerator, find_accelerator
from eomm.training.cost import training_flops
from eomm.training.noise import assumed_noise
from eomm.training.program import abstract_batch
from eomm.training.sets import open_mixture
from eomm.training.stages import build_stage
from eomm.training.step import make_step

if TYPE_CHECKING:
    from eomm.training.stage import Stage

UTILISATION = 0.4
PASSES = 20
READ_GB = 0.5  # per second and device; two cores decode 0.3 from their page cache (benchmarks/README.md)

BOUNDS = {"products": "matrix products", "memory": "the devices' memory", "reading": "reading records"}

# Records as `eomm prepare records` cuts them by default: 32 acquisitions of S2 in half a year, and what S1 saw then,
# two orbits of 6 days, with 8 more on both sides.
ASSUMED = {
    "s2": PatchShape(modality=SENTINEL2, acquisitions=32, height=32, width=32),
    "s1": PatchShape(modality=SENTINEL1, acquisitions=80, height=32, width=32),
}


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A data set by its size.

    Attributes:
        name: for people.
        cubes: a site in a year each.
        side_px: of a cube.
        acquisitions: usable ones of the reference modality in a cube.
    """

    name: str
    cubes: int
    side_px: int = 90
    acquisitions: int = 60  # assumed: a usable Sentinel-2 acquisition every 6 days

    def records(self, shape: PatchShape) -> int:
        """How many records the cubes are cut into at the default strides, half a crop and half a series."""

        def pieces(length: int, size: int) -> int:
            return 1 if length <= size else 1 + math.ceil((length - size) / (size // 2))

        return self.cubes * pieces(self.side_px, shape.height) ** 2 * pieces(self.acquisitions, shape.acquisitions)


# arXiv 2511.11706: 250 European sites of 90 x 90 px in two years each.
PAPER = DataSet(name="that of arXiv 2511.11706", cubes=500)
DATA_SETS = (PAPER, DataSet(name="one a thousand times larger", cubes=1000 * PAPER.cubes))


@dataclass(frozen=True, kw_only=True)
class Machines:
    """What is trained on.

    Attributes:
        devices: how many.
        device: a name of `ACCELERATORS`.
        utilisation: share of the peak that matrix products reach where memory does not bind.
        read_gb: 1e9 bytes of records that a host reads and decodes per second, for each of its devices.

    Raises:
        UsageError: an unknown device, or a number that cannot be.
    """

    devices: int
    device: str
    utilisation: float = UTILISATION
    read_gb: float = READ_GB

    def __post_init__(self) -> None:
        if find_accelerator(self.device) is None:
            known = ", ".join(a.name for a in ACCELERATORS)
            raise UsageError(f"device {self.device!r} is unknown; known are {known}")
        if self.devices < 1 or not 0 < self.utilisation <= 1 or self.read_gb <= 0:
            raise UsageError(
                f"devices {self.devices}, expected 1 or more; utilisation {self.utilisation}, expected above 0 to 1; "
                f"reading {self.read_gb} GB/s, expected above 0"
            )

    @property
    def accelerator(self) -> Accelerator:
        """What one of them is."""
        found = find_accelerator(self.device)
        assert found is not None, "checked when this was made"
        return found


def plan_training(
    config: ConfigDict, machines: Machines, *, batch_per_device: int | None = None, passes: int = PASSES
) -> Json:
    """Memory per device, operations and steps per second of a configuration, and the time that data sets take.

    Args:
        config: an experiment's; of `config.data.records` only the shapes are used (of a mixture those of the set with
            the largest batches), and where there are none those of `eomm prepare records` are assumed.
        machines: what is trained on.
        batch_per_device: records; config.data.batch_size divided among the devices where None.
        passes: how often every record is seen.

    Raises:
        UsageError: a batch or mesh that does not fit the devices, no records for a modality.
    """
    devices, accelerator = machines.devices, machines.accelerator
    if min(passes, 1 if batch_per_device is None else batch_per_device) < 1:
        raise UsageError(f"batch per device {batch_per_device}, passes {passes}: expected 1 or more")
    config = config.copy_and_resolve_references()
    if batch_per_device:
        config.data.batch_size = batch_per_device * devices
    named = bool(config.data.records)
    records = heaviest(config, keep_size=batch_per_device is not None) if named else assumed_records(config)
    if config.get("modality") in records.shapes:
        config.encoder = assumed_noise(config.encoder.to_dict(), records.shapes[config.modality].modality)
    stage, mesh = build_stage(config, records), abstract_mesh(config, devices)
    meshes.check_batch_size(config.data.batch_size, mesh)
    memory = device_memory(stage, config, records, mesh)
    flops = training_flops(stage, abstract_batch(stage, records, config.data.batch_size))
    size = record_bytes({n: records.shapes[n] for n in stage.modalities})
    seconds = {
        **step_seconds(flops, memory, machines, mesh),
        "reading": config.data.batch_size * size / (devices * machines.read_gb * 1e9),
    }
    step = max(seconds[k] for k in BOUNDS) + seconds["gradients"]
    rate = config.data.batch_size / step
    reference = records.shapes[config.get("reference", stage.modalities[0])]
    return {
        "devices": f"{devices} x {accelerator.name}",
        "mesh": dict(mesh.shape),
        "batch_size": config.data.batch_size,
        "batch_per_device": config.data.batch_size // devices,
        "dtype": config.get("encoder", {}).get("dtype", "float32"),
        "shapes": "of the record set" if config.data.records else "assumed",
        "record_bytes": size,
        "memory_per_device_bytes": {**memory, "total": sum(memory.values()), "available": accelerator.memory},
        "fits": sum(memory.values()) < accelerator.memory,
        "flops_per_step": flops,
        "seconds": {"step": step, **seconds},
        "bound_by": max(BOUNDS, key=lambda k: seconds[k]),
        "utilisation": flops / (step * devices * accelerator.peak),
        "steps_per_second": 1 / step,
        "records_per_second": rate,
        "read_bytes_per_second": rate * size,
        "passes": passes,
        "data_sets": [
            describe_data_set(d, d.records(reference), size, rate, config.data.batch_size, passes) for d in DATA_SETS
        ],
    }


def heaviest(config: ConfigDict, *, keep_size: bool) -> RecordSet:
    """Of the record sets that a configuration names, that whose batch is the largest: a plan is made for it alone."""
    mixture = open_mixture(config)
    sizes = [s.batch_size * record_bytes(v.shapes) for s, v in zip(mixture.shares, mixture.views(), strict=True)]
    which = sizes.index(max(sizes))
    if not keep_size:
        config.data.batch_size = mixture.shares[which].batch_size
    return mixture.views()[which]


def assumed_records(config: ConfigDict) -> RecordSet:
    """A record set of which there are only shapes. Raises UsageError for a modality that none are assumed of."""
    wanted = [config.modality] if "modality" in config else list(ASSUMED)
    unknown = [name for name in wanted if name not in ASSUMED]
    if unknown:
        raise UsageError(
            f"nothing is assumed of records of {', '.join(unknown)}; give some: --config.data.records=RECORDS"
        )
    statistics = {name: {"std": [1.0] * len(s.modality.bands)} for name, s in ASSUMED.items()}
    return RecordSet(Path("assumed records"), ASSUMED, {"statistics": statistics, "files": []})


def abstract_mesh(config: ConfigDict, devices: int) -> Any:
    """The mesh of a configuration on so many devices, without them."""
    options = config.get("mesh", {"data": -1})
    shape = meshes.mesh_shape({k: v for k, v in options.items() if k != "rules"}, devices)
    return AbstractMesh(tuple(shape.values()), tuple(shape), axis_types=(AxisType.Auto,) * len(shape))


def device_memory(stage: "Stage", config: ConfigDict, records: RecordSet, mesh: Any) -> dict[str, int]:
    """Bytes on every device, by what they hold; the largest of sharded ones."""
    rng = jax.random.key(0)
    pieces = config.get("accumulate", 1)
    local = config.data.batch_size // mesh.size
    batch = abstract_batch(stage, records, local)
    _, init = make_step(stage, config, abstract_batch(stage, records, config.data.batch_size))
    state = jax.eval_shape(init, rng)
    places = meshes.state_sharding(state, mesh, config.get("mesh", {}).get("rules", meshes.RULES))
    whole = tree_bytes(state["params"])
    return {
        "parameters": shard_bytes(state["params"], places["params"]),
        "optimiser": shard_bytes(state["opt_state"], places["opt_state"]),
        **({"gathered_parameters": whole} if mesh.shape["fsdp"] > 1 else {}),
        "gradients": whole,
        "frozen": tree_bytes(stage.frozen),
        "batches": 2 * tree_bytes(batch),  # the next one is sent while one is used
        "activations": kept_bytes(stage, state["params"], abstract_batch(stage, records, max(local // pieces, 1))),
    }


def kept_bytes(stage: "Stage", params: Tree, batch: Tree) -> int:
    """What the forward pass keeps for the backward pass, before a compiler fuses anything."""

    def backward(params: Tree, batch: Tree, rng: jax.Array) -> Tree:
        _, gradient, _ = jax.vjp(lambda p: stage.loss(p, stage.frozen, batch, rng), params, has_aux=True)
        return gradient  # a tree of what it keeps

    return tree_bytes(jax.eval_shape(backward, params, batch, jax.random.key(0)))


def step_seconds(flops: float, memory: Mapping[str, int], machines: Machines, mesh: Any) -> dict[str, float]:
    """Seconds of a step by what takes them on the devices."""
    accelerator = machines.accelerator
    products = flops / (mesh.size * accelerator.peak * machines.utilisation)
    traffic = 2 * memory["activations"] / accelerator.bandwidth
    # Round a ring: gradients are summed and sent back; with fsdp parameters are gathered forward and backward, too.
    journeys = 3 if mesh.shape["fsdp"] > 1 else 2
    sent = journeys * memory["gradients"] * (mesh.size - 1) / mesh.size / accelerator.link
    return {"products": products, "memory": traffic, "gradients": sent}


def describe_data_set(data: DataSet, records: int, record_size: int, rate: float, batch_size: int, passes: int) -> Json:
    """What a data set is and how long it takes."""
    return {
        "name": data.name,
        "cubes": data.cubes,
        "assumed_acquisitions": data.acquisitions,
        "records": records,
        "bytes": records * record_size,
        "steps": math.ceil(records * passes / batch_size),
        "hours": records * passes / rate / 3600,
    }


def tree_bytes(tree: Tree) -> int:
    """Of all arrays."""
    return sum(int(x.size * x.dtype.itemsize) for x in jax.tree.leaves(tree))


def shard_bytes(tree: Tree, places: Tree) -> int:
    """Of one device's part of all arrays."""
    parts = jax.tree.map(lambda x, place: math.prod(place.shard_shape(x.shape)) * x.dtype.itemsize, tree, places)
    return sum(int(size) for size in jax.tree.leaves(parts))


def format_plan(plan: Mapping[str, Any]) -> str:
    """For people."""
    memory, seconds = plan["memory_per_device_bytes"], plan["seconds"]
    held = {k.replace("_", " "): v for k, v in memory.items() if k not in ("total", "available")}
    ms = {k: f"{v * 1e3:.3g}" for k, v in seconds.items()}
    mesh = ", ".join(f"{axis} {size}" for axis, size in plan["mesh"].items())
    lines = [
        f"{plan['devices']}, mesh {mesh}; {plan['batch_size']:,} records per step, {plan['batch_per_device']} per "
        f"device, shapes {plan['shapes']}",
        f"memory per device: {_bytes(memory['total'])} of {_bytes(memory['available'])}"
        f"{'' if plan['fits'] else ', DOES NOT FIT'}: " + ", ".join(f"{k} {_bytes(v)}" for k, v in held.items()),
        f"a step: {plan['flops_per_step']:.3g} operations in {ms['step']} ms, {plan['utilisation']:.1%} of the peak",
        f"  bound by {BOUNDS[plan['bound_by']]}: matrix products {ms['products']} ms, memory {ms['memory']} ms, "
        f"reading {ms['reading']} ms; then gradients {ms['gradients']} ms",
        f"{plan['steps_per_second']:.3g} steps and {plan['records_per_second']:,.0f} records per second: "
        f"{_bytes(plan['read_bytes_per_second'])} per second to read, over all hosts",
    ]
    lines += [
        f"{data['name']}: {data['cubes']:,} cubes (assumed: {data['assumed_acquisitions']} usable acquisitions each), "
        f"{data['records']:,} records, {_bytes(data['bytes'])}; {plan['passes']} passes are {data['steps']:,} steps, "
        f"{_time(data['hours'])}"
        for data in plan["data_sets"]
    ]
    return "\n".join([*lines, "Computed, not measured: memory errs upwards, links and peaks are the makers' figures."])


def _bytes(count: float) -> str:
    power = min(int(math.log10(max(count, 1))) // 3, 5)
    return f"{count / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB')[power]}"


def _time(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:.2g} minutes"
    return f"{hours:.3g} hours" if hours < 72 else f"{hours / 24:,.0f} days"
