"""Start training from a model directory's parameters (`config.init`) instead of random ones. Not resuming (loop.py).

Apart from stages.py, which is as long as a file should be.
"""

from typing import Any

import jax

from eomm.data.modality import Modality, check_contract
from eomm.errors import UsageError
from eomm.models.directory import Model, flatten, load_model
from eomm.models.interface import Encoder
from eomm.store.fields import Json


def load_start(config: Any, modality: Modality, encoder: Encoder, decoder: Any) -> Model:
    """The model `config.init`, once its encoder and decoder of the modality are known to fit.

    Raises:
        ContractError: the model was trained under another contract.
        DataError: the model is missing or damaged.
        UsageError: it has no such modality, its parameters have other names or shapes, or it holds code that
            `config.code` does not name.
    """
    path, name = config.init, modality.name
    model = load_model(path, code=tuple(config.get("code", ())))
    if name not in model.encoders:
        raise UsageError(f"{path}: holds {', '.join(model.encoders)}; config.init needs a model with {name!r}")
    check_contract(model.modalities[name], modality, found_in=str(path), expected_by="the records")
    rng = jax.random.key(0)
    for kind, network in {"encoder": encoder, "decoder": decoder}.items():
        found = {k: x.shape for k, x in flatten(model.params[name][kind]).items()}
        wanted = {k: x.shape for k, x in flatten(jax.eval_shape(network.init, rng)).items()}
        lines = [
            f"{k}: it has {found.get(k, 'none')}, the configuration's {kind} {wanted.get(k, 'none')}"
            for k in sorted({*found, *wanted})
            if found.get(k) != wanted.get(k)
        ]
        if lines:
            more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
            raise UsageError(
                f"{path}: its {name} {kind} has other parameters than config.{kind}: {'; '.join(lines[:5])}{more}. Its "
                f"options are {dict(model.parts[name][kind])}: set config.{kind} to these"
            )
    return model


def started_from(model: Model) -> Json:
    """What a model's `info` says of the one it was started from."""
    return {"hash": model.hash, "steps": model.info.get("steps"), "records": model.info.get("records")}
