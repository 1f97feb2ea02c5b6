"""What the commands of parser.py do that have no file of their own: call one function, return what it found.

Imports stand inside, so that `eomm --help` is quick and preparation needs no JAX.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from eomm.cli.arguments import options_of
from eomm.errors import UsageError
from eomm.store.fields import Json
from eomm.store.progress import progress_bar
from eomm.store.workers import Pool


def simulate(a: argparse.Namespace, _: list[str]) -> Json:
    """Write a simulated site."""
    from data_prep.simulate import SiteOptions, simulate_site

    switches = {"radar_sees_vegetation": not a.null_radar, "stress": not a.null_stress}
    options = options_of(SiteOptions, a, site=a.site or a.out.name, **switches)
    return {"scenes": str(simulate_site(a.out, options)), "simulated": True}


def train(a: argparse.Namespace, rest: list[str]) -> Json | None:
    """One stage, from a configuration to a model directory."""
    import jax

    from eomm.training.config import load_config
    from eomm.training.hosts import EndTogether, join
    from eomm.training.run import train as train_stage

    config = load_config(a.config, overrides(rest))
    join(a.coordinator, a.processes, a.process)
    with EndTogether():
        model = train_stage(config, a.workdir, extend=a.extend, profile=a.profile)
    return {"model": str(model)} if jax.process_index() == 0 else None


def plan_train(a: argparse.Namespace, rest: list[str]) -> Json:
    """What a training takes on machines one does not have."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # nothing is run, and a device may be in use
    from eomm.training.config import load_config
    from eomm.training.plan import Machines, plan_training

    config = load_config(a.config, overrides(rest))
    return plan_training(config, options_of(Machines, a), batch_per_device=a.batch_per_device, passes=a.passes)


def embed(a: argparse.Namespace, _: list[str]) -> Json:
    """A model and a cube, or many, to embedding cubes, or how far that is."""
    from eomm.embedding.sites import read_cubes
    from eomm.embedding.sites import status as status_of_sites
    from eomm.embedding.units import status
    from eomm.models.directory import load_model
    from eomm.models.shipped import find_model, shipped

    cubes = read_cubes(a.cubes) if a.cubes else {}
    if a.status:
        return status_of_sites(a.out, list(cubes)) if cubes else status(a.out)
    if not (a.cube or cubes):
        raise UsageError("--cube or --cubes is needed to embed; with --status alone --out says how far it is")
    if a.untrained is not None and (a.workers or a.scheduler):
        raise UsageError("--untrained embeds in this process; leave --workers and --scheduler out")
    a.model = find_model(a.model or "base")
    model = load_model(a.model, code=a.code)
    named = f"{a.model.name} that comes with eomm" if a.model in shipped().values() else str(a.model)
    print(f"eomm: model {named} ({model.hash})", file=sys.stderr)
    if a.untrained is not None:
        from eomm.evaluation.features_model import randomised

        model = randomised(model, a.untrained)
    return embed_many(a, model, cubes) if cubes else embed_one(a, model)


def embed_many(a: argparse.Namespace, model: Any, cubes: dict[str, Path]) -> Json:
    """Many cubes to a folder of embedding cubes."""
    from eomm.embedding.sites import embed_sites

    pool = Pool(workers=a.workers, scheduler=a.scheduler)
    source = model if pool.alone else a.model
    with progress_bar("sites") as report:
        options = embed_options(a) | {"shard": a.shard, "progress": report.counted}
        return embed_sites(source, cubes, a.out, code=a.code, pool=pool, **options)


def embed_one(a: argparse.Namespace, model: Any) -> Json:
    """A cube to an embedding cube."""
    from eomm.cli.info import describe
    from eomm.data.cube import open_cube
    from eomm.embedding.cluster import embed_on_workers
    from eomm.embedding.plan import explain_use
    from eomm.embedding.run import embed
    from eomm.embedding.units import status

    cube = open_cube(a.cube)
    for name, use in explain_use(model, cube, a.modality).items():
        print(f"eomm: {name}: {use}", file=sys.stderr)
    with progress_bar("embed") as report:
        options = embed_options(a) | {"shard": a.shard, "progress": report.counted}
        pool = Pool(workers=a.workers, scheduler=a.scheduler)
        if pool.alone:
            path = embed(model, cube, a.out, **options)
        else:
            path = embed_on_workers(a.model, a.cube, a.out, pool=pool, code=tuple(a.code), **options)
    return describe(path) if path.exists() and status(path)["complete"] else status(path)


def embed_options(a: argparse.Namespace) -> Json:
    """What `eomm.embed` is asked, the same for one cube and for many."""
    return {
        "block": a.block,
        "memory_bytes": int(a.memory * 2**30) if a.memory else None,
        "modalities": a.modality,
        "dates": a.dates,
        "length": a.length,
        "dtype": a.dtype,
        "clear_only": not a.cloudy,
        "average_days": a.average_days,
        "check": a.check,
        "append": a.append,
        "overwrite": a.overwrite,
    }


def embed_points(a: argparse.Namespace, _: list[str]) -> Json:
    """A table of dated values to a table of vectors."""
    from eomm.data.points import load_point_mapping, read_points
    from eomm.data.tables import write_frame
    from eomm.embedding.points import embed_points as embed_table
    from eomm.models.directory import load_model
    from eomm.store.folders import check_free_file

    if a.out.suffix not in (".csv", ".parquet"):
        raise UsageError(f"{a.out}: expected a name that ends in .csv or .parquet")
    check_free_file(a.out, overwrite=a.overwrite)
    model = load_model(a.model or "base", code=a.code)
    mapping = load_point_mapping(a.mapping)
    bands = mapping.contract.band_names
    rows = embed_table(model, series := read_points(a.table, mapping), bands=bands, surroundings=a.surroundings)
    write_frame(rows, a.out)
    return {"out": str(a.out), "series": len(series), "vectors": len(rows), "length": rows.shape[1] - 3}


def models(a: argparse.Namespace, _: list[str]) -> Json:
    """What ships, or one model's card."""
    from eomm.models.shipped import card, describe_shipped

    return {"card": card(a.name)} if a.name else describe_shipped()


def format_models(result: Json) -> str:
    """For people."""
    if "card" in result:
        return str(result["card"])
    lines = []
    for name, m in result.items():
        alias = f" ({m['alias']})" if m["alias"] else ""
        contracts = "; ".join(f"{n}: {c}" for n, c in m["modalities"].items())
        lines += [f"{name}{alias}  {m['hash']}  {m['bytes'] / 1e6:.1f} MB  {m['licence']}", f"  {contracts}"]
        lines += [f"  {m['about']}"] if m["about"] else []
    return "\n".join(lines) or "no models ship with this version"


def calibrate(a: argparse.Namespace, _: list[str]) -> Json:
    """Scales and expected errors into a model directory."""
    from eomm.cli.info import describe
    from eomm.data.cube import open_cube
    from eomm.data.records import open_records
    from eomm.embedding.calibrate import calibrate as measure
    from eomm.models.directory import load_model, save_model
    from eomm.store.folders import check_apart

    check_apart(a.model, {"the cube": a.cube, "the record set": a.records})
    cube = open_cube(a.cube) if a.cube else None
    records = open_records(a.records)
    model = measure(load_model(a.model, code=a.code), records, cube=cube, count=a.count, seed=a.seed)
    return describe(save_model(model, a.model, overwrite=True))


def import_published(a: argparse.Namespace, _: list[str]) -> Json:
    """A released checkpoint of the published model to a model directory."""
    from eomm.cli.info import describe
    from eomm.data.modality import KNOWN
    from eomm.models.published.release import import_published as convert

    unknown = set(a.contract) - set(KNOWN)
    if unknown:
        raise UsageError(f"--contract {', '.join(sorted(unknown))}: known are {', '.join(KNOWN)}")
    contracts = [KNOWN[c] for c in a.contract]
    modalities = a.modality or ("s1", "s2")
    return describe(convert(a.checkpoint, a.out, modalities=modalities, contracts=contracts, overwrite=a.overwrite))


def report(a: argparse.Namespace, _: list[str]) -> Json:
    """One HTML page."""
    from eomm.report.build import build

    named = {"cube": a.cube, "embedding": a.embedding, "model": a.model, "runs": a.run, "evaluations": a.evaluation}
    path = build(a.out, folders=a.folders, **named, code=a.code, title=a.title, overwrite=a.overwrite)
    return {"report": str(path)}


def info(a: argparse.Namespace, _: list[str]) -> Json:
    """What a store is."""
    from eomm.cli.info import describe

    found = describe(a.path)
    if a.figure:
        from eomm.data.coverage import draw_coverage
        from eomm.store.folders import check_free_file

        if found["kind"] != "records":
            raise UsageError(f"--figure: {a.path} is a {found['kind']}; only records have a map of their sites")
        check_free_file(a.figure, overwrite=a.overwrite)
        draw_coverage(found, a.figure)
    return found


def bench(a: argparse.Namespace, _: list[str]) -> Json:
    """Throughput of this machine."""
    import importlib

    run = importlib.import_module(f"eomm.benchmarks.{a.what}").run
    result: Json = run()
    return result


def demo(a: argparse.Namespace, _: list[str]) -> Json:
    """The whole path on simulated sites, or the shipped model on a real one."""
    from eomm.cli.demo import run_demo
    from eomm.cli.demo_real import run_real

    if a.real:
        return run_real(a.real, a.out, mapping=a.mapping, overwrite=a.overwrite)
    return run_demo(a.out, seed=a.seed, overwrite=a.overwrite)


def overrides(rest: list[str]) -> list[str]:
    """The arguments that override a configuration's values. Raises UsageError for any other."""
    unknown = [r for r in rest if not r.startswith("--config.")]
    if unknown:
        raise UsageError(f"unknown arguments: {' '.join(unknown)}; values are overridden by --config.KEY=VALUE")
    return rest


def format_embed(result: Json) -> str:
    """For people: a finished store, or how far one is, or many are."""
    if "sites" in result:
        from eomm.embedding.sites import format_status

        return format_status(result)
    from eomm.cli.info_words import format_info

    return format_info(result) if "kind" in result else "\n".join(f"{k}: {v}" for k, v in result.items())
