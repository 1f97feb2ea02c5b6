"""Several hosts as one program: find each other, check that they run the same, stop together. Not devices (mesh.py).

Every process runs the same command. Process 0 alone writes logs and prints; all of them read the records and write
their part of a checkpoint, so the run directory lies on storage that they share.
"""

import os
import sys
import time
import traceback
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from eomm.errors import EommError, UsageError
from eomm.store.digest import digest

SHARED_WITHIN_S = 20.0  # network file systems show a new file after some seconds


def join(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Join the other processes through `jax.distributed`; call it before anything touches a device.

    With all three arguments as they say; with none as Slurm (an `srun` step of several tasks) or a Cloud TPU say, and
    where there is neither, or it was done before, nothing happens.

    Args:
        coordinator: HOST:PORT of process 0.
        processes: how many there are.
        process: which one this is, from 0.

    Raises:
        UsageError: some arguments are missing, they contradict each other, or the others were not found.
    """
    given = [coordinator, processes, process]
    if any(g is not None for g in given):
        if coordinator is None or processes is None or process is None or not 0 <= process < processes:
            raise UsageError(
                f"--coordinator {coordinator} --processes {processes} --process {process}: expected all three, "
                "HOST:PORT of process 0, how many there are, and which one this is, from 0"
            )
        if not coordinator.rpartition(":")[2].isdigit():
            raise UsageError(f"--coordinator {coordinator}: expected HOST:PORT, such as node1:8476")
    elif not launched_together(os.environ):
        return
    if jax.distributed.is_initialized():
        return
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except (RuntimeError, ValueError) as e:
        raise UsageError(f"the processes of this run did not find each other: {str(e)[:300]}") from e


def launched_together(environment: Mapping[str, str]) -> bool:
    """Whether Slurm started several tasks in this step, or this is a Cloud TPU, whose hosts know of each other."""
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in environment:
        return True
    devices = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev").glob("vfio/[0-9]*")]
    return bool(devices) and find_spec("libtpu") is not None and environment.get("JAX_PLATFORMS", "tpu") != "cpu"


def check_agreement(what: Mapping[str, Any], workdir: Path) -> None:
    """Raise UsageError unless every process holds the same JSON types and sees the same `workdir`."""
    if jax.process_count() == 1:
        return
    known = np.frombuffer(bytes.fromhex(digest(what)), np.uint32)
    every = multihost_utils.process_allgather(known).reshape(jax.process_count(), -1)
    others = [i for i, other in enumerate(every) if (other != every[0]).any()]
    if others:
        raise UsageError(
            f"{workdir}: processes {others} run another configuration, other records or other frozen parameters than "
            "process 0, or see other checkpoints; start all with the same command and on the same files"
        )
    token = str(multihost_utils.broadcast_one_to_all(np.uint32(time.time_ns() % 2**32)))
    file, until = workdir / f".shared-{token}", time.monotonic() + SHARED_WITHIN_S
    if jax.process_index() == 0:
        file.touch()
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.1)
    seen = multihost_utils.process_allgather(np.uint32(file.exists())).reshape(-1)
    if jax.process_index() == 0:
        file.unlink()
    if not seen.all():
        raise UsageError(
            f"{workdir}: processes {np.flatnonzero(~seen.astype(bool)).tolist()} do not see what process 0 writes "
            "there; put --workdir on storage that all hosts share"
        )


def wait_for_all(what: str) -> None:
    """Go on when every process is here: JAX's own end waits only five minutes for what one of them does alone."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def stop_together(step: int) -> bool:
    """Whether all processes end after this step, since SIGTERM came to one of them; every one asks at every step."""
    return jax.process_count() > 1 and bool(multihost_utils.reached_preemption_sync_point(step))


class EndTogether:
    """In its block an error in one of several processes ends that process at once, and thereby all of them.

    Python's own end would wait minutes for the others, and they in their next step for this one. A single process, and
    one that stops on purpose (SystemExit), end as always.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if kind is None or jax.process_count() == 1 or issubclass(kind, SystemExit):
            return
        if issubclass(kind, EommError):
            print(f"eomm: process {jax.process_index()}: {kind.__name__}: {error}", file=sys.stderr, flush=True)
        else:
            traceback.print_exception(kind, error, tb)
        sys.stderr.flush()
        os._exit(2)
