"""`eomm demo`: the whole path on simulated sites, offline, in minutes. It calls what the commands call.

A site that draws its parameters from other ranges is embedded by the shipped model, which has seen real sites alone.
Then two further sites train, starting from that model, and the first site, which training never saw, is embedded and
scored.
"""

import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from eomm.errors import UsageError
from eomm.store.fields import Json
from eomm.store.folders import entered, write_json
from eomm.store.progress import progress_bar

TRAINED, HELD_OUT = ("sim-meadow", "sim-valley"), "sim-ridge"
SIZE_PX = 64
YEARS = (date(2020, 1, 1), date(2021, 12, 31))
SHIPPED = "base"  # the model that Sentinel-2 starts from, and its experiment
STEPS = {"s2": 150, "s1": 30, "fusion": 30}  # enough to see it learn, not to learn well
FINE = [f"init={SHIPPED}", "data.balance=", "data.batch_size=4", "objective.crop_px=12"]  # crops instead of series
MADE = (
    *("summary.json", "evaluation.json", "evaluation_figures", "scenes", "cubes", "records", "runs", "embeddings"),
    *("report", "view.html"),
)
MARKER = "demo.json"  # by which a demo knows its own folder
GAPS = (0, 30, 60)  # days hidden on both sides of a scored target
SMALL = [
    "log_every=10",
    "save_every=1000",
    "validate_every=1000",
    "calibrate_records=8",
    "optimiser.warmup_steps=10",
]


def run_demo(out: Path | str, *, seed: int = 0, overwrite: bool = False) -> Json:
    """Simulate, prepare, train, embed, evaluate, report and show under `out`.

    Returns:
        What `out/summary.json` holds: `seconds`, `steps` (name to seconds), `verdict` (a sentence), `scores`, `shipped`
        (errors of the shipped model beside the one trained, on the same pixels), `report`, `embeddings`,
        `embeddings_by_shipped`, `view`.

    Raises:
        UsageError: `out` exists and `overwrite` is false.
    """
    work = entered(out)
    make_room(work, overwrite=overwrite)
    write_json(work / MARKER, {"made_by": "eomm demo", "seed": seed})
    timer = Timer()
    cubes = {site: work / "cubes" / f"{site}.zarr" for site in (*TRAINED, HELD_OUT)}
    with timer.step(f"embed by {SHIPPED}"):
        simulate_scenes(work / "scenes", (HELD_OUT,), seed=seed)
        prepare_cubes(work / "scenes", {HELD_OUT: cubes[HELD_OUT]})
        shipped = embedding_of(SHIPPED, cubes[HELD_OUT], work / "embeddings" / f"{HELD_OUT}-{SHIPPED}.zarr")
    with timer.step("simulate"):
        simulate_scenes(work / "scenes", TRAINED, seed=seed)
    with timer.step("prepare"):
        prepare_cubes(work / "scenes", {site: cubes[site] for site in TRAINED})
        prepare_records(cubes, work / "records")
    with timer.step("train s2"):
        train("s2", work, seed, *FINE, experiment=SHIPPED)
    with timer.step("train s1"):
        train("s1", work, seed)
    with timer.step("train fusion"):
        encoders = f"encoders={work}/runs/s2/model,{work}/runs/s1/model"
        model = train("fusion", work, seed, encoders, "objective.s2.reach_px=0")
    with timer.step("embed"):
        embeddings = embedding_of(model, cubes[HELD_OUT], work / "embeddings" / f"{HELD_OUT}.zarr")
    with timer.step("evaluate"):
        from eomm.evaluation.hidden.reconstruction import evaluate_records
        from eomm.evaluation.result_file import write_result
        from eomm.models.directory import load_model

        evaluation = evaluate_records(
            model, cubes[HELD_OUT], work / "records", gaps=GAPS, beside={SHIPPED: load_model(SHIPPED)}, progress=True
        )
        write_result(evaluation, work / "evaluation.json", commands=[f"eomm demo --out {work} --seed {seed}"])
    with timer.step("report"):
        from eomm.report.build import build

        report = build(
            work / "report" / "index.html",
            cube=cubes[HELD_OUT],
            embedding=embeddings,
            model=model,
            runs=[work / "runs" / name for name in STEPS],
            evaluations=[work / "evaluation.json"],
        )
    with timer.step("view"):
        view = page_of(embeddings, cubes[HELD_OUT], work)
    shown = (SHIPPED, "this model", "linear")
    beside = {
        gap: {m: round(one.methods[m].value, 4) for m in shown}
        for gap, one in evaluation["beside"]["hidden"]["all"].items()
    }
    more = {"report": str(report), "shipped": beside, "embeddings_by_shipped": str(shipped)}
    return summarise(work, timer, evaluation, embeddings=str(embeddings), view=view, **more)


def embedding_of(model: Path | str, cube: Path, out: Path) -> Path:
    """A cube embedded."""
    from eomm.embedding.run import embed

    with progress_bar("embed") as bar:
        return embed(model, cube, out, progress=bar.counted)


def page_of(embedding: Path, cube: Path, work: Path) -> str:
    """An embedding as a page that answers."""
    from eomm.view.run import write_view

    with progress_bar("view") as bar:
        return str(write_view(embedding, work / "view.html", cube=cube, progress=bar.counted)["page"])


def summarise(work: Path, timer: "Timer", evaluation: Any, **made: Any) -> Json:
    """Write what a demo took, what it came to and what it made, and return it."""
    summary = {
        "seconds": round(timer.total, 1),
        "steps": timer.seconds,
        "verdict": evaluation.headline,
        "scores": evaluation["summary"],
        **made,
        "simulated": evaluation.simulated,
    }
    write_json(work / "summary.json", summary)
    return summary


def make_room(work: Path, *, overwrite: bool) -> None:
    """Make the demo's folder; replaces nothing but an earlier demo. Raises UsageError where it may not."""
    if work.exists():
        ours = (work / MARKER).is_file()
        state = "a finished demo" if (work / "summary.json").exists() else "an interrupted demo" if ours else "no demo"
        if not ours:
            raise UsageError(f"{work}: already exists and is {state}; choose another --out")
        if not overwrite:
            raise UsageError(
                f"{work}: already exists ({state}); choose another --out, or say --overwrite to replace it"
            )
        if others := sorted({p.name for p in work.iterdir()} - {*MADE, MARKER}):
            raise UsageError(f"{work}: holds {', '.join(others)}, which no demo has made; move it elsewhere")
        for name in MADE:  # the marker goes last: a killed removal leaves what is still known for a demo
            path = work / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    work.mkdir(parents=True, exist_ok=True)


def simulate_scenes(folder: Path, sites: Sequence[str], *, seed: int) -> None:
    """Two years of each site; the second year is dry."""
    from data_prep.simulate import SiteOptions, simulate_site

    for site in sites:
        say(f"simulate {site}")
        options = SiteOptions(
            site=site,
            seed=seed + (*TRAINED, HELD_OUT).index(site),
            size_px=SIZE_PX,
            start=YEARS[0],
            end=YEARS[1],
            held_out=site == HELD_OUT,
            drought_year=YEARS[1].year,
        )
        simulate_site(folder / site, options)


def prepare_cubes(scenes: Path, cubes: Mapping[str, Path]) -> None:
    """Scenes to cubes."""
    from data_prep.cubes.build import Source, build_cube

    for site, cube in cubes.items():
        sources = [Source(path=scenes / site / s, mapping=f"simulated_{s}") for s in ("s2", "s1")]
        with progress_bar(site) as bar:
            build_cube(cube, site=site, sources=sources, progress=bar.named)


def prepare_records(cubes: Mapping[str, Path], records: Path) -> None:
    """Cubes to records split by site."""
    from data_prep.records.build import build_patches
    from data_prep.records.split import SplitConfig

    split = SplitConfig(sites={"train": list(TRAINED), "test": [HELD_OUT]})
    with progress_bar("records") as bar:
        build_patches(records, cubes=list(cubes.values()), split=split, progress=bar.named)


def train(name: str, work: Path, seed: int, *overrides: str, experiment: str = "") -> Path:
    """One stage by its shipped experiment (that of its name, if none is said), shortened."""
    from eomm.training.config import load_config
    from eomm.training.experiment import run_experiment

    values = [f"data.records={work}/records", f"seed={seed}", f"steps={STEPS[name]}", *SMALL, *overrides]
    return run_experiment(load_config(experiment or name, values), work / "runs" / name)


class Timer:
    """Wall-clock seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @property
    def total(self) -> float:
        """All steps together."""
        return sum(self.seconds.values())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Announce and time a step."""
        say(f"== {name}")
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 2)


def say(text: str) -> None:
    """To standard error, where progress goes."""
    print(text, file=sys.stderr, flush=True)


def outset_of(summary: Mapping[str, Any]) -> list[str]:
    """How long each step took, and what it came to in a sentence."""
    steps = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in summary["steps"].items())
    return [f"done in {summary['seconds']:.0f} s ({steps})", summary["verdict"]]


def errors_of(summary: Mapping[str, Any]) -> list[str]:
    """Errors by what was hidden, a line for each gap."""
    return [
        f"  everything within {days} days hidden: " + ", ".join(f"{name} {error:.4f}" for name, error in errors.items())
        for days, errors in summary["scores"]["hidden_mae"].items()
    ]


def format_demo(summary: Json) -> str:
    """The end of either demo for people: what it took, the scores, where to look."""
    from eomm.cli.demo_real import format_real

    if "shipped" not in summary:
        return format_real(summary)
    shipped = summary["shipped"]
    return "\n".join(
        [
            *outset_of(summary),
            "mean absolute error of hidden reflectance at the site that training never saw (SIMULATED data):",
            *errors_of(summary),
            f"the same of the shipped model {SHIPPED}, which knows real sites alone, beside this one:",
            *(f"  {days} days: " + ", ".join(f"{m} {e:.4f}" for m, e in one.items()) for days, one in shipped.items()),
            f"embeddings: {summary['embeddings']}",
            f"report: {summary['report']}",
            f"open in a browser, and click a pixel: {summary['view']}",
        ]
    )
