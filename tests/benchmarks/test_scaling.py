import pytest

from benchmarks import scaling

PROGRAM = """
  %all-gather.1 = pred[4,8]{1,0} all-gather(%p), channel_id=1, replica_groups=[1,2]<=[2], dimensions={0}
  ROOT %all-reduce.7 = (f32[64,128]{1,0}, f32[], /*index=2*/bf16[3]{0}) all-reduce(%a, %b, %c), channel_id=2
  %all-reduce.8 = f32[10]{0} all-reduce(%d), to_apply=%add
  %add.3 = f32[10]{0} add(%all-reduce.8, %d)
"""


def test_collectives_are_read_from_a_compiled_program():
    reduced = 4 * 64 * 128 + 4 + 2 * 3 + 4 * 10
    expected = {"all-gather": {"count": 1, "bytes": 32}, "all-reduce": {"count": 2, "bytes": reduced}}
    assert scaling.collectives(PROGRAM) == expected


def test_a_ring_sends_all_but_a_devices_own_part():
    once = {"count": 1, "bytes": 800}
    assert scaling.collective_seconds("all-gather", once, 8, 100.0) == pytest.approx(7 + scaling.LATENCY)
    assert scaling.collective_seconds("all-reduce", once, 8, 100.0) == pytest.approx(14 + scaling.LATENCY)
    # the result of a reduce-scatter is an eighth of what is reduced
    assert scaling.collective_seconds("reduce-scatter", {"count": 1, "bytes": 100}, 8, 100.0) == pytest.approx(
        7, rel=0.01
    )
    assert scaling.collective_seconds("collective-permute", once, 8, 100.0) == pytest.approx(8, rel=0.01)


@pytest.mark.whole
def test_split_parameters_are_gathered_and_activations_stay_where_they_are():
    tiny = ["encoder.size=tiny", "decoder.width=16", "objective.queries=2", "objective.borrowed_clouds=0.0"]
    result = scaling.run(devices=(2,), meshes=("fsdp",), batch=2, overrides=tiny)
    (row,) = result["rows"]
    masks = 2 * 2 * 32 * 32 * 32  # of the whole batch (objective.borrow_clouds)
    assert result["parameter_bytes"] < row["bytes"] < 4 * result["parameter_bytes"] + 2 * masks
    assert 0 < row["communication_share"]["400 Gb/s"] < row["communication_share"]["10 Gb/s"] < 1
    assert "fsdp       2" in scaling.format_result(result)
