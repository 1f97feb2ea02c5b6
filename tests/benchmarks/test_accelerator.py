import pytest

from benchmarks import accelerator

TINY = ("encoder.size=tiny", "decoder.width=16", "objective.targets=2", "objective.queries=2")


@pytest.mark.whole
def test_every_part_is_measured_and_noted_and_none_begins_after_its_time():
    notes = []
    options = {"size_px": 32, "block": 32, "steps": 1, "repeats": 1, "limit": 2, "overrides": TINY}
    result = accelerator.run(accelerator.Asked(**options), lambda r: notes.append(sorted(r)))
    assert len(notes) == 5 and not result["left_out"] and result["verify"]["float32"]["equal"]
    for dtype in ("float32", "bfloat16"):
        found = result[f"embedding_{dtype}"]
        assert found["pixel_dates_per_second"] > 0 and 0 < found["share_of_matmul"] < 1
        assert found["share_of_peak"] is None  # nothing is stated of a CPU
        assert result["training"][dtype]["largest_batch"] == 2
    assert len(result["depthwise"]) == 8 and all(ms > 0 for ms in result["depthwise"].values())
    late = accelerator.run(accelerator.Asked(**options, minutes=0))
    assert late["left_out"] == ["verify", "depthwise", "embedding_float32", "embedding_bfloat16", "training"]
