"""The wheel, in an empty folder: no top-level package of a general name, and demo, bench and --config work from it."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.test_demo import as_a_newcomer

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
SMALL_DEMO = """
from eomm.cli import demo, main
demo.SIZE_PX, demo.STEPS = 48, {"s2": 12, "s1": 12, "fusion": 12}
main(["demo", "--out", "demo"]) == 0 or exit(1)
"""
SMALL_BENCH = """
from functools import partial
from eomm.benchmarks import embed, train
from eomm.cli import main
embed.run, train.run = partial(embed.run, size_px=48), partial(train.run, size_px=48, steps=1, repeats=1)
main(["bench", "embed"]) == 0 or exit(1)
main(["bench", "train"]) == 0 or exit(1)
"""
WHERE = """
import data_prep, eomm, eomm.benchmarks, eomm.experiments, importlib.util, sys
for package in (eomm, data_prep, eomm.benchmarks, eomm.experiments):
    assert package.__file__.startswith(sys.argv[1]), package.__file__
assert not any(map(importlib.util.find_spec, ("experiments", "benchmarks", "tests")))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the last commit, unpacked as pip would."""
    folder = tmp_path_factory.mktemp("wheel")
    clone = folder / "clone"
    clone.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", clone], input=archive, check=True)
    build = subprocess.run([sys.executable, "-c", BUILD, folder], cwd=clone, capture_output=True, text=True)
    assert build.returncode == 0, build.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as file:
        file.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def run(wheel, tmp_path):
    def run(*arguments):
        environment = {**as_a_newcomer(), "PYTHONPATH": str(wheel), "XLA_FLAGS": os.environ["XLA_FLAGS"]}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.mark.whole
def test_only_our_own_names_are_installed_at_the_top(wheel, run):
    assert {p.name.partition("-")[0] for p in wheel.iterdir()} == {"eomm", "data_prep"}
    for file in ("embedding/golden/model/model.json", "view/view.html", "view/view.css", "view/maps.js"):
        assert (wheel / "eomm" / file).is_file(), file
    run("-c", WHERE, str(wheel))


@pytest.mark.whole
def test_commands_work_from_a_wheel_in_an_empty_folder(run, tmp_path):
    assert version("eomm") in run("-m", "eomm", "--version") and "usage: eomm" in run("-m", "eomm.cli", "--help")
    plan = run("-m", "eomm", "plan", "train", "--config", "s2", "--device", "H100")
    assert plan == run("-m", "eomm", "plan", "train", "--config", "experiments/s2.py", "--device", "H100")
    run("-c", SMALL_DEMO)
    assert (tmp_path / "demo" / "report" / "index.html").is_file()


@pytest.mark.whole
def test_benchmarks_run_from_a_wheel(run):
    assert "per_s" in run("-c", SMALL_BENCH)
