"""An embedding cube to one HTML file that opens from disk and asks nobody anything."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from eomm.data.cube import Cube
from eomm.data.grid import to_date
from eomm.page.html import Live
from eomm.store.fields import Json
from eomm.store.folders import check_apart, check_free_file, entered, write_text
from eomm.view.budget import PAGE_BYTES, Packed, pack
from eomm.view.content import COMPONENTS, describe
from eomm.view.figures import CHARTS, figures
from eomm.view.html import alone, live
from eomm.view.layers import Layers

FIXED: dict[str, Any] = {
    "server": False,
    "left_out": [],
    "side": 512,  # at most so many rows and columns are asked of a server for a map
    "memory": 400_000_000,  # bytes of numbers that the page keeps
}
SPARE = 20_000  # bytes of what stands around


def write_view(
    embedding: Path | str,
    out: Path | str,
    *,
    cube: Cube | Path | str | None = None,
    limit: int = PAGE_BYTES,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Json:
    """Write the page of an embedding cube.

    Args:
        embedding: an embedding cube, or a composite of one.
        out: the HTML file.
        cube: that it was made of, for true colour and bands.
        limit: bytes of the page; beyond, it holds a prefix of the vectors, then fewer dates, and says so.
        overwrite: replace an existing file.
        progress: called with (parts done, parts in all).

    Returns:
        `page` (the file), `bytes`, `length` of its vectors, `dates` that it holds, `left_out` in words.

    Raises:
        DataError: a store is missing, unfinished or damaged, or there is nothing to show.
        ContractError: cube and embedding are of different sites or grids.
        UsageError: `out` exists, or not even one date fits.
    """
    out = entered(out)
    named = {"the embedding": embedding, "the cube": cube if isinstance(cube, Path | str) else None}
    check_apart(out, named)
    check_free_file(out, overwrite=overwrite)
    layers = Layers(embedding, cube)
    part, packed = live_view(layers, limit=limit - SPARE, progress=progress)
    simulated = bool(layers.attributes.get("provenance", {}).get("simulated", False))
    text = alone(part, title=f"Embedding of {layers.site}", simulated=simulated)
    write_text(out, text)
    return {
        "page": str(out),
        "bytes": len(text.encode()),
        "length": packed.length,
        "dates": [to_date(layers.day[i]).isoformat() for i in packed.dates],
        "left_out": packed.left_out,
    }


def live_view(layers: Layers, *, limit: int, progress: Callable[[int, int], None] | None = None) -> tuple[Live, Packed]:
    """Maps and charts that answer, with their data, in at most so many bytes, and what of the data they hold.

    Raises:
        DataError: there is nothing to show.
        UsageError: not even one date fits.
    """
    share, drawn = layers.clear_share(), drawing(layers)
    about = FIXED | describe(layers, length=layers.length, dates=range(len(share)), share=share)
    bare = live(about=about, figures=drawn, blocks={})
    used = sum(len(piece.encode()) for piece in (bare.body, bare.style, *bare.scripts))
    packed = pack(layers, share, limit=limit - used, progress=progress)
    if packed.left_out:
        about = FIXED | describe(layers, length=packed.length, dates=packed.dates, share=share)
    return live(about=about | {"left_out": packed.left_out}, figures=drawn, blocks=named_blocks(packed)), packed


def served_view(layers: Layers) -> str:
    """The page without data, which asks the server that it came from."""
    share = layers.clear_share()
    about = FIXED | describe(layers, length=layers.length, dates=range(len(share)), share=share) | {"server": True}
    part = live(about=about, figures=drawing(layers), blocks={})
    return alone(part, title=f"Embedding of {layers.site}", simulated=about["simulated"])


def drawing(layers: Layers) -> Json:
    """The figures that the layers can fill."""
    missing = [f"component{k}" for k in range(layers.length, COMPONENTS)]
    missing += [] if layers.told else ["told"]
    charts = [name for name in CHARTS if name not in missing]
    return figures(layers.grid, [int(layers.day[0]), int(layers.day[-1])], charts)


def named_blocks(packed: Packed) -> dict[str, str]:
    """Blocks by the ids that view.js knows: layer, the date's place on the page, part."""
    place = {date: i for i, date in enumerate(packed.dates)}
    return {f"{name}-{place[date]}-{part}": text for (name, date, part), text in packed.blocks.items()}
