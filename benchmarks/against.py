"""By how much is embedding faster than at an earlier commit, on the same model and cube?

    git worktree add ../old 5754800 && python -m venv ../old/.venv && ../old/.venv/bin/pip install -e ../old
    python -m eomm.benchmarks.against --old ../old --json    (ten minutes on 2 cores)

The earlier code makes the model and the cube, which today's reads; then both take turns, each in processes of its own,
so that other work on the machine meets both. Processor seconds are of all threads.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from eomm.embedding.read import open_embedding

from .common import Result, machine, show

MAKE = """
import sys
from pathlib import Path
import eomm
from benchmarks.common import default_model, make_cube
from eomm.model import save_model
folder, size = Path(sys.argv[1]), int(sys.argv[2])
save_model(default_model(), folder / "model")
make_cube(folder, size_px=size)
"""
EMBED = """
import json, shutil, sys, time
from pathlib import Path
import eomm
folder, name = Path(sys.argv[1]), sys.argv[2]
model, cube = eomm.load_model(folder / "model"), eomm.open_cube(folder / "bench.zarr")
found = []
for i in range(3):
    shutil.rmtree(folder / f"{name}{i}.zarr", ignore_errors=True)  # else a finished store is left as it is
    wall, processor = time.perf_counter(), time.process_time()
    eomm.embed(model, cube, folder / f"{name}{i}.zarr", dtype="float32")
    found.append((time.perf_counter() - wall, time.process_time() - processor))
print(json.dumps({"seconds": min(f[0] for f in found[1:]), "cpu_seconds": min(f[1] for f in found[1:])}))
"""
VECTORS = """
import sys
from pathlib import Path
import numpy as np
import eomm
np.save(Path(sys.argv[1]) / "old.npy", eomm.open_embedding(Path(sys.argv[1]) / "old0.zarr")["embedding"].values)
"""


def run(*, old: Path, size_px: int = 64, turns: int = 3) -> Result:
    """Processor and clock seconds of embedding the same site, the least of all turns, and by how much vectors differ.

    Args:
        old: a checkout of the earlier commit with its own environment in .venv.
        size_px: of the simulated site.
        turns: of each.
    """
    theirs = (old / ".venv" / "bin" / "python", old)
    ours = (Path(sys.executable), Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as name:
        call(theirs, MAKE, name, size_px)
        seconds: dict[str, list[Mapping[str, float]]] = {"old": [], "new": []}
        for _ in range(turns):
            for which, side in (("old", theirs), ("new", ours)):
                seconds[which].append(json.loads(call(side, EMBED, name, which).splitlines()[-1]))
        call(theirs, VECTORS, name)
        new = open_embedding(Path(name) / "new0.zarr")
        before, after = np.load(Path(name) / "old.npy"), new["embedding"].values
        valid = new["valid"].values.astype(bool)
    best = {w: {n: min(s[n] for s in rows) for n in rows[0]} for w, rows in seconds.items()}
    return {
        "times_as_fast_by_cpu": best["old"]["cpu_seconds"] / best["new"]["cpu_seconds"],
        "times_as_fast": best["old"]["seconds"] / best["new"]["seconds"],
        "pixel_dates_per_cpu_second": float(valid.sum()) / best["new"]["cpu_seconds"],
        **best,
        "max_difference": float(np.abs(before[valid] - after[valid]).max()),
        "pixel_dates": int(valid.sum()),
        "size_px": size_px,
        "turns": turns,
        **machine(),
        "simulated": True,
    }


def call(side: tuple[Path, Path], code: str, *arguments: Any) -> str:
    """What a script prints, run by one side's Python in its checkout."""
    python, checkout = side
    command = [str(python), "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=checkout, stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    old_help = "checkout of the earlier commit, its environment in .venv"
    parser.add_argument("--old", type=Path, required=True, help=old_help)
    parser.add_argument("--size-px", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    a = parser.parse_args(argv)
    with redirect_stdout(sys.stderr):
        result = run(old=a.old, size_px=a.size_px, turns=a.turns)
    show(result, as_json=a.json)


if __name__ == "__main__":
    main()
