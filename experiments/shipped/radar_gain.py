"""What radar brings to the shipped Sentinel-2 model at hidden dates, by gap; a world in which it can bring nothing.

    python -m experiments.shipped.radar_gain --data ../shared/data --work runs/gain
    python -m experiments.shipped.radar_gain --data ../shared/data --work runs/gain --world null --world sighted

Of each world: a radar encoder of its own pixels (`radar.py`) and a fusion head over it and `base`, both trained on the
western columns and no date that is tested; scored on whole hidden dates, in all columns and in the eastern ones. In
the SIMULATED world "null" the radar knows nothing of the ground, in "sighted" it does. Ten minutes on two idle cores.
The eastern columns and the dates of Flanders report: a look at them is logged.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_prep.cubes.build import Source, build_cube
from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig, clear_days
from data_prep.simulate import SiteOptions, simulate_site
from eomm.data.cube import Cube, open_cube
from eomm.data.records import open_records
from eomm.errors import UsageError
from eomm.evaluation.hidden.fusion import evaluate_fusion
from eomm.evaluation.hidden.reconstruction import evaluate
from eomm.evaluation.result import Json, as_json
from eomm.models.directory import Model, load_model
from eomm.training.experiment import run_experiment

from .. import fusion, radar
from .flanders import EPOCH
from .looks import Look
from .places import FLANDERS_TEST_COLUMNS, FLANDERS_TEST_DATES, FLANDERS_VALIDATION_DATES

GAPS = (0, 10, 30, 60)
WORLDS = ("flanders", "null", "sighted")
SIDE_PX, CROP_PX = 64, 4  # of a site, and of what a step takes of a record's crop
FIRST, LAST = date(2017, 8, 4), date(2018, 11, 27)
STEPS = {"radar": 800, "fusion": 800}


@dataclass(frozen=True, kw_only=True)
class World:
    """A site, the records that train there, and the dates that are tested."""

    cube: Cube
    records: Path
    days: tuple[int, ...]


def make_world(name: str, data: Path, work: Path) -> World:
    """The cube and the records of a world, made where they are not there yet."""
    cube = open_cube(make_cube(name, data, work / f"{name}.zarr"))
    if name == "flanders":
        days, others = ([(d - EPOCH).days for d in k] for k in (FLANDERS_TEST_DATES, FLANDERS_VALIDATION_DATES))
    else:
        days, others = list(clear_days(cube["s2"], every=3)), []
    columns = {"test": (FLANDERS_TEST_COLUMNS[0] / SIDE_PX, 1.0)}
    split = SplitConfig(columns=columns, uncut=("test",), hold_out_days=tuple(sorted(days + others)))
    crops = CropConfig(stride_px=8, stride_acquisitions=8)
    records = build_patches(work / f"{name}-records", cubes=[cube.path], split=split, crops=crops, overwrite=True)
    usable = set(cube["s2"].day[cube["s2"].usable].tolist())  # the screen for haze takes 13 July 2018
    return World(cube=cube, records=records, days=tuple(d for d in days if d in usable))


def make_cube(name: str, data: Path, out: Path) -> Path:
    """The Flemish site, or a simulated one of its size and span whose radar sees the ground or does not."""
    if out.exists():
        return out
    if name == "flanders":
        sources = [Source(path=data / "flanders_s1s2", mapping=f"worldcereal_{s}") for s in ("s2", "s1")]
        return build_cube(out, site=name, sources=sources)
    scenes, sees = out.with_suffix(".scenes"), name == "sighted"
    if not scenes.exists():
        sight = SiteOptions(site="world", seed=7, size_px=SIDE_PX, radar_sees_vegetation=sees, start=FIRST, end=LAST)
        simulate_site(scenes, sight)
    sources = [Source(path=scenes / s, mapping=f"simulated_{s}") for s in ("s2", "s1")]
    return build_cube(out, site=name, sources=sources)


def radar_configuration(records: Path) -> ConfigDict:
    """Of the radar encoder, on crops instead of series."""
    config = radar.get_config()
    config.steps, config.data.records, config.data.batch_size = STEPS["radar"], str(records), 4
    config.objective.crop_px, config.objective.series = CROP_PX, 64
    return config


def fusion_configuration(records: Path, base: Path, radar_model: Path) -> ConfigDict:
    """Of the head: encoders and their objectives as they are, high decay as theirs."""
    config = fusion.get_config()
    config.steps, config.data.records, config.data.batch_size = STEPS["fusion"], str(records), 4
    config.encoders, config.reference = (str(base), str(radar_model)), "s2"
    own = {n: o for p in (base, radar_model) for n, o in load_model(p).info["objectives"].items()}
    own["s2"] = {**own["s2"], "crop_px": CROP_PX}
    config.objective = ConfigDict(own)
    config.fusion.dim = 68  # 30 of base and 6 of radar lead, 32 are fused
    config.optimiser.weight_decay = 0.5
    return config


def train(name: str, world: World, base: Path, work: Path) -> Model:
    """The fused model of a world."""
    encoder = run_experiment(radar_configuration(world.records), work / f"{name}-radar")
    return load_model(run_experiment(fusion_configuration(world.records, base, encoder), work / f"{name}-fusion"))


def score(model: Model, world: World) -> Json:
    """Errors of the fused model with and without radar and of `base` alone, decoded; and of probes of the fused."""
    manifest = open_records(world.records).manifest
    options: dict[str, Any] = {"dates": world.days, "gaps": GAPS, "manifest": manifest}
    decoded = evaluate(model, world.cube, probes=False, **options)
    probed = evaluate_fusion({"fused": model}, world.cube, shares=(0.0, 1.0), ages=(0, 6, 12), **options)
    found = {"decoded": decoded["hidden"], "probed": probed["curves"], "dates": decoded["dates"], "model": model.hash}
    return dict(as_json(found))


def rows(found: Json) -> list[str]:
    """For people: a line a region and gap. Above 0 the fused model with radar is better."""
    lines = []
    for region, by_gap in found["decoded"].items():
        for point in found["probed"][region]["gap"]:
            scores = by_gap[str(point["at"])]
            minus = scores["difference"]
            errors = " ".join(f"{m} {scores['methods'][m]['value']:.4f}" for m in ("encoder", "fused_alone", "fused"))
            gains = [
                f"over {other} {-minus[other]['value']:+.4f} {_interval(minus[other], -1)}"
                for other in ("encoder", "fused_alone")
            ]
            gain = point["models"]["fused"]["probe"]["gain"]
            probe = f"probe {gain['value']:+.4f} {_interval(gain, 1)}"
            lines.append(f"{region}, {point['at']} days: {errors}; gain {'; '.join(gains)}; {probe}")
    return lines


def _interval(estimate: Json, sign: int) -> str:
    ends = sorted(sign * e for e in estimate["interval"] or ())
    return f"({ends[0]:+.4f} to {ends[1]:+.4f})" if ends else "(none)"


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, train and score; writes WORLD.json below the work folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="for cubes, records and runs; outside the checkout")
    parser.add_argument("--base", type=Path, default=Path("base"), help="the model (default: the shipped base)")
    parser.add_argument("--world", action="append", choices=WORLDS, help="again for several (default: all)")
    parser.add_argument("--why", metavar="TEXT", help="of a look at Flanders' eastern columns; it is logged")
    a = parser.parse_args(argv)
    worlds = a.world or list(WORLDS)
    if "flanders" in worlds and not a.why:
        raise UsageError("a look at Flanders' eastern columns needs a reason: --why TEXT; it is logged")
    for name in worlds:
        world = make_world(name, a.data, a.work)
        model = train(name, world, a.base, a.work)
        if name == "flanders":
            tasks = [f"hidden dates of Flanders, {g} days, with radar" for g in GAPS]
            command = "python -m experiments.shipped.radar_gain --world flanders"
            Look(why=a.why, command=command).log(models={"fused": model.hash}, tasks=tasks)
        found = score(model, world)
        (a.work / f"{name}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        print("\n".join([f"{name}, {len(world.days)} dates", *rows(found)]), flush=True)


if __name__ == "__main__":
    main()
