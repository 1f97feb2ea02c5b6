"""What an opened cube, record set, model or head shows of itself: a line in Python, a small table in a notebook."""

import html
from collections.abc import Mapping


class Shown:
    """Gives `__repr__` and `_repr_html_` to whatever says its `facts`; dataclasses need `repr=False` beside it."""

    def facts(self) -> Mapping[str, object]:
        """What matters, by name, in few words; the first is what it is called."""
        raise NotImplementedError

    def __repr__(self) -> str:
        (_, name), *rest = self.facts().items()
        told = ", ".join(f"{key}: {value}" for key, value in rest)
        return f"<eomm.{type(self).__name__} {name}; {told}>"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(key)}</th><td>{html.escape(str(value))}</td></tr>"
            for key, value in self.facts().items()
        )
        return f"<table><caption>eomm.{type(self).__name__}</caption>{rows}</table>"
