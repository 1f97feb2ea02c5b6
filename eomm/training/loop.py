"""The one training loop, for every stage: read `train` from top to bottom. Not what is trained (stages.py).

A run is a function of its configuration and its records: batch k and `fold_in(root, k)` make step k, so a run that
was killed and resumed gives the numbers of one that was not.
"""

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from eomm.data.batches import Loading
from eomm.data.mixture import Mixture, mixed_batches
from eomm.data.records import RecordSet
from eomm.data.remote import local_path
from eomm.errors import DataError, EommError, UsageError
from eomm.models.interface import Tree
from eomm.store.folders import entered, naming_full_disk
from eomm.store.log import LOGGER
from eomm.training import hosts
from eomm.training import mesh as meshes
from eomm.training.checkpoint import Checkpoints
from eomm.training.cost import peak_flops
from eomm.training.judge import Judge
from eomm.training.meter import Meter, Profile
from eomm.training.program import Program, make_program
from eomm.training.rundir import check_same_run, claimed, describe_start, identity, note_compiling, write_dump
from eomm.training.sets import mixture_of
from eomm.training.step import means
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
            accumulate (1, `accumulated`), best {metric, patience} (judge.py), data.threads (2), data.on_bad_record
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
        EommError: loss or gradient were not finite max_bad_steps times in a row; the batch is dumped (rundir.py).
        SystemExit: SIGTERM or SIGINT came; the run was saved first.
    """
    workdir = entered(local_path(workdir, "a run appends to its logs and renames what it finishes")).absolute()
    with ExitStack() as stack:
        stack.enter_context(naming_full_disk(workdir))
        workdir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(claimed(workdir))
        skipped = _skipping(config.data.get("on_bad_record", "fail"))
        program = make_program(stage, config, mixture_of(config, records))
        judge = Judge(config, program, validation, skipped)
        profiled = stack.enter_context(closing(Profile(workdir / "profile", profile)))

        # A new run, the rest of one, or none of it.
        this_run = identity(config, program.mixture, program.stage.name, program.stage.frozen)
        checkpoints = stack.enter_context(Checkpoints(workdir / "checkpoints", keep=config.get("keep_checkpoints", 2)))
        start, position, state = _resumed(workdir, this_run, checkpoints, program, judge)
        if start and (start >= config.steps or judge.ends):
            _say(f"{workdir}: the run is complete ({start} steps); nothing to do")
            return _trained(workdir, start, state, checkpoints, program, judge)
        if start:
            _say(f"{workdir}: resuming at step {start} of {config.steps}")
        if jax.process_index() == 0:
            describe_start(workdir, config, program.mixture, step=start)
        _say(program.outset)
        steps = _compiled(program, workdir)  # before the clock starts, and before data threads take memory

        data = stack.enter_context(closing(_open_data(program, config, skipped, config.data.get("threads", 2))))
        if position:
            data.set_state(position)
        stop = stack.enter_context(_stop_signals())
        log = stack.enter_context(closing(MetricsLog.open(workdir, step=start, config=config, callbacks=callbacks)))
        reports = stack.enter_context(closing(_Reports(workdir, config, program, log, skipped, start=start)))
        for step in range(start, config.steps):
            done = step + 1
            profiled.before(done)
            with reports.meter.waiting():
                share, rows = next(data)
                batch = program.place(rows, share)
            state, report = steps[share](state, program.root, program.frozen, batch)
            profiled.after(done, report)
            reports.add(done, report)
            last, stopped = done == config.steps, bool(stop) or hosts.stop_together(done)
            saves = done % config.save_every == 0 or last or stopped
            if not (judge.due(done) or saves):
                continue
            reports.read()  # logged before saved: a resumed run never lacks the entry of the step it starts from
            with reports.meter.paused():
                if judge.due(done):
                    metrics, state = judge.validate(done, state)
                    log.write(done, {f"validation/{k}": v for k, v in metrics.items()})
                best = judge.value_at(done)
                if saves or judge.ends or best is not None:
                    program.mixture.check_unchanged()  # or a run that went on with other records would be resumed
                    kept = {"run": this_run, "data": data.get_state(), "best": judge.saved()}
                    checkpoints.save(done, state, metadata=kept, value=best)
            if judge.ends and not last:
                _say(f"{workdir}: {judge.why}; ended at step {done}")
                break
            if stopped and not last:
                checkpoints.wait()
                number = stop[0] if stop else int(signal.SIGTERM)
                _say(f"{workdir}: stopped by signal {number} at step {done}, which is saved; run again to resume")
                raise SystemExit(128 + number)
        checkpoints.wait()  # before saying that it is complete
        return _trained(workdir, done, state, checkpoints, program, judge)


def _resumed(
    workdir: Path, this_run: dict[str, Any], checkpoints: Checkpoints, program: Program, judge: Judge
) -> tuple[int, Any, Tree]:
    """(step, position in the data, state) at which a run goes on, the judge brought there; (0, None, a new state)."""
    latest = checkpoints.latest()
    hosts.check_agreement({**this_run, "resumes": latest[0] if latest else None}, workdir)
    if not latest:
        return 0, None, program.fresh_state()
    start, saved = latest
    check_same_run(saved["run"], this_run, workdir)
    judge.restore(saved["best"])
    return start, saved["data"], checkpoints.restore(start, program.state)


def _trained(
    workdir: Path, step: int, state: Tree, checkpoints: Checkpoints, program: Program, judge: Judge
) -> Trained:
    """The parameters of the best validation, or those of the state."""
    best = judge.best
    if best and best.step not in (None, step):
        step = best.step
        _say(f"{workdir}: the parameters are those of step {step}, where {best.metric} was {best.value:.6g}")
        state = checkpoints.restore(step, program.state)
    return Trained(meshes.to_host(state["params"], program.whole), step)


def _compiled(program: Program, workdir: Path) -> list[Any]:
    _say("compiling the training step …")  # what small runs wait for
    began = time.perf_counter()
    steps = program.compile()
    seconds = time.perf_counter() - began
    _say(f"compiled the training step in {seconds:.1f} s")
    if jax.process_index() == 0:
        note_compiling(workdir, seconds)
    return steps


class _Reports:
    """Reads what each step reports while the next one runs: progress, log, and the dump where a run must give up."""

    def __init__(
        self,
        workdir: Path,
        config: ConfigDict,
        program: Program,
        log: MetricsLog,
        skip: "_Skipped | None",
        *,
        start: int,
    ):
        self._workdir, self._config, self._program, self._log, self._skip = workdir, config, program, log, skip
        sizes = [share.batch_size for share in program.mixture.shares]
        peak = peak_flops(jax.devices()[0])
        self.meter = Meter(program.mean_over_sets(sizes), flops=program.flops(), peak=peak)
        shown = {"desc": program.stage.name, "unit": "step", "file": sys.stderr, "mininterval": 0.5}
        self._bar = tqdm(total=config.steps, initial=start, disable=jax.process_index() != 0, **shown)
        self._running: tuple[int, dict[str, Any]] | None = None  # the step on the device

    def add(self, done: int, report: dict[str, Any]) -> None:
        """Read the step before, and keep this one's until it has run."""
        self.read()
        self._running = (done, report)

    def read(self) -> None:
        """Wait for the step that runs, and read it. Raises EommError after too many that were not finite."""
        if self._running is None:
            return
        (done, report), self._running, config = self._running, None, self._config
        self.meter.steps += 1
        self._bar.update()
        if (bad_in_row := int(report["bad_in_row"])) >= config.get("max_bad_steps", 10):
            folder = self._dump(done, jax.device_get(report["last"]))
            raise EommError(
                f"{self._workdir}: loss or gradient was not finite {bad_in_row} times in a row up to step {done} "
                f"(batch {done - 1}); these steps changed nothing, the last checkpoint is intact. {folder} holds that "
                "batch, its records and the terms of its loss: look for extreme values, or lower "
                "config.optimiser.learning_rate"
            )
        if done % config.log_every == 0 or done == config.steps:
            values = jax.device_get(report)
            metrics = means(values["sums"])
            self._bar.set_postfix(loss=f"{metrics.get('loss', math.nan):.4f}")
            counts = {"learning_rate": float(values["learning_rate"]), "skipped_steps": int(values["skipped"])}
            if self._skip:
                counts["skipped_records"] = self._skip.count
            self._log.write(done, metrics | counts | self.meter.rates(metrics.get("targets")))

    def _dump(self, step: int, terms: dict[str, Any]) -> Path:
        """Read the batch of a step again, which is a function of its number, and write it down."""
        number, config, mixture = step - 1, self._config, self._program.mixture
        with closing(_open_data(self._program, config, self._skip, threads=0)) as data:
            data.set_state({"next_index": number})
            _, batch = next(data)
        rows = mixture.batch_records(split=config.data.split, seed=config.seed, number=number)
        folder = write_dump(self._workdir, step=step, batch_number=number, records=rows, terms=terms, batch=batch)
        hosts.wait_for_all("the dump is written")
        return folder

    def close(self) -> None:
        """End the progress bar."""
        self._bar.close()


def _open_data(program: Program, config: ConfigDict, skip: "_Skipped | None", threads: int) -> Any:
    host = (jax.process_index(), jax.process_count())
    loading = Loading(modalities=program.stage.modalities, host=host, threads=threads, skip=skip)
    return mixed_batches(program.mixture, split=config.data.split, seed=config.seed, loading=loading)


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


def _say(message: str) -> None:
    if jax.process_index() == 0:
        LOGGER.info(message)
