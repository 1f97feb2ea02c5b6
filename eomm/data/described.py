"""TOML files of a user as dataclasses whose fields are their keys: mappings of scenes and points, own modalities."""

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eomm.data.modality import Band, Modality
from eomm.errors import ContractError, DataError
from eomm.store.fields import Json, check_dataclass

Kind = TypeVar("Kind")


def read_toml(path: Path) -> Json:
    """The table of a TOML file. Raises DataError where it is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise DataError(f"{path}: not valid TOML ({e}); correct the mapping") from e


def to_dataclass(kind: type[Kind], table: Mapping[str, Any], *, where: str) -> Kind:
    """A dataclass of a table's values, lists as tuples.

    Raises:
        ContractError: a key is unknown or missing, or its value cannot be; named after `where`.
    """
    see = f"see {kind.__name__} in {kind.__module__}"
    _check_keys(dataclasses.fields(kind), table, where, see)  # type: ignore[arg-type]
    check_dataclass(kind, table, where, error=ContractError, remedy=see)
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in table.items()})
    except ContractError as e:
        raise ContractError(f"{where}: {e}") from e
    except (TypeError, ZeroDivisionError) as e:
        raise ContractError(f"{where}: a value is of the wrong kind ({e}); {see}") from e


def _check_keys(fields: Sequence[Any], table: Mapping[str, Any], where: str, see: str) -> None:
    names = [f.name for f in fields]
    if unknown := [k for k in table if k not in names]:
        raise ContractError(f"{where}: unknown key {', '.join(unknown)}; expected only {', '.join(names)}")
    needed = [f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING]
    if missing := [n for n in needed if n not in table]:
        raise ContractError(f"{where}: key {', '.join(missing)} is missing; add it ({see})")


def modality_of(table: Mapping[str, Any], *, where: str) -> Modality:
    """A contract of a user's own, with a table for each band. Raises ContractError."""
    bands = table.get("bands", ())
    if not isinstance(bands, list) or not all(isinstance(b, dict) for b in bands):
        raise ContractError(f"{where}: bands is {bands!r}, expected a list of tables, one per band")
    made = tuple(to_dataclass(Band, b, where=f"{where}, band {i}") for i, b in enumerate(bands, 1))
    return to_dataclass(Modality, {**table, "bands": made}, where=where)
