"""What a change of contract costs a radar encoder, and whether the orbit's own mean, removed, makes it serve both.

    python -m experiments.shipped.radar_contract --data ../shared/data --work runs/radar

Sigma and gamma nought of a pixel and an orbit differ by one number of decibels that stays, as the geometry does. Here
it is 1 / cos of the local incidence, the orbit's plus slopes that deviate by 8 degrees. Two encoders are trained on
sigma nought: one of dB, which `radar.py` makes, one of dB minus the mean of the pixel's orbit, to which such a number
is nothing. Both read sigma nought and the same with that number: how far vectors move (Slovak plots that choose, test
columns of Flanders, pixels of a SIMULATED site of `radar_gain.py`: gamma nought, made sigma), and grassland use on
these plots, learned from one contract and told of the other. No task of places that report is scored.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.records.points import PointOptions, build_point_records
from eomm.data.cube import open_cube
from eomm.data.modality import SENTINEL1_SIGMA0
from eomm.data.points import PointSeries
from eomm.embedding.points import embed_series
from eomm.evaluation.quality.labelled import labels_of, seasons
from eomm.evaluation.quality.probes import fold_numbers, left_out, logistic, mean_recall
from eomm.evaluation.quality.series import Series, groups_of
from eomm.evaluation.quality.vectors import Vectors
from eomm.models.directory import Model, load_model
from eomm.training.experiment import run_experiment

from .radar import configuration, train, vectors_of
from .radar_sets import ACQUISITIONS, ORBIT, read_flanders_radar, read_forest_radar, read_slovak_radar

SLOPES_DEG = 8.0  # standard deviation of what local slopes add to the incidence
INCIDENCE_DEG = {3: 36.0, 4: 42.0, ORBIT: 39.0}  # by orbit; those of Flanders are unknown, and assumed
MIDDLE = (-10.0, -17.0)  # dB, to which an orbit without its mean is brought: the contract's range holds it
FOLDS, DRAWS = 5, 10

Passes = PointSeries | Series


def other_contract(series: Sequence[Passes], seed: int = 0, *, sign: float = 1.0) -> list[Any]:
    """The same series with 1 / cos of a local incidence per pixel and orbit; `sign` -1 takes it away instead."""
    rng, out = np.random.default_rng(seed), []
    for s in series:
        assert s.orbit is not None
        values = s.values.copy()
        for orbit in np.unique(s.orbit):
            local = INCIDENCE_DEG.get(int(orbit), 39.0) + SLOPES_DEG * rng.standard_normal()
            values[s.orbit == orbit] -= np.float32(sign * 10 * np.log10(np.cos(np.radians(np.clip(local, 5, 75)))))
        out.append(replace(s, values=values))
    return out


def without_mean(series: Sequence[Passes]) -> list[Any]:
    """Decibels minus the mean of each orbit's valid passes, on a level of its own."""
    out = []
    for s in series:
        assert s.orbit is not None
        values = s.values.copy()
        for orbit in np.unique(s.orbit):
            own = s.orbit == orbit
            if (own & s.valid).any():
                values[own] += np.array(MIDDLE, np.float32) - s.values[own & s.valid].mean(0)
        out.append(replace(s, values=values))
    return out


def as_they_are(series: Sequence[Passes]) -> list[Any]:
    """Decibels."""
    return list(series)


def train_without_mean(data: Path, work: Path) -> Model:
    """The second encoder, seed 0."""
    sets = {"flanders": read_flanders_radar(data, "train"), "forest": read_forest_radar(data)}
    for name, series in sets.items():
        options = PointOptions(modality=SENTINEL1_SIGMA0, acquisitions=ACQUISITIONS, min_dates=20, source=name)
        build_point_records(work / "records" / name, without_mean(series), options)
    weights = {name: len({s.group for s in series}) ** 0.5 for name, series in sets.items()}
    return load_model(run_experiment(configuration(weights, work, 0), work / "radar-seed0"))


def moved(model: Model, series: Sequence[Passes], others: Sequence[Passes]) -> dict[str, float]:
    """How far vectors of one contract lie from those of the other: over the distance of two dates, and their cosine."""
    params, at = {"encoder": model.params["s1"]["encoder"], "fusion": None}, [np.flatnonzero(s.valid) for s in series]
    a, b = (
        np.concatenate(embed_series(model.encoders["s1"], model.modalities["s1"], params, list(x), at))
        for x in (series, others)
    )
    middle = a.mean(0)
    apart = np.linalg.norm(a - a[np.random.default_rng(0).permutation(len(a))], axis=1)
    cosine = ((a - middle) * (b - middle)).sum(1)
    cosine /= np.linalg.norm(a - middle, axis=1) * np.linalg.norm(b - middle, axis=1)
    return {"moved": float(np.median(np.linalg.norm(a - b, axis=1)) / np.median(apart)), "cosine": float(cosine.mean())}


def use_across(vectors: Vectors, learn: Sequence[Series], test: Sequence[Series]) -> list[float]:
    """Balanced accuracy of grassland use at held-out localities, of several divisions into folds."""
    (x, z), y, group = (seasons(vectors, s) for s in (learn, test)), labels_of(learn, "use"), groups_of(learn)
    found = []
    for draw in range(DRAWS):
        guess = np.empty_like(y)
        for train_, test_ in left_out(fold_numbers(group, FOLDS, seed=draw)):
            guess[test_] = logistic(x[train_], y[train_], group[train_])(z[test_])[0]
        found.append(mean_recall(y, guess))
    return found


def simulated_pixels(cube: Path, most: int = 200) -> list[PointSeries]:
    """Pixels of a simulated site, as the cube has them: gamma nought."""
    group = open_cube(cube)["s1"]
    values, valid = group.read(np.arange(len(group.day)), slice(0, 64), slice(0, 64))
    days, first = np.unique(group.day, return_index=True)
    orbit, rng = group.meta()["orbit"][first], np.random.default_rng(0)
    physical = group.modality.decode(values[first]).astype(np.float32)
    return [
        PointSeries(
            id=f"{y} {x}", group="simulated", day=days, values=physical[:, y, x], valid=valid[first, y, x].astype(bool),
            orbit=orbit,
        )
        for y, x in rng.integers(0, 64, (most, 2))
    ]  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, train what is missing, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder of radar.py's runs")
    parser.add_argument("--simulated", type=Path, help="a simulated cube of radar_gain.py")
    a = parser.parse_args(argv)
    models = {
        "dB": train(a.data, a.work, 1)[0],
        "dB minus the orbit's mean": train_without_mean(a.data, a.work / "mean"),
    }
    flanders = read_flanders_radar(a.data, "test")
    sigma = [s for s in read_slovak_radar(a.data) if s.region == "LR"]
    gamma = other_contract(sigma)
    pairs: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {
        "Slovak plots": (sigma, gamma),
        "Flanders": (flanders, other_contract(flanders)),
    }
    if a.simulated:
        found = simulated_pixels(a.simulated)
        pairs["SIMULATED"] = (other_contract(found, sign=-1.0), found)
    result: dict[str, Any] = {}
    for name, model in models.items():
        read = without_mean if "mean" in name else as_they_are
        vectors = vectors_of(model, 0)
        result[name] = {place: moved(model, read(x), read(y)) for place, (x, y) in pairs.items()}
        for text, (learn, test) in {"sigma to sigma": (sigma, sigma), "sigma to gamma": (sigma, gamma)}.items():
            scores = use_across(vectors, read(learn), read(test))
            result[name][text] = {"mean": float(np.mean(scores)), "over folds": float(np.std(scores))}
    text = json.dumps(result, indent=1)
    (a.work / "contract.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
