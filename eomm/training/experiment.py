"""One experiment from its configuration to a model directory: records, stage, training, `workdir/model`."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from eomm.data.mixture import Mixture
from eomm.embedding.calibrate import MINIMUM, calibrate
from eomm.errors import UsageError
from eomm.models.directory import Model, load_model, save_model
from eomm.store.fields import Json
from eomm.store.folders import check_apart, entered, read_json, recover
from eomm.store.log import LOGGER
from eomm.training.config import flatten
from eomm.training.hosts import wait_for_all
from eomm.training.level import level_fused, level_learned
from eomm.training.limits import check_batch, check_values
from eomm.training.loop import train
from eomm.training.noise import SeriesSet, draw_series, lacks_noise, noise_by_set, noise_of, with_noise
from eomm.training.rundir import check_workdir
from eomm.training.sets import open_mixture
from eomm.training.stage import Stage
from eomm.training.stages import build_stage
from eomm.training.writers import Write


def run_experiment(
    config: ConfigDict, workdir: Path | str, *, profile: str | None = None, callbacks: Sequence[Write] = ()
) -> Path:
    """Train what the configuration says and write `workdir/model`; resumes, and does nothing when complete.

    Args:
        config: an experiment's configuration; `data.records` names the record sets (sets.py), `data.validation` a
            split of them or nothing.
        workdir: the run's directory.
        profile: "FIRST:LAST", steps to write a trace of.
        callbacks: as of `train`.

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
    measured, noise, sets = measure_noise(config, mixture)
    stages = build_stages(measured, mixture)
    stage, validation = stages[0], config.data.validation or None
    if validation and (warning := mixture.manifest().get("split", {}).get("warning")):
        LOGGER.warning(f"{mixture.paths}: validation is LEAKY: {warning}")
    options: dict[str, Any] = {"validation": validation, "profile": profile, "callbacks": callbacks}
    done = train(stages, config=config, records=mixture, workdir=workdir, **options)
    mixture.check_unchanged()
    model = stage.model(done.params)
    info = {**model.info, "stage": stage.name, "steps": done.step, **trained_on(mixture)}
    model = dataclasses.replace(model, info=info | ({"noise": noise} if noise else {}))
    if sets and (weights := config.encoder.get("weights")):
        model = level_learned(model, config.modality, sets, weight=weights[2])
    count = min(config.get("calibrate_records", 0), mixture.count("train"))
    if count >= MINIMUM and (fused := config.get("weight", 0.0)):
        model = level_fused(model, mixture, weight=fused, count=count, seed=config.seed)
    path = workdir / "model"
    recover(path)
    if jax.process_index() == 0 and not is_written(model, path):
        if count >= MINIMUM:
            LOGGER.info(f"{workdir}: calibrating on {count} records")
            model = calibrate(model, mixture, count=count, seed=config.seed)
        else:
            why = f"{count} records are too few to calibrate on: no scales for int8 (see eomm calibrate)"
            LOGGER.warning(f"{workdir}: {why}")
        save_model(model, path, overwrite=True)  # of the same run, at an earlier step: train refuses any other
    wait_for_all("the model is written")
    return path


def trained_on(mixture: Mixture) -> Json:
    """What a model's `info` says of its records."""
    manifest = mixture.manifest()
    sets = [{"name": s.name, "records": s.records.data_hash, "weight": s.weight} for s in mixture.shares]
    return {
        "simulated": bool(manifest.get("simulated")),
        "sites": sorted({s["site"] for s in manifest.get("sources", [])}),
        "records": mixture.data_hash,
        "split": manifest.get("split", {}),
        **({} if mixture.single else {"sets": sets}),
    }


def build_stages(config: ConfigDict, mixture: Mixture) -> list[Stage]:
    """The stage as each record set of a mixture needs it: one for all sets of the same shapes, reading and labels."""
    built: dict[Any, Stage] = {}
    found = []
    for view in mixture.views():
        kind = (view.reading, *view.manifest.get("labels", {}), *sorted((n, repr(s)) for n, s in view.shapes.items()))
        if kind not in built:
            built[kind] = build_stage(config, view)
        found.append(built[kind])
    return found


def measure_noise(config: ConfigDict, mixture: Mixture) -> tuple[ConfigDict, Json, list[SeriesSet]]:
    """The configuration with what a state needs, the noise of every set, and series of theirs; nothing where given.

    Started from a model (`config.init`) it is that model's, or its parameters would not fit the numbers they read.

    Raises:
        UsageError: the modality has no noise to measure, or the records are too few.
    """
    name = config.get("modality")
    shares = [s for s in mixture.shares if name in s.records.shapes]
    if config.stage != "pretrain" or not lacks_noise(config.encoder) or not shares:
        return config, {}, []  # the stage says what is missing
    modality = shares[0].records.shapes[name].modality
    if modality.static:
        raise UsageError(
            f"config.encoder.code is {config.encoder.code}, but {name} is static: a state averages dates by their "
            "noise, and it has none. Choose eomm.models.context, as experiments/static.py"
        )
    if config.get("init"):
        start = load_model(config.init, code=tuple(config.get("code", ())))
        found = noise_of(start.parts.get(name, {}).get("encoder", {}), config.encoder.to_dict())
        return ConfigDict({**config.to_dict(), "encoder": found}), {}, []
    sets = []
    for s in (s for s in shares if s.records.count("train")):
        options: dict[str, Any] = {"called": s.name, "weight": s.weight * s.batch_size, "balance": s.balance}
        sets.append(draw_series(s.records, name, seed=config.seed, **options))
    found = with_noise(config.encoder.to_dict(), modality, sets)
    noise = noise_by_set(modality, found["whiten"], sets)
    return ConfigDict({**config.to_dict(), "encoder": found}), noise, sets


def is_written(model: Model, path: Path) -> bool:
    """Whether the model lies at `path`, calibrated or not."""
    if not (path / "model.json").exists():
        return False
    head = read_json(path / "model.json")
    calibration = head.get("info", {}).get("calibration")
    known = {**model.info, "calibration": calibration} if calibration else model.info
    return bool(head["hash"] == dataclasses.replace(model, info=known).hash)
