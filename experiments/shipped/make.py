"""Make the models that ship: records of the training places, both trainings, their cards, and where they go.

    python -m experiments.shipped.make --data ../shared/data --work runs/shipped

Twenty minutes on two idle cores. It resumes; the same seed gives the same parameters. `--install` puts the models into
`eomm/models/weights`, from where `eomm.load_model("base")` reads them.
"""

import argparse
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from eomm.models.directory import Model, load_model, save_model
from eomm.models.shipped import FOLDER
from eomm.training.experiment import run_experiment

from ..base import FRAMES, PAST_FRAMES, get_config
from .card import write_card
from .sets import build_records

VERSION = 2
PLACES = ("swiss", "towers", "forest", "berlin", "bavaria", "korea nh", "korea us", "flanders")
CROPS = 0.05  # weight of the head on crops of Korean parcels that train, the only set with labels
LICENCE = "Apache-2.0; trained on modified Copernicus Sentinel data 2017-2023"
ABOUT = {
    "base": "Sentinel-2, 10 m: state, one-sided means and 34 learned numbers of a pixel's window of 17 clear dates",
    "base_past": "the same from the target and 16 dates before it, for near-real time",
    "closed": "the first 30 numbers of base alone: state and one-sided means, of which nothing is learned",
}


def configuration(name: str, records: Mapping[str, float], work: Path, seed: int) -> ConfigDict:
    """Of one shipped model."""
    config = get_config()
    config.seed = seed
    config.data.records = ",".join(str(work / "records" / n) for n in records)
    config.data.weights = tuple(records.values())
    if name == "base_past":
        config.encoder.inner.frames = PAST_FRAMES
    if name == "closed":  # only its decoder is trained, which predicts hidden dates
        del config.encoder.inner, config.encoder.mixed
        config.encoder.dim = config.decoder.leading
        config.encoder.frames = FRAMES
        config.objective.cuts = 0.0
    else:
        config.objective.labels = CROPS
    return config


def finished(model: Model, name: str, seed: int) -> Model:
    """With what a user should know of it."""
    about = {"name": f"{name}-{VERSION}", "about": ABOUT[name], "licence": LICENCE, "places": PLACES, "seed": seed}
    calibration = dict(model.info["calibration"])
    calibration["scale"] = [max(calibration["scale"])] * model.dim  # one scale: plain xarray reads int8 as numbers
    kept = {k: v for k, v in model.info.items() if k not in ("split", "sites")}  # names of every parcel
    return dataclasses.replace(model, info={**kept, **about, "calibration": calibration})


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments and make the models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="for records and runs; best outside the checkout")
    parser.add_argument("--seed", type=int, default=0, help="the shipped models are seed 0 (default: %(default)s)")
    parser.add_argument("--only", choices=sorted(ABOUT), help="one of the models")
    parser.add_argument("--bench", type=Path, metavar="FILE", help="what the card says of its worth (Markdown)")
    permuted_help = "the control of the crop head: deal the crops out anew among parcels; in a work folder of its own"
    parser.add_argument("--permuted", action="store_true", help=permuted_help)
    parser.add_argument("--install", action="store_true", help="replace the models in the package")
    a = parser.parse_args(argv)
    if a.permuted and a.install:
        parser.error("--permuted is a control, which does not ship; leave out --install")
    records = build_records(a.data, a.work / "records", permuted=a.permuted)
    for name in (a.only,) if a.only else ABOUT:
        run = a.work / f"{name}-seed{a.seed}"
        trained = run_experiment(configuration(name, records, a.work, a.seed), run)
        out = a.work / f"{name}-{VERSION}-seed{a.seed}"
        if out.exists():
            shutil.rmtree(out)
        save_model(finished(load_model(trained), name, a.seed), out)
        write_card(out, **({"bench": a.bench.read_text(encoding="utf-8")} if a.bench else {}))
        print(f"{out}: {load_model(out).hash}")
        if a.install:
            home = FOLDER / f"{name}-{VERSION}"
            if home.exists():
                shutil.rmtree(home)
            shutil.copytree(out, home)
            print(f"{home}: installed")


if __name__ == "__main__":
    main()
