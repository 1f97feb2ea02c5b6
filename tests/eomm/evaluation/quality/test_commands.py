import numpy as np
import pytest

from eomm.cli.parser import command
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.quality import commands, local, reader
from eomm.evaluation.quality.learned import model_vectors
from eomm.evaluation.result_file import read_result
from eomm.models.directory import save_model
from tests.eomm.evaluation.quality.worlds import many
from tests.eomm.site import make_cube, make_model


def parse(*argv):
    import argparse

    parser = argparse.ArgumentParser()
    commands.add_commands(parser.add_subparsers(), command)
    a = parser.parse_args(argv)
    a.typed = "eomm bench " + " ".join(argv)
    return a


def test_the_plan_is_printed_without_data():
    a = parse("quality", "--plan")
    text = a.formatter(a.handler(a, []))
    assert "mown within 12 days" in text and "balanced accuracy" in text


def test_names_beside_are_paths():
    assert str(commands.named(["before=runs/m"])["before"]) == "runs/m"
    for wrong in (["runs/m"], ["a=b", "a=c"]):
        with pytest.raises(UsageError, match="NAME=DIR"):
            commands.named(wrong)


@pytest.mark.whole
def test_a_cube_is_benched_without_labels_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "series_of", lambda cube, seed: many(24, every=3))
    monkeypatch.setattr(reader, "STEPS", 20)
    cube, model = make_cube(tmp_path / "c.zarr", s1=False), tmp_path / "m"
    save_model(make_model(), model)
    a = parse("local", str(tmp_path / "c.zarr"), "--model", str(model), "--out", str(tmp_path / "out"))
    found = a.handler(a, [])
    assert {"model", "thirty numbers", "linear"} <= set(found["scores"]["hidden, 30 days"])
    assert found["models"]["model"] and cube is not None
    written = read_result(tmp_path / "out" / "quality.json")
    assert written.commands == (a.typed,) and written.kind == "quality" and written.verdicts[0].because
    assert written["scores"]["hidden, 30 days"]["linear"]["value"] == found["scores"]["hidden, 30 days"]["linear"].value
    assert "hidden, 60 days" in (tmp_path / "out" / "quality.md").read_text()
    with pytest.raises(UsageError):
        a.handler(a, [])


def test_pixels_are_drawn_from_blocks_and_a_cube_of_few_dates_is_refused(tmp_path, monkeypatch):
    make_cube(tmp_path / "c.zarr", s1=False)
    from eomm.data.cube import open_cube

    cube = open_cube(tmp_path / "c.zarr")
    monkeypatch.setattr(local, "FEWEST_DATES", 2)
    series = local.series_of(cube)
    assert len({s.group for s in series}) > 1 and all(s.valid.all() and len(s) >= 2 for s in series)
    again = local.series_of(cube)
    assert all((a.values == b.values).all() for a, b in zip(series, again, strict=True))
    monkeypatch.setattr(local, "FEWEST_DATES", 10_000)
    with pytest.raises(DataError, match="valid dates"):
        local.series_of(cube)


def test_vectors_of_a_model_with_fusion_are_finite_and_one_without_sentinel2_is_refused():
    series = many(3, dates=12)
    fused = model_vectors(make_model(("s1", "s2"), fused=True))
    assert all(np.isfinite(z).all() for z in fused(series))
    with pytest.raises(ContractError, match="needs s2"):
        model_vectors(make_model(("s1",)))
    with pytest.raises(UsageError, match="surroundings"):
        model_vectors(make_model(), surroundings="mirror")
