"""The shipped encoder on real flux: 451 tower-days at 26 flux towers, whole sites left out. For evaluation only.

    python -m eomm.experiments.flux_towers --data ../shared/data --out runs/flux-towers/gpp.json

Ten minutes on two busy cores. Gross primary production is predicted by ridge regression from the vectors of the towers'
dates, beside the six bands themselves, four indices and the day's weather; towers near each other lie in one fold, and
intervals are over groups of towers.

The towers' reflectance (the mean of a chip of 1.5 km; HLS, a fifth of it Landsat) has six of ten bands. The other four
are their mean given the six: a linear regression by the covariance of the bands over the series that train the shipped
model, none of which is of these towers. So nothing is added that the six bands do not hold, and what a fit to ten real
bands would score is not known. Dates that look cloudy (blue above 0.2, snow) are hidden from the windows of others,
and their own vector is that of their context; they are scored like all others.

To expect: no gain. Bands explain 0.68 of the variance, indices 0.71, weather 0.34, the embedding 0.52: with 14 dates
at a median tower in three years, a window mixes months. 21 groups do not tell 0.1 apart. RESULTS.md has the table.
"""

import argparse
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from eomm.data.points import PointSeries
from eomm.data.tables import read_frame
from eomm.evaluation import say
from eomm.evaluation.gpp.plan import GppPlan
from eomm.evaluation.gpp.rows import WEATHER, Table, make_table
from eomm.evaluation.gpp.run import run
from eomm.evaluation.quality.closed import closed_forms
from eomm.evaluation.quality.learned import model_vectors, random_encoder
from eomm.evaluation.quality.series import BANDS
from eomm.evaluation.quality.vectors import Vectors, leading
from eomm.evaluation.result_file import write_result
from eomm.models.directory import load_model

from .shipped.plan import sample_of
from .shipped.tables import screen, to_days

GIVEN = ("B02", "B03", "B04", "B8A", "B11", "B12")  # columns b2 to b7
COLUMNS = {
    "bands": ["b2", "b3", "b4", "b5", "b6", "b7"],
    "indices": ["NDVI", "EVI", "NIRv", "kNDVI"],
    WEATHER: [
        *("T2MIN", "T2MAX", "T2MEAN", "TSMDEWMEAN", "GWETROOT", "LHLAND", "SHLAND", "SWLAND"),
        *("PARDFLAND", "PRECTOTLAND"),
    ],
}
NEAR = (("US-CS1", "US-CS2", "US-CS4", "US-DFC"), ("US-HB1", "US-HB2"), ("US-xBL", "US-xSC"))
STATE, CLOSED = 10, 30  # leading numbers of the shipped model that are closed forms


@dataclass(frozen=True, kw_only=True, eq=False)
class MissingBands:
    """The mean of the bands that are not given, by those that are.

    Attributes:
        slopes: [given, missing].
        offset: [missing].
        missing: positions in BANDS.
        rmse: of each on the series it was fitted to.
    """

    slopes: Float[np.ndarray, "g m"]
    offset: Float[np.ndarray, " m"]
    missing: tuple[int, ...]
    rmse: Float[np.ndarray, " m"]

    def fill(self, given: Float[np.ndarray, "n g"]) -> Float[np.ndarray, "n 10"]:
        """All ten bands."""
        out = np.empty((len(given), len(BANDS)))
        out[:, [i for i in range(len(BANDS)) if i not in self.missing]] = given
        out[:, self.missing] = given @ self.slopes + self.offset
        return out


def fit_missing(sample: Sequence[PointSeries], given: Sequence[str] = GIVEN) -> MissingBands:
    """By mean and covariance of the valid dates of training series."""
    x = np.concatenate([s.values[s.valid] for s in sample]).astype(np.float64)
    mean, covariance = x.mean(0), np.cov(x.T)
    known = [BANDS.index(b) for b in given]
    missing = [i for i in range(len(BANDS)) if i not in known]
    slopes = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, missing)])
    offset = mean[missing] - mean[known] @ slopes
    error = x[:, known] @ slopes + offset - x[:, missing]
    return MissingBands(slopes=slopes, offset=offset, missing=tuple(missing), rmse=np.sqrt((error**2).mean(0)))


def read_towers(path: Path, bands: MissingBands) -> tuple[pd.DataFrame, list[PointSeries]]:
    """Rows in order of site and day, and a series of each site."""
    raw = read_frame(path)
    frame = raw.assign(site=raw["SITE_ID"], day=to_days(raw["date"]), gpp=raw["GPP"], kind=raw["PFT"])
    frame = frame.sort_values(["site", "day"], kind="stable").reset_index(drop=True)
    out = []
    for site, rows in frame.groupby("site"):
        values = bands.fill(rows[COLUMNS["bands"]].to_numpy())
        valid = screen(values, np.ones(len(rows), bool))
        day, values = rows["day"].to_numpy(np.int32), np.clip(values, 0, 1.2).astype(np.float32)
        out.append(PointSeries(id=str(site), group=str(site), day=day, values=values, valid=valid))
    return frame, out


def with_vectors(frame: pd.DataFrame, series: Sequence[PointSeries], methods: Sequence[Vectors]) -> Table:
    """The table that is scored: the towers' columns, and each method's vectors of all their dates."""
    features, parts = dict(COLUMNS), [frame]
    at = [np.arange(len(s)) for s in series]
    for method in methods:
        numbers = np.concatenate(method.make(series, at))
        features[method.name] = [f"{method.name} {i}" for i in range(numbers.shape[1])]
        parts.append(pd.DataFrame(numbers, columns=features[method.name]))
    groups = {site: near[0] for near in NEAR for site in near}
    cloudy = sum(int((~s.valid).sum()) for s in series)
    lines = [
        "gpp_towers: GPP by night-time partitioning beside HLS reflectance of six bands, 2018 to 2020",
        "B05, B06, B07 and B08 are regressions on the six bands of the towers: for evaluation only",
        f"{cloudy} of {len(frame)} tower-days look cloudy or snowy: their vectors are those of their context",
    ]
    return make_table(pd.concat(parts, axis=1), features, groups=groups, simulated=False, lines=lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Score and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--model", default="base", help="a Sentinel-2 model (default: %(default)s, which ships)")
    parser.add_argument("--out", type=Path, required=True, help="JSON; figures lie beside it")
    a = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "eomm.experiments.flux_towers", *(sys.argv[1:] if argv is None else argv)])
    sample = sample_of(a.data)
    bands = fit_missing(sample)
    filled = ", ".join(f"{BANDS[i]} {e:.4f}" for i, e in zip(bands.missing, bands.rmse, strict=True))
    print(f"regression of the missing bands, rmse of reflectance on the training series: {filled}")
    frame, series = read_towers(a.data / "gpp_towers" / "towers_2018_2020.csv", bands)
    vectors = model_vectors(load_model(a.model), name="embedding")
    random = dataclasses.replace(random_encoder(), name="random encoder")
    tested = [vectors, leading("embedding, 30", vectors, CLOSED), leading("embedding, 10", vectors, STATE)]
    closed = closed_forms(sample)
    table = with_vectors(frame, series, [*tested, closed["PCA of the window"], closed["Gaussian mean"], random])
    a.out.parent.mkdir(parents=True, exist_ok=True)
    plan = GppPlan(tested=[t.name for t in tested], models=["ridge"], folds="site")
    result, _ = run(table, plan, dataset="26 flux towers, six bands")
    write_result(result, a.out, commands=[command])
    print("\n".join(result.conclusions))
    for name, scores in result["methods"].items():
        shown = (f"{s} {say.figure(scores['all'][s])}" for s in ("r2", "rmse"))
        print(f"{name:<36} " + "  ".join(shown))


if __name__ == "__main__":
    main()
