"""What users' features say of themselves, as columns of a table: each property keeps its name and a type that fits all.

Not where features lie (features.py).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from eomm.errors import DataError
from eomm.export.features import Feature

MAX_COLUMNS = 1000
PREFIX = "property_"  # before names that our own columns have


@dataclass(frozen=True)
class Column:
    """A property of all features.

    Attributes:
        dtype: pyarrow's name of its type: bool_, int64, float64 or string.
        values: one for each feature, None where it has none.
    """

    dtype: str
    values: list[Any]


def properties(features: Sequence[Feature], taken: Iterable[str]) -> dict[str, Column]:
    """The features' properties by name, in the order in which the file first has them.

    Numbers stay numbers and texts texts; where a property has several types, or lists and objects, it becomes text
    (JSON for what is no text). Columns of a CSV are text. A property of a name that is taken gets `property_` before
    it; the property `id` is left out where it is the feature's id.

    Raises:
        DataError: there are more than MAX_COLUMNS.
    """
    taken = set(taken)
    names = dict.fromkeys(str(name) for f in features for name in f.properties)
    if len(names) > MAX_COLUMNS:
        raise DataError(f"features have {len(names):,} different properties; at most {MAX_COLUMNS:,} become columns")
    found: dict[str, Column] = {}
    for name in names:
        values = [f.properties.get(name) for f in features]
        if name == "id" and all(v is None or str(v) == f.id for v, f in zip(values, features, strict=True)):
            continue
        own = name
        while own in taken or own in found or (own != name and own in names):
            own = PREFIX + own
        found[own] = column(values)
    return found


def column(values: Sequence[Any]) -> Column:
    """Values of one property with the narrowest type that holds all of them exactly."""
    known = [v for v in values if v is not None]
    kinds = set(map(type, known))
    if kinds == {bool}:
        return Column("bool_", list(values))
    if kinds == {int} and -(2**63) <= min(known) <= max(known) < 2**63:
        return Column("int64", list(values))
    if kinds in ({int}, {float}, {int, float}) and all(abs(v) <= 2**53 for v in known if type(v) is int):
        return Column("float64", [v if v is None else float(v) for v in values])
    return Column("string", [v if v is None or isinstance(v, str) else json.dumps(v) for v in values])
