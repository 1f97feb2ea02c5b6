"""Many cubes to embedding cubes, one beside the other in a folder. Not how one is embedded (run.py).

Their blocks are square and their dates padded to multiples of a few, so that sites of unlike sizes share compiled
programs, and the model is loaded once in each process. A site that fails stops no other, and is named at the end.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eomm.embedding.cluster import model_of
from eomm.embedding.plan import check_options
from eomm.embedding.run import embed
from eomm.embedding.units import check_shard, share
from eomm.errors import DataError, UsageError
from eomm.models.directory import Model, load_model
from eomm.store.digest import head_digest
from eomm.store.fields import Json
from eomm.store.folders import check_apart, entered
from eomm.store.kinds import kind_of
from eomm.store.many import do_sites, format_standing, standing
from eomm.store.notes import Notes
from eomm.store.workers import Pool

NOTES = "units"  # folder of `out`
HOW = ("append", "check", "overwrite", "memory_bytes")  # options that change no vector


def read_cubes(paths: Sequence[Path | str]) -> dict[str, Path]:
    """Cubes by the names that their embeddings get, in order.

    Args:
        paths: each a cube, a folder of cubes, or a list of cubes: a table (.csv, .parquet) with a column `cube` and
            perhaps `name`, or another text file with a path on each line, where blank lines and those that begin with
            # do not count. Paths in a list are taken from the list's folder. A cube's name is its folder's, without
            .zarr, where the table gives none.

    Raises:
        DataError: a list is missing, lacks its column or is empty, or a name is none that a folder may have.
        UsageError: two cubes have the same name, but for case.
    """
    cubes: dict[str, Path] = {}  # by what a file system may take for the same name
    names: dict[str, str] = {}
    for name, cube in (found for path in paths for found in _cubes_at(entered(path))):
        other = cubes.setdefault(name.casefold(), cube)
        if other is not cube:
            raise UsageError(f"{cube} and {other}: both would be {name}.zarr; rename one, or name both in a table")
        names[name.casefold()] = name
    return {names[key]: cube for key, cube in cubes.items()}


def embed_sites(
    model: Model | Path | str,
    cubes: Mapping[str, Path | str],
    out: Path | str,
    *,
    code: Sequence[str] = (),
    shard: tuple[int, int] = (0, 1),
    pool: Pool = Pool(),
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Json:
    """Embed many cubes to `out`/NAME.zarr. Killed and called again it goes on; what is finished is not done again.

    Args:
        model: a model, or its directory where there are workers.
        cubes: by name.
        out: the folder of the embeddings.
        code: modules outside eomm whose networks the model may use.
        shard: (i, n), only part i of n of the sites, counted from 0.
        pool: who does them, a site at a time each; its workers must see the same files.
        progress: called with (sites done or failed, sites in all).
        options: of `embed`, for every site.

    Returns:
        As `status`.

    Raises:
        UsageError: an option is wrong for any cube, `out` is a store, or no worker can be had.
        DiskFull: what is finished stays.
        DataError: the model is missing or damaged.
    """
    out = entered(out)
    loaded = load_model(model, code=code)
    checked = {k: options[k] for k in ("block", "modalities", "length", "dtype", "average_days") if k in options}
    check_options(loaded, **{"dtype": "int8", **checked})
    check_apart(out, {f"the cube {name}": cube for name, cube in cubes.items()}, replaced=False)
    if kind_of(out):
        raise UsageError(f"{out}: is a store; the embeddings of many cubes lie in a folder of their own")
    check_shard(shard)
    notes = Notes(out / NOTES)
    notes.begin()
    mine = share([(name, str(entered(cube).absolute())) for name, cube in cubes.items()], *shard)
    asked = {name: value for name, value in options.items() if name not in HOW}
    made_of = json.loads(json.dumps({"model": loaded.hash, "options": asked}, default=str))
    todo = [site for site in mine if not _is_done(out, site, made_of)]
    source: Model | str = loaded
    if not pool.alone:
        if isinstance(model, Model):
            raise UsageError("workers load the model themselves; give its directory")
        source = str(entered(model).absolute())
    task = partial(embed_site, source, str(out.absolute()), tuple(code), made_of, options)
    do_sites(task, todo, notes, pool, finished=len(mine) - len(todo), progress=progress)
    return status(out, [name for name, _ in mine])


def embed_site(
    model: Model | str,
    out: str,
    code: tuple[str, ...],
    made_of: Mapping[str, Any],
    options: Mapping[str, Any],
    site: tuple[str, str],
) -> None:
    """One site, and the note that it is done. Raises what `embed` raises."""
    name, cube = site
    notes = Notes(Path(out) / NOTES)
    notes.forget(name)
    loaded = model if isinstance(model, Model) else model_of(model, code)
    head = head_digest(Path(cube) / "zarr.json")
    threads = None if isinstance(model, Model) else 1  # a worker is one of several
    embed(loaded, cube, Path(out) / f"{name}.zarr", square=True, threads=threads, **options)
    notes.done(name, {**made_of, "cube": head})


def _is_done(out: Path, site: tuple[str, str], made_of: Mapping[str, Any]) -> bool:
    """Whether a site is finished and of the same model, options and cube; opens no store."""
    name, cube = site
    found = Notes(out / NOTES).made(name)
    return found == {**made_of, "cube": head_digest(Path(cube) / "zarr.json")} and (out / f"{name}.zarr").is_dir()


def status(out: Path | str, names: Sequence[str]) -> Json:
    """How far the embeddings of many cubes are: counts, and why some failed. JSON types; opens no store.

    Args:
        out: the folder of the embeddings.
        names: of the cubes.
    """
    notes = Notes(Path(out) / NOTES)
    done = (name for name in names if notes.made(name) and (Path(out) / f"{name}.zarr").is_dir())
    return {"embeddings": str(out), **standing(names, notes, done)}


def format_status(found: Json) -> str:
    """A `status` for people."""
    return format_standing(found, where=f" in {found['embeddings']}")


def _cubes_at(path: Path) -> list[tuple[str, Path]]:
    if path.is_file():
        found = _rows(path) if path.suffix.lower() in (".csv", ".parquet") else _lines(path)
        what = "its list names none"
    elif kind_of(path) or not path.is_dir() or path.suffix == ".zarr":
        return [(path.stem, path)]  # what is no cube fails alone, by its name
    else:
        found = [(p.stem, p) for p in sorted(path.glob("*.zarr"))]
        what = "a folder without *.zarr"
    if not found:
        raise DataError(f"{path}: {what}; expected cubes, such as those in the folder cubes of eomm prepare sites")
    return found


def _lines(path: Path) -> list[tuple[str, Path]]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as e:
        raise DataError(f"{path}: not text ({e}); expected a path on each line, or a table .csv, .parquet") from e
    given = [path.parent / line for line in lines if line and not line.startswith("#")]
    return [(cube.stem, cube) for cube in given]


def _rows(path: Path) -> list[tuple[str, Path]]:
    from eomm.data.tables import find_column, read_frame  # pandas takes half a second to import

    table = read_frame(path, text=True)
    column, named = find_column(table.columns, "cube"), find_column(table.columns, "name")
    if column is None:
        raise DataError(f"{path}: has columns {', '.join(table.columns)}; expected one called cube, with paths")
    given = [path.parent / str(cube) for cube in table[column]]
    names = [str(name).strip() for name in table[named]] if named else [""] * len(given)
    for name in names:
        if name.startswith(".") or "/" in name:  # a table must not write outside of `out`
            raise DataError(f"{path}: name {name!r}; expected one of a folder, without / and no . first")
    return [(name or cube.stem, cube) for name, cube in zip(names, given, strict=True)]
