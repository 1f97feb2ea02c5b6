"""The shipped model on real scenes, as a newcomer with a chip of their own would try it."""

import json

import pytest

from eomm.cli.demo_real import format_real, run_real
from eomm.errors import UsageError


@pytest.mark.whole
def test_a_real_chip_is_embedded_scored_and_shown(flanders, tmp_path):
    summary = run_real(flanders, tmp_path / "demo")
    assert summary == json.loads((tmp_path / "demo" / "summary.json").read_text()) and summary["simulated"] is False
    errors = summary["scores"]["hidden_mae"]
    assert set(errors) == {"0", "30", "60"} and errors["60"]["encoder"] < errors["60"]["linear"]
    page = (tmp_path / "demo" / "view.html").read_text()
    assert '"simulated":false' in page and "SIMULATED" not in page.split("<main")[0].upper()
    assert format_real(summary).endswith(summary["view"])
    with pytest.raises(UsageError, match="a finished demo"):
        run_real(flanders, tmp_path / "demo")


def test_a_source_that_is_no_folder_and_an_output_inside_it_are_refused(tmp_path):
    (tmp_path / "scene.tif").write_bytes(b"")
    with pytest.raises(UsageError, match="is no folder"):
        run_real(tmp_path / "scene.tif", tmp_path / "demo")
    with pytest.raises(UsageError, match="demo"):
        run_real(tmp_path, tmp_path / "demo")
    assert [p.name for p in tmp_path.iterdir()] == ["scene.tif"]
