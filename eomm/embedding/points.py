"""Vectors of series of single pixels and parcels: no cube, no neighbours. Cubes are embedded by run.py."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float32, Int

from eomm.data.modality import Modality, in_order
from eomm.data.points import PointSeries
from eomm.errors import DataError, UsageError
from eomm.models import forward
from eomm.models.bands import complete_bands
from eomm.models.directory import Model
from eomm.models.interface import Encoder, FusionHead, crop

SURROUNDINGS = ("lone", "alike")
STEP = 32  # series are padded to a multiple of so many dates, so that few shapes are compiled
BATCH_DATES = 4096  # of one call, padding included
AFTER_DAYS = 3000  # where padding stands in time


def embed_series(
    encoder: Encoder,
    modality: Modality,
    params: Mapping[str, Any],
    series: Sequence[PointSeries],
    at: Sequence[Int[np.ndarray, " _"]],
    *,
    fusion: FusionHead | None = None,
    surroundings: str = "lone",
) -> list[Float32[np.ndarray, "_ d"]]:
    """Vectors of chosen dates of each series.

    Args:
        encoder: of the modality.
        modality: by whose contract values are stored.
        params: {"encoder", "fusion"}.
        series: of single pixels, or means.
        at: positions of the dates in each.
        fusion: the head that vectors go through, other modalities absent; or None.
        surroundings: what an encoder that sees neighbours takes for them: "lone", nothing; "alike", the same values.

    Raises:
        UsageError: other surroundings.
    """
    if surroundings not in SURROUNDINGS:
        raise UsageError(f"surroundings {surroundings!r}; expected one of {', '.join(SURROUNDINGS)}")
    side = 2 * encoder.halo + 1
    length = fusion.dim if fusion else encoder.dim
    out: list[np.ndarray] = [np.zeros((len(a), length), np.float32) for a in at]
    for rows in _batches(series, at):
        data = _padded([series[i] for i in rows], [at[i] for i in rows], modality, side, surroundings)
        vectors = np.asarray(_embed(params, data, encoder=encoder, fusion=fusion, name=modality.name))
        for k, i in enumerate(rows):
            out[i] = vectors[k, : len(at[i])]
    return out


def embed_points(
    model: Model, series: Sequence[PointSeries], *, bands: Sequence[str] | None = None, surroundings: str = "lone"
) -> pd.DataFrame:
    """A row for each series and valid date: `group`, `id`, `date` and the vector's numbers `v0`, `v1`, and so on.

    Args:
        model: of one modality, or fused; others than the series' are absent.
        series: of single pixels or means, of one modality of the model.
        bands: of the series, where they are fewer than the model's or in another order; the missing ones are estimated
            from those given (`eomm.models.bands`).
        surroundings: see `embed_series`.

    Raises:
        DataError: no series, or one of a field's pixels, or values of another number of bands.
        UsageError: bands that the model does not know, or without which it cannot be.
    """
    name = in_order(model.modalities)[0]
    modality = model.modalities[name]
    series = with_all_bands(series, tuple(bands or modality.band_names), model.encoders[name], modality)
    params = {"encoder": model.params[name]["encoder"], "fusion": model.params.get("fusion")}
    at = [np.flatnonzero(s.valid) for s in series]
    options: dict[str, Any] = {"fusion": model.fusion, "surroundings": surroundings}
    vectors = embed_series(model.encoders[name], modality, params, series, at, **options)
    count = [len(a) for a in at]
    days = np.concatenate([s.day[a] for s, a in zip(series, at, strict=True)])
    numbers = np.concatenate(vectors)
    head = {
        "group": np.repeat([s.group for s in series], count),
        "id": np.repeat([s.id for s in series], count),
        "date": days.astype("datetime64[D]").astype("datetime64[s]"),
    }
    return pd.DataFrame(head | {f"v{i}": numbers[:, i] for i in range(numbers.shape[1])})


def with_all_bands(
    series: Sequence[PointSeries], given: tuple[str, ...], encoder: Encoder, modality: Modality
) -> Sequence[PointSeries]:
    """Series with the bands that they lack estimated from those given. Errors: `embed_points`."""
    if not series or any(s.values.shape[1:] != (len(given),) for s in series):
        shapes = sorted({s.values.shape[1:] for s in series})
        raise DataError(
            f"points: {len(series)} series with values {shapes} a date; expected [{len(given)}], the bands of "
            f"{modality.name}"
        )
    if given == modality.band_names:
        return series
    return [replace(s, values=complete_bands(s.values, given, encoder).astype(np.float32)) for s in series]


@partial(jax.jit, static_argnames=("encoder", "fusion", "name"))
def _embed(params: Any, data: Mapping[str, Any], *, encoder: Encoder, fusion: Any, name: str) -> Any:
    """[b, n, d] of targets; what is not valid is hidden, as an acquisition without a clear pixel is not usable."""
    day, targets = data["day"], data["targets"]
    unknown = {"direction": jnp.zeros(day.shape, jnp.int8), "incidence": jnp.zeros(day.shape, jnp.float32)}
    own = crop(data["valid"], encoder.halo)
    hidden = jnp.broadcast_to(~own[:, None, :, 0, 0], (*targets.shape, day.shape[1]))
    z, _ = forward.encode(encoder, params["encoder"], {**data, **unknown}, targets, hidden)
    if fusion is not None:
        z = forward.fuse(fusion, params["fusion"], {name: forward.lead(z)})
    return z[:, :, 0, 0]


def _batches(series: Sequence[PointSeries], at: Sequence[np.ndarray]) -> Iterable[list[int]]:
    """Numbers of series of one padded length and one padded count of targets, as many as one call takes."""
    alike: dict[tuple[int, int], list[int]] = {}
    for i, (s, where) in enumerate(zip(series, at, strict=True)):
        if len(where):
            alike.setdefault((_up(len(s.day)), _up(len(where))), []).append(i)
    for (dates, targets), rows in alike.items():
        size = max(1, BATCH_DATES // max(dates, targets))
        yield from (rows[k : k + size] for k in range(0, len(rows), size))


def _padded(
    series: Sequence[PointSeries], at: Sequence[np.ndarray], modality: Modality, side: int, surroundings: str
) -> dict[str, np.ndarray]:
    time, count = max(_up(len(s.day)) for s in series), max(_up(len(a)) for a in at)
    size = 2 ** int(np.ceil(np.log2(len(series))))  # few shapes
    values = np.zeros((size, time, side, side, len(modality.bands)), np.int16)
    valid, (day, orbit) = np.zeros((size, time, side, side), bool), np.zeros((2, size, time), np.int32)
    targets, middle = np.zeros((size, count), np.int32), side // 2
    for k, (s, where) in enumerate(zip(series, at, strict=True)):
        stored, ok = modality.encode(s.values)
        ok = ok & s.valid.astype(bool)
        stored = np.where(ok[:, None], stored, 0).astype(np.int16)
        n = len(s.day)
        if surroundings == "alike":
            values[k, :n], valid[k, :n] = stored[:, None, None], ok[:, None, None]
        else:
            values[k, :n, middle, middle], valid[k, :n, middle, middle] = stored, ok
        day[k, :n], day[k, n:] = s.day, s.day[-1] + AFTER_DAYS
        if s.orbit is not None:
            orbit[k, :n] = s.orbit
        targets[k, : len(where)] = where
    return {"values": values, "valid": valid, "day": day, "orbit": orbit, "targets": targets}


def _up(count: int) -> int:
    return 1 if count == 1 else -(-count // STEP) * STEP
