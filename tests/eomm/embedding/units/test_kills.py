"""Runs that are killed, workers that die, devices that share, memory that is short: the same store."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from eomm.data.modality import SENTINEL2
from eomm.embedding import run as embedding
from eomm.embedding.units import status
from eomm.models.directory import save_model
from tests.environment import with_devices
from tests.eomm.embedding.site import (
    GRID,
    make_group,
    make_model,
    same,
    same_values,
    write,
)

embed = partial(embedding.embed, dtype="float32", block=16)
ROOT = Path(__file__).parents[4]


@pytest.mark.whole
def test_a_run_that_is_killed_again_and_again_ends_as_an_uninterrupted_one(model, cube, whole, tmp_path):
    save_model(model, tmp_path / "model")
    out, rng, kills = tmp_path / "e.zarr", np.random.default_rng(0), 0
    script = (
        "import sys, eomm; from pathlib import Path\n"
        "eomm.embed(*map(Path, sys.argv[1:4]), dtype='float32', block=16, "
        "progress=lambda *n: print(*n, flush=True))"
    )
    command = [sys.executable, "-c", script, tmp_path / "model", cube.path, out]
    while True:
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if kills < 3:  # somewhere between the first reported unit of this run and its end
                process.stdout.readline()
                time.sleep(float(rng.uniform(0, 0.4)))
                process.send_signal(signal.SIGKILL)
            process.communicate()
        if process.returncode == 0:
            break
        kills += 1
        assert not out.exists() and 0 < status(out)["done"] < 18 and kills < 9
    assert kills == 3 and not out.with_name("e.zarr.partial").exists()
    same(out, whole)
    assert status(out) == {"embedding": str(out), "complete": True, "units": 18, "done": 18, "missing": 0, "failed": {}}


MEASURE = """
import resource, sys, eomm
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
options = {"dtype": "float32", "memory_bytes": int(sys.argv[4])}
eomm.embed(sys.argv[1], sys.argv[2], sys.argv[2] + ".out", **options)  # what compiling takes is not counted
before = peak()
eomm.embed(sys.argv[1], sys.argv[3], sys.argv[3] + ".out", **options)
print(peak() - before)
"""


@pytest.mark.whole
def test_a_cube_larger_than_the_memory_allowed_is_embedded_within_it(tmp_path):
    rng, allowed = np.random.default_rng(0), 8 * 2**20
    save_model(make_model(names=("s2",), frames=(2, 2)), tmp_path / "model")
    for name, size in (("small", 32), ("large", 192)):
        grid = dataclasses.replace(GRID, height=size, width=size)
        write(tmp_path / name, [make_group(rng, SENTINEL2, 17000 + 5 * np.arange(40), grid=grid)])
    large = 192 * 192 * 40 * 21  # bytes of int16 values and a mask
    command = [sys.executable, "-c", MEASURE, *(tmp_path / n for n in ("model", "small", "large")), str(allowed)]
    grown = int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert grown < 2 * allowed < large, f"{grown / 2**20:.0f} MiB more, the cube has {large / 2**20:.0f}"


@pytest.mark.whole
def test_devices_share_the_blocks(model, cube, whole, tmp_path):
    save_model(model, tmp_path / "model")
    script = (
        "import sys, eomm, jax; assert len(jax.local_devices()) == 3\n"
        "eomm.embed(*sys.argv[1:4], dtype='float32', block=16)"
    )
    command = [sys.executable, "-c", script, tmp_path / "model", cube.path, tmp_path / "e.zarr"]
    subprocess.run(command, cwd=ROOT, env=with_devices(3), check=True)
    same_values(tmp_path / "e.zarr", whole)


@pytest.mark.whole
def test_workers_make_the_same_store_also_when_one_of_them_is_killed(model, cube, whole, tmp_path):
    save_model(model, tmp_path / "model")
    script = (
        "import sys\nfrom eomm.embedding.cluster import embed_on_workers\nfrom eomm.store.workers import Pool\n"
        "if __name__ == '__main__':\n"
        "    embed_on_workers(*sys.argv[1:4], pool=Pool(workers=2), dtype='float32', block=16)"
    )
    (tmp_path / "run.py").write_text(script)
    out = tmp_path / "e.zarr"
    command = [sys.executable, tmp_path / "run.py", tmp_path / "model", cube.path, out]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        marks = out.with_name("e.zarr.partial") / ".units"
        while process.poll() is None and not list(marks.glob("*.json")):
            time.sleep(0.05)
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        workers = [c for c in children if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text()]
        os.kill(int(workers[-1]), signal.SIGKILL)
    assert process.returncode == 0
    same(out, whole)
