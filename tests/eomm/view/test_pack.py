"""What a page holds where not everything fits, what it is refused for, and how the command says so."""

import base64
import gzip
import json

import numpy as np
import pytest

from eomm.cli import main
from eomm.embedding.read import open_embedding
from eomm.errors import ContractError, UsageError
from eomm.export.options import ExportOptions
from eomm.export.run import export
from eomm.view import budget
from eomm.view.layers import Layers
from eomm.view.run import write_view
from tests import zoo


@pytest.fixture(scope="module")
def layers():
    return Layers(zoo.store("int8"), zoo.cube())


@pytest.fixture(autouse=True)
def blocks_of_three(monkeypatch):
    monkeypatch.setattr(budget, "PREFIX", 3)


def weight(packed):
    return budget.weigh(packed.blocks)


def test_everything_is_packed_as_it_is_stored(layers):
    packed = budget.pack(layers, layers.clear_share())
    assert packed.length == 8 and packed.dates == list(range(20)) and not packed.left_out
    raw = open_embedding(zoo.store("int8"), decode=False)["embedding"].values[7].transpose(2, 0, 1)
    parts = [gzip.decompress(base64.b64decode(packed.blocks["vectors", 7, p])) for p in range(3)]
    np.testing.assert_array_equal(np.frombuffer(b"".join(parts), np.int8).reshape(raw.shape), raw)


def test_beyond_the_limit_first_numbers_go_and_then_dates(layers):
    share = layers.clear_share()
    most = weight(budget.pack(layers, share))
    cut = budget.pack(layers, share, limit=most - 1)
    assert cut.length == 6 and len(cut.dates) == 20 and weight(cut) < most
    assert cut.left_out == ["the first 6 of 8 numbers of each vector"]
    few = budget.pack(layers, share, limit=most // 4)
    assert few.length == 3 and 1 < len(few.dates) < 20 and weight(few) <= most // 4
    assert few.left_out == ["the first 3 of 8 numbers of each vector", f"{len(few.dates)} of 20 dates"]
    assert np.diff(few.dates).max() <= 3 * 20 / len(few.dates)  # spread over time
    with pytest.raises(UsageError, match="does not fit into a page of 25 MB; look at it by eomm view --serve"):
        budget.pack(layers, share, limit=100)


def test_clear_dates_go_first():
    share = np.array([0.1, 0.9, 0.2, 1.0, 0.1, 0.8], np.float32)
    assert budget.order(np.arange(6) * 5, share)[:3] == [3, 1, 5]


def test_a_page_says_what_it_lacks_and_keeps_its_limit(tmp_path):
    whole = write_view(zoo.store("int8"), tmp_path / "whole.html", cube=zoo.cube())
    made = write_view(zoo.store("int8"), tmp_path / "cut.html", cube=zoo.cube(), limit=whole["bytes"] - 20_000)
    assert made["bytes"] <= whole["bytes"] - 20_000 and made["left_out"]
    about = json.loads((tmp_path / "cut.html").read_text().split('id="about">')[1].split("</script>")[0])
    assert about["left_out"] == made["left_out"] and about["vectors"]["length"] == made["length"]


@pytest.mark.parametrize("name", ["clear", "cloudy"])
def test_floats_are_packed_in_steps_of_a_127th_of_the_largest(name):
    layers = Layers(zoo.store(name))
    want = open_embedding(zoo.store(name), masked=False)["embedding"].values
    whole = slice(0, 24)
    found = layers.read("vectors", slice(0, 20), whole, whole).transpose(0, 2, 3, 1)
    missing = np.isnan(want)
    assert missing.any() == (name == "clear") and (found[missing] == -128).all()
    top = 127 * layers.scale  # the largest of a sample
    off = np.abs(np.where(missing, 0, found * layers.scale - np.clip(want, -top, top)))
    assert (off <= layers.scale * 0.51).all() and (np.abs(np.where(missing, 0, want)) > top).mean() < 1e-3
    np.testing.assert_array_equal(layers.read("flags", slice(0, 20), whole, whole)[:, 0] & 2 > 0, ~valid(name))


def valid(name):
    return open_embedding(zoo.store(name))["valid"].values.astype(bool)


def test_another_cube_is_refused():
    with pytest.raises(ContractError, match=r"is of site 'site one', the cube .* of 'a'"):
        Layers(zoo.store("int8"), zoo.local())


def test_the_command_writes_a_page_and_serves_none_into_a_file(tmp_path, capsys):
    arguments = ["view", str(zoo.store("int8")), "--cube", str(zoo.cube().path)]
    out = tmp_path / "page.html"
    assert main([*arguments, "--out", str(out)]) == 0 and out.stat().st_size > 1_300_000
    assert "MB, open it in a browser" in capsys.readouterr().out
    assert main([*arguments, "--out", str(out)]) == 2 and "already exists" in capsys.readouterr().err
    assert main([*arguments, "--out", str(out), "--serve"]) == 2 and "leave --out away" in capsys.readouterr().err


def test_a_composite_is_shown_by_its_periods(tmp_path):
    export(zoo.store("int8"), tmp_path / "months.zarr", ExportOptions(to="zarr", composite="month"))
    made = write_view(tmp_path / "months.zarr", tmp_path / "page.html")
    months = open_embedding(tmp_path / "months.zarr")["time"].values.astype("datetime64[D]").astype(str).tolist()
    assert made["dates"] == months and 1 < len(months) < 20
