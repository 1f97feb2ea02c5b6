"""The check that the suite puts behind every shape annotation of the packages (jaxtyping's import hook names it).

Only parameters, results and fields that name an array's shape are checked: plain types are mypy's, and tests hand in
stand-ins of them on purpose.
"""

import typing
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for mypy


def check(function: Any) -> Any:
    """`function`, checked by beartype where it names shapes; itself where it names none."""
    named = {k: v for k, v in getattr(function, "__annotations__", {}).items() if _names_a_shape(v)}
    if not named:
        return function
    function.__annotations__ = named
    return _beartype(function)


def _names_a_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(_names_a_shape(part) for part in typing.get_args(hint))
