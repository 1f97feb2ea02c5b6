"""One experiment from its configuration to a model directory: records, stage, training, `workdir/model`."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from eomm.data.records import RecordSet, open_records
from eomm.embedding.calibrate import MINIMUM, calibrate
from eomm.errors import UsageError
from eomm.models.directory import Model, load_model, save_model
from eomm.store.folders import read_json
from eomm.training.hosts import wait_for_all
from eomm.training.loop import train
from eomm.training.noise import MEASURED, draw_series, lacks_noise, noise_by_set, with_noise
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
    workdir = Path(workdir)
    if not config.data.records:
        raise UsageError("config.data.records is empty; name a record set, such as --config.data.records=records")
    records = open_records(config.data.records)
    measured, noise = measure_noise(config, records)
    stage = build_stage(measured, records)
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
        **({"noise": noise} if noise else {}),
    }
    model = stage.model(done.params)
    model = dataclasses.replace(model, info={**model.info, **info})
    path = workdir / "model"
    if jax.process_index() == 0 and not is_written(model, path):
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


def measure_noise(config: ConfigDict, records: RecordSet) -> tuple[ConfigDict, dict[str, Any]]:
    """The configuration with what a state needs, measured where it is not given, and the noise of every record set.

    Started from a model (`config.init`) it is that model's, or its parameters would not fit the numbers they read.

    Raises:
        UsageError: the modality has no noise to measure, or the records are too few.
    """
    if config.stage != "pretrain" or not lacks_noise(config.encoder):
        return config, {}
    name = config.modality
    if name not in records.shapes:
        return config, {}  # the stage says so
    if config.get("init"):
        parts = load_model(config.init, code=tuple(config.get("code", ()))).parts.get(name, {}).get("encoder", {})
        known = {k: parts[k] for k in MEASURED if k in parts}
        return ConfigDict({**config.to_dict(), "encoder": {**config.encoder.to_dict(), **known}}), {}
    modality, balance = records.shapes[name].modality, config.data.get("balance", "")
    sets = [draw_series(records, name, balance=balance, seed=config.seed)]
    options = with_noise(config.encoder.to_dict(), modality, sets)
    return ConfigDict({**config.to_dict(), "encoder": options}), noise_by_set(modality, options["whiten"], sets)


def is_written(model: Model, path: Path) -> bool:
    """Whether the model lies at `path`, calibrated or not."""
    if not (path / "model.json").exists():
        return False
    head = read_json(path / "model.json")
    calibration = head.get("info", {}).get("calibration")
    known = {**model.info, "calibration": calibration} if calibration else model.info
    return bool(head["hash"] == dataclasses.replace(model, info=known).hash)
