"""What a head is fitted on: vectors with a number or a class each, in groups of which none is ever divided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from eomm.data.arrays import DIGEST
from eomm.data.attributes import attributes_of, open_attributes
from eomm.embedding.store import KIND, open_embedding
from eomm.errors import ContractError, UsageError
from eomm.evaluation.folds import Fold
from eomm.evaluation.probes.rows import draw
from eomm.store.fields import Json


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Rows for a fit.

    Attributes:
        x: a vector each.
        y: numbers (NaN in rows of none), or numbers of classes.
        group: what is held out whole.
        rows: that may be fitted on.
        folds: each row of which is tested by a fit that saw nothing of its group.
        classes: names; empty for numbers.
        target: what is predicted, such as "GPP".
        unit: of numbers; "" where unknown.
        thinned: fit on a share of the rows of each fold, as probes do: pixels of a field are alike.
        contract: of the vectors, as `contract_of` has it.
        about: where rows come from; JSON types.
    """

    x: Float32[np.ndarray, "n k"]
    y: np.ndarray
    group: Int[np.ndarray, " n"]
    rows: Int[np.ndarray, " r"]
    folds: Sequence[Fold]
    classes: tuple[str, ...]
    target: str
    unit: str
    thinned: bool
    contract: Mapping[str, Any]
    about: Mapping[str, Any]

    def training(self, rows: Int[np.ndarray, " a"], seed: int) -> Int[np.ndarray, " b"]:
        """Of some rows those to fit on."""
        if not self.thinned:
            return rows
        whole = Fold(name="", train=rows, test=rows[:0])
        return draw(whole, self.y, 1.0, seed, classes=len(self.classes))


def contract_of(path: Path | str, length: int | None = None) -> Json:
    """What a head must know of the vectors in a store: the model that made them, their length, what they are of.

    Args:
        path: an embedding cube.
        length: leading numbers that are used; all when None.

    Raises:
        DataError: it is none.
        UsageError: it has fewer numbers.
    """
    data = open_embedding(path)
    about, full = attributes_of(data), data.sizes["feature"]
    if length is not None and not 1 <= length <= full:
        raise UsageError(f"length is {length}; the vectors of {path} have {full} numbers")
    return {
        "model": about.get("eomm:model"),
        "length": length or full,
        "modalities": about.get("provenance", {}).get("modalities"),
        "composite": about.get("eomm:export", {}).get("composite"),
        "simulated": bool(about.get("provenance", {}).get("simulated", False)),
    }


def check_alike(path: Path | str, found: Mapping[str, Any], expected: Mapping[str, Any], whose: str) -> None:
    """Raise ContractError where vectors are not those that a head, or another store, has.

    Args:
        path: of the store.
        found: its contract.
        expected: what it must be.
        whose: in words, such as "head gpp".
    """
    for name, wanted in expected.items():
        have = found[name]
        if name == "length" and have >= wanted:
            continue  # leading numbers serve alone
        if have != wanted:
            raise ContractError(
                f"{path}: has vectors of {name} {have!r}, {whose} is of {name} {wanted!r}; embed the site with that "
                "model, in the same way, or fit a head on these vectors"
            )


def joint_contract(paths: Sequence[Path], length: int | None) -> Json:
    """The contract of all stores. Raises ContractError where they differ."""
    first = contract_of(paths[0], length)
    for path in paths[1:]:
        check_alike(path, contract_of(path, length), first, str(paths[0]))
    return first


def told(path: Path) -> Json:
    """What a head notes of a store that it was fitted on."""
    about = open_attributes(path, kind=KIND)
    return {
        "name": path.name,
        "site": about.get("site"),
        "digest": about.get(DIGEST),
        "cube": about.get("eomm:cube"),
    }
