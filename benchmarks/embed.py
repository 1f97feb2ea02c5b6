"""How many pixel-dates per second does dense embedding give, reading and writing included?

python -m eomm.benchmarks.embed --json    (two minutes on 2 cores, most of it simulating the site)
"""

import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from eomm.data.cube import open_cube
from eomm.embedding.run import BLOCK, embed, open_embedding

from .common import Result, default_model, describe_model, machine, make_cube, print_result

SIZE_PX = 128


def run(*, size_px: int = SIZE_PX, block: int = BLOCK, dtype: str = "int8", repeats: int = 3) -> Result:
    """Both encoders and fusion at the default size on a simulated site; the best of `repeats`, after compilation.

    `pixel_dates_per_second` counts valid fused vectors written, `computed_per_second` clouded pixels besides;
    by processor time other work on the machine counts for little.
    """
    model = default_model()
    with tempfile.TemporaryDirectory() as folder:
        cube = open_cube(make_cube(Path(folder), size_px=size_px))
        seconds, cpu_seconds = [], []
        for i in range(repeats + 1):
            start, processor = time.perf_counter(), time.process_time()
            out = embed(model, cube, Path(folder) / f"{i}.zarr", block=block, dtype=dtype)
            seconds.append(time.perf_counter() - start)
            cpu_seconds.append(time.process_time() - processor)
        valid = open_embedding(out)["valid"].values
    best = min(seconds[1:])
    return {
        "pixel_dates_per_second": valid.sum() / best,
        "computed_per_second": valid.size / best,
        "pixel_dates_per_cpu_second": valid.sum() / min(cpu_seconds[1:]),
        "pixel_dates": int(valid.sum()),
        "seconds": best,
        "first_run_seconds": seconds[0],
        "repeats": repeats,
        "dates": len(valid),
        "s1_acquisitions": int(cube["s1"].usable.sum()),
        "size_px": size_px,
        "block": block,
        **machine(),
        "dtype": f"float32, written as {dtype}",
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "model": describe_model(model.parts["s2"]["encoder"]["size"], model.dim),
        "simulated": True,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    print_result(run, __doc__.splitlines()[0], argv)


if __name__ == "__main__":
    main()
