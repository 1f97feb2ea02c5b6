"""Freed memory is kept: allocating as much again touches no new page."""

import subprocess
import sys

import pytest

FAULTS = """
import resource
import sys
import numpy as np
from eomm.training.allocator import keep_freed_memory

kept = keep_freed_memory() if sys.argv[1] == "kept" else False
np.ones(10_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(10_000_000)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> tuple[int, int]:
    run = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    kept, count = run.stdout.split()
    return int(kept), int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is Linux's")
def test_freed_memory_is_used_again():
    kept, count = faults("kept")
    assert kept == 1 and count < 0.01 * faults("default")[1]
