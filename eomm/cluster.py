"""Independent tasks on Dask workers: a local cluster, or a scheduler that is running. Not what the tasks are.

What is done is known from the tasks' own files, so a worker that dies costs what it had not finished: its task is
given to another, which goes on. A task that raises ends the run. No JAX in here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from eomm.errors import UsageError

DEATHS = 3  # of workers that one task may cost


def run_tasks(
    task: Callable[[int, int], Any],
    per_worker: int,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    watch: Callable[[], None] | None = None,
) -> list[Any]:
    """Run `task(i, count)` for every i below `count`, a number of tasks for each worker; results in order.

    Args:
        task: a function that can be pickled, of files that all workers see.
        per_worker: tasks; more than one, so that a slow worker keeps nobody waiting for long.
        workers: processes of a local cluster, one task at a time each.
        scheduler: address of a running Dask scheduler, such as "tcp://head:8786"; its workers are used instead.
        watch: called once a second while tasks run.

    Raises:
        UsageError: Dask is not installed, the scheduler cannot be reached or has no workers, or a task's workers died
            again and again.
    """
    try:
        from distributed import KilledWorker, wait
    except ImportError as e:
        raise UsageError(f"workers need Dask ({e}): pip install 'eomm[cluster]'") from e
    with connect(workers, scheduler) as client:
        count = per_worker * len(client.scheduler_info(n_workers=-1)["workers"])
        if not count:
            raise UsageError(f"scheduler {scheduler}: has no workers; start some and run again")
        futures = [client.submit(task, i, count, pure=False) for i in range(count)]
        try:
            while any(not f.done() for f in futures):
                with suppress(TimeoutError):
                    wait(futures, timeout=1)
                if watch:
                    watch()
            return list(client.gather(futures))
        except KilledWorker as e:
            raise UsageError(
                "the workers of a task died again and again; they may lack memory: fewer of them, or smaller parts "
                f"(--memory). What is finished stays ({e})"
            ) from e
        finally:
            client.cancel(futures)


@contextmanager
def connect(workers: int, scheduler: str | None) -> Iterator[Any]:
    """A Dask client of a running scheduler or of a local cluster that ends with the block."""
    import dask
    from distributed import Client, LocalCluster

    if scheduler:
        try:
            client = Client(scheduler, timeout=20)
        except OSError as e:
            raise UsageError(
                f"scheduler {scheduler}: cannot be reached ({e}); is it running, and its port open?"
            ) from e
        with client:
            yield client
        return
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": DEATHS}),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client
