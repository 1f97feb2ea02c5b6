"""One experiment from its configuration to a model directory: records, stage, training, `workdir/model`."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from eomm.data.records import open_records
from eomm.embedding.calibrate import MINIMUM, calibrate
from eomm.errors import UsageError
from eomm.models.directory import save_model
from eomm.store.folders import check_apart, entered, read_json, recover
from eomm.training.config import flatten
from eomm.training.hosts import wait_for_all
from eomm.training.limits import check_batch, check_values
from eomm.training.loop import train
from eomm.training.rundir import check_workdir
from eomm.training.stages import build_stage


def run_experiment(config: ConfigDict, workdir: Path | str, *, profile: str | None = None) -> Path:
    """Train what the configuration says and write `workdir/model`; resumes, and does nothing when complete.

    Args:
        config: an experiment's configuration; `data.records` names the record set, `data.validation` a split of it
            or nothing.
        workdir: the run's directory.
        profile: "FIRST:LAST", steps to write a trace of.

    Returns:
        The model directory.

    Raises:
        UsageError: no record set is named, or what `train` raises.
    """
    workdir = entered(workdir)
    if not config.data.records:
        raise UsageError("config.data.records is empty; name a record set, such as --config.data.records=records")
    check_values(dict(flatten(config)))
    records = open_records(config.data.records)
    check_batch(config, records, hosts=jax.process_count())
    inputs = {"the record set": records.path, **{f"encoder {e}": e for e in config.get("encoders", ())}}
    check_workdir(workdir)
    for folder in (workdir / "checkpoints", workdir / "model"):  # what stands beside them is only added to
        check_apart(folder, inputs)
    stage = build_stage(config, records)
    validation = config.data.validation or None
    if validation and (warning := records.manifest.get("split", {}).get("warning")):
        print(f"{records.path}: validation is LEAKY: {warning}", file=sys.stderr, flush=True)
    done = train(stage, config=config, records=records, workdir=workdir, validation=validation, profile=profile)
    info: dict[str, Any] = {
        "stage": stage.name,
        "steps": done.step,
        "simulated": bool(records.manifest.get("simulated")),
        "sites": sorted({s["site"] for s in records.manifest.get("sources", [])}),
        "records": records.data_hash,
        "split": records.manifest.get("split", {}),
    }
    model = stage.model(done.params)
    model = dataclasses.replace(model, info={**model.info, **info})
    path = workdir / "model"
    recover(path)
    written = read_json(path / "model.json")["hash"] if (path / "model.json").exists() else None
    if jax.process_index() == 0 and written != model.hash:
        count = min(config.get("calibrate_records", 0), records.count("train"))
        if count >= MINIMUM:
            print(f"{workdir}: calibrating on {count} records", file=sys.stderr, flush=True)
            model = calibrate(model, records, count=count, seed=config.seed)
        else:
            why = f"{count} records are too few to calibrate on: no scales for int8 (see eomm calibrate)"
            print(f"{workdir}: {why}", file=sys.stderr, flush=True)
        save_model(model, path, overwrite=True)  # of the same run, at an earlier step: train refuses any other
    wait_for_all("the model is written")
    return path
