"""One experiment from its configuration to a model directory: records, stage, training, `workdir/model`."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from eomm.data.mixture import Mixture
from eomm.embedding.calibrate import MINIMUM, calibrate
from eomm.models.directory import save_model
from eomm.store.folders import check_apart, entered, read_json, recover
from eomm.training.config import flatten
from eomm.training.hosts import wait_for_all
from eomm.training.limits import check_batch, check_values
from eomm.training.loop import train
from eomm.training.rundir import check_workdir
from eomm.training.sets import open_mixture
from eomm.training.stage import Stage
from eomm.training.stages import build_stage


def run_experiment(config: ConfigDict, workdir: Path | str, *, profile: str | None = None) -> Path:
    """Train what the configuration says and write `workdir/model`; resumes, and does nothing when complete.

    Args:
        config: an experiment's configuration; `data.records` names the record sets (sets.py), `data.validation` a
            split of them or nothing.
        workdir: the run's directory.
        profile: "FIRST:LAST", steps to write a trace of.

    Returns:
        The model directory.

    Raises:
        UsageError: no record set is named, or what `train` raises.
    """
    workdir = entered(workdir)
    check_values(dict(flatten(config)))
    mixture = open_mixture(config)
    check_batch(mixture.shares, hosts=jax.process_count())
    inputs: dict[str, Path | str | None] = {f"record set {s.name}": s.records.path for s in mixture.shares}
    inputs |= {f"encoder {e}": e for e in config.get("encoders", ())}
    check_workdir(workdir)
    for folder in (workdir / "checkpoints", workdir / "model"):  # what stands beside them is only added to
        check_apart(folder, inputs)
    stages = build_stages(config, mixture)
    stage, manifest = stages[0], mixture.manifest()
    validation = config.data.validation or None
    if validation and (warning := manifest.get("split", {}).get("warning")):
        print(f"{mixture.paths}: validation is LEAKY: {warning}", file=sys.stderr, flush=True)
    done = train(stages, config=config, records=mixture, workdir=workdir, validation=validation, profile=profile)
    for share in mixture.shares:
        share.records.check_unchanged()
    info: dict[str, Any] = {
        "stage": stage.name,
        "steps": done.step,
        "simulated": bool(manifest.get("simulated")),
        "sites": sorted({s["site"] for s in manifest.get("sources", [])}),
        "records": mixture.data_hash,
        "split": manifest.get("split", {}),
    }
    if not mixture.single:
        info["sets"] = [{"name": s.name, "records": s.records.data_hash, "weight": s.weight} for s in mixture.shares]
    model = stage.model(done.params)
    model = dataclasses.replace(model, info={**model.info, **info})
    path = workdir / "model"
    recover(path)
    written = read_json(path / "model.json")["hash"] if (path / "model.json").exists() else None
    if jax.process_index() == 0 and written != model.hash:
        count = min(config.get("calibrate_records", 0), mixture.count("train"))
        if count >= MINIMUM:
            print(f"{workdir}: calibrating on {count} records", file=sys.stderr, flush=True)
            model = calibrate(model, mixture, count=count, seed=config.seed)
        else:
            why = f"{count} records are too few to calibrate on: no scales for int8 (see eomm calibrate)"
            print(f"{workdir}: {why}", file=sys.stderr, flush=True)
        save_model(model, path, overwrite=True)  # of the same run, at an earlier step: train refuses any other
    wait_for_all("the model is written")
    return path


def build_stages(config: ConfigDict, mixture: Mixture) -> list[Stage]:
    """The stage as each record set of a mixture needs it: one for all sets of the same shapes and reading."""
    built: dict[Any, Stage] = {}
    found = []
    for view in mixture.views():
        kind = (view.reading, *sorted((n, repr(s)) for n, s in view.shapes.items()))
        if kind not in built:
            built[kind] = build_stage(config, view)
        found.append(built[kind])
    return found
