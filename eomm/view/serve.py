"""The same page served to this machine's own browser, for stores too large for a file: layers are read when asked for.

Listens on 127.0.0.1 alone, under a path that starts with a token nobody can guess: other users and other pages of the
browser get nothing. It answers GET and writes nothing.
"""

import secrets
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

from eomm.data.cube import Cube
from eomm.errors import DataError, UsageError
from eomm.view.layers import Layers
from eomm.view.run import served_view

LOOPBACK = "127.0.0.1"
MOST_BYTES = 1_000_000_000  # of one answer
NUMBERS = ("first", "last", "row", "col", "rows", "cols", "step")


class ViewServer(ThreadingHTTPServer):
    """A page and its layers on loopback; `serve_forever` and `shutdown` as of any HTTP server.

    Args:
        embedding: an embedding cube.
        cube: that it was made of, for true colour and bands.
        port: to listen on; any free one when 0.

    Attributes:
        layers: that are served.
        token: the first part of every path.
        page: the HTML.

    Raises:
        DataError, ContractError: as `write_view`.
        UsageError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, embedding: Path | str, *, cube: Cube | Path | str | None = None, port: int = 0):
        self.layers = Layers(embedding, cube)
        self.token = secrets.token_urlsafe(24)
        self.page = served_view(self.layers).encode()
        try:
            super().__init__((LOOPBACK, port), Handler)
        except (OSError, OverflowError) as e:
            raise UsageError(f"port {port} of {LOOPBACK} cannot be listened on ({e}); choose another --port") from e

    @property
    def address(self) -> str:
        """What to open in the browser."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"


class Handler(BaseHTTPRequestHandler):
    """Answers one browser."""

    server: ViewServer
    protocol_version = "HTTP/1.1"
    timeout = 60

    def do_GET(self) -> None:
        """The page, or a layer in a window."""
        asked = urlsplit(self.path)
        token, *rest = asked.path.removeprefix("/").split("/")
        # The host, for another site's name may be made to lead here, whose pages would then read ours.
        local = self.headers.get("Host", "") == f"{LOOPBACK}:{self.server.server_port}"
        if not (local and secrets.compare_digest(token.encode(), self.server.token.encode())):
            return self._answer(HTTPStatus.FORBIDDEN, b"open the address that eomm view has printed")
        if rest == [""]:
            return self._answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")
        if rest != ["layer"]:
            return self._answer(HTTPStatus.NOT_FOUND, b"there is a page and its layers, and nothing else")
        try:
            found = window(self.server.layers, {k: v[-1] for k, v in parse_qs(asked.query).items()})
        except UsageError as e:
            return self._answer(HTTPStatus.BAD_REQUEST, str(e).encode())
        except DataError as e:
            return self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, str(e).encode())
        return self._answer(HTTPStatus.OK, found.tobytes(), "application/octet-stream")

    def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
        for name, value in headers.items():
            self.send_header(name, value)
        with suppress(ConnectionError):  # the browser has gone to another date, and waits no longer
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a log would hold the token."""


def window(layers: Layers, query: Mapping[str, str]) -> np.ndarray:
    """The layer that a query asks for, little-endian [date, channel, y, x].

    Raises:
        UsageError: there is no such layer, date or window, or it is too large.
    """
    name = query.get("layer", "")
    if name not in layers.table:
        raise UsageError(f"layer {name!r}: expected one of {', '.join(layers.table)}")
    try:
        first, last, row, col, rows, cols, step = (int(query.get(n, "")) for n in NUMBERS)
    except ValueError as e:
        raise UsageError(f"expected whole numbers {', '.join(NUMBERS)}: {e}") from e
    y, x = (slice(at, at + (n - 1) * step + 1, step or 1) for at, n in ((row, rows), (col, cols)))
    inside = y.stop <= layers.grid.height and x.stop <= layers.grid.width and 0 <= first < last <= len(layers.day)
    if min(row, col) < 0 or min(rows, cols, step) < 1 or not inside:
        raise UsageError(f"window {dict(query)}: lies outside {len(layers.day)} dates of {layers.grid.text}")
    if (last - first) * rows * cols * layers.table[name].channels * 2 > MOST_BYTES:
        raise UsageError(f"window {dict(query)}: is larger than {MOST_BYTES >> 20} MiB; ask for less")
    found = layers.read(name, slice(first, last), y, x)
    return np.ascontiguousarray(found).astype(found.dtype.newbyteorder("<"), copy=False)
