"""Shards as units: their limits, their resumption, and what is drawn of them."""

import dataclasses
import itertools

import numpy as np
import pytest

from data_prep.records import build as module
from data_prep.records.build import build_patches
from data_prep.records.split import Extent, SplitConfig, least_distance, near_sites
from eomm.data.records import open_records
from eomm.errors import DataError, UsageError
from tests.data_prep.records.test_build_patches import SMALL, grid, patches, write


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """Three sites 20 km apart; the last is the largest."""
    path = tmp_path_factory.mktemp("cubes")
    return [
        write(path / f"{site}.zarr", site, on=grid(width=width, west=500000.0 + 20000 * i), seed=10 * i)
        for i, (site, width) in enumerate((("a", 16), ("b", 16), ("c", 40)))
    ]


def test_shards_hold_at_most_so_many_records_of_crops_in_order(cubes, tmp_path):
    for limit in (5, 100):
        out = build_patches(
            tmp_path / str(limit),
            cubes=cubes,
            split=SplitConfig(),
            crops=dataclasses.replace(SMALL, shard_records=limit),
        )
        files = open_records(out).manifest["files"]
        assert max(f["records"] for f in files) <= limit and all(
            sum(f["sites"].values()) == f["records"] for f in files
        )
        found = [(p["site"], p["row"], p["col"], int(p["s2"]["day"][0])) for p in patches(out, "train")]
        if limit == 100:  # crops stay together; series that do not fit are told apart
            assert found == sorted(found) and len(files) == 1 + len(found) // 100
        assert sorted(found) == sorted(set(found)) and len(found) == (6 + 6 + 15) * 6
    small = {f["name"]: f["sites"] for f in files}
    assert {"a": 36, "b": 36}.items() <= next(iter(small.values())).items()


@pytest.mark.whole
def test_what_is_written_is_kept_when_a_shard_fails_or_the_process_ends(cubes, tmp_path, monkeypatch):
    whole = build_patches(tmp_path / "whole", cubes=cubes, split=SplitConfig(), crops=SMALL)
    real, calls = module.write_shard, []

    def failing(directory, recipe, shard, **options):
        calls.append(shard.number)
        if shard.number == 3:
            raise DataError("broken")
        return real(directory, recipe, shard, **options)

    monkeypatch.setattr(module, "write_shard", failing)
    with pytest.raises(DataError, match="broken"):
        build_patches(tmp_path / "r", cubes=cubes, split=SplitConfig(), crops=SMALL)
    units = tmp_path / "r.partial" / ".units"
    kept = {p: p.stat().st_mtime_ns for p in units.glob("*.array_record")}
    assert len(kept) >= 3
    (units / "1.array_record").rename(tmp_path / "r.partial" / "half-named")  # killed while shards were named
    written = []

    def counting(directory, recipe, shard, **options):
        written.append(shard.number)
        return real(directory, recipe, shard, **options)

    monkeypatch.setattr(module, "write_shard", counting)
    out = build_patches(tmp_path / "r", cubes=cubes, split=SplitConfig(), crops=SMALL)
    assert 1 in written and 3 in written and not {0, 2} & set(written)
    assert (out / "manifest.json").read_text() == (whole / "manifest.json").read_text()
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in whole.iterdir())
    written.clear()
    build_patches(tmp_path / "r", cubes=cubes, split=SplitConfig(), crops=SMALL)  # complete, and of the same request
    assert not written
    with pytest.raises(UsageError, match="already exists"):
        build_patches(tmp_path / "r", cubes=cubes[:2], split=SplitConfig(), crops=SMALL)


def test_the_manifest_weighs_sites_and_strata(cubes, tmp_path):
    out = build_patches(
        tmp_path / "r", cubes=cubes, split=SplitConfig(), strata={"a": "x", "b": "x", "c": "y"}, crops=SMALL
    )
    balance = open_records(out).manifest["balance"]
    for by, groups in (("site", {"a": 36, "b": 36, "c": 90}), ("stratum", {"x": 72, "y": 90})):
        found = balance[by]["train"]
        assert {g: f["records"] for g, f in found.items()} == groups
        drawn = [f["records"] * f["weight"] for f in found.values()]
        np.testing.assert_allclose(drawn, sum(groups.values()) / len(groups), rtol=1e-4)
    alone = build_patches(tmp_path / "s", cubes=cubes[:1], split=SplitConfig(), crops=SMALL)
    assert list(open_records(alone).manifest["balance"]) == ["site"]


def test_sites_are_near_by_the_ground_between_them_however_large_they_are():
    rng = np.random.default_rng(0)
    places = {
        f"s{i:02}": Extent(lon=3 + rng.uniform(0, 1), lat=60 + rng.uniform(0, 0.5), radius_m=rng.choice([100, 9000]))
        for i in range(40)
    }
    groups = near_sites(places, [*places, "nowhere"], buffer_m=3000)
    assert sorted(itertools.chain(*groups)) == sorted([*places, "nowhere"]) and ["nowhere"] in groups
    group_of = {site: i for i, group in enumerate(groups) for site in group}
    near = {(a, b) for a, b in itertools.combinations(places, 2) if places[a].distance_m(places[b]) < 3000}
    assert near and all(group_of[a] == group_of[b] for a, b in near)
    assert 1 < len(groups) < 41
    linked = {site: {site} for site in places}  # the same by brute force
    for a, b in near:
        joined = linked[a] | linked[b]
        for site in joined:
            linked[site] = joined
    assert {frozenset(g) for g in groups} == {*(frozenset(v) for v in linked.values()), frozenset(["nowhere"])}
    far = {"a": Extent(lon=3, lat=50, radius_m=0), "b": Extent(lon=3, lat=50.1, radius_m=100)}
    assert least_distance(far, {"a": "train", "b": "test"}) == pytest.approx(11024, abs=10)
    assert least_distance(far, {"a": "train", "b": "train"}) is None
