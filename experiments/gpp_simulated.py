"""From embeddings to GPP where the truth is known: simulated towers, a drought year and sites set aside, null worlds.

    python -m eomm.experiments.gpp_simulated --model base --out gpp-simulated

The model is the shipped one, or one of `eomm demo`, whose sites are others. SIMULATED: scores say whether the chain
from scenes to fluxes works and is honest, not how well anything works on real towers.

Eight sites (24 x 24 px round a tower, 2019 to 2021; two draw their parameters from other ranges) have a dry, hot summer
in 2021. Those two and that year are set aside; the others are scored by folds that share neither site nor year. Beside
the model stand raw bands, indices, weather, a random encoder of the same shape and, as a check of the scores, the
noise-free flux itself (`oracle`). In the null world without stress the drought lowers no flux, so that no method may
gain there.

To expect: `oracle` above everything else; the rest is a matter of the model. RESULTS.md has numbers.
"""

import argparse
import json
import shlex
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eomm.evaluation.result import Result

SITES = tuple(f"tower-{i}" for i in range(8))
UNSEEN = ("tower-6", "tower-7")  # also drawn from other ranges
YEARS = (date(2019, 1, 1), date(2021, 12, 31))
DROUGHT = 2021
SIZE_PX = 24
SEED = 40


def simulate(work: Path, *, stress: bool = True, sites: tuple[str, ...] = SITES) -> Path:
    """Scenes, then cubes, of the sites that are not there yet."""
    from data_prep.cubes.build import Source, build_cube
    from data_prep.simulate import Revisit, SiteOptions, simulate_site

    for i, site in enumerate(sites):
        if (work / "cubes" / f"{site}.zarr").exists():
            continue
        scenes = work / "scenes" / site
        if not scenes.exists():
            print(f"simulate {site}", file=sys.stderr, flush=True)
            options = SiteOptions(
                site=site, seed=SEED + i, size_px=SIZE_PX, start=YEARS[0], end=YEARS[1], drought_year=DROUGHT,
                held_out=site in UNSEEN, stress=stress, revisit=Revisit(s1_days=12),
            )  # fmt: skip
            simulate_site(scenes, options)
        sources = [Source(path=scenes / s, mapping=f"simulated_{s}") for s in ("s2", "s1")]
        build_cube(work / "cubes" / f"{site}.zarr", site=site, sources=sources)
    return work


def embed(work: Path, model: Path, *, sites: tuple[str, ...] = SITES) -> None:
    """Embeddings by the model, and by the same with random parameters, of the sites that have none."""
    from eomm.embedding.run import embed as embed_cube
    from eomm.evaluation.features_model import randomised
    from eomm.models.directory import load_model, save_model

    random = work / "random-model"
    if not random.exists():
        save_model(randomised(load_model(model), SEED), random)
    for name, which in (("model", model), ("random", random)):
        for site in sites:
            out = work / name / f"{site}.zarr"
            if not out.exists():
                print(f"embed {site} by {which}", file=sys.stderr, flush=True)
                embed_cube(which, work / "cubes" / f"{site}.zarr", out, dtype="float32")


def evaluate(
    work: Path, *, out: Path, models: list[str], commands: list[str], sites: tuple[str, ...] = SITES
) -> "Result":
    """The chain's end: what `eomm evaluate gpp` does, with the drought year and the unseen sites set aside."""
    from eomm.evaluation.gpp.features import Inputs, sites_table
    from eomm.evaluation.gpp.flux_files import read_flux
    from eomm.evaluation.gpp.flux_sites import read_towers
    from eomm.evaluation.gpp.plan import Final, GppPlan
    from eomm.evaluation.gpp.run import run
    from eomm.evaluation.result_file import write_result

    fluxes = [read_flux(next((work / "scenes" / s / "flux").glob("*_FULLSET_DD_*.csv"))) for s in sites]
    towers = read_towers([work / "scenes" / s / "site.json" for s in sites])
    inputs = Inputs(
        embeddings={"embedding": str(work / "model" / "{site}.zarr"), "random": str(work / "random" / "{site}.zarr")},
        cube=str(work / "cubes" / "{site}.zarr"),
        extra={"oracle": (str(work / "scenes" / "{site}" / "truth" / "flux_truth.csv"), ["GPP_TRUE"])},
        extract="footprint:60",
    )
    table = sites_table(fluxes, towers, inputs)
    unseen = [s for s in UNSEEN if s in sites]
    final = Final(sites=unseen, years=[DROUGHT])
    plan = GppPlan(tested=["embedding"], checks=["oracle"], models=models, folds="both", final=final)
    result, _ = run(table, plan, dataset=f"simulated towers, {work.name.replace('-', ' ')}")
    return write_result(result, out, commands=commands)


def drought_loss(work: Path, sites: tuple[str, ...] = SITES) -> dict[str, float]:
    """How much of a usual summer's GPP the drought took, true flux, by site: nothing in the null world."""
    import pandas as pd

    found = {}
    for site in sites:
        truth = pd.read_csv(work / "scenes" / site / "truth" / "flux_truth.csv")
        when = pd.to_datetime(truth["TIMESTAMP"].astype(str))
        summer = when.dt.month.isin([7, 8])
        dry = truth["GPP_TRUE"][summer & (when.dt.year == DROUGHT)].mean()
        found[site] = round(float(1 - dry / truth["GPP_TRUE"][summer & (when.dt.year < DROUGHT)].mean()), 3)
    return found


def main(argv: list[str] | None = None) -> None:
    """Run the study; prints the conclusions of both worlds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a model directory, such as the demo's")
    parser.add_argument("--out", type=Path, required=True, help="folder; what is there already is used")
    parser.add_argument("--gpp-model", action="append", help="of eomm evaluate gpp --model (default: ridge)")
    sites_help = "towers, of which two are set aside (default: %(default)s; below 7 there are no intervals)"
    parser.add_argument("--sites", type=int, choices=range(4, len(SITES) + 1), default=len(SITES), help=sites_help)
    parser.add_argument("--no-null", action="store_true", help="leave the null world out")
    a = parser.parse_args(argv)
    command = shlex.join(["python", "-m", "eomm.experiments.gpp_simulated", *(sys.argv[1:] if argv is None else argv)])
    summary = {}
    sites = (*SITES[: a.sites - len(UNSEEN)], *UNSEEN)
    worlds = {"with stress": True} if a.no_null else {"with stress": True, "null world without stress": False}
    for name, stress in worlds.items():
        work = a.out / name.replace(" ", "-")
        embed(simulate(work, stress=stress, sites=sites), a.model, sites=sites)
        models = a.gpp_model or ["ridge"]
        result = evaluate(work, out=work / "gpp.json", models=models, commands=[command], sites=sites)
        loss = drought_loss(work, sites)
        mean = float(np.mean(list(loss.values())))
        summary[name] = {"conclusions": result.conclusions, "summer_gpp_lost": loss, "mean_lost": round(mean, 3)}
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
