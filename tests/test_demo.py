"""The demo, shortened: every step really runs."""

import json
from datetime import date

import pytest

from eomm.cli import demo
from eomm.errors import UsageError


def test_the_demo_ends_with_a_report_and_a_summary(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "SIZE_PX", 40)
    monkeypatch.setattr(demo, "YEARS", (date(2020, 2, 1), date(2020, 11, 30)))
    monkeypatch.setattr(demo, "STEPS", {"s2": 12, "s1": 12, "fusion": 12})
    summary = demo.run_demo(tmp_path / "demo")
    assert json.loads((tmp_path / "demo" / "summary.json").read_text()) == summary
    assert set(summary) >= {"seconds", "steps", "scores", "report", "embeddings"} and summary["simulated"]
    page = (tmp_path / "demo" / "report" / "index.html").read_text()
    assert "SIMULATED" in page.upper()
    with pytest.raises(UsageError, match="a finished demo"):
        demo.run_demo(tmp_path / "demo")
    (tmp_path / "demo" / "summary.json").unlink()
    with pytest.raises(UsageError, match="interrupted"):
        demo.run_demo(tmp_path / "demo")


def test_the_demo_never_replaces_what_is_not_its_own(tmp_path):
    (tmp_path / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(UsageError, match="is no demo"):
        demo.run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "irreplaceable"
