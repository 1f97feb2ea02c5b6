import itertools
from contextlib import closing

import numpy as np
import pytest

from eomm.data.batches import Loading, batches
from eomm.data.held_out import dates_unseen, held_out
from eomm.data.mixture import mix, mixed_batches, pool_statistics
from eomm.data.modality import SENTINEL1_SIGMA0, SENTINEL2
from eomm.data.records import PatchShape, RecordSet
from eomm.errors import ContractError, UsageError
from tests.eomm.tiny import SHAPES, make_records

SMALL = {"s2": PatchShape(modality=SENTINEL2, acquisitions=5, height=1, width=1)}


def statistics(mean, std):
    return {"mean": [mean] * 10, "std": [std] * 10, "low": [mean - 1] * 10, "high": [mean + 1] * 10, "valid": 7}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixture")
    named = {"reading": "lone", "shuffle": "permutation", "statistics": {"s2": statistics(0.3, 0.1)}}
    crops = {"split": {"sites": {"train": ["a"]}, "hold_out_days": [3]}, "statistics": {"s2": statistics(0.1, 0.0)}}
    first = make_records(folder / "crops", manifest=crops)
    second = make_records(folder / "series", train=10, validation=0, seed=1, shapes=SMALL, manifest=named)
    third = make_records(folder / "other", train=7, validation=3, seed=2, manifest=crops)
    return first, second, third


def make_mixture(sets, **options):
    return mix(sets, **{"batch_size": 4, "weights": (3, 1, 2), "batch_sizes": (4, 8, 4), **options})


def take(mixture, count, *, start=0, **options):
    order = {name: options.pop(name, value) for name, value in {"split": "train", "seed": 5}.items()}
    with closing(mixed_batches(mixture, **order, loading=Loading(**{"modalities": ("s2",), **options}))) as data:
        data.set_state({"next_index": start})
        return list(itertools.islice(data, count))


def rows(batch):
    return batch["s2"]["day"][:, 0].tolist()


def test_every_batch_comes_from_one_set_by_weight_and_every_record_of_it_in_turn(sets):
    mixture = make_mixture(sets)
    drawn = take(mixture, 60)
    which = [i for i, _ in drawn]
    assert [which.count(i) for i in range(3)] == [30, 10, 20]
    assert [mixture.share_of(k)[0] for k in range(60)] == which
    assert all(max(abs(which[:k].count(i) - k * w / 6) for i, w in enumerate((3, 1, 2))) <= 1.5 for k in range(60))
    for i, (size, count) in enumerate(zip((4, 8, 4), (24, 10, 7), strict=True)):
        own = [rows(b) for j, b in drawn if j == i]
        assert {len(r) for r in own} == {size}
        stream = [r for one in own for r in one]
        assert all(len(set(stream[k : k + count])) == count for k in range(0, len(stream) - count, count))
    assert take(mixture, 1)[0][1]["s2"]["values"].shape == (4, 3, 4, 4, 10)
    assert [rows(b) for _, b in take(mixture, 6, seed=6)] != [rows(b) for _, b in drawn[:6]]


def test_a_batch_is_the_same_on_1_2_and_4_hosts_and_from_any_start(sets):
    mixture = make_mixture(sets)
    whole = take(mixture, 13)
    for hosts in (2, 4):
        parts = [take(mixture, 13, host=(i, hosts)) for i in range(hosts)]
        for k, (which, batch) in enumerate(whole):
            assert all(p[k][0] == which for p in parts)
            joined = np.concatenate([p[k][1]["s2"]["values"] for p in parts])
            np.testing.assert_array_equal(joined, batch["s2"]["values"])
    for threads in (0, 3):
        resumed = take(mixture, 6, start=7, threads=threads)
        assert [(i, rows(b)) for i, b in resumed] == [(i, rows(b)) for i, b in whole[7:]]
    for k in (0, 5, 12):
        told = mixture.batch_records(split="train", seed=5, number=k)
        assert [r["row"] for r in told] == rows(whole[k][1])
        assert {r["set"] for r in told} == {mixture.shares[whole[k][0]].name}


def test_a_single_set_is_what_it_was(sets):
    first = sets[0]
    mixture = mix([first], batch_size=8)
    with closing(batches(first, split="train", batch_size=8, seed=5)) as data:
        expected = [rows(b) for b in itertools.islice(data, 9)]
    assert [rows(b) for _, b in take(mixture, 9, modalities=None)] == expected
    assert mixture.data_hash == first.data_hash and mixture.views() == (first,)
    assert mixture.manifest() is first.manifest
    told = mixture.batch_records(split="train", seed=5, number=3)
    assert [r["row"] for r in told] == expected[3] and "set" not in told[0]


def test_statistics_are_pooled_by_weight_and_what_was_held_out_stays_known(sets):
    mixture = make_mixture(sets)
    pooled = mixture.views()[1].manifest["statistics"]["s2"]
    drawn = np.array([0.1] * 5 + [0.2, 0.4])  # 5 of 6 from sets at 0.1, 1 of 6 at 0.3 +- 0.1
    weights = np.array([1.0] * 5 + [0.5, 0.5])
    mean = np.average(drawn, weights=weights)
    np.testing.assert_allclose(pooled["mean"], mean)
    np.testing.assert_allclose(pooled["std"], np.sqrt(np.average((drawn - mean) ** 2, weights=weights)))
    assert pooled["low"][0] == -0.9 and pooled["high"][0] == 1.3 and pooled["valid"] == 21
    assert pool_statistics([], [])["std"] is None
    assert mixture.views()[1].shapes == SMALL and mixture.views()[1].reading == "lone"
    manifest = mixture.manifest()
    assert held_out(manifest, "a")[0] == (3,) and held_out(manifest, "b")[0] == ()
    assert dates_unseen(manifest, "a", [3]) and not dates_unseen(manifest, "a", [4])
    assert make_mixture(sets, weights=(1, 1, 1)).data_hash != mixture.data_hash
    assert [s.name for s in mixture.with_split("validation").shares] == ["crops", "other"]
    assert mixture.count("validation") == 8


def test_what_cannot_be_mixed_is_refused(sets):
    first, second, _ = sets
    with pytest.raises(UsageError, match=r"weights': 2.*one value for each"):
        make_mixture(sets, weights=(1, 2))
    with pytest.raises(UsageError, match="expected each set once"):
        mix([first, first], batch_size=4)
    with pytest.raises(UsageError, match="expected a weight above 0"):
        make_mixture(sets, weights=(1, 0, 1))
    with pytest.raises(UsageError, match="name the groups x; balanced are none"):
        make_mixture(sets, group_weights={"x": 2.0})
    with pytest.raises(UsageError, match="no record set has a split 'test'"):
        make_mixture(sets).with_split("test")
    sigma = PatchShape(modality=SENTINEL1_SIGMA0, acquisitions=5, height=4, width=4)
    other = RecordSet(second.path, {**SHAPES, "s1": sigma}, {"files": []})
    with pytest.raises(ContractError, match="calibration"):
        mix([first, other], batch_size=4)
