"""What is measured of a trained model once and kept in it: scales for int8, and what error a hidden target has.

Measured on training records, so that stores made by parts and at different times agree. The error is that of targets
which the model may not see: the misfit of a visible one would only tell how well it was compressed.
"""

import dataclasses
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from eomm.dense import around
from eomm.errors import ContractError, UsageError
from eomm.evaluate.predict import Predictor, Seen
from eomm.model import Model
from eomm.models import interface
from eomm.patches import RecordSet
from eomm.pipeline import batches
from eomm.quality import check_error, expected_error, fit_error

COUNT = 32  # records
MINIMUM = 3  # of them: two to fit, one to check
TARGETS = 8  # acquisitions per record
GAPS_DAYS = (0, 60)  # hidden around targets, drawn evenly
MARGIN = 1.1  # of the largest number seen, so that little is clipped elsewhere
QUANTILE = 0.9999  # that counts as the largest
STEPS = {"reflectance": 1e-4, "dB": 1e-2}  # of stored errors; others 1e-3


def calibrate(model: Model, records: RecordSet, *, count: int = COUNT, seed: int = 0) -> Model:
    """The model with `info["calibration"]`, measured on up to `count` records of the split "train".

    `scale` [d] turns int8 into vectors; `int8` tells what that costs when hidden targets are decoded; `error` is
    what `quality.expected_error` reads, with its own check on a third of the records that it was not fitted to.

    Args:
        model: a trained model.
        records: its training records; others would shift the scales.
        count: records used.
        seed: of which, of targets and gaps.

    Raises:
        ContractError: the records lack a modality of the model.
        UsageError: fewer than three records.
    """
    missing = [n for n in model.encoders if n not in records.shapes]
    if missing:
        raise ContractError(f"{records.path}: holds {', '.join(records.shapes)}, the model needs {', '.join(missing)}")
    count = min(count, records.count("train"))
    if count < MINIMUM:
        raise UsageError(f"{records.path}: {count} records in the split train; calibration needs {MINIMUM} or more")
    reference = "s2" if "s2" in model.encoders else next(iter(model.encoders))
    predictor = Predictor(model, reference)
    rows = batches(records, split="train", batch_size=1, seed=seed, modalities=tuple(model.encoders), threads=1)
    with closing(rows):
        found = [measure(predictor, next(rows), np.random.default_rng([seed, i])) for i in range(count)]
    scale = np.maximum(MARGIN * np.max([f.largest for f in found], axis=0), 1e-6).astype(np.float32) / 127
    stored = [f.errors(np.clip(np.round(f.vectors / scale), -127, 127) * scale) for f in found]
    third = count // 3
    fit = fit_error(*(np.concatenate(c) for c in zip(*(f.columns for f in found[third:]), strict=True)))
    *timing, truth = (np.concatenate(c) for c in zip(*(f.columns for f in found[:third]), strict=True))
    unit = model.modalities[reference].error_unit[0]
    calibration = {
        "records": records.data_hash,
        "count": count,
        "scale": [float(f"{s:.6g}") for s in scale],
        "int8": {
            "unit": unit,
            "hidden_mae": float(np.concatenate([f.columns[-1] for f in found]).mean()),
            "hidden_mae_of_int8": float(np.concatenate(stored).mean()),
        },
        "error": {
            "unit": unit,
            "step": STEPS.get(unit, 1e-3),
            **fit,
            "check": check_error(expected_error(fit, *timing), truth),
        },
    }
    return dataclasses.replace(model, info={**model.info, "calibration": calibration})


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Hidden targets of one record.

    Attributes:
        predictor: of the model.
        seen: the reference as its encoder saw it.
        targets: acquisitions.
        hidden: from each.
        truth: physical values.
        valid: where the targets are.
        vectors: embeddings of the hidden targets [1, n, y, x, d].
        largest: the QUANTILE of their absolute numbers, and of those of the same targets when visible [d].
        columns: days before, days after, acquisitions seen (`quality.fit_error`) and errors of the valid pixels.
    """

    predictor: Predictor
    seen: Seen
    targets: Int[np.ndarray, " n"]
    hidden: Bool[np.ndarray, "n t"]
    truth: Float[np.ndarray, "n p c"]
    valid: Bool[np.ndarray, "n p"]
    vectors: Float[np.ndarray, "1 n y x d"]
    largest: Float[np.ndarray, " d"]
    columns: tuple[np.ndarray, ...] = ()

    def errors(self, vectors: Float[np.ndarray, "1 n y x d"]) -> Float[np.ndarray, " m"]:
        """Mean absolute errors over the bands of every valid target decoded from `vectors`."""
        z = jnp.asarray(vectors)
        z = self.predictor.project(z) if self.predictor.model.fusion else z
        predicted = self.predictor.decode(z, self.seen, self.targets, self.hidden)
        size = self.predictor.model.modalities[self.predictor.reference].error_unit[1]
        return (np.abs(predicted - self.truth) / size).mean(-1)[self.valid]


def measure(predictor: Predictor, record: Mapping[str, Any], rng: np.random.Generator) -> Measured:
    """Embed and decode some targets of one record while they are hidden, each with a gap of its own round it."""
    name, model = predictor.reference, predictor.model
    batch, encoder = record[name], model.encoders[name]
    seen, absent = predictor.see(name, batch), ~batch["present"][0].astype(bool)
    inside = np.asarray(interface.crop(batch["valid"].astype(bool), encoder.halo))[0]
    share = inside.mean((1, 2)) * ~absent + 1e-9 * ~absent
    few = bool(np.count_nonzero(~absent) < TARGETS)
    targets = np.sort(rng.choice(len(share), TARGETS, replace=few, p=share / share.sum()))
    day, nobody = batch["day"][0], np.tile(absent, (TARGETS, 1))
    gap = rng.integers(GAPS_DAYS[0], GAPS_DAYS[1] + 1, TARGETS)
    hidden = nobody | (np.abs(day[None] - day[targets][:, None]) <= gap[:, None])
    others = {}
    for other in predictor.others:
        data = record[other]
        missing = np.tile(~data["present"][0].astype(bool), (TARGETS, 1))
        others[other] = predictor.embed_other(other, predictor.see(other, data), day[targets], missing)

    def vectors(hidden: Bool[np.ndarray, "n t"]) -> Float[np.ndarray, "1 n y x d"]:
        z: Array = predictor.embed(seen, targets, hidden)
        return np.asarray(predictor.fuse(z, others) if model.fusion else z)

    mask, unseen = inside[targets], vectors(hidden)
    both = np.abs(np.concatenate([unseen[0][mask], vectors(nobody)[0][mask]]))
    stored, modality = interface.crop(batch["values"], encoder.halo)[0, targets], model.modalities[name]
    found = Measured(
        predictor=predictor,
        seen=seen,
        targets=targets,
        hidden=hidden,
        truth=modality.decode(np.asarray(stored)).reshape(TARGETS, -1, stored.shape[-1]),
        valid=mask.reshape(TARGETS, -1),
        vectors=unseen,
        largest=np.quantile(both, QUANTILE, axis=0) if len(both) else np.zeros(unseen.shape[-1]),
    )
    columns = [timing_of(inside, day, t, h, encoder.frames) for t, h in zip(targets, hidden, strict=True)]
    timing = (np.stack(c)[mask] for c in zip(*columns, strict=True))
    return dataclasses.replace(found, columns=(*timing, found.errors(unseen)))


def timing_of(
    valid: Bool[np.ndarray, "t y x"],
    day: Int[np.ndarray, " t"],
    target: int,
    hidden: Bool[np.ndarray, " t"],
    frames: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Days to the nearest valid acquisition before and after a hidden target, and how many its window holds."""
    there = ~hidden
    there[target] = True
    at = int(there[:target].sum())
    count, before, after = around(valid[there], day[there], at, frames)
    return before, after, count - valid[target]
