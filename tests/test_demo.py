"""The README's demo, as a newcomer runs it: in a clean clone, installed by the README's own command."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from eomm.cli import demo
from eomm.errors import UsageError

ROOT = Path(__file__).resolve().parents[1]


def readme_command():
    (command,) = re.findall(r"^python3 -m venv .*eomm demo$", (ROOT / "README.md").read_text(), re.MULTILINE)
    return command


def as_a_newcomer():
    """The environment without what the suite sets in it: XLA compiles at its own level."""
    return {k: v for k, v in os.environ.items() if not re.match("XLA_|JAX_|EOMM_|PYTEST_|VIRTUAL_ENV", k)}


@pytest.mark.whole
def test_the_demo_ends_with_a_report_and_a_summary(tmp_path):
    clone = tmp_path / "clone"
    clone.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", clone], input=archive, check=True)
    done = subprocess.run(
        ["bash", "-c", readme_command()], cwd=clone, env=as_a_newcomer(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    made = clone / "eomm-demo"
    summary = json.loads((made / "summary.json").read_text())
    print(done.stdout)
    assert set(summary) >= {"seconds", "steps", "scores", "report", "embeddings", "view"} and summary["simulated"]
    report = clone / summary["report"]
    assert report == made / "report" / "index.html" and report.stat().st_size > 100_000
    assert "SIMULATED" in report.read_text().upper()
    view = clone / summary["view"]
    assert view.stat().st_size < 25_000_000 and '"simulated":true' in view.read_text()
    assert done.stdout.rstrip().endswith(summary["view"])
    with pytest.raises(UsageError, match="a finished demo"):
        demo.run_demo(made)
    (made / "summary.json").unlink()
    with pytest.raises(UsageError, match="interrupted"):
        demo.run_demo(made)


def test_the_demo_never_replaces_what_is_not_its_own(tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(UsageError, match="is no demo"):
        demo.run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "irreplaceable"
