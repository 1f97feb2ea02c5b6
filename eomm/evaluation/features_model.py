"""Features of a model: its embeddings of a cube, those of the same networks with random parameters, or a store's."""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eomm.data.attributes import attributes_of
from eomm.data.cube import Cube
from eomm.data.grid import Grid
from eomm.embedding.run import embed
from eomm.embedding.store import KIND, open_embedding
from eomm.errors import ContractError, UsageError
from eomm.evaluation.features import Dates, Features, between, check_size, told
from eomm.models.directory import Model


def check_made_by(model: Model, embedding: Path) -> None:
    """Raise ContractError where a store was made by another model."""
    if (by := open_embedding(embedding).attrs.get("eomm:model")) != model.hash:
        raise ContractError(f"{embedding}: was made by model {by}, expected {model.hash}; name the model that made it")


def embed_into(folder: Path, model: Model, cube: Cube, dates: Dates, *, length: int | None = None) -> Path:
    """A store of the clear pixels of every usable date, as float32; what lies in the folder already is used again.

    Args:
        folder: for the store.
        model: trained, or of `randomised`.
        cube: its site.
        dates: first and last; windows reach beyond them.
        length: leading numbers of each vector.
    """
    check_size(cube.grid, 1, length or model.dim, "model")
    folder.mkdir(parents=True, exist_ok=True)
    when = "all" if dates is None else f"{dates[0]}_{dates[1]}"
    store = folder / f"{cube.site}-{model.hash}-{length or model.dim}-{when}.zarr"
    return embed(model, cube, store, dates=dates, length=length, dtype="float32")


def embedded(model: Model, cube: Cube, dates: Dates, *, work: Path | None = None, name: str = "model") -> Features:
    """`embed_into` the folder `work`, or a temporary one, and read."""
    with tempfile.TemporaryDirectory() as temporary:
        return stored(embed_into(work or Path(temporary), model, cube, dates), cube, None, name=name)


def randomised(model: Model, seed: int) -> Model:
    """The same networks with fresh parameters, without the int8 scales and errors measured of the trained ones."""
    params: dict[str, Any] = {}
    for i, (name, encoder) in enumerate(model.encoders.items()):
        fresh = encoder.init(jax.random.fold_in(jax.random.key(seed), i))
        params[name] = {**model.params[name], "encoder": fresh}
    if model.fusion:
        params["fusion"] = model.fusion.init(jax.random.fold_in(jax.random.key(seed), len(params)))
    info = {k: v for k, v in model.info.items() if k != "calibration"}
    return dataclasses.replace(model, params=params, info={**info, "untrained": seed})


def stored(path: Path, cube: Cube, dates: Dates, *, name: str) -> Features:
    """Embeddings of a store that `eomm embed` or `eomm export --to zarr` made of this cube's site.

    Raises:
        ContractError: it lies on another grid, is of another site, or one of the two is simulated and the other not.
        DataError: missing, unfinished or damaged.
        UsageError: it has no date within `dates`, or is too large.
    """
    found = open_embedding(path)
    about = attributes_of(found)
    simulated = bool(about.get("provenance", {}).get("simulated", False))
    grid = Grid.from_attributes(about)
    here = cube.grid
    differs = {
        "site": (about.get("site"), cube.site),
        "grid": (grid.text, here.text),
        "simulated": (simulated, cube.simulated),
    }
    for what, (theirs, ours) in differs.items():
        if theirs != ours:
            raise ContractError(
                f"features {name!r}: the {what} of {path} ({KIND}) is {theirs!r}, that of {cube.path} is {ours!r}; "
                "embed this cube"
            )
    day = found["time"].values.astype("datetime64[D]").astype(np.int32)
    chosen = np.flatnonzero(between(day, dates))
    if not len(chosen):
        raise UsageError(f"features {name!r}: {path} has no date{told(dates)}; choose other dates, or embed them")
    check_size(grid, len(chosen), found.sizes["feature"], name)
    part = found.isel(time=chosen)
    return Features.masked(part["embedding"].values, np.asarray(part["valid"].values, bool), day[chosen])
