"""What answers on a page, from its pieces: view.html, Bokeh's code and ours, the figures and the data."""

import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from bokeh.resources import Resources

from eomm.page.html import CSS, Live, banner, document, text

FILES = files("eomm.view")
OURS = ("layers.js", "maps.js", "picks.js", "view.js")  # in the order in which they run


def live(*, about: Mapping[str, Any], figures: Mapping[str, Any], blocks: Mapping[str, str]) -> Live:
    """Maps and charts that answer.

    Args:
        about: what `content.describe` gave; with "server": true the page asks the server that it came from for layers.
        figures: of `figures.figures`.
        blocks: base64 by name, as `run.named_blocks` names them; empty with a server.
    """
    data = [("about", as_json(about)), ("figures", as_json(figures)), *blocks.items()]
    bokeh = Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw
    return Live(
        body=Template(read("view.html")).substitute(
            data="".join(f'<script type="text/plain" id="{text(name)}">{value}</script>' for name, value in data)
        ),
        style=read("view.css"),
        scripts=(*bokeh, *map(read, OURS)),
        asks=bool(about["server"]),
    )


def alone(part: Live, *, title: str, simulated: bool) -> str:
    """A page of nothing else."""
    body = f'{banner(simulated)}<main class="viewer"><h1>{text(title)}</h1>{part.body}</main>'
    return document(title=title, body=body, style=CSS, live=part)


def read(name: str) -> str:
    """A file of this package."""
    return FILES.joinpath(name).read_text(encoding="utf-8")


def as_json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
