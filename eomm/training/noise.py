"""What the state of a modality needs, measured on training records: mean, noise, whitening, scale of the blocks.

Noise is what differs between acquisitions so near in time that the ground is the same: of optical sensors at most 4
days apart, of radar 6 or 12 days apart in one orbit. Weather varies by no noise: such a modality has no state.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int32

from eomm.data.batches import batches
from eomm.data.modality import Modality
from eomm.data.records import RecordSet
from eomm.errors import UsageError
from eomm.models.interface import crop
from eomm.models.state import StateEncoder, build_encoder
from eomm.store.fields import Json

CODE = "eomm.models.state"
MEASURED = ("mean", "whiten", "scale", "same_orbit", "deviation", "centre", "spread")  # options of the encoder
NEAR_DAYS = 4  # apart at most, optical
REPEATS_DAYS = (6, 12)  # apart, radar of one orbit
MINIMUM = 1000  # pairs
DRAWS = 40_000  # pairs, and dates, over all sets
RECORDS, PIXELS = 256, 16  # read of a set; taken of a record
TARGETS = 4  # dates of a series whose blocks are measured
OUTLIER = 3.0  # deviations at which a difference is cut: a mown field or a cloud let through is no noise


@dataclass(frozen=True, kw_only=True)
class SeriesSet:
    """Series of pixels, as training draws them.

    Attributes:
        name: of the record set.
        weight: share of training that it has.
        values: stored.
        valid: of the pixel.
        day: ascending.
        orbit: a number per relative orbit of a site, 0 unknown.
    """

    name: str
    weight: float
    values: np.ndarray  # int16 [n t c]
    valid: Bool[np.ndarray, "n t"]
    day: Int32[np.ndarray, "n t"]
    orbit: Int32[np.ndarray, "n t"]


def lacks_noise(options: Mapping[str, Any]) -> bool:
    """Whether an encoder's options ask for a state whose noise is still to be measured."""
    return options.get("code") == CODE and "whiten" not in options


def with_noise(options: Mapping[str, Any], modality: Modality, sets: Sequence[SeriesSet]) -> Json:
    """An encoder's options with what was measured, plain values; unchanged where nothing is missing.

    Two options are settled here. `mixed`: the inner encoder gets its bands as components of unit deviation. `weights`:
    of state, one-sided means and learned numbers in the vector; each block's variances sum to its weight squared (the
    last is level.py's).

    Raises:
        UsageError: the modality has no noise to measure, or there are too few pairs.
    """
    options = dict(options)
    if not lacks_noise(options):
        return options
    mean, whiten, deviation = whitening(modality, sets)
    options |= {"mean": rounded(mean), "whiten": rounded(whiten), "same_orbit": is_radar(modality)}
    options["deviation"] = rounded(deviation)
    if options.pop("mixed", False):
        options["inner"] = {**options["inner"], "mix": rounded(mixing(modality, mean, whiten, deviation))}
    weights = options.pop("weights", (1.0, 1.0, 1.0))[:2]
    encoder = build_encoder(modality, {k: v for k, v in options.items() if k != "code"})
    scale = np.array(block_scales(encoder, sets)) / np.asarray(weights)
    return options | {"scale": rounded(scale)}


def noise_of(trained: Mapping[str, Any], options: Mapping[str, Any]) -> Json:
    """An encoder's options with what was measured for a trained one, whose parameters it starts from."""
    found = {k: v for k, v in options.items() if k not in ("mixed", "weights")}
    found |= {k: trained[k] for k in MEASURED if k in trained}
    if mix := trained.get("inner", {}).get("mix"):
        found["inner"] = {**found["inner"], "mix": mix}
    return found


def mixing(modality: Modality, mean: np.ndarray, whiten: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """[component, band + 1]: from bands scaled for the model, and a constant, to components of unit deviation."""
    bands = whiten * modality.spreads
    constant = whiten @ (modality.centres - mean)
    return np.concatenate([bands, constant[:, None]], axis=1) / deviation[:, None]


def draw_series(
    records: RecordSet, name: str, *, called: str = "", weight: float = 1.0, balance: str = "", seed: int = 0
) -> SeriesSet:
    """Some pixels of some training records, as often as training draws them.

    Args:
        records: the set.
        name: of the modality.
        called: the set's name; its folder's where empty.
        weight: of the set.
        balance: see `eomm.data.batches.batches`.
        seed: of the order of records and of pixels.

    Raises:
        DataError: there are no training records, or one is damaged.
        UsageError: no pixel is valid twice.
    """
    rng, found = np.random.default_rng(seed), []
    options: dict[str, Any] = {"split": "train", "batch_size": 1, "seed": seed, "modalities": (name,), "threads": 1}
    with closing(batches(records, balance=balance, **options)) as rows:
        for _ in range(min(RECORDS, records.count("train"))):
            data = next(rows)[name]
            pixels = data["valid"][0].reshape(len(data["day"][0]), -1).astype(bool)
            often = np.flatnonzero(pixels.sum(0) > 1)
            for p in rng.choice(often, min(PIXELS, len(often)), replace=False):
                row, col = divmod(int(p), data["valid"].shape[3])
                found.append((data["values"][0, :, row, col], pixels[:, p], data["day"][0], data["orbit"][0]))
    if not found:
        raise UsageError(f"{records.path}: no pixel of {name} is valid twice; noise cannot be measured")
    values, valid, day, orbit = (np.stack(x) for x in zip(*found, strict=True))
    return SeriesSet(name=called or records.path.name, weight=weight, values=values, valid=valid, day=day, orbit=orbit)


def is_radar(modality: Modality) -> bool:
    """Whether every band has a polarisation."""
    return all(b.polarisation for b in modality.bands)


def noise_pairs(modality: Modality, series: SeriesSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(series, earlier, later): acquisitions between which the ground is taken to be the same.

    Raises UsageError for a modality without such.
    """
    if is_radar(modality):
        return _repeats(series)
    if modality.unit != "reflectance":
        raise UsageError(
            f"{modality.name} is in {modality.unit}: what differs between its dates is no noise, so it has no state; "
            f"leave code={CODE} out of its encoder"
        )
    row, time = np.nonzero(series.valid)  # neighbours among the valid stand side by side
    near = (row[1:] == row[:-1]) & (series.day[row[1:], time[1:]] - series.day[row[:-1], time[:-1]] <= NEAR_DAYS)
    return row[1:][near], time[:-1][near], time[1:][near]


def _repeats(series: SeriesSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    valid, day, orbit = series.valid, series.day, series.orbit
    apart = day[:, None, :] - day[:, :, None]
    same = (orbit[:, None, :] == orbit[:, :, None]) & (orbit[:, None, :] != 0)
    row, earlier, later = np.nonzero(valid[:, None, :] & valid[:, :, None] & same & np.isin(apart, REPEATS_DAYS))
    return row, earlier, later


def whitening(modality: Modality, sets: Sequence[SeriesSet]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [band], noise units per physical unit [component, band] by falling signal to noise, deviation [component].

    The noise of one date is half the covariance of differences within pairs. Sets count by their weights.

    Raises:
        UsageError: see `with_noise`.
    """
    rng = np.random.default_rng(0)
    pairs = [noise_pairs(modality, s) for s in sets]
    if (count := sum(len(p[0]) for p in pairs)) < MINIMUM:
        days = f"{REPEATS_DAYS} days apart in one orbit" if is_radar(modality) else f"at most {NEAR_DAYS} days apart"
        raise UsageError(
            f"{modality.name}: {count} pairs of acquisitions {days}; {MINIMUM} or more are needed to measure noise. "
            "Name more record sets, or give mean and whiten in config.encoder"
        )
    share = np.array([s.weight for s in sets]) / sum(s.weight for s in sets)
    steps, some = [], []
    for s, (row, earlier, later), part in zip(sets, pairs, share, strict=True):
        physical = modality.decode(s.values).astype(np.float64)
        at = tuple(rng.choice(np.argwhere(s.valid), round(DRAWS * part)).T)
        some.append(physical[at])
        if len(row):
            k = rng.integers(0, len(row), round(DRAWS * part))
            steps.append(physical[row[k], later[k]] - physical[row[k], earlier[k]])
    step, values = np.concatenate(steps), np.concatenate(some)
    whiten = components(cut_outliers(step), values)
    return values.mean(0), whiten, (values @ whiten.T).std(0)


def cut_outliers(step: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    """Differences, large ones cut."""
    limit = OUTLIER * 1.4826 * np.median(np.abs(step), axis=0)
    return np.clip(step, -limit, limit)


def components(step: Float[np.ndarray, "n c"], values: Float[np.ndarray, "m c"]) -> Float[np.ndarray, "k c"]:
    """Whitens differences within pairs, and turns so that components are uncorrelated and fall in signal to noise."""
    white = np.linalg.inv(np.linalg.cholesky(step.T @ step / len(step) / 2))
    signal, vectors = np.linalg.eigh(white @ np.cov(values.T) @ white.T)
    turned = vectors[:, np.argsort(-signal)].T @ white
    return turned * np.sign(turned.sum(1, keepdims=True))  # signs of eigenvectors are arbitrary


def block_scales(encoder: StateEncoder, sets: Sequence[SeriesSet]) -> tuple[float, float]:
    """By what state and one-sided means are divided, so that each block's variances sum to one in training."""
    closed = dataclasses.replace(encoder, inner=None, scale=(1.0, 1.0), centre=(), spread=())
    k, rng = closed.components, np.random.default_rng(1)
    sums, weights = np.zeros((2, 3 * k)), 0.0
    for s in sets:
        vectors = vectors_of(closed, s, rng)
        weights += s.weight
        sums += s.weight * np.stack([vectors.mean(0), (vectors**2).mean(0)])
    mean, square = sums / weights
    spread = np.maximum(square - mean**2, 0)
    first, second = np.sqrt(spread[:k].sum()), np.sqrt(spread[k:].sum())
    return float(first) or 1.0, float(second) or 1.0


def vectors_of(
    encoder: StateEncoder, series: SeriesSet, rng: np.random.Generator, params: Any = None
) -> Float[np.ndarray, "m d"]:
    """Vectors of some valid dates of every series; `params` are the inner encoder's, where there is one."""
    order = rng.random(series.valid.shape) * series.valid
    targets = np.argsort(-order, axis=1)[:, :TARGETS].astype(np.int32)
    side = 2 * encoder.halo + 1  # what lies around a pixel is taken to be like it
    values = np.broadcast_to(
        series.values[:, :, None, None], (*series.valid.shape, side, side, series.values.shape[-1])
    )
    around = np.broadcast_to(series.valid[:, :, None, None], (*series.valid.shape, side, side))
    meta = {"orbit": series.orbit, "direction": np.zeros_like(series.orbit), "incidence": np.zeros(series.orbit.shape)}

    @jax.jit
    def embed(values: Any, around: Any, meta: Any, day: Any, targets: Any) -> Any:
        known, valid = params or {}, crop(around, encoder.halo)
        return encoder.embed(known, encoder.features(known, values, around, meta), valid, day, targets)

    found = np.asarray(embed(values, around, jax.tree.map(jnp.asarray, meta), series.day, targets))[:, :, 0, 0]
    return found[np.take_along_axis(series.valid, targets, axis=1)]


def noise_by_set(modality: Modality, whiten: Any, sets: Sequence[SeriesSet]) -> Json:
    """Of every set the number of pairs, and its noise over that of the mixture: the root of the mean square."""
    found = {}
    for s in sets:
        row, earlier, later = noise_pairs(modality, s)
        physical = modality.decode(s.values).astype(np.float64)
        step = (physical[row, later] - physical[row, earlier]) @ np.asarray(whiten).T
        noise = float(np.sqrt((cut_outliers(step) ** 2).mean() / 2)) if len(row) else None
        found[s.name] = {"pairs": len(row), "noise": noise, "weight": s.weight}
    return found


def rounded(values: Any) -> Any:
    """Seven digits, as nested lists or a number: what float32 holds, and the same text everywhere."""
    if np.ndim(values):
        return [rounded(v) for v in values]
    return float(f"{float(values):.7g}")


def assumed_noise(options: Mapping[str, Any], modality: Modality) -> Json:
    """An encoder's options with noise of one spread and uncorrelated, where nothing is measured but shapes count."""
    if not lacks_noise(options):
        return dict(options)
    whiten = np.diag(1 / modality.spreads.astype(np.float64))
    kept = {k: v for k, v in options.items() if k not in ("mixed", "weights")}
    return {**kept, "mean": rounded(modality.centres), "whiten": rounded(whiten)}
