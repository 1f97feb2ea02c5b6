"""A page from its pieces: view.html with Bokeh's script, our own, the figures and the data. Not what the data are.

Scripts are let run by their hashes alone, and nothing may be fetched but from the page's own server, where it has one:
text from data cannot become a script, whatever it says.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

from bokeh.resources import Resources

from eomm.page.html import text

FILES = files("eomm.view")
OURS = ("layers.js", "maps.js", "picks.js", "view.js")  # in the order in which they run


def page(*, title: str, about: Mapping[str, Any], figures: Mapping[str, Any], blocks: Mapping[str, str]) -> str:
    """The page as one text.

    Args:
        title: of the window.
        about: what `content.describe` gave; with "server": true the page asks the server that it came from for layers.
        figures: of `figures.figures`.
        blocks: base64 by name, as `run.named` names them; empty with a server.
    """
    code = scripts()
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(f"'sha256-{digest(c)}'" for c in code),
        "style-src": "'unsafe-inline'",  # Bokeh's own
        "img-src": "data: blob:",
        "connect-src": "'self'" if about.get("server") else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    data = [("about", as_json(about)), ("figures", as_json(figures)), *blocks.items()]
    return Template(FILES.joinpath("view.html").read_text(encoding="utf-8")).substitute(
        title=text(title),
        policy=text("; ".join(f"{k} {v}" for k, v in policy.items())).replace("&#x27;", "'"),
        style=FILES.joinpath("view.css").read_text(encoding="utf-8"),
        data="\n".join(f'<script type="text/plain" id="{text(name)}">{value}</script>' for name, value in data),
        scripts="\n".join(f"<script>{c}</script>" for c in code),
    )


def scripts() -> list[str]:
    """Bokeh's code and ours, in the order in which they run."""
    bokeh = Resources(mode="inline", components=["bokeh"], log_level="warn").js_raw
    return [*bokeh, *(FILES.joinpath(name).read_text("utf-8") for name in OURS)]


def digest(code: str) -> str:
    """By which a script is let run."""
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()


def as_json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
