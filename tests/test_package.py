"""The public surface: every name exists, and importing the package or preparing data imports no JAX."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import eomm

TOP = ("eomm", "data_prep", "experiments", "benchmarks")

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


@pytest.mark.whole
def test_preparing_data_needs_no_jax():
    done = subprocess.run([sys.executable, "-c", NO_JAX], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_place_says_the_same_version():
    root = Path(__file__).parents[1]
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (root / "CITATION.cff").read_text()
    assert f"\n## {version} - " in (root / "CHANGELOG.md").read_text()


def test_types_are_told_to_others():
    listed = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert "py.typed" in listed["package-data"]["eomm"] and (Path(eomm.__file__).parent / "py.typed").is_file()
    source = Path(eomm.__file__).read_text()  # what type checkers see is what is loaded on first use
    for name in eomm.__all__:
        assert re.search(rf"import {name} as {name}$|^    {name} = ", source, re.M), name


def test_every_package_is_installed():
    root = Path(__file__).parents[1]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    here = {str(p.parent.relative_to(root)).replace("/", ".") for t in TOP for p in (root / t).rglob("__init__.py")}
    inside = {f"eomm.{n}" if n.split(".")[0] in ("experiments", "benchmarks") else n for n in here}
    assert set(listed["packages"]) == inside
    moved = {f"eomm.{n}": n.replace(".", "/") for n in here if n.split(".")[0] in ("experiments", "benchmarks")}
    assert listed["package-dir"] == moved
