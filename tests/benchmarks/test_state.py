import pytest

from benchmarks import state


@pytest.mark.whole
def test_embedding_with_the_state_is_timed_beside_the_encoder_alone():
    result = state.run(size_px=24, repeats=1)
    for other in ("pixel", "halo"):
        share = result["state_processor_seconds"] / result[f"{other}_processor_seconds"]
        assert result[f"slower_than_{other}"] == pytest.approx(share - 1) and result[f"{other}_seconds"] > 0
