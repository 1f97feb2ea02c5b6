"""The public surface: every name exists, and importing the package or preparing data imports no JAX."""

import importlib
import subprocess
import sys

import eomm

NO_JAX = """
import sys
import eomm
import data_prep.cubes.build, data_prep.records.build, data_prep.check.figures, data_prep.check.page, data_prep.simulate
import eomm.cli.info, eomm.data.modality, eomm.data.cube, eomm.data.records, eomm.store.folders
assert "jax" not in sys.modules, "jax was imported"
assert "torch" not in sys.modules and "tensorflow" not in sys.modules
"""


def test_every_public_name_is_there_and_callable():
    for name in eomm.__all__:
        assert getattr(eomm, name) is not None
    importlib.import_module("eomm.embedding.run")  # the function `embed` keeps its name beside the modules
    assert callable(eomm.embed) and eomm.embed.__module__ == "eomm.embedding.run"


def test_preparing_data_needs_no_jax():
    done = subprocess.run([sys.executable, "-c", NO_JAX], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
