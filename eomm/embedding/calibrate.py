"""What is measured of a trained model once and kept in it: scales for int8, and what error a hidden target has.

Scales come from training records, so that stores made by parts and at different times agree. Errors come from what
training never saw, of targets that the model may not see: the misfit of a visible target tells how well it was
compressed, that of a hidden training target how well it was remembered (on Flanders half of the error elsewhere).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from eomm.data.batches import batches
from eomm.data.cube import Cube
from eomm.data.held_out import days_to_hide, held_out
from eomm.data.mixture import Mixture, mix
from eomm.data.modality import check_contract
from eomm.data.records import RecordSet
from eomm.embedding.dense import around
from eomm.embedding.expected_error import check_error, expected_error, fit_error
from eomm.errors import ContractError, UsageError
from eomm.models import interface
from eomm.models.directory import Model, reference_of
from eomm.models.predict import Predictor, Seen, read_batch
from eomm.models.reading import surround, trim
from eomm.store.fields import Json

COUNT = 32  # records, or blocks of a cube
BLOCK_PX = 8
MINIMUM = 3  # of them: two to fit, one to check
TARGETS = 8  # acquisitions per record
GAPS_DAYS = (0, 60)  # hidden around targets, drawn evenly
MARGIN = 1.1  # of the largest number seen, so that little is clipped elsewhere
QUANTILE = 0.9999  # that counts as the largest
STEPS = {"reflectance": 1e-4, "dB": 1e-2}  # of stored errors; others 1e-3


def calibrate(
    model: Model, records: RecordSet | Mixture, *, cube: Cube | None = None, count: int = COUNT, seed: int = 0
) -> Model:
    """The model with `info["calibration"]`.

    `scale` [d] turns int8 into vectors, and `int8` tells what that costs when hidden targets are decoded; both are
    measured on up to `count` records of the split "train". `error` is what `quality.expected_error` reads, fitted to
    targets that training never saw: those of `cube`, or else of a split "validation" or "test"; without either the
    model gets none. Its `check` is of targets that the fit left out, a third at a time.

    Args:
        model: a trained model.
        records: its training records; others would shift the scales. Of a mixture each set gives its share.
        cube: of a site of the records: the dates that they held out are hidden, where they also held out columns
            only there; of a site that they do not hold, every third clear date.
        count: records, or blocks of 8 x 8 px, used.
        seed: of which, of targets and gaps.

    Raises:
        ContractError: the records or the cube lack a modality of the model.
        UsageError: fewer than three records, or the cube's site held nothing out.
    """
    mixture = records if isinstance(records, Mixture) else mix([records], batch_size=1)
    check_modalities(model, mixture)
    count = min(count, mixture.count("train"))
    if count < MINIMUM:
        raise UsageError(f"{mixture.paths}: {count} records in the split train; calibration needs {MINIMUM} or more")
    predictor = Predictor(model, reference_of(model, None))
    found = measure_mixture(predictor, mixture, "train", count, seed)
    scale = np.maximum(MARGIN * np.max([f.largest for f in found], axis=0), 1e-6).astype(np.float32) / 127
    stored = [f.errors(np.clip(np.round(f.vectors / scale), -127, 127) * scale) for f in found]
    unit = model.modalities[predictor.reference].error_unit[0]
    calibration: dict[str, Any] = {
        "records": records.data_hash,
        "count": len(found),
        "scale": [float(f"{s:.6g}") for s in scale],
        "int8": {
            "unit": unit,
            "hidden_mae_in_training": float(np.concatenate([f.columns[-1] for f in found]).mean()),
            "hidden_mae_in_training_of_int8": float(np.concatenate(stored).mean()),
        },
    }
    leaky = mixture.manifest().get("split", {}).get("leaky")  # then training saw the ground of every split
    unseen = [s for s in ("validation", "test") if mixture.count(s) >= MINIMUM and not leaky]
    others: list[Measured] = []
    if cube:
        source, others = f"cube of {cube.site}", measure_cube(predictor, cube, mixture, count, seed)
    elif unseen:
        source, others = f"split {unseen[0]}", measure_mixture(predictor, mixture, unseen[0], count, seed)
    if others:
        error = fit_and_check([f.columns for f in others])
        calibration["error"] = {"unit": unit, "step": STEPS.get(unit, 1e-3), "of": source, **error}
    return dataclasses.replace(model, info={**model.info, "calibration": calibration})


def check_modalities(model: Model, mixture: Mixture) -> None:
    """Raise ContractError where a set of a mixture lacks a modality of the model."""
    for one in (share.records for share in mixture.shares):
        if missing := [n for n in model.encoders if n not in one.shapes]:
            raise ContractError(f"{one.path}: holds {', '.join(one.shapes)}, the model needs {', '.join(missing)}")


def fit_and_check(parts: Sequence[tuple[np.ndarray, ...]]) -> Json:
    """The fit to all parts, and a check of fits to two thirds of them on the other third."""
    whole = [np.concatenate(c) for c in zip(*parts, strict=True)]
    expected, truth = [], []
    for third in range(3):
        fit = fit_error(
            *(np.concatenate(c) for c in zip(*(p for i, p in enumerate(parts) if i % 3 != third), strict=True))
        )
        *timing, error = (np.concatenate(c) for c in zip(*parts[third::3], strict=True))
        expected.append(expected_error(fit, *timing))
        truth.append(error)
    return {**fit_error(*whole), "check": check_error(np.concatenate(expected), np.concatenate(truth))}


def measure_mixture(predictor: Predictor, mixture: Mixture, split: str, count: int, seed: int) -> list["Measured"]:
    """Some targets of records of every set that has the split, as often as training draws from it, at least once."""
    if not mixture.single:
        mixture = mixture.with_split(split)
    total = sum(s.weight for s in mixture.shares)
    found = []
    for s in mixture.shares:
        own = max(1, round(count * s.weight / total))
        found += measure_records(predictor, s.records, split, own, seed)
    return found


def measure_records(predictor: Predictor, records: RecordSet, split: str, count: int, seed: int) -> list["Measured"]:
    """Some targets of every record, each with a gap of its own."""
    names = tuple(predictor.model.encoders)
    count = min(count, records.count(split))
    least = {n: 1 if records.reading != "crop" else 2 * e.halo + 1 for n, e in predictor.model.encoders.items()}
    for n in names:
        height, width = records.shapes[n].height, records.shapes[n].width
        if min(height, width) < least[n] and not records.shapes[n].site_wide:
            raise UsageError(f"{records.path}: crops are {height} x {width} px; the encoder needs {least[n]} or more")
    found = []
    with closing(batches(records, split=split, batch_size=1, seed=seed, modalities=names, threads=1)) as rows:
        for i in range(count):
            rng = np.random.default_rng([seed, i])
            halos = {n: e.halo for n, e in predictor.model.encoders.items()}
            record = trim({n: surround(one, halos[n], records.reading) for n, one in next(rows).items()}, halos)
            batch, halo = record[predictor.reference], predictor.model.encoders[predictor.reference].halo
            present = np.asarray(batch["present"])[0].astype(bool)
            clear = np.asarray(interface.crop(batch["valid"], halo))[0].mean((1, 2))
            share = clear * present + 1e-9 * present
            few = bool(np.count_nonzero(present) < TARGETS)
            targets = np.sort(rng.choice(len(share), TARGETS, replace=few, p=share / share.sum()))
            found.append(measure(predictor, record, targets, ~present, rng))
    return found


def measure_cube(predictor: Predictor, cube: Cube, mixture: Mixture, count: int, seed: int) -> list["Measured"]:
    """All held-out dates in blocks of the cube, each with a gap of its own; a third of them per measurement."""
    name, names = predictor.reference, predictor.model.encoders
    for n in names:
        check_contract(
            cube[n].modality, predictor.model.modalities[n], found_in=str(cube.path), expected_by="the model"
        )
    manifest = mixture.manifest()
    days = days_to_hide(cube, name, manifest, mixture.paths)
    columns = held_out(manifest, cube.site, name)[1]
    usable = cube[name].day[cube[name].usable]
    targets = np.flatnonzero(np.isin(usable, days))
    if len(targets) < MINIMUM:
        raise UsageError(f"{cube.path}: {len(targets)} dates that training did not see; needed are {MINIMUM} or more")
    first, last = columns or (0, cube[name].grid.width)
    corners = [(r, c) for r in range(0, cube[name].grid.height, BLOCK_PX) for c in range(first, last, BLOCK_PX)]
    rng = np.random.default_rng(seed)
    absent, found = np.isin(np.arange(len(usable)), targets), []
    for i in rng.permutation(len(corners))[:count]:
        row, col = corners[i]
        record = {
            n: read_batch(cube, n, row=row, col=col, size=BLOCK_PX, halo=e.halo)
            if not cube.site_wide(n, name)
            else read_batch(cube, n, row=0, col=0, size=1, halo=e.halo)
            for n, e in names.items()
        }
        record[name]["valid"][..., max(0, last - col) + names[name].halo :] = False
        found += [measure(predictor, record, targets[third::3], absent, rng) for third in range(3)]
    return found


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


def measure(
    predictor: Predictor,
    record: Mapping[str, Any],
    targets: Int[np.ndarray, " n"],
    absent: Bool[np.ndarray, " t"],
    rng: np.random.Generator,
) -> Measured:
    """Embed and decode targets while they are hidden, each with a gap of its own round it.

    Args:
        predictor: of the model.
        record: batches of one sample by modality.
        targets: acquisitions of the reference.
        absent: acquisitions of it that nobody may see.
        rng: of the gaps.
    """
    name, model = predictor.reference, predictor.model
    batch, encoder = record[name], model.encoders[name]
    seen = predictor.see(name, batch)
    inside = np.asarray(interface.crop(batch["valid"].astype(bool), encoder.halo))[0]
    day = batch["day"][0]
    gap = rng.integers(GAPS_DAYS[0], GAPS_DAYS[1] + 1, len(targets))
    hidden = absent | (np.abs(day[None] - day[targets][:, None]) <= gap[:, None])
    nobody = np.tile(absent, (len(targets), 1))
    nobody[np.arange(len(targets)), targets] = False
    others = {}
    for other in predictor.others:
        data = record[other]
        missing = np.tile(~data["present"][0].astype(bool), (len(targets), 1))
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
        truth=modality.decode(np.asarray(stored)).reshape(len(targets), -1, stored.shape[-1]),
        valid=mask.reshape(len(targets), -1),
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
