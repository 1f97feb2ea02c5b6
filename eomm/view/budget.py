"""What fits into one file: all dates and numbers where they do, else a prefix of the vectors, then fewer dates.

Blocks are compressed as they will stand in the page, so that what is counted is what it weighs.
"""

import base64
import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Int

from eomm.errors import UsageError
from eomm.view.layers import Layers

PAGE_BYTES = 25_000_000
PREFIX = 8  # numbers of the vectors that a block holds: what a page may be cut to
NAMES = 60  # bytes of the element that a block stands in
Key = tuple[str, int, int]  # layer, date of the embedding, part of its channels


@dataclass(kw_only=True)
class Packed:
    """The layers of a page as text.

    Attributes:
        length: of the vectors, the prefix that fits.
        dates: of the embedding that fit, in the order of time.
        blocks: base64 of gzip of numbers [channel, y, x], little-endian, by layer, date and part.
        left_out: in words, for the page's reader; empty where everything fits.
    """

    length: int
    dates: list[int]
    blocks: dict[Key, str]
    left_out: list[str] = field(default_factory=list)


def pack(
    layers: Layers,
    share: Float32[np.ndarray, " date"],
    *,
    limit: int = PAGE_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> Packed:
    """Everything that fits into so many bytes.

    Dates are taken in an order in which the first are clear and spread over time; then vectors grow by `PREFIX`
    numbers at all dates at once. So no more is read than fits.

    Raises:
        UsageError: not even one date fits.
    """
    blocks: dict[Key, str] = {}
    used = 0
    dates: list[int] = []
    parts = -(-layers.length // PREFIX)
    steps = len(layers.day) * parts
    for date in order(layers.day, share):
        found = {(name, date, 0): packed(layers, name, date, 0) for name in layers.table}
        size = weigh(found)
        if used + size > limit:
            break
        blocks, used, dates = blocks | found, used + size, sorted([*dates, date])
        if progress:
            progress(len(dates), steps)
    if not dates:
        raise UsageError(
            f"{layers.path}: one date of {layers.grid.height} x {layers.grid.width} px does not fit into a page of "
            f"{PAGE_BYTES / 1e6:.0f} MB; look at it by eomm view --serve"
        )
    length = min(PREFIX, layers.length)
    for part in range(1, parts if len(dates) == len(layers.day) else 0):
        found = {}
        for date in dates:
            found["vectors", date, part] = packed(layers, "vectors", date, part)
            if progress:
                progress(len(dates) * part + len(found), steps)
        size = weigh(found)
        if used + size > limit:
            break
        blocks, used, length = blocks | found, used + size, min(length + PREFIX, layers.length)
    return Packed(length=length, dates=dates, blocks=blocks, left_out=left_out(layers, length, len(dates)))


def weigh(blocks: Mapping[Key, str]) -> int:
    """Bytes that they take on a page."""
    return sum(len(text) + NAMES for text in blocks.values())


def packed(layers: Layers, name: str, date: int, part: int) -> str:
    """One block."""
    found = layers.read(name, slice(date, date + 1), *whole(layers))[0]
    if name == "vectors":
        found = found[part * PREFIX : (part + 1) * PREFIX]
    little = np.ascontiguousarray(found).astype(found.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(gzip.compress(little.tobytes(), 6, mtime=0)).decode()


def whole(layers: Layers) -> tuple[slice, slice]:
    """All rows and columns."""
    return slice(0, layers.grid.height), slice(0, layers.grid.width)


def order(day: Int[np.ndarray, " date"], share: Float32[np.ndarray, " date"]) -> list[int]:
    """All dates: the clearest, then always the one for which clear share times days to the nearest taken is largest."""
    first = int(np.argmax(share))
    taken, away = [first], np.abs(day - day[first]).astype(float)
    while len(taken) < len(day):
        worth = (np.asarray(share, float) + 1e-3) * (away + 1e-3)
        worth[taken] = -1
        best = int(np.argmax(worth))
        taken.append(best)
        away = np.minimum(away, np.abs(day - day[best]))
    return taken


def left_out(layers: Layers, length: int, dates: int) -> list[str]:
    """What a page of the largest size lacks."""
    words = []
    if length < layers.length:
        words.append(f"the first {length} of {layers.length} numbers of each vector")
    if dates < len(layers.day):
        words.append(f"{dates} of {len(layers.day)} dates")
    return words
