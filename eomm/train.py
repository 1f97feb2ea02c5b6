"""The one training loop, for every stage: read `train` from top to bottom. Not what is trained (stages.py).

A run is a function of its configuration and its records: batch k and `fold_in(root, k)` make step k, so a run that
was killed and resumed gives the numbers of one that was not.
"""

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from eomm import hosts
from eomm import mesh as meshes
from eomm.checkpoint import Checkpoints, abstract_like
from eomm.errors import EommError, UsageError
from eomm.optimiser import make_plateau
from eomm.patches import RecordSet
from eomm.pipeline import batches
from eomm.rundir import MetricsLog, check_same_run, describe_start, identity
from eomm.step import make_step, make_validation, means

if TYPE_CHECKING:
    from eomm.stages import Stage

Tree = Any


def train(
    stage: "Stage", *, config: ConfigDict, records: RecordSet, workdir: Path | str, validation: str | None = None
) -> Tree:
    """Train a stage and return its parameters (NumPy).

    Called again with the same `workdir` it resumes at the last checkpoint, or, when the run is complete, says so and
    returns the parameters.

    Args:
        stage: what is trained.
        config: seed, steps, data {split, batch_size}, optimiser (optimiser.py), log_every, save_every; optionally
            data.threads (2), mesh {data, fsdp} and mesh.rules, validate_every, validate_batches (all),
            keep_checkpoints (2), max_bad_steps (10).
        records: an opened record set.
        workdir: the run's directory (rundir.py), made when missing.
        validation: a split of `records`; every validate_every steps and at the end the loss over it is logged. With
            optimiser.schedule "plateau" it also moves the learning rate, and may end the run before `steps`.

    Raises:
        UsageError: `workdir` holds another run; the configuration does not fit; the disk is full.
        DataError: a record or a checkpoint is damaged.
        EommError: loss or gradient were not finite max_bad_steps times in a row.
        SystemExit: SIGTERM or SIGINT came; the run was saved first.
    """
    workdir = Path(workdir).absolute()
    workdir.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        # --- What is trained, and where ------------------------------------------------------------------------
        mesh_options = config.get("mesh", ConfigDict({"data": -1}))
        mesh = meshes.make_mesh({k: v for k, v in mesh_options.items() if k != "rules"})
        batch_size, threads = config.data.batch_size, config.data.get("threads", 2)
        meshes.check_batch_size(batch_size, mesh)
        batch_place, whole = meshes.batch_sharding(mesh), meshes.replicated(mesh)
        # Compiled, since keys cannot be put onto a mesh of several hosts.
        split = jax.jit(lambda: tuple(jax.random.split(jax.random.key(config.seed), 3)), out_shardings=whole)
        init_rng, root, validation_rng = split()
        abstract_batch = _abstract_batch(stage, records, batch_size, batch_place)
        step_fn, init_fn = make_step(stage, config, abstract_batch)
        abstract_state = jax.eval_shape(init_fn, init_rng)
        state_place = meshes.state_sharding(abstract_state, mesh, mesh_options.get("rules", meshes.RULES))
        frozen = jax.device_put(stage.frozen, whole)
        plateau = make_plateau(config.optimiser)
        if plateau and validation is None:
            raise UsageError("config.optimiser.schedule 'plateau' needs a validation split: set config.data.validation")

        # --- A new run, the rest of one, or none of it ---------------------------------------------------------
        this_run = identity(config, records, stage.name, stage.frozen)
        hosts.check_agreement(this_run, workdir)
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", keep=config.get("keep_checkpoints", 2)))
        latest = checkpoints.latest()
        if latest:
            check_same_run(latest[1]["run"], this_run, workdir)
            start, position = latest[0], latest[1]["data"]
            state = checkpoints.restore(start, abstract_like(abstract_state, state_place))
            if start >= config.steps or (plateau and plateau.ends(state["plateau"])):
                _say(f"{workdir}: the run is complete ({start} steps); nothing to do")
                return meshes.to_host(state["params"], whole)
            _say(f"{workdir}: resuming at step {start} of {config.steps}")
        else:
            start, position = 0, None
            state = jax.jit(init_fn, out_shardings=state_place)(init_rng)
        if jax.process_index() == 0:
            describe_start(workdir, config, records, step=start)
        log = stack.enter_context(closing(MetricsLog(workdir, step=start)))

        # --- Compile before the clock starts, and before data threads take memory -------------------------------
        began = time.perf_counter()
        compiled = (
            jax.jit(step_fn, donate_argnums=0, out_shardings=(state_place, whole))
            .lower(state, root, frozen, abstract_batch)
            .compile()
        )
        _say(f"compiled the training step in {time.perf_counter() - began:.1f} s")
        validate = make_validation(stage, config, records, validation, mesh)
        after_validation = jax.jit(plateau.after, out_shardings=whole) if plateau else None

        # --- The loop ------------------------------------------------------------------------------------------
        data = stack.enter_context(
            closing(
                batches(
                    records,
                    split=config.data.split,
                    batch_size=batch_size,
                    seed=config.seed,
                    modalities=stage.modalities,
                    process_index=jax.process_index(),
                    process_count=jax.process_count(),
                    threads=threads,
                )
            )
        )
        if position:
            data.set_state(position)
        stop = stack.enter_context(_stop_signals())
        shown = {"desc": stage.name, "unit": "step", "file": sys.stderr, "mininterval": 0.5}
        first = jax.process_index() == 0
        bar = stack.enter_context(tqdm(total=config.steps, initial=start, disable=not first, **shown))
        window = _Window(batch_size)
        running: tuple[int, dict[str, Any]] | None = None  # the step on the device, not yet read
        ended = False  # by the plateau

        def read(report: tuple[int, dict[str, Any]] | None) -> None:
            if report is None:
                return
            done, bad_in_row = report[0], int(report[1]["bad_in_row"])
            window.steps += 1
            bar.update()
            if bad_in_row >= config.get("max_bad_steps", 10):
                raise EommError(
                    f"{workdir}: loss or gradient was not finite {bad_in_row} times in a row up to step "
                    f"{done} (batch {done - 1}); these steps changed nothing, the last checkpoint is intact. Lower "
                    "config.optimiser.learning_rate or look for extreme values in the records"
                )
            if done % config.log_every == 0 or done == config.steps:
                values = jax.device_get(report[1])
                found = means(values["sums"])
                bar.set_postfix(loss=f"{found.get('loss', math.nan):.4f}")
                rates = window.rates(found.get("targets"))
                counts = {"learning_rate": float(values["learning_rate"]), "skipped_steps": int(values["skipped"])}
                log.write(done, found | counts | rates)

        for step in range(start, config.steps):
            with window.waiting():
                batch = meshes.to_global(next(data), batch_place, batch_size)
            state, report = compiled(state, root, frozen, batch)
            read(running)  # step k - 1 is read while step k runs
            running, done = (step + 1, report), step + 1
            last = done == config.steps
            validates = validate is not None and (done % config.get("validate_every", config.steps) == 0 or last)
            stopped = bool(stop) or hosts.stop_together(done)
            saves = done % config.save_every == 0 or last or stopped
            if not (validates or saves):
                continue
            # Logged before saved: a resumed run never lacks the entry of the step it starts from.
            read(running)
            running = None
            with window.paused():
                if validates and validate is not None:
                    found = validate(state["params"], frozen, validation_rng)
                    log.write(done, {f"validation/{k}": v for k, v in found.items()})
                    if plateau and after_validation:
                        if plateau.metric not in found:
                            raise UsageError(
                                f"config.optimiser.plateau.metric is {plateau.metric!r}; validation gives "
                                f"{', '.join(found)}"
                            )
                        state["plateau"] = after_validation(state["plateau"], found[plateau.metric])
                        ended = plateau.ends(state["plateau"])
                if saves or ended:
                    checkpoints.save(done, state, metadata={"run": this_run, "data": data.get_state()})
            if plateau and ended and not last:
                _say(f"{workdir}: no better {plateau.metric} in {plateau.stop} validations; ended at step {done}")
                break
            if stopped and not last:
                checkpoints.wait()
                number = stop[0] if stop else int(signal.SIGTERM)
                _say(f"{workdir}: stopped by signal {number} at step {done}, which is saved; run again to resume")
                raise SystemExit(128 + number)
        checkpoints.wait()  # before saying that it is complete
        return meshes.to_host(state["params"], whole)


class _Window:
    """Rates since the last log entry, without the time that validation and saving take."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self._restart()

    def _restart(self) -> None:
        self.steps, self.waited, self.since = 0, 0.0, time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.waited += time.perf_counter() - began

    @contextmanager
    def paused(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.since += time.perf_counter() - began

    def rates(self, targets_per_step: float | None) -> dict[str, float]:
        """Per second, and the seconds waited for data; starts the next window."""
        seconds = max(time.perf_counter() - self.since, 1e-9)
        rates = {
            "steps_per_second": self.steps / seconds,
            "records_per_second": self.steps * self.batch_size / seconds,
            "seconds_waited_for_data": self.waited,
        }
        if targets_per_step is not None:
            rates["targets_per_second"] = targets_per_step * self.steps / seconds
        self._restart()
        return rates


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """A list that SIGTERM or SIGINT fill, so that the loop may end between steps; a second signal ends at once.

    Several processes must end after the same step: there JAX listens to SIGTERM (hosts.py), and this list stays empty.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for n, handler in previous.items():
            signal.signal(n, handler)

    previous: dict[int, Any] = {}
    in_main = threading.current_thread() is threading.main_thread()  # elsewhere Python cannot set handlers
    if in_main and jax.process_count() == 1:
        previous = {n: signal.signal(n, handle) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for n, handler in previous.items():
            signal.signal(n, handler)


def _abstract_batch(stage: "Stage", records: RecordSet, batch_size: int, place: jax.sharding.NamedSharding) -> Tree:
    return {
        name: {
            field: jax.ShapeDtypeStruct((batch_size, *dims), dtype, sharding=place)
            for field, (dims, dtype) in records.shapes[name].fields().items()
        }
        for name in stage.modalities
    }


def _say(message: str) -> None:
    if jax.process_index() == 0:
        print(message, file=sys.stderr, flush=True)
