"""The one training loop, for every stage: read `train` from top to bottom. Not what is trained (stages.py).

A run is a function of its configuration and its records: batch k and `fold_in(root, k)` make step k, so a run that
was killed and resumed gives the numbers of one that was not.
"""

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from eomm.data.mixture import Mixture, Share, mixed_batches
from eomm.data.records import RecordSet
from eomm.data.remote import local_path
from eomm.errors import DataError, EommError, UsageError
from eomm.models.interface import Tree
from eomm.store.folders import entered
from eomm.store.log import LOGGER
from eomm.training import hosts
from eomm.training import mesh as meshes
from eomm.training.best import make_best, metric_of
from eomm.training.checkpoint import Checkpoints, abstract_like, naming_full_disks
from eomm.training.cost import peak_flops, training_flops
from eomm.training.dump import write_dump
from eomm.training.meter import Meter, Profile
from eomm.training.optimiser import make_plateau
from eomm.training.rundir import check_same_run, claimed, describe_start, identity, note_compiling, outset
from eomm.training.sets import mixture_of
from eomm.training.step import make_step, make_validation, means
from eomm.training.writers import MetricsLog, Write

if TYPE_CHECKING:
    from eomm.training.stage import Stage


@dataclass(frozen=True)
class Trained:
    """What a run ends with.

    Attributes:
        params: NumPy; of the best validation where `config.best.metric` names one, else the last.
        step: after which they were these.
    """

    params: Tree
    step: int


def train(
    stage: "Stage | Sequence[Stage]",
    *,
    config: ConfigDict,
    records: RecordSet | Mixture,
    workdir: Path | str,
    validation: str | None = None,
    profile: str | None = None,
    callbacks: Sequence[Write] = (),
) -> Trained:
    """Train a stage and return its parameters.

    Called again with the same `workdir` it resumes at the last checkpoint, or, when the run is complete, says so and
    returns the parameters. On several hosts every process calls it.

    Args:
        stage: what is trained; over a mixture whose sets a stage must know, one for each of them, which differ in
            nothing but their batches.
        config: seed, steps, data {split, batch_size}, optimiser (optimiser.py), log_every, save_every; optionally
            accumulate (1, `accumulated`), best {metric, patience} (best.py), data.threads (2), data.on_bad_record
            ("fail", or "skip": an empty record in its place, counted), data.balance and what else sets.py says of
            record sets, mesh {data, fsdp} and mesh.rules, validate_every, validate_batches (all), keep_checkpoints (2),
            max_bad_steps (10).
        records: an opened record set, or a mixture of several (sets.py): each batch comes from one of them, and the
            step is compiled once for each shape.
        workdir: the run's directory (rundir.py), made when missing.
        validation: a split of `records`, of a mixture a split of some of its sets; every validate_every steps and at
            the end the loss over it is logged. With optimiser.schedule "plateau" it also moves the learning rate; with
            config.best it chooses the parameters and may end the run before `steps`.
        profile: "FIRST:LAST", steps of which a trace is written.
        callbacks: called with (step, metrics) as these are logged (writers.py).

    Raises:
        UsageError: `workdir` holds another run or is in a bucket; the configuration does not fit; the disk is full.
        DataError: a record or a checkpoint is damaged.
        EommError: loss or gradient were not finite max_bad_steps times in a row; the batch is dumped (dump.py).
        SystemExit: SIGTERM or SIGINT came; the run was saved first.
    """
    workdir = entered(local_path(workdir, "a run appends to its logs and renames what it finishes")).absolute()
    with ExitStack() as stack:
        stack.enter_context(naming_full_disks(workdir))
        workdir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(claimed(workdir))

        # --- What is trained, and where ------------------------------------------------------------------------
        mesh_options = config.get("mesh", ConfigDict({"data": -1}))
        mesh = meshes.make_mesh({k: v for k, v in mesh_options.items() if k != "rules"})
        mixture = mixture_of(config, records)
        stages = tuple(stage) if isinstance(stage, Sequence) else (stage,) * len(mixture.shares)
        stage = stages[0]
        sizes, parts = [s.batch_size for s in mixture.shares], config.get("accumulate", 1)
        for size in sizes:
            meshes.check_batch_size(size, mesh, parts)
        batch_place, whole = meshes.batch_sharding(mesh), meshes.replicated(mesh)
        # Compiled, since keys cannot be put onto a mesh of several hosts.
        split = jax.jit(lambda: tuple(jax.random.split(jax.random.key(config.seed), 3)), out_shardings=whole)
        init_rng, root, validation_rng = split()
        abstract = [_abstract_batch(stage, s, batch_place) for s in mixture.shares]
        made = [make_step(one, config, batch, whole=whole) for one, batch in zip(stages, abstract, strict=True)]
        init_fn = made[0][1]
        abstract_state = jax.eval_shape(init_fn, init_rng)
        state_place = meshes.state_sharding(abstract_state, mesh, mesh_options.get("rules", meshes.RULES))
        frozen = jax.device_put(stage.frozen, whole)
        plateau, best = make_plateau(config.optimiser), make_best(config, validation)
        if plateau and validation is None:
            raise UsageError("config.optimiser.schedule 'plateau' needs a validation split: set config.data.validation")
        skipped = _skipping(config.data.get("on_bad_record", "fail"))
        profiled = stack.enter_context(closing(Profile(workdir / "profile", profile)))

        # --- A new run, the rest of one, or none of it ---------------------------------------------------------
        this_run = identity(config, mixture, stage.name, stage.frozen)
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", keep=config.get("keep_checkpoints", 2)))

        def finished(state: Tree, step: int) -> Trained:
            if best and best.step not in (None, step):
                step = best.step
                _say(f"{workdir}: the parameters are those of step {step}, where {best.metric} was {best.value:.6g}")
                state = checkpoints.restore(step, abstract_like(abstract_state, state_place))
            return Trained(meshes.to_host(state["params"], whole), step)

        latest = checkpoints.latest()
        hosts.check_agreement({**this_run, "resumes": latest[0] if latest else None}, workdir)
        if latest:
            check_same_run(latest[1]["run"], this_run, workdir)
            start, position = latest[0], latest[1]["data"]
            best = best.restored(latest[1]["best"]) if best else None
            state = checkpoints.restore(start, abstract_like(abstract_state, state_place))
            if start >= config.steps or (best and best.ends):
                _say(f"{workdir}: the run is complete ({start} steps); nothing to do")
                return finished(state, start)
            _say(f"{workdir}: resuming at step {start} of {config.steps}")
        else:
            start, position = 0, None
            state = jax.jit(init_fn, out_shardings=state_place)(init_rng)
        if jax.process_index() == 0:
            describe_start(workdir, config, mixture, step=start)
            _say(outset(stage, mesh, mixture))
        log = stack.enter_context(closing(MetricsLog.open(workdir, step=start, config=config, callbacks=callbacks)))

        # --- Compile before the clock starts, and before data threads take memory -------------------------------
        began = time.perf_counter()
        compiled: list[Any] = []
        for i, (step_fn, _) in enumerate(made):
            same = [j for j in range(i) if stages[j] is stages[i] and abstract[j] == abstract[i]]
            jitted = jax.jit(step_fn, donate_argnums=0, out_shardings=(state_place, whole))
            if not same:
                _say(f"compiling the training step{f' for {mixture.shares[i].name}' * (len(made) > 1)} …")
            compiled.append(compiled[same[0]] if same else jitted.lower(state, root, frozen, abstract[i]).compile())
        seconds = time.perf_counter() - began
        _say(f"compiled the training step in {seconds:.1f} s")
        if jax.process_index() == 0:
            note_compiling(workdir, seconds)
        validate = make_validation(stages, config, mixture, validation, mesh, skipped)
        after_validation = jax.jit(plateau.after, out_shardings=whole) if plateau else None
        share = np.array(mixture.turns) / sum(mixture.turns)
        flops = float(share @ [training_flops(*one) for one in zip(stages, abstract, strict=True)])
        peak = peak_flops(jax.devices()[0])

        # --- The loop ------------------------------------------------------------------------------------------
        open_data = partial(
            mixed_batches,
            mixture,
            split=config.data.split,
            seed=config.seed,
            modalities=stage.modalities,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            skip=skipped,
        )
        data = stack.enter_context(closing(open_data(threads=config.data.get("threads", 2))))
        if position:
            data.set_state(position)
        stop = stack.enter_context(_stop_signals())
        shown = {"desc": stage.name, "unit": "step", "file": sys.stderr, "mininterval": 0.5}
        first = jax.process_index() == 0
        bar = stack.enter_context(tqdm(total=config.steps, initial=start, disable=not first, **shown))
        meter = Meter(float(share @ sizes), flops=flops, peak=peak)
        running: tuple[int, dict[str, Any]] | None = None  # the step on the device, not yet read

        def read(report: tuple[int, dict[str, Any]] | None) -> None:
            if report is None:
                return
            done, bad_in_row = report[0], int(report[1]["bad_in_row"])
            meter.steps += 1
            bar.update()
            if bad_in_row >= config.get("max_bad_steps", 10):
                folder = _dump(workdir, done, jax.device_get(report[1]["last"]), config, mixture, open_data)
                raise EommError(
                    f"{workdir}: loss or gradient was not finite {bad_in_row} times in a row up to step "
                    f"{done} (batch {done - 1}); these steps changed nothing, the last checkpoint is intact. {folder} "
                    "holds that batch, its records and the terms of its loss: look for extreme values, or lower "
                    "config.optimiser.learning_rate"
                )
            if done % config.log_every == 0 or done == config.steps:
                values = jax.device_get(report[1])
                found = means(values["sums"])
                bar.set_postfix(loss=f"{found.get('loss', math.nan):.4f}")
                counts = {"learning_rate": float(values["learning_rate"]), "skipped_steps": int(values["skipped"])}
                if skipped:
                    counts["skipped_records"] = skipped.count
                log.write(done, found | counts | meter.rates(found.get("targets")))

        for step in range(start, config.steps):
            done = step + 1
            profiled.before(done)
            with meter.waiting():
                i, rows = next(data)
                batch = meshes.to_global(rows, batch_place, sizes[i])
            state, report = compiled[i](state, root, frozen, batch)
            profiled.after(done, report)
            read(running)  # step k - 1 is read while step k runs
            running = (done, report)
            last = done == config.steps
            stopped = bool(stop) or hosts.stop_together(done)
            validates = validate is not None and (done % config.get("validate_every", config.steps) == 0 or last)
            saves = done % config.save_every == 0 or last or stopped
            if not (validates or saves):
                continue
            # Logged before saved: a resumed run never lacks the entry of the step it starts from.
            read(running)
            running = None
            with meter.paused():
                if validates and validate is not None:
                    found = validate(state["params"], frozen, validation_rng)
                    log.write(done, {f"validation/{k}": v for k, v in found.items()})
                    if plateau and after_validation:
                        moved_by = metric_of(found, plateau.metric, "config.optimiser.plateau.metric")
                        state["plateau"] = after_validation(state["plateau"], moved_by)
                    best = best.after(done, found) if best else None
                value = best.value if best and best.step == done else None
                ended = best is not None and best.ends
                if saves or ended or value is not None:
                    kept = {"run": this_run, "data": data.get_state(), "best": best.saved() if best else None}
                    checkpoints.save(done, state, metadata=kept, value=value)
            if best and ended and not last:
                _say(f"{workdir}: no better {best.metric} in {best.stale} validations; ended at step {done}")
                break
            if stopped and not last:
                checkpoints.wait()
                number = stop[0] if stop else int(signal.SIGTERM)
                _say(f"{workdir}: stopped by signal {number} at step {done}, which is saved; run again to resume")
                raise SystemExit(128 + number)
        checkpoints.wait()  # before saying that it is complete
        return finished(state, done)


def _dump(
    workdir: Path,
    step: int,
    terms: Mapping[str, Any],
    config: ConfigDict,
    mixture: Mixture,
    open_data: Callable[..., Any],
) -> Path:
    """Read the batch of a step again, which is a function of its number, and write it down."""
    number = step - 1
    with closing(open_data(threads=0)) as data:
        data.set_state({"next_index": number})
        _, batch = next(data)
    rows = mixture.batch_records(split=config.data.split, seed=config.seed, number=number)
    path = write_dump(workdir, step=step, batch_number=number, records=rows, terms=terms, batch=batch)
    hosts.wait_for_all("the dump is written")
    return path


class _Skipped:
    """Counts and reports, from any thread, the records that this host could not read."""

    def __init__(self) -> None:
        self._lock, self.count = threading.Lock(), 0

    def __call__(self, error: DataError) -> None:
        with self._lock:
            self.count += 1
        LOGGER.warning(f"skipped: {error}")


def _skipping(on_bad_record: str) -> _Skipped | None:
    if on_bad_record not in ("fail", "skip"):
        raise UsageError(f"config.data.on_bad_record is {on_bad_record!r}; expected 'fail' or 'skip'")
    return _Skipped() if on_bad_record == "skip" else None


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


def _abstract_batch(stage: "Stage", share: Share, place: jax.sharding.NamedSharding) -> Tree:
    return {
        name: {
            field: jax.ShapeDtypeStruct((share.batch_size, *dims), dtype, sharding=place)
            for field, (dims, dtype) in share.records.shapes[name].fields().items()
        }
        for name in stage.modalities
    }


def _say(message: str) -> None:
    if jax.process_index() == 0:
        LOGGER.info(message)
