"""Devices to a mesh, and which array lies where. Not the training step (loop.py).

Two axes: `data` splits the batch only, `fsdp` splits the batch and the state. State is placed by ordered (regex, rule)
pairs over parameter paths; what no pair matches is replicated.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from eomm.errors import UsageError
from eomm.models.interface import path_name

AXES = ("data", "fsdp")

Rule = str | tuple[str | None, ...]
"""How an array is split: "replicate"; "fsdp", its largest axis divisible by the mesh's `fsdp` size, the last of
equals, and replicated where none is; or a mesh axis (or None) per array axis."""

RULES: tuple[tuple[str, Rule], ...] = (("", "fsdp"),)
"""The default: everything by the fsdp rule, which replicates where that mesh axis has size 1."""


def make_mesh(sizes: Mapping[str, int], devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with axes `data` and `fsdp`; -1 takes the devices that remain, and absent axes have size 1.

    Axes are Auto: the compiler inserts communication (Explicit ones, make_mesh's default, fail in Linen's Conv).

    Raises:
        UsageError: unknown axes, more than one -1, or sizes that do not use every device.
    """
    devices = list(jax.devices()) if devices is None else list(devices)
    shape = mesh_shape(sizes, len(devices))
    axis_types = (AxisType.Auto,) * len(shape)
    return jax.make_mesh(tuple(shape.values()), tuple(shape), axis_types=axis_types, devices=devices)


def mesh_shape(sizes: Mapping[str, int], devices: int) -> dict[str, int]:
    """The size of every axis of a mesh of so many devices. Errors as in `make_mesh`."""
    unknown = set(sizes) - set(AXES)
    shape = [int(sizes.get(axis, 1)) for axis in AXES]
    rest, known = shape.count(-1), math.prod(s for s in shape if s != -1)
    if unknown or rest > 1 or known < 1 or devices % known:
        raise UsageError(f"mesh {dict(sizes)}: does not fit {devices} devices; axes are data and fsdp, one may be -1")
    shape = [devices // known if s == -1 else s for s in shape]
    if math.prod(shape) != devices:
        raise UsageError(f"mesh {dict(sizes)}: uses {math.prod(shape)} of {devices} devices; set one axis to -1")
    return dict(zip(AXES, shape, strict=True))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis split over all devices."""
    return NamedSharding(mesh, P(AXES))


def state_sharding(abstract: Any, mesh: Mesh, rules: Sequence[tuple[str, Rule]] = RULES) -> Any:
    """A tree of shardings for a tree of arrays or ShapeDtypeStructs.

    Args:
        abstract: the state; a leaf's path is its keys joined by "/".
        mesh: from `make_mesh`.
        rules: ordered (regex, rule); the first whose regex is found in a path decides, and none means replicated.
    """

    def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        name = path_name(path)
        rule = next((rule for regex, rule in rules if re.search(regex, name)), "replicate")
        return NamedSharding(mesh, _spec(rule, leaf.shape, mesh, name))

    return jax.tree_util.tree_map_with_path(place, abstract)


def to_global(batch: Any, sharding: NamedSharding, batch_size: int) -> Any:
    """This host's rows of a batch (NumPy) to global arrays of `batch_size` rows."""

    def put(rows: np.ndarray) -> jax.Array:
        # The global shape is always given: inferred, uneven hosts silently got different shapes.
        return jax.make_array_from_process_local_data(sharding, rows, (batch_size, *rows.shape[1:]))

    return jax.tree.map(put, batch)


def to_host(tree: Any, whole: NamedSharding) -> Any:
    """Global arrays to NumPy on every host; what is spread over hosts is gathered first (`whole`: `replicated`)."""
    if not all(x.is_fully_addressable for x in jax.tree.leaves(tree)):
        tree = jax.jit(lambda t: t, out_shardings=whole)(tree)
    return jax.device_get(tree)


def check_batch_size(batch_size: int, mesh: Mesh, parts: int = 1) -> None:
    """Raise UsageError unless each of `parts` pieces of a batch (config.accumulate) divides evenly among devices."""
    if parts < 1 or batch_size < 1 or batch_size % (mesh.size * parts):
        pieces = f" in each of {parts} pieces (config.accumulate)" if parts != 1 else ""
        raise UsageError(
            f"batch_size {batch_size} cannot be divided among {mesh.size} devices{pieces}; choose a multiple of "
            f"{mesh.size * max(parts, 1)}"
        )


def _spec(rule: Rule, shape: tuple[int, ...], mesh: Mesh, name: str) -> P:
    if rule == "replicate":
        return P()
    if rule == "fsdp":
        size = mesh.shape["fsdp"]
        divisible = [axis for axis, n in enumerate(shape) if n % size == 0 and n >= size]
        if size == 1 or not divisible:
            return P()
        largest = max(divisible, key=lambda axis: (shape[axis], axis))
        return P(*(None,) * largest, "fsdp")
    if isinstance(rule, str) or len(rule) > len(shape) or not {a for a in rule if a} <= set(AXES):
        raise UsageError(f"sharding rule {rule!r} does not fit {name!r} of shape {shape}; axes are data and fsdp")
    return P(*rule)
