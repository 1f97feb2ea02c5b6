"""Ways in which JSON goes wrong: every key missing, of another type, NaN, negative, huge. Not what is said then."""

import copy
import json
from collections.abc import Iterator
from typing import Any

WRONG = {
    "null": None,
    "text": "x",
    "NaN": float("nan"),
    "negative": -3,
    "zero": 0,
    "huge": 10**30,
    "fraction": 0.5,
    "true": True,
    "empty list": [],
    "empty table": {},
    "list": [1, "a", None],
    "table": {"a": 1},
}


def damaged(content: Any, *, depth: int = 4) -> Iterator[tuple[str, Any]]:
    """(what was done, the content with it): each key of each table, and the first of each list, in every wrong way."""
    yield from ((f"all is {how}", value) for how, value in WRONG.items())
    for path in _paths(content, depth):
        name = "/".join(map(str, path))
        yield f"{name} missing", _changed(content, path, None, remove=True)
        for how, value in WRONG.items():
            yield f"{name} is {how}", _changed(content, path, value)


def _paths(content: Any, depth: int) -> Iterator[tuple[Any, ...]]:
    if depth == 0:
        return
    keys = content if isinstance(content, dict) else range(min(len(content), 1)) if isinstance(content, list) else ()
    for key in keys:
        yield (key,)
        yield from ((key, *rest) for rest in _paths(content[key], depth - 1))


def _changed(content: Any, path: tuple[Any, ...], value: Any, *, remove: bool = False) -> Any:
    changed = at = copy.deepcopy(content)
    *parents, last = path
    for parent in parents:
        at = at[parent]
    if remove:
        del at[last]
    else:
        at[last] = value
    return changed


def text(content: Any) -> str:
    """As JSON, with NaN as Python and many others write it."""
    return json.dumps(content)
