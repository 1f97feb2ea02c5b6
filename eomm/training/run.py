"""`eomm.train`: an experiment to a model directory, and a finished run extended. The command line calls it."""

from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict

from eomm.errors import UsageError
from eomm.models.directory import load_model
from eomm.store.folders import entered
from eomm.store.log import LOGGER
from eomm.training.config import load_config
from eomm.training.experiment import run_experiment
from eomm.training.limits import scale_warmup
from eomm.training.writers import Write


def train(
    experiment: str | Path | ConfigDict,
    workdir: Path | str,
    *,
    overrides: Sequence[str] = (),
    extend: int | None = None,
    callbacks: Sequence[Write] = (),
    profile: str | None = None,
) -> Path:
    """Train one stage; called again it resumes, and does nothing when the run is complete.

    Args:
        experiment: a file with `get_config()`, the name of a shipped experiment ("s2", "s1", "fusion"), or its
            configuration.
        workdir: the run's directory; the model goes to `workdir/model`.
        overrides: of the configuration's values, such as "data.records=records".
        extend: go on for so many steps from the model of the finished run in `workdir` (`extension`).
        callbacks: called with (step, metrics) at every log entry and validation, on process 0; what one raises ends
            the run, which can be resumed.
        profile: "FIRST:LAST", steps to write a trace of.

    Returns:
        The model directory.

    Raises:
        ContractError: the records are not what the configuration trains on.
        DataError: records or a checkpoint are damaged.
        UsageError: a value that cannot be, another run in `workdir`, or nothing to extend.
    """
    config = experiment if isinstance(experiment, ConfigDict) else load_config(experiment, overrides)
    if isinstance(experiment, ConfigDict) and overrides:
        raise UsageError("overrides are for experiments by name; change the configuration instead")
    folder = entered(workdir)
    if extend is not None:
        config, folder = extension(config, folder, extend)
    return run_experiment(config, folder, profile=profile, callbacks=callbacks)


def extension(config: ConfigDict, workdir: Path, steps: int) -> tuple[ConfigDict, Path]:
    """The configuration and the directory of a finished run's extension.

    It is a run of its own in `workdir/extended-TOTAL`, from the parameters of `workdir/model`, with the configuration's
    optimiser anew (warm-up and schedule over `steps`) and another order of the data. It is not what a longer run would
    have given: the optimiser's moments start at zero, and the learning rate has already been low once. To extend
    further, extend that directory.

    Args:
        config: as the run had it, but for what shall be different.
        workdir: of the finished run.
        steps: how many more; a longer warm-up is shortened, and said.

    Raises:
        DataError: there is no model.
        UsageError: `steps` is none, or the stage cannot start from a model.
    """
    if steps < 1:
        raise UsageError(f"--extend {steps}: expected a number of steps above 0")
    if config.stage != "pretrain":
        raise UsageError(f"--extend: stage {config.stage} cannot start from a model; only pretrain can")
    model = load_model(workdir / "model", code=tuple(config.get("code", ())))
    before = int(model.info.get("steps", 0))
    config = ConfigDict(config.to_dict())
    config.update({"init": str(workdir / "model"), "steps": steps, "seed": config.seed + before})
    scale_warmup(config, given=False)
    options = config.optimiser
    LOGGER.info(
        f"{workdir}: extended from step {before} by {steps} steps, a run of its own: learning rate "
        f"{options.learning_rate:g}, {options.schedule}, warm-up {options.get('warmup_steps', 0)}"
    )
    return config.lock(), workdir / f"extended-{before + steps}"
