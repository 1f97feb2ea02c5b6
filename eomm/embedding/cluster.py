"""One embedding by many workers: each does shards of its units (units.py). Not the workers (store/workers.py)."""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from eomm.data.cube import Cube, open_cube
from eomm.embedding.units import status
from eomm.errors import DataError
from eomm.models.directory import Model, load_model
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
    """One task."""
    from eomm.embedding.run import embed

    embed(model_of(model, code), cube_of(cube), out, shard=(index, count), threads=1, **options)


def model_of(path: str, code: tuple[str, ...]) -> Model:
    """A model, loaded once in a process however many tasks ask; anew where another lies at its path by now."""
    return _model(path, code, _written(Path(path) / "model.json"))


def cube_of(path: str) -> Cube:
    """A cube, opened once in a process, as `model_of`."""
    return _cube(path, _written(Path(path) / "zarr.json"))


@lru_cache(maxsize=1)
def _model(path: str, code: tuple[str, ...], _: tuple[int, int]) -> Model:
    return load_model(path, code=code)


@lru_cache(maxsize=1)
def _cube(path: str, _: tuple[int, int]) -> Cube:
    return open_cube(path)


def _written(head: Path) -> tuple[int, int]:
    try:
        found = head.stat()
    except FileNotFoundError:  # whoever opens it says so
        return (0, 0)
    return found.st_ino, found.st_mtime_ns
