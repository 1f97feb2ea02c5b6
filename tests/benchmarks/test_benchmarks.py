import json

import jax
import pytest
from ml_collections import ConfigDict

from benchmarks import common, embed, read, train


@pytest.mark.whole
def test_embedding_is_timed_on_a_simulated_site_at_the_default_size():
    result = embed.run(size_px=32, block=32, repeats=1)
    assert result["pixel_dates_per_second"] == pytest.approx(result["pixel_dates"] / result["seconds"])
    assert 0 < result["pixel_dates"] < result["dates"] * 32 * 32 and result["pixel_dates_per_cpu_second"] > 0
    assert result["dtype"] == "float32, written as int8" and result["peak_memory_gib"] > 0.1
    assert result["cores"] >= 1 and result["device"].startswith(("cpu", "gpu", "tpu"))
    assert "size base, dimension 64" in result["model"] and result["simulated"] is True


@pytest.mark.whole
def test_reading_a_map_and_a_series_is_timed():
    result = read.run(size_px=32, repeats=1)
    assert all(result[f"{d}_{p}_ms"] > 0 for d in ("int8", "float32") for p in ("map", "series"))
    assert 0 < result["int8_bytes"] < result["float32_bytes"] / 2


@pytest.mark.whole
def test_training_is_timed_beside_the_pipeline_alone():
    tiny = ["encoder.size=tiny", "decoder.width=16", "objective.targets=2", "objective.queries=2"]
    result = train.run(size_px=32, steps=2, repeats=1, overrides=tiny)
    pixels = 18 * 18 * result["target_acquisitions_per_record"]
    assert 0 < result["targets_per_second"] <= result["records_per_second"] * pixels
    assert result["pipeline_alone_records_per_second"] > 0 and result["dtype"] == "float32"
    reached, possible = result["gigaflops_per_second"], result["matmul_gigaflops_per_second"]
    assert reached > 0 and result["share_of_matmul"] == pytest.approx(reached / possible)
    assert not any("largest_batch" in name for name in result)  # memory is the accelerator's question
    assert "size tiny, dimension 16" in result["model"]


def test_the_largest_batch_is_the_last_that_fits(monkeypatch):
    config = ConfigDict({"data": {"batch_size": 2}, "encoder": {"dtype": "float32"}, "decoder": {"dtype": "float32"}})
    tried = []

    def measure(config, *_, **__):
        size, dtype = config.data.batch_size, config.encoder.dtype
        tried.append((size, dtype, config.decoder.dtype))
        if size > 8:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return {"records_per_second": {2: 10.0, 4: 30.0, 8: 20.0}[size]}

    monkeypatch.setattr(train, "measure_step", measure)
    monkeypatch.setattr(train, "read", lambda *_: (b for b in [{}]))
    found = train.largest_batch(config, None, "bfloat16", steps=1, repeats=1)
    assert found == {"records_per_second": 30.0, "best_batch": 4, "largest_batch": 8}
    assert tried[-1] == (16, "bfloat16", "bfloat16") and config.encoder.dtype == "float32"


def test_results_are_one_json_object_on_standard_output_and_chatter_goes_elsewhere(capsys):
    def run(repeats):
        print("working")
        return {"pixel_dates_per_second": 12345.678, "repeats": repeats}

    common.print_result(run, "A benchmark.", ["--json", "--repeats", "2"])
    out, err = capsys.readouterr()
    assert json.loads(out) == {"pixel_dates_per_second": 12345.678, "repeats": 2} and err == "working\n"
    common.print_result(run, "A benchmark.", [])
    assert capsys.readouterr().out.splitlines()[0].split() == ["pixel_dates_per_second", "12,345.7"]
