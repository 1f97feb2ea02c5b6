"""While the suite runs, every shape that our annotations state is checked at every call: jaxtyping's import hook.

Only annotations that hold a shape are checked. The rest of a signature is mypy's: beartype would refuse an int where a
float is wanted and protocols that are not for run time, which are no mistakes, and importing all modules would take
7 s of a processor instead of 3.7 (1.6 unchecked). Subprocesses that tests start are not checked.
"""

import inspect
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Any

from beartype import beartype
from jaxtyping import AbstractArray, install_import_hook


def check(packages: Sequence[str]) -> None:
    """Have every function and dataclass of the packages checked that is imported from now on."""
    assert not {n.split(".")[0] for n in sys.modules} & set(packages), "what was imported before would not be checked"
    install_import_hook(packages, f"{__name__}.{checked.__name__}")


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, raising where an argument or what it returns has not the shape or dtype that is annotated."""
    function.__annotations__ = {n: h if has_shape(h) else Any for n, h in function.__annotations__.items()}
    return beartype(function) if any(h is not Any for h in function.__annotations__.values()) else function


def has_shape(hint: Any) -> bool:
    return (inspect.isclass(hint) and issubclass(hint, AbstractArray)) or any(map(has_shape, typing.get_args(hint)))
