"""While the suite runs, every shape that our annotations state is checked at every call: jaxtyping's import hook.

Only annotations that hold a shape are checked. The rest of a signature is mypy's: beartype would refuse an int where a
float is wanted and protocols that are not for run time, which are no mistakes, and importing all modules would take
7 s of a processor instead of 3.7 (1.6 unchecked). Subprocesses that tests start are not checked.
"""

import functools
import inspect
import operator
import sys
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import jaxtyping
import numpy as np
from beartype import beartype
from jaxtyping import AbstractArray, Shaped, install_import_hook, jaxtyped


def check(packages: Sequence[str]) -> None:
    """Have every function and dataclass of the packages checked that is imported from now on."""
    assert not {n.split(".")[0] for n in sys.modules} & set(packages), "what was imported before would not be checked"
    install_import_hook(packages, f"{__name__}.{checked.__name__}")
    jaxtyping.jaxtyped = where_shapes_are  # what the hook puts on every definition


def where_shapes_are(**options: Any) -> Callable[[Any], Any]:
    """As `jaxtyped`, but leaves alone what states no shape: 20 us a call were nine tenths of a test of many records."""

    def decorate(target: Any) -> Any:
        classes = target.__mro__ if inspect.isclass(target) else (target,)
        hints = [h for c in classes for h in vars(c).get("__annotations__", getattr(c, "__annotations__", {})).values()]
        return jaxtyped(**options)(target) if any(map(has_shape, hints)) else target

    return decorate


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, raising where an argument or what it returns has not the shape or dtype that is annotated."""
    hints = function.__annotations__
    function.__annotations__ = {n: numpy_too(h) if has_shape(h) else Any for n, h in hints.items()}
    return beartype(function) if any(map(has_shape, hints.values())) else function


def has_shape(hint: Any) -> bool:
    return is_array(hint) or any(map(has_shape, typing.get_args(hint)))


def is_array(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, AbstractArray)


def numpy_too(hint: Any) -> Any:
    """The hint with NumPy's arrays beside JAX's, which computes with either and narrows what has 64 bits."""
    if is_array(hint):
        return hint if hint.array_type is np.ndarray else hint | Shaped[np.ndarray, hint.dim_str]
    if "jax" in sys.modules and hint is sys.modules["jax"].Array:  # importing it would be too early
        return hint | np.ndarray
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if not parts or origin is Callable:
        return hint
    parts = tuple(map(numpy_too, parts))
    return functools.reduce(operator.or_, parts) if origin in (types.UnionType, typing.Union) else origin[parts]
