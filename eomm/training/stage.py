"""What a stage of training is, and what stages share. Which there are: stages.py and published.py."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from jaxtyping import Array

from eomm.data.modality import check_contract
from eomm.data.records import RecordSet
from eomm.errors import ContractError
from eomm.models.directory import Model, load_model
from eomm.models.interface import Encoder, Tree
from eomm.models.losses import SumCount

Batch = Mapping[str, Mapping[str, Array]]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the training loop trains.

    Attributes:
        name: for logs.
        modalities: keys of the batch that the loss reads.
        init: rng -> parameters, float32; only these are optimised.
        loss: (parameters, frozen, batch, rng) -> (loss, metrics), metrics as (sum, count) pairs; the count of "loss"
            is what the loss is a mean over, and weighs the pieces of an accumulated batch (`step.accumulated`).
        model: parameters -> the finished Model.
        frozen: tree of arrays that the loss may use and nobody changes.
        validation_loss: what validation computes where that is not `loss`: without dropout.
        scheduled: whether the training step adds `frozen["progress"]`, the share of the run's steps that are done. A
            loss that reads it takes 1 where it is not there, as in validation.
    """

    name: str
    modalities: tuple[str, ...]
    init: Callable[[Array], Tree]
    loss: Callable[[Tree, Tree, Batch, Array], tuple[Array, dict[str, SumCount]]]
    model: Callable[[Tree], Model]
    frozen: Tree = field(default_factory=dict, repr=False)
    validation_loss: Callable[[Tree, Tree, Batch, Array], tuple[Array, dict[str, SumCount]]] | None = None
    scheduled: bool = False


def load_encoders(config: Any, records: RecordSet) -> tuple[list[Model], dict[str, Encoder], dict[str, Any]]:
    """The models in `config.encoders`, and all their encoders and decoders by modality.

    Raises:
        ContractError: the records lack a modality, or hold it under another contract.
        DataError: a model is missing or damaged.
        UsageError: a model holds code that `config.code` does not name.
    """
    models = [load_model(path, code=tuple(config.get("code", ()))) for path in config.encoders]
    encoders = {n: e for m in models for n, e in m.encoders.items()}
    decoders = {n: d for m in models for n, d in m.decoders.items()}
    for name, decoder in decoders.items():
        if name not in records.shapes:
            raise ContractError(f"{records.path}: holds {', '.join(records.shapes)}, the encoders need {name!r}")
        found_in, expected_by = str(records.path), f"the {name} encoder"
        check_contract(records.shapes[name].modality, decoder.modality, found_in=found_in, expected_by=expected_by)
    return models, encoders, decoders


def rematerialised(compute: Callable[..., Tree], config: Any) -> Callable[..., Tree]:
    """With `config.remat`, `compute` is done again in the backward pass instead of keeping what is inside it."""
    return jax.checkpoint(compute) if config.get("remat", False) else compute
