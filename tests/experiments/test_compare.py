"""The comparison of variants, on a simulated site at the tiny size."""

import json

import pytest

from benchmarks.common import make_cube
from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig, clear_days
from eomm.data.cube import open_cube
from eomm.errors import UsageError
from experiments import compare

TINY = "encoder.size=tiny, decoder.width=16, objective.targets=2, objective.queries=2, optimiser.warmup_steps=1"


@pytest.mark.whole
def test_a_variant_is_trained_and_scored_by_length_and_nothing_is_done_twice(tmp_path, capsys):
    cube = make_cube(tmp_path, size_px=32, site="a")
    split = SplitConfig(sites={"train": ["a"]}, hold_out_days=clear_days(open_cube(cube)["s2"], every=3))
    records = build_patches(tmp_path / "records", cubes=[cube], split=split, crops=CropConfig(stride_px=8))
    command = [f"--records={records}", f"--cube={cube}", f"--out={tmp_path / 'out'}", "--steps=2", "--json"]
    command += ["--seeds", "0", "--lengths", "4", "64", "--gaps", "20", "--max-pixels=1024"]
    command += [f"--variant=always hidden: objective.hidden=1, {TINY}"]
    compare.main(command)
    result = json.loads(capsys.readouterr().out)
    scores = {(r["variant"], r["length"]): r["20"] for r in result["rows"] if r["method"] == "encoder"}
    assert set(scores) == {("always hidden", 4), ("always hidden", 16)}  # 64 is more than it has
    assert scores["always hidden", 4] != scores["always hidden", 16]
    assert [len(r["20"]) for r in result["rows"] if r["method"] == "linear"] == [1]
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("s*.json")}
    compare.main(command)
    assert before == {f: f.stat().st_mtime_ns for f in (tmp_path / "out").rglob("s*.json")}
    with pytest.raises(UsageError, match="objective"):  # not what the directory holds
        compare.main([*command[:-1], command[-1].replace("hidden=1", "hidden=0")])


def test_a_variant_is_a_name_and_overrides():
    assert compare.parse_variant("past: encoder.frames=16,0, seed=1") == ("past", ("encoder.frames=16,0", "seed=1"))
    for text in ("no colon", ": seed=1", "a: nothing"):
        with pytest.raises(UsageError, match="--variant"):
            compare.parse_variant(text)
