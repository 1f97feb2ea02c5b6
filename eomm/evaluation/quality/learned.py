"""Vectors of a model directory's Sentinel-2 encoder, fed with series of single pixels; a random encoder beside it."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from eomm.data.modality import SENTINEL2, Modality
from eomm.errors import ContractError, UsageError
from eomm.evaluation.quality.series import BANDS, Series
from eomm.evaluation.quality.vectors import Made, Vectors
from eomm.models.directory import Model, build_part
from eomm.models.interface import Encoder

SURROUNDINGS = ("lone", "alike")
STEP = 32  # series are padded to a multiple of so many dates, so that few shapes are compiled
BATCH_DATES = 4096  # of one call, padding included
AFTER_DAYS = 3000  # where padding stands in time


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
    places = model.info.get("places")
    return encoder_vectors(
        encoder,
        contract,
        {"encoder": model.params["s2"]["encoder"], "fusion": model.params.get("fusion")},
        name=name,
        fusion=model.fusion,
        surroundings=surroundings,
        about={
            "learned_from": None if places is None else tuple(places),
            "seed": seed,
            "state": int(getattr(encoder, "components", 0)) if state is None else state,
        },
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
    about: Mapping[str, Any] | None = None,
) -> Vectors:
    """Vectors of any encoder of ten Sentinel-2 bands, through the Encoder interface alone.

    Args:
        encoder: of the bands.
        contract: by which values are stored.
        params: {"encoder", "fusion"}.
        name: for tables.
        fusion: the head that the encoder's vectors go through, or None.
        surroundings: see `model_vectors`.
        about: further fields of Vectors.
    """
    side = 2 * encoder.halo + 1
    run = jax.jit(partial(_embed, encoder, fusion))
    length = fusion.dim if fusion else encoder.dim

    def make(series: Sequence[Series], at: Sequence[Int[np.ndarray, " n"]]) -> Made:
        out: list[np.ndarray] = [np.zeros((len(a), length), np.float32) for a in at]
        for rows in _batches(series, at):
            data = _padded([series[i] for i in rows], [at[i] for i in rows], contract, side, surroundings)
            vectors = np.asarray(run(params, **data))
            for k, i in enumerate(rows):
                out[i] = vectors[k, : len(at[i])]
        return out

    return Vectors(name=name, length=length, make=make, **(about or {}))


def _embed(encoder: Encoder, fusion: Any, params: Any, values: Any, valid: Any, day: Any, targets: Any) -> Any:
    """[b, n, d] of targets; what is not valid is hidden, as an acquisition without a clear pixel is not usable."""
    meta = {"orbit": jnp.zeros(day.shape, jnp.int32), "direction": jnp.zeros(day.shape, jnp.int8)}
    meta["incidence"] = jnp.zeros(day.shape, jnp.float32)
    halo, side = encoder.halo, values.shape[2]
    own = valid[:, :, halo : side - halo, halo : side - halo]
    features = encoder.features(params["encoder"], values, valid, meta)
    hidden = jnp.broadcast_to(~own[:, None, :, 0, 0], (*targets.shape, day.shape[1]))
    z = encoder.embed(params["encoder"], features, own, day, targets, hidden)[:, :, 0, 0]
    if fusion is None:
        return z
    others = {name: jnp.zeros((*z.shape[:2], dim)) for name, dim in fusion.inputs}
    here = {name: jnp.full(z.shape[:2], name == "s2") for name, _ in fusion.inputs}
    days = {name: jnp.zeros(z.shape[:2]) for name, _ in fusion.inputs}
    return fusion.fuse(params["fusion"], {**others, "s2": z}, here, days)


def _batches(series: Sequence[Series], at: Sequence[np.ndarray]) -> list[list[int]]:
    """Numbers of series of one padded length and one padded count of targets, as many as one call takes."""
    alike: dict[tuple[int, int], list[int]] = {}
    for i, (s, where) in enumerate(zip(series, at, strict=True)):
        if len(where):
            alike.setdefault((_up(len(s)), _up(len(where))), []).append(i)
    out = []
    for (dates, targets), rows in alike.items():
        size = max(1, BATCH_DATES // max(dates, targets))
        out += [rows[k : k + size] for k in range(0, len(rows), size)]
    return out


def _padded(
    series: Sequence[Series], at: Sequence[np.ndarray], contract: Modality, side: int, surroundings: str
) -> dict[str, np.ndarray]:
    time, count = max(_up(len(s)) for s in series), max(_up(len(a)) for a in at)
    size = 2 ** int(np.ceil(np.log2(len(series))))  # few shapes
    values = np.zeros((size, time, side, side, len(BANDS)), np.int16)
    valid, day = np.zeros((size, time, side, side), bool), np.zeros((size, time), np.int32)
    targets, middle = np.zeros((size, count), np.int32), side // 2
    for k, (s, where) in enumerate(zip(series, at, strict=True)):
        stored, ok = contract.encode(s.values)
        ok &= s.valid
        stored = np.where(ok[:, None], stored, 0).astype(np.int16)
        n = len(s)
        if surroundings == "alike":
            values[k, :n], valid[k, :n] = stored[:, None, None], ok[:, None, None]
        else:
            values[k, :n, middle, middle], valid[k, :n, middle, middle] = stored, ok
        day[k, :n], day[k, n:] = s.day, s.day[-1] + AFTER_DAYS
        targets[k, : len(where)] = where
    return {"values": values, "valid": valid, "day": day, "targets": targets}


def _up(count: int) -> int:
    return 1 if count == 1 else -(-count // STEP) * STEP
