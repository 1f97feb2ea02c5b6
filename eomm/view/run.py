"""An embedding cube to one HTML file that opens from disk and asks nobody anything."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from eomm.data.cube import Cube
from eomm.store.folders import check_apart, check_free_file, entered, write_text
from eomm.view.budget import PAGE_BYTES, Packed, pack
from eomm.view.content import COMPONENTS, describe
from eomm.view.figures import CHARTS, figures
from eomm.view.html import page
from eomm.view.layers import Layers

SIDE = 512  # at most so many rows and columns are asked of a server for a map
MEMORY = 400_000_000  # bytes of numbers that the page keeps
SPARE = 100_000  # bytes: the names of blocks, and words on what is left out


def write_view(
    embedding: Path | str,
    out: Path | str,
    *,
    cube: Cube | Path | str | None = None,
    limit: int = PAGE_BYTES,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
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
    share = layers.clear_share()
    about, drawn = describe(layers, length=layers.length, dates=range(len(share)), share=share), drawing(layers)
    frame = page_of(layers, about, drawn)
    packed = pack(layers, share, limit=limit - len(frame.encode()) - SPARE, progress=progress)
    if packed.left_out:
        about = describe(layers, length=packed.length, dates=packed.dates, share=share)
    text = page_of(layers, about | {"left_out": packed.left_out}, drawn, named_blocks(packed))
    write_text(out, text)
    return {
        "page": str(out),
        "bytes": len(text.encode()),
        "length": packed.length,
        "dates": about["dates"],
        "left_out": packed.left_out,
    }


def page_of(
    layers: Layers, about: Mapping[str, Any], drawn: Mapping[str, Any], blocks: Mapping[str, str] | None = None
) -> str:
    """The page's text; without blocks it asks a server, where `about` says so."""
    fixed = {"server": False, "left_out": [], "side": SIDE, "memory": MEMORY}
    return page(title=f"Embedding of {layers.site}", about={**fixed, **about}, figures=drawn, blocks=blocks or {})


def drawing(layers: Layers) -> dict[str, Any]:
    """The figures that the layers can fill."""
    missing = {f"component{k}" for k in range(layers.length, COMPONENTS)} | (
        {"error"} if layers.error is None else set()
    )
    charts = [name for name in CHARTS if name not in missing]
    return figures(layers.grid, [int(layers.day[0]), int(layers.day[-1])], charts)


def named_blocks(packed: Packed) -> dict[str, str]:
    """Blocks by the ids that view.js knows: layer, the date's place on the page, part."""
    place = {date: i for i, date in enumerate(packed.dates)}
    return {f"{name}-{place[date]}-{part}": text for (name, date, part), text in packed.blocks.items()}
