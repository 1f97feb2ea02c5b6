import resource

import pytest

from benchmarks import growth


def test_slopes_are_of_what_comes_on_top_of_the_first_row():
    rows = [
        {"count": n, "cpu_seconds": 5 + 2 * (n - 1), "files": 3 + (n - 1) ** 2, "bytes": 10 * n, "peak_mib": 300}
        for n in (1, 11, 101)
    ]
    found = growth.slopes(rows)
    assert found == pytest.approx({"cpu_seconds": 1, "files": 2, "bytes": 1, "peak_mib": 0}, abs=1e-9)
    assert growth.slopes(rows[:2]) == {}


def test_the_slope_of_memory_is_of_runs_with_as_many_blocks_at_once():
    rows = [
        {"count": n, "cpu_seconds": n, "files": n, "bytes": n, "peak_mib": mib, "at_once": at_once}
        for n, mib, at_once in ((1, 100, 1), (11, 200, 1), (101, 400, 2), (1001, 4000, 2))
    ]
    assert growth.slopes(rows)["peak_mib"] == pytest.approx(1, rel=0.01)
    assert "peak_mib" not in growth.slopes(rows[:3])


def test_the_peak_of_a_command_is_its_own(tmp_path):
    row = growth.measure([], tmp_path, module="platform")
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # which Linux hands on to what is started
    assert row["peak_mib"] < 100 < ours and row["cpu_seconds"] > 0


def test_fabricated_units_count_as_done(tmp_path):
    found = growth.many_units(tmp_path, 30)
    assert found.pop("count") == 30 and all(seconds < 60 for seconds in found.values())
    assert growth.status_of_units(tmp_path / "one.zarr")["done"] == 30
    assert growth.status_of_cubes(tmp_path / "many")["done"] == 30


@pytest.mark.whole
def test_growth_is_measured_from_scenes_to_embeddings(tmp_path):
    notes = []
    result = growth.run(sites=[2], sides=[24], units=10, note=lambda r: notes.append(len(r["sites"])))
    assert [r["count"] for r in result["sites"]["embed"]] == [1, 2] and len(notes) == 5
    assert set(result["slopes_sites"]) == {"prepare", "cut", "train", "embed"}
    assert all(r["peak_mib"] > 50 and r["files"] for rows in result["sites"].values() for r in rows)
    assert [r["side"] for r in result["sides"]["embed"]] == [16, 24]
    assert "embed" in growth.format_growth(result)
