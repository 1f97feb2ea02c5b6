"""One embedding by many workers: each does shards of its units (units.py). Not the workers (store/workers.py)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from eomm.embedding.units import status
from eomm.errors import DataError
from eomm.models.directory import load_model
from eomm.store.workers import Pool, run_tasks

PER_WORKER = 4  # shards


def embed_on_workers(
    model: Path | str,
    cube: Path | str,
    out: Path | str,
    *,
    workers: int = 0,
    scheduler: str | None = None,
    code: tuple[str, ...] = (),
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Path:
    """As `embed`, by Dask workers; paths are such that all of them see the same files.

    Args:
        model: a model directory.
        cube: a cube's directory.
        out: the embedding cube.
        workers: processes of a local cluster; on machines without accelerators, which one process drives alone.
        scheduler: address of a running Dask scheduler instead.
        code: modules outside eomm whose networks the model may use.
        progress: called with (units done, units in all).
        options: of `embed`.

    Raises:
        UsageError: see `run_tasks` and `embed`.
        ContractError: see `embed`.
        DataError: see `embed`.
    """
    model, cube, out = (Path(p).absolute() for p in (model, cube, out))
    task = partial(embed_shard, str(model), str(cube), str(out), tuple(code), options)

    def watch() -> None:
        try:
            now = status(out)
        except DataError:  # not begun
            return
        if progress:
            progress(now["done"], now["units"])

    run_tasks(task, PER_WORKER, Pool(workers=workers, scheduler=scheduler), watch=watch)
    return out


def embed_shard(
    model: str, cube: str, out: str, code: tuple[str, ...], options: dict[str, Any], index: int, count: int
) -> None:
    """One task. JAX is imported here, in the worker."""
    from eomm.embedding.run import embed

    embed(load_model(model, code=code), cube, out, shard=(index, count), **options)
