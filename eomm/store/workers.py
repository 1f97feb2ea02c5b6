"""Independent tasks on Dask workers: a local cluster, or a scheduler that is running. Not what the tasks are.

What is done is known from the tasks' own files, so a worker that dies costs what it had not finished: its task is
given to another, which goes on. No JAX in here.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from eomm.errors import EommError, UsageError

DEATHS = 3  # of workers that one task may cost
AHEAD = 2  # units per worker that are handed out at a time, so that nobody waits and a list of any length fits
CONNECT = 20  # seconds to find a scheduler
PATIENCE = 60  # seconds for the first worker of a scheduler
LOOK = 1  # seconds until newly come workers are given units

Work = TypeVar("Work")


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Who does the units of a work: this process, where nothing else is said.

    Attributes:
        workers: processes of a local cluster, one unit at a time each; none is started for fewer than two.
        scheduler: address of a running one, such as "tcp://head:8786", or the JSON file that it was told to write; its
            workers are used instead.
        memory_gib: that a local worker may take before it is stopped; its share of the machine when None.
    """

    workers: int = 0
    scheduler: str | None = None
    memory_gib: float | None = None

    @property
    def alone(self) -> bool:
        """Whether it is this process."""
        return self.workers <= 1 and not self.scheduler


def run_units(
    function: Callable[[Work], Any],
    units: Iterable[Work] | Callable[[int], Iterable[Work]],
    pool: Pool = Pool(),
    *,
    watch: Callable[[], None] | None = None,
) -> Iterator[tuple[Work, Any, BaseException | None]]:
    """Run `function(unit)` for every unit; yields (unit, result, error) as they end, in any order.

    A unit that raises stops no other: its error is yielded. With one worker units run in this process, one by one.

    Args:
        function: can be pickled where there are workers, and so can units and results.
        units: taken as they are needed; or a function that gives them for a number of workers.
        pool: who does them.
        watch: called once a second while workers do them.

    Raises:
        UsageError: Dask is not installed, the scheduler cannot be reached or has no workers.
    """
    if pool.alone:
        yield from _one_by_one(function, units(1) if callable(units) else units)
        return
    pending: dict[Future[Any], Work] = {}
    with connect(pool) as client, client.get_executor(pure=False) as executor:
        count = count_workers(client)
        waiting = iter(units(count) if callable(units) else units)
        try:
            while True:
                room = AHEAD * max(len(client.nthreads()), 1) - len(pending)  # workers come and go
                for unit in islice(waiting, max(room, 0)):
                    pending[executor.submit(function, unit)] = unit
                if not pending:
                    return
                ended = wait(pending, timeout=LOOK, return_when=FIRST_COMPLETED).done
                if watch:
                    watch()
                for future in ended:
                    error = _told(future.exception())
                    yield pending.pop(future), None if error else future.result(), error
        finally:
            for future in pending:
                future.cancel()


def reason_of(error: BaseException) -> str:
    """Why a unit failed: of an error that eomm raised its message; of any other where it was raised, too."""
    if isinstance(error, EommError):
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception(error)).strip()


def _one_by_one(
    function: Callable[[Work], Any], units: Iterable[Work]
) -> Iterator[tuple[Work, Any, BaseException | None]]:
    """`run_units` in this process; not in a thread, which Ctrl-C would wait for."""
    for unit in units:
        result, caught = None, _Caught()
        with caught:
            result = function(unit)
        yield unit, result, caught.error


class _Caught:
    """Keeps the error that ends its block, but for those that end a program, such as Ctrl-C."""

    error: Exception | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            self.error = error
        return isinstance(error, Exception)


@contextmanager
def connect(pool: Pool) -> Iterator[Any]:
    """A Dask client of a running scheduler or of a local cluster that ends with the block.

    Raises:
        UsageError: no worker is asked for, Dask is not installed, or the scheduler cannot be reached.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as e:
        raise UsageError(f"workers need Dask ({e}): pip install 'eomm[cluster]'") from e
    with _found(pool.scheduler) if pool.scheduler else _started(pool.workers, pool.memory_gib) as client:
        yield client


def _found(scheduler: str) -> Any:
    """A client of a running scheduler."""
    from distributed import Client

    place = {"scheduler_file": scheduler} if scheduler.endswith(".json") else {"address": scheduler}
    if "scheduler_file" in place and not Path(scheduler).exists():  # Dask would wait for it for ever
        raise UsageError(f"scheduler {scheduler}: no such file; has the scheduler written it?")
    try:
        return Client(**place, timeout=CONNECT)
    except (OSError, ValueError) as e:
        raise UsageError(f"scheduler {scheduler}: cannot be reached ({e}); is it running, and its port open?") from e


@contextmanager
def _started(workers: int, memory_gib: float | None) -> Iterator[Any]:
    """A client of a cluster of this machine, which ends with the block."""
    import dask
    from distributed import Client, LocalCluster

    if workers < 1 or (memory_gib is not None and memory_gib <= 0):  # Dask would wait for ever
        given = f"{workers} workers" + (f" of {memory_gib:g} GiB" if memory_gib is not None else "")
        raise UsageError(f"{given}: expected one or more, each with memory")
    limit = "auto" if memory_gib is None else int(memory_gib * 2**30)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": DEATHS}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=limit,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # None alone takes, or warns of, 8787
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def count_workers(client: Any) -> int:
    """How many workers a client has; the first is waited for. Raises UsageError where none comes."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError as e:
        address = client.scheduler_info(n_workers=0)["address"]
        raise UsageError(f"scheduler {address}: has no workers; start some and run again") from e
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _told(error: BaseException | None) -> BaseException | None:
    """An error, that of workers that died in our words."""
    if type(error).__name__ != "KilledWorker":
        return error
    return UsageError(
        "its workers died again and again; they may lack memory: fewer of them, smaller parts, or more memory for each "
        f"(--memory). What is finished stays ({error})"
    )
