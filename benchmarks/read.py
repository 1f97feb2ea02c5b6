"""How long does it take to read an embedding cube: a map at a date, a series at a pixel?

python -m eomm.benchmarks.read --json    (a minute on 2 cores, most of it simulating and embedding the site)
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eomm.embedding.run import embed, open_embedding
from eomm.embedding.store import CHUNK_DATES, SHARD_DATES, TILE

from .common import Result, default_model, machine, make_cube, print_result

SIZE_PX = 128


def run(*, size_px: int = SIZE_PX, repeats: int = 3) -> Result:
    """Milliseconds from opening to float32 vectors, the best of `repeats`, files in the page cache; int8 and float32.

    Both patterns read whole inner chunks.
    """
    rng = np.random.default_rng(0)
    found: Result = {}
    with tempfile.TemporaryDirectory() as folder:
        model, cube = default_model(), make_cube(Path(folder), size_px=size_px)
        for dtype in ("int8", "float32"):
            out = embed(model, cube, Path(folder) / f"{dtype}.zarr", dtype=dtype)
            dates = open_embedding(out).sizes["time"]
            t, y, x = (int(rng.integers(n)) for n in (dates, size_px, size_px))
            for name, place in {"map": np.s_[t], "series": np.s_[:, y, x]}.items():
                read = partial(read_vectors, out, place)
                found[f"{dtype}_{name}_ms"] = 1000 * min(seconds(read) for _ in range(repeats))
            found[f"{dtype}_bytes"] = sum(f.stat().st_size for f in (out / "embedding").rglob("*") if f.is_file())
    return {
        **found,
        "dates": dates,
        "size_px": size_px,
        "vector": model.dim,
        "chunk": f"{CHUNK_DATES} dates, {TILE} x {TILE} px",
        "shard": f"{SHARD_DATES} dates, a block",
        **machine(),
        "simulated": True,
    }


def read_vectors(store: Path, place: Any) -> np.ndarray:
    """Open a store and read a part of it."""
    return np.asarray(open_embedding(store)["embedding"][place].values)


def seconds(act: Callable[[], object]) -> float:
    """How long one action takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    print_result(run, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    main()
