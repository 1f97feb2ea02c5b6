"""One embedding by many workers: each does shards of its units (units.py). Not the workers (store/workers.py)."""

from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from eomm.data.cube import Cube, open_cube
from eomm.embedding.units import check_shard, status
from eomm.errors import DataError
from eomm.models.directory import Model, load_model
from eomm.store.digest import head_digest
from eomm.store.progress import Progress
from eomm.store.workers import Pool, run_units

PER_WORKER = 4  # shards, so that a slow worker keeps nobody waiting for long


def embed_on_workers(
    model: Path | str,
    cube: Path | str,
    out: Path | str,
    *,
    pool: Pool,
    code: tuple[str, ...] = (),
    shard: tuple[int, int] = (0, 1),
    progress: Progress | None = None,
    **options: Any,
) -> Path:
    """As `embed`, by Dask workers; paths are such that all of them see the same files.

    Args:
        model: a model directory.
        cube: a cube's directory.
        out: the embedding cube.
        pool: of workers; on machines without accelerators, which one process drives alone.
        code: modules outside eomm whose networks the model may use.
        shard: as of `embed`; the workers share this part.
        progress: called with (units done, units in all).
        options: of `embed`.

    Raises:
        UsageError: see `run_units` and `embed`.
        ContractError: see `embed`.
        DataError: see `embed`.
    """
    model, cube, out = (Path(p).absolute() for p in (model, cube, out))
    check_shard(shard)
    task = partial(embed_shard, (str(model), str(cube), str(out), tuple(code)), options)

    def shards(workers: int) -> list[tuple[int, int]]:
        (index, count), each = shard, PER_WORKER * workers
        return [(index * each + i, count * each) for i in range(each)]

    def watch() -> None:
        with suppress(DataError):  # not begun
            now = status(out)
            if progress:
                progress(now["done"], now["units"])

    for _, _, error in run_units(task, shards, pool, watch=watch):
        if error is not None:
            raise error
    return out


def embed_shard(
    what: tuple[str, str, str, tuple[str, ...]], options: Mapping[str, Any], shard: tuple[int, int]
) -> None:
    """One task: a part of a cube by a model and its code, to an embedding."""
    from eomm.embedding.run import embed

    model, cube, out, code = what
    embed(model_of(model, code), cube_of(cube), out, shard=shard, threads=1, **options)


def model_of(path: str, code: tuple[str, ...]) -> Model:
    """A model, loaded once in a process however many tasks ask; anew where another lies at its path by now."""
    return _model(path, code, head_digest(Path(path) / "model.json"))


def cube_of(path: str) -> Cube:
    """A cube, opened once in a process, as `model_of`."""
    return _cube(path, head_digest(Path(path) / "zarr.json"))


@lru_cache(maxsize=1)
def _model(path: str, code: tuple[str, ...], _: str) -> Model:
    return load_model(path, code=code)


@lru_cache(maxsize=1)
def _cube(path: str, _: str) -> Cube:
    return open_cube(path)
