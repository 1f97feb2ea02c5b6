"""The command `eomm view`: an embedding cube as a page that answers. See parser.py."""

import argparse
import sys
from pathlib import Path
from typing import Any

from eomm.cli.arguments import command, shared
from eomm.cli.numbers import whole
from eomm.errors import UsageError
from eomm.store.fields import Json
from eomm.store.progress import progress_bar


def view(a: argparse.Namespace, _: list[str]) -> Json | None:
    """Write the page, or serve it until it is stopped."""
    if not a.cube:
        print("eomm: without --cube there is no true colour, and no band or NDVI", file=sys.stderr)
    if a.serve:
        if a.out:
            raise UsageError("--serve writes nothing; leave --out away")
        serve(a)
        return None
    from eomm.view.run import write_view

    out = a.out or Path(a.embedding.resolve().stem + ".html")
    with progress_bar("view") as report:
        return write_view(a.embedding, out, cube=a.cube, overwrite=a.overwrite, progress=report.counted)


def serve(a: argparse.Namespace) -> None:
    """Serve the page on this machine until Ctrl-C."""
    from eomm.view.serve import ViewServer

    with ViewServer(a.embedding, cube=a.cube, port=a.port) as server:
        print(server.address, flush=True)
        print("eomm: open this address in a browser of this machine; Ctrl-C ends it", file=sys.stderr)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("", file=sys.stderr)


def format_view(result: Json) -> str:
    """For people."""
    size = f"{result['page']}: {result['bytes'] / 1e6:.1f} MB, open it in a browser"
    left = " and ".join(result["left_out"])
    return f"{size}; to stay below 25 MB it holds {left}; --serve shows all" if left else size


def add_commands(commands: Any) -> None:
    """Add it to the parser's commands."""
    example = """eomm view embedding.zarr --cube flanders.zarr --out page.html
  eomm view embedding.zarr --cube flanders.zarr --serve      # stores too large for a page"""
    summary = "an embedding cube as a page that answers: dates, series, what is like a pixel"
    c = command(commands, "view", view, summary, example, formatter="eomm.cli.view:format_view")
    c.add_argument("embedding", type=Path, help="an embedding cube")
    shared(c, cube="that it was made of: true colour, bands, NDVI")
    c.add_argument("--out", type=Path, metavar="PAGE.html", help="the page (default: named after the embedding)")
    c.add_argument("--serve", action="store_true", help="serve it to this machine's browser instead of writing it")
    c.add_argument("--port", type=whole, default=0, metavar="N", help="of --serve (default: any that is free)")
    shared(c, overwrite="replace --out where it exists")
