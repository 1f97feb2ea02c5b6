"""A stage on a mesh of devices: where state and batches lie, and the compiled step for each shape of batch.

Not the loop (loop.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from ml_collections import ConfigDict

from eomm.data.mixture import Mixture
from eomm.data.records import RecordSet
from eomm.models.interface import Tree
from eomm.training import mesh as meshes
from eomm.training.checkpoint import abstract_like
from eomm.training.cost import training_flops
from eomm.training.step import make_step

if TYPE_CHECKING:
    from eomm.training.stage import Stage


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """What is trained, and where.

    Attributes:
        stages: one for each set of the mixture, which differ in nothing but their batches.
        mixture: of record sets.
        mesh: devices.
        whole, batch_place: shardings: a copy on every device, and of batches.
        init_rng, root, validation_rng: keys, on every device; batch k is trained on with `fold_in(root, k)`.
        frozen: parameters that are not trained, on every device.
        state: shapes, dtypes and shardings of a state.
        init: a key to a state.
        steps: (step, shapes of its batch) for each set.
    """

    stages: tuple["Stage", ...]
    mixture: Mixture
    mesh: jax.sharding.Mesh
    whole: jax.sharding.NamedSharding
    batch_place: jax.sharding.NamedSharding
    init_rng: jax.Array
    root: jax.Array
    validation_rng: jax.Array
    frozen: Tree
    state: Tree
    init: Callable[[jax.Array], Tree]
    steps: tuple[tuple[Callable[..., tuple[Tree, Tree]], Tree], ...]

    @property
    def stage(self) -> "Stage":
        """The first, of which the others are variants."""
        return self.stages[0]

    @property
    def outset(self) -> str:
        """In a line: what is trained, on which devices, by how many processes, on batches of which shapes."""
        kind, count, hosts = jax.devices()[0].device_kind, jax.device_count(), jax.process_count()
        axes = " x ".join(f"{name} {size}" for name, size in self.mesh.shape.items())
        batches = []
        for share in self.mixture.shares:
            shapes = (share.records.shapes[n] for n in self.stage.modalities)
            each = ", ".join(f"{s.modality.name} {s.acquisitions} x {s.height} x {s.width}" for s in shapes)
            batches.append(f"{share.batch_size} records ({each})")
        devices = f"{count} device{'s' * (count > 1)} ({kind}), mesh {axes}, {hosts} process{'es' * (hosts > 1)}"
        return f"{self.stage.name}: {devices}; batches of {' or '.join(dict.fromkeys(batches))}"

    @property
    def state_place(self) -> Tree:
        """The sharding of each leaf of the state."""
        return jax.tree.map(lambda leaf: leaf.sharding, self.state)

    def fresh_state(self) -> Tree:
        """The state before the first step."""
        return jax.jit(self.init, out_shardings=self.state_place)(self.init_rng)

    def compile(self) -> list[Callable[..., tuple[Tree, Tree]]]:
        """The step (state, root, frozen, batch) -> (state, report) of each set; sets of one shape share theirs."""
        compiled: list[Any] = []
        for i, (step, batch) in enumerate(self.steps):
            same = [j for j in range(i) if self.stages[j] is self.stages[i] and self.steps[j][1] == batch]
            jitted = jax.jit(step, donate_argnums=0, out_shardings=(self.state_place, self.whole))
            lowered = None if same else jitted.lower(self.state, self.root, self.frozen, batch)
            compiled.append(lowered.compile() if lowered else compiled[same[0]])
        return compiled

    def place(self, rows: Mapping[str, Any], share: int) -> Tree:
        """This host's rows of a batch of a set, as their part of the batch on all devices."""
        return meshes.to_global(rows, self.batch_place, self.mixture.shares[share].batch_size)

    def mean_over_sets(self, values: Sequence[float]) -> float:
        """Mean of a number of each set, by how often a batch comes from it."""
        return float(np.average(values, weights=self.mixture.turns))

    def flops(self) -> float:
        """Floating-point operations of a step, over all devices; the mean over sets."""
        return self.mean_over_sets(
            [training_flops(stage, batch) for stage, (_, batch) in zip(self.stages, self.steps, strict=True)]
        )


def make_program(stage: "Stage | Sequence[Stage]", config: ConfigDict, mixture: Mixture) -> Program:
    """Put a stage onto the mesh that a configuration describes; nothing is compiled yet but the split of the seed.

    Args:
        stage: what is trained, or one for each set of the mixture.
        config: seed, optionally mesh {data, fsdp}, mesh.rules and accumulate; and what `make_step` reads.
        mixture: of record sets.

    Raises:
        UsageError: the mesh does not fit the devices, or the batch size does not fit the mesh.
    """
    options = config.get("mesh", ConfigDict({"data": -1}))
    mesh = meshes.make_mesh({k: v for k, v in options.items() if k != "rules"})
    stages = tuple(stage) if isinstance(stage, Sequence) else (stage,) * len(mixture.shares)
    for share in mixture.shares:
        meshes.check_batch_size(share.batch_size, mesh, config.get("accumulate", 1))
    batch_place, whole = meshes.batch_sharding(mesh), meshes.replicated(mesh)
    # Compiled, since keys cannot be put onto a mesh of several hosts.
    split = jax.jit(lambda: tuple(jax.random.split(jax.random.key(config.seed), 3)), out_shardings=whole)
    init_rng, root, validation_rng = split()
    shapes = [abstract_batch(stages[0], share.records, share.batch_size, batch_place) for share in mixture.shares]
    functions = [make_step(one, config, batch, whole=whole) for one, batch in zip(stages, shapes, strict=True)]
    init = functions[0][1]
    state = jax.eval_shape(init, init_rng)
    place = meshes.state_sharding(state, mesh, options.get("rules", meshes.RULES))
    return Program(
        stages=stages,
        mixture=mixture,
        mesh=mesh,
        whole=whole,
        batch_place=batch_place,
        init_rng=init_rng,
        root=root,
        validation_rng=validation_rng,
        frozen=jax.device_put(stages[0].frozen, whole),
        state=abstract_like(state, place),
        init=init,
        steps=tuple((step, batch) for (step, _), batch in zip(functions, shapes, strict=True)),
    )


def abstract_batch(
    stage: "Stage", records: RecordSet, batch_size: int, place: jax.sharding.NamedSharding | None = None
) -> Tree:
    """The shapes of a batch of a record set, and where it lies."""
    return {
        name: {
            field: jax.ShapeDtypeStruct((batch_size, *dims), dtype, sharding=place)
            for field, (dims, dtype) in records.shapes[name].fields().items()
        }
        for name in stage.modalities
    }
