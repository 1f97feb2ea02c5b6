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
from eomm.models.interface import Encoder, FusionHead, Tree
from eomm.models.losses import SumCount
from eomm.store.fields import Json

Batch = Mapping[str, Mapping[str, Array]]
Loss = tuple[Array, dict[str, SumCount]]  # and metrics


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
    loss: Callable[[Tree, Tree, Batch, Array], Loss]
    model: Callable[[Tree], Model]
    frozen: Tree = field(default_factory=dict, repr=False)
    validation_loss: Callable[[Tree, Tree, Batch, Array], Loss] | None = None
    scheduled: bool = False


@dataclass(frozen=True)
class Trained:
    """Models of single modalities, which a fusion starts from, by modality."""

    models: Mapping[str, Model]

    @property
    def encoders(self) -> dict[str, Encoder]:
        """By modality."""
        return {name: model.encoders[name] for name, model in self.models.items()}

    @property
    def decoders(self) -> Mapping[str, Any]:
        """By modality."""
        return {name: model.decoders[name] for name, model in self.models.items()}

    @property
    def params(self) -> dict[str, Tree]:
        """By modality."""
        return {name: model.params[name] for name, model in self.models.items()}

    @property
    def objectives(self) -> Json:
        """By modality, what each was trained for, where its model tells."""
        return {name: o for model in self.models.values() for name, o in model.info.get("objectives", {}).items()}

    def fused(self, fusion: FusionHead, options: Mapping[str, Any], params: Tree, info: Mapping[str, Any]) -> Model:
        """The finished model, with a head of these options and parameters, tuned ones in place of these."""
        return Model(
            encoders=self.encoders,
            decoders=self.decoders,
            fusion=fusion,
            params={**self.params, **params},
            parts={name: model.parts[name] for name, model in self.models.items()} | {"fusion": dict(options)},
            info={**info, "encoders": {name: model.hash for name, model in self.models.items()}},
        )


def load_encoders(config: Any, records: RecordSet) -> Trained:
    """The models in `config.encoders`.

    Raises:
        ContractError: the records lack a modality, or hold it under another contract.
        DataError: a model is missing or damaged.
        UsageError: a model holds code that `config.code` does not name.
    """
    models = [load_model(path, code=tuple(config.get("code", ()))) for path in config.encoders]
    found = Trained({name: model for model in models for name in model.encoders})
    for name, decoder in found.decoders.items():
        if name not in records.shapes:
            raise ContractError(f"{records.path}: holds {', '.join(records.shapes)}, the encoders need {name!r}")
        found_in, expected_by = str(records.path), f"the {name} encoder"
        check_contract(records.shapes[name].modality, decoder.modality, found_in=found_in, expected_by=expected_by)
    return found


def model_of_one(
    name: str, encoder: Encoder, decoder: Any, config: Any, params: Tree, info: Mapping[str, Any]
) -> Model:
    """The finished model of one modality, whose networks `config` describes."""
    return Model(
        encoders={name: encoder},
        decoders={name: decoder},
        fusion=None,
        params={name: {kind: params[kind] for kind in ("encoder", "decoder")}},
        parts={name: {"encoder": dict(config.encoder), "decoder": dict(config.decoder)}},
        info=info,
    )


def rematerialised(compute: Callable[..., Tree], config: Any) -> Callable[..., Tree]:
    """With `config.remat`, `compute` is done again in the backward pass instead of keeping what is inside it."""
    return jax.checkpoint(compute) if config.get("remat", False) else compute
