"""Vectors of a model directory's Sentinel-2 encoder, fed with series of single pixels; a random encoder beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from eomm.data.modality import SENTINEL2, Modality
from eomm.data.points import PointSeries
from eomm.embedding.points import SURROUNDINGS, embed_series
from eomm.errors import ContractError, UsageError
from eomm.evaluation.quality.series import BANDS
from eomm.evaluation.quality.vectors import Made, Vectors
from eomm.models.directory import Model, build_part
from eomm.models.interface import Encoder


def model_vectors(
    model: Model, *, name: str = "model", surroundings: str = "lone", seed: int = 0, state: int | None = None
) -> Vectors:
    """The model's vectors of Sentinel-2 alone; other modalities are absent.

    Args:
        model: loaded; `info["places"]`, where it is there, names the places that it learned from.
        name: for tables.
        surroundings: what lies around a lone pixel in the encoder's window: "lone", nothing that is valid; "alike",
            the same values.
        seed: number of the training, where there are several.
        state: how many leading numbers are the denoised state; what the encoder says of itself when None.

    Raises:
        ContractError: the model reads no Sentinel-2 reflectance in ten bands.
        UsageError: other surroundings.
    """
    encoder = model.encoders.get("s2")
    contract = model.modalities.get("s2")
    if encoder is None or contract is None or contract.band_names != BANDS:
        found = {n: m.band_names for n, m in model.modalities.items()}
        raise ContractError(f"{name}: reads {found}; the quality bench needs s2 with {', '.join(BANDS)}")
    if surroundings not in SURROUNDINGS:
        raise UsageError(f"surroundings {surroundings!r}; expected one of {', '.join(SURROUNDINGS)}")
    params = {"encoder": model.params["s2"]["encoder"], "fusion": model.params.get("fusion")}
    options: dict[str, Any] = {"fusion": model.fusion, "surroundings": surroundings}
    places = model.info.get("places")
    return replace(
        encoder_vectors(encoder, contract, params, name=name, **options),
        learned_from=None if places is None else tuple(places),
        seed=seed,
        state=int(getattr(encoder, "components", 0)) if state is None else state,
    )


def random_encoder(*, seed: int = 5) -> Vectors:
    """A context encoder of base size and one pixel with random parameters: what an architecture gives untrained."""
    encoder = build_part("encoder", {"size": "base", "dilations": ()}, SENTINEL2)
    params = {"encoder": encoder.init(jax.random.key(seed)), "fusion": None}
    return encoder_vectors(encoder, SENTINEL2, params, name="random encoder")


def encoder_vectors(
    encoder: Encoder,
    contract: Modality,
    params: Mapping[str, Any],
    *,
    name: str,
    fusion: Any = None,
    surroundings: str = "lone",
) -> Vectors:
    """Vectors of any encoder of ten Sentinel-2 bands, through the Encoder interface alone.

    Args:
        encoder: of the bands.
        contract: by which values are stored.
        params: {"encoder", "fusion"}.
        name: for tables.
        fusion: the head that the encoder's vectors go through, or None.
        surroundings: see `model_vectors`.
    """
    length = fusion.dim if fusion else encoder.dim
    options: dict[str, Any] = {"fusion": fusion, "surroundings": surroundings}

    def make(series: Sequence[PointSeries], at: Sequence[Int[np.ndarray, " _"]]) -> Made:
        return embed_series(encoder, contract, params, series, at, **options)

    return Vectors(name=name, length=length, make=make)
