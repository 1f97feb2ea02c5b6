"""What must hold to the last digits, once more as users run it: the suite else tells XLA not to optimise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import OWN_LEVEL

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "parity": ["tests/eomm/models/test_published_model.py", "tests/eomm/models/test_published_import.py"],
    "golden vectors": ["tests/eomm/embedding/test_verify.py"],
    "jit equals pmap": ["tests/eomm/training/test_mesh.py"],
}


@pytest.mark.whole
@pytest.mark.parametrize("what", FILES)
def test_equalities_hold_at_the_compilers_own_level(what):
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} {OWN_LEVEL}"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", *FILES[what]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
