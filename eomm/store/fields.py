"""Whether what was read from JSON or TOML has the keys and types that its kind of file must have.

A kind of file has one description, which is a value: `Fields({"name": str, "files?": ListOf(str)})`. What fits is used
without further checks; what does not is an error that names the file, the key, what was found and what was expected.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eomm.errors import DataError, EommError

INT64 = 2**63 - 1
Json = dict[str, Any]
"""A JSON object: texts, numbers, truths, nulls, and lists and objects of such."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A finite number between two bounds, both included.

    Attributes:
        low: the least.
        high: the most.
        whole: no fraction.
    """

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False


COUNT = Number(low=0, high=INT64, whole=True)
SIZE = Number(low=1, high=2**31 - 1, whole=True)
DAY = Number(low=-(10**6), high=10**6, whole=True)  # since 1970-01-01: years from before 0 to 4707


PLAIN = {float: Number(low=-1e300, high=1e300), int: Number(low=-INT64, high=INT64, whole=True)}


@dataclass(frozen=True)
class Fields:
    """A table with known keys; those that end in "?" may be missing. Others may stand beside them."""

    of: Mapping[str, Any]


@dataclass(frozen=True)
class TableOf:
    """A table whose keys are names, all values of one description."""

    of: Any


@dataclass(frozen=True)
class Maybe:
    """What is described, or null."""

    of: Any


@dataclass(frozen=True, kw_only=True)
class ListOf:
    """A list.

    Attributes:
        of: description of each.
        count: how many, where it is known.
    """

    of: Any
    count: int | None = None


def check(found: Any, expected: Any, where: str, *, error: type[EommError] = DataError, remedy: str) -> Any:
    """The value itself where it fits its description.

    Args:
        found: JSON or TOML types.
        expected: a class (str, bool, dict, …), a union, tuple[int, ...], Literal or None as annotations have them, or
            one of the descriptions of this module.
        where: the file.
        error: what to raise.
        remedy: what to do, as the end of a sentence.

    Raises:
        EommError: of the type `error`, naming the first key that does not fit.
    """
    if wrong := _misfit(found, expected, ""):
        key, what, words = wrong
        raise error(f"{where}: {key or 'it'} is {what}, expected {words}; {remedy}")
    return found


def _misfit(found: Any, expected: Any, key: str) -> tuple[str, str, str] | None:
    """Where, what was found, what was expected; None where it fits."""
    if isinstance(expected, Maybe):
        return None if found is None else _misfit(found, expected.of, key)
    here = key.rstrip("/")
    if isinstance(expected, Fields | TableOf) and not isinstance(found, Mapping):
        return here, describe(found), "a table"
    if isinstance(expected, Fields):
        return _misfit_of_keys(found, expected, key)
    if isinstance(expected, TableOf):
        return _misfit_of_items(found.items(), expected.of, key)
    if not isinstance(expected, ListOf):
        return None if fits(found, expected) else (here, describe(found), words(expected))
    if not isinstance(found, list | tuple):
        return here, describe(found), words(expected)
    if expected.count not in (None, len(found)):
        return here, f"{len(found)} values", words(expected)
    return _misfit_of_items(enumerate(found), expected.of, key)


def _misfit_of_keys(found: Mapping[str, Any], expected: Fields, key: str) -> tuple[str, str, str] | None:
    for name, of in expected.of.items():
        plain = name.removesuffix("?")
        if plain in found:
            if wrong := _misfit(found[plain], of, f"{key}{plain}/"):
                return wrong
        elif name == plain:
            return f"{key}{plain}", "missing", words(of)
    return None


def _misfit_of_items(items: Iterable[tuple[Any, Any]], of: Any, key: str) -> tuple[str, str, str] | None:
    return next((wrong for name, v in items if (wrong := _misfit(v, of, f"{key}{name}/"))), None)


def fits(found: Any, expected: Any) -> bool:
    """Whether a value is what an annotation or a `Number` says. A whole number serves as a number, true never does."""
    if isinstance(expected, Number):
        return _is_number(found, expected)
    if isinstance(expected, Fields | TableOf | ListOf | Maybe):
        return _misfit(found, expected, "") is None
    if expected in PLAIN:
        return _is_number(found, PLAIN[expected])
    return _is_annotated(found, expected, typing.get_origin(expected), typing.get_args(expected))


def _is_number(found: Any, expected: Number) -> bool:
    if isinstance(found, bool) or not isinstance(found, int if expected.whole else int | float):
        return False
    return expected.low <= found <= expected.high and (isinstance(found, int) or math.isfinite(found))


def _is_annotated(found: Any, expected: Any, origin: Any, args: tuple[Any, ...]) -> bool:
    if expected in (None, types.NoneType):
        return found is None
    if origin in (types.UnionType, typing.Union):
        return any(fits(found, arg) for arg in args)
    if origin is Literal:
        return any(found == a and type(found) is type(a) for a in args)
    if origin is tuple:
        return isinstance(found, list | tuple) and _is_row(found, args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(found, Mapping) and all(fits(k, args[0]) and fits(v, args[1]) for k, v in found.items())
    return expected is Any or isinstance(found, expected)


def _is_row(found: Sequence[Any], each: tuple[Any, ...]) -> bool:
    each = each[:1] * len(found) if each[1:] == (Ellipsis,) else each
    return len(found) == len(each) and all(map(fits, found, each))


def check_dataclass(kind: Any, fields: Mapping[str, Any], where: str, *, error: type[EommError], remedy: str) -> None:
    """Check the values that are to become the fields of a dataclass against its annotations. Raises `error`."""
    check(fields, _fields_of(kind), where, error=error, remedy=remedy)


@functools.cache
def _fields_of(kind: Any) -> Fields:
    hints = typing.get_type_hints(kind)  # 0.1 ms; a cube has thousands of acquisitions
    return Fields({f"{f.name}?": hints[f.name] for f in dataclasses.fields(kind)})


def describe(found: Any) -> str:
    """A value in a message, short."""
    if isinstance(found, list | tuple | Mapping):
        return "a table" if isinstance(found, Mapping) else "a list"
    text = "null" if found is None else repr(found)
    return text if len(text) <= 80 else f"{text[:77]}…"


def words(expected: Any) -> str:
    """A description in words."""
    if isinstance(expected, Number):
        low = f" from {expected.low:g}" if math.isfinite(expected.low) else ""
        high = f" to {expected.high:g}" if expected.high < 2**31 - 1 else ""
        return ("a whole number" if expected.whole else "a finite number") + low + high
    if isinstance(expected, ListOf):
        return f"a list of {expected.count or ''} ".replace("  ", " ") + f"({words(expected.of)} each)"
    if isinstance(expected, Maybe):
        return words(expected.of)
    if isinstance(expected, Fields | TableOf):
        return "a table"
    return _words_of(expected, typing.get_origin(expected), typing.get_args(expected))


def _words_of(expected: Any, origin: Any, args: tuple[Any, ...]) -> str:
    if origin in (types.UnionType, typing.Union):
        return " or ".join(words(a) for a in args if a is not types.NoneType)
    if origin is Literal:
        return " or ".join(map(repr, args))
    if origin is tuple:
        return f"a list ({words(args[0])} each)"
    named: dict[Any, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a finite number"}
    named[dict] = "a table"
    return named.get(expected, "a table" if isinstance(origin, type) else getattr(expected, "__name__", str(expected)))
