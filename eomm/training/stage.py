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


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Models of single modalities, which a fusion starts from.

    Attributes:
        encoders: by modality.
        decoders: by modality.
        params: by modality.
        parts: by modality, the options from which networks are built again.
        hashes: of the models, by modality.
        objectives: by modality, what each was trained for, where its model tells.
    """

    encoders: Mapping[str, Encoder]
    decoders: Mapping[str, Any]
    params: Tree
    parts: Mapping[str, Any]
    hashes: Mapping[str, str]
    objectives: Mapping[str, Any]

    def fused(self, fusion: FusionHead, options: Mapping[str, Any], params: Tree, info: Mapping[str, Any]) -> Model:
        """The finished model, with a head of these options and parameters, tuned ones in place of these."""
        return Model(
            encoders=self.encoders,
            decoders=self.decoders,
            fusion=fusion,
            params={**self.params, **params},
            parts={**self.parts, "fusion": dict(options)},
            info={**info, "encoders": dict(self.hashes)},
        )


def load_encoders(config: Any, records: RecordSet) -> Trained:
    """The models in `config.encoders`.

    Raises:
        ContractError: the records lack a modality, or hold it under another contract.
        DataError: a model is missing or damaged.
        UsageError: a model holds code that `config.code` does not name.
    """
    models = [load_model(path, code=tuple(config.get("code", ()))) for path in config.encoders]
    found = Trained(
        encoders={n: e for m in models for n, e in m.encoders.items()},
        decoders={n: d for m in models for n, d in m.decoders.items()},
        params={n: m.params[n] for m in models for n in m.encoders},
        parts={n: m.parts[n] for m in models for n in m.encoders},
        hashes={n: m.hash for m in models for n in m.encoders},
        objectives={n: o for m in models for n, o in m.info.get("objectives", {}).items()},
    )
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
