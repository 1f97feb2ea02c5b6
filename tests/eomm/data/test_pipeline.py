import itertools
import shutil
from contextlib import closing

import numpy as np
import pytest

from data_prep.records.manifest import describe_balance
from eomm.data.batches import RecordSource, batch_records, batches, count_batches
from eomm.data.order import Order
from eomm.data.records import open_records
from eomm.errors import DataError, UsageError
from tests.eomm.tiny import SHAPES, make_records


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_records(tmp_path_factory.mktemp("pipeline") / "records")


def take(records, count, *, state=None, **options):
    options = {"split": "train", "batch_size": 8, "seed": 1, **options}
    with closing(batches(records, **options)) as data:
        if state:
            data.set_state(state)
        return list(itertools.islice(data, count))


def numbers(batch):
    return batch["s2"]["day"][:, 0].tolist()


def test_a_global_batch_is_the_same_for_1_2_and_4_hosts(records):
    whole = take(records, 7)
    for hosts in (2, 4):
        parts = [take(records, 7, host=(i, hosts)) for i in range(hosts)]
        for k, batch in enumerate(whole):
            for name, field in itertools.product(SHAPES, ("values", "valid", "orbit")):
                joined = np.concatenate([p[k][name][field] for p in parts])
                np.testing.assert_array_equal(joined, batch[name][field])


def test_the_position_is_exact_on_any_number_of_hosts_and_threads(records):
    expected = [numbers(b) for b in take(records, 9)]
    with closing(batches(records, split="train", batch_size=8, seed=1)) as data:
        for _ in range(5):
            next(data)
        state = data.get_state()
    assert state == {"next_index": 5}
    assert [numbers(b) for b in take(records, 4, state=state, threads=0)] == expected[5:]
    halves = [take(records, 4, state=state, host=(i, 2)) for i in range(2)]
    assert [numbers(a) + numbers(b) for a, b in zip(*halves, strict=True)] == expected[5:]


def test_every_epoch_holds_every_record_once_in_another_order(records):
    stream = np.concatenate([numbers(b) for b in take(records, 9)]).reshape(3, 24)  # three epochs
    for epoch in stream:
        assert sorted(epoch) == list(range(24))
    assert len({tuple(epoch) for epoch in stream}) == 3
    assert numbers(take(records, 1)[0]) != numbers(take(records, 1, seed=2)[0])


def test_without_repeat_the_last_batch_is_filled_up_with_empty_records(records):
    found = take(records, 99, split="validation", batch_size=4, once=True)
    assert len(found) == count_batches(records, split="validation", batch_size=4) == 2
    assert [n for b in found for n in numbers(b)] == [24, 25, 26, 27, 28, 0, 0, 0]
    assert not any(found[1]["s2"][field][1:].any() for field in ("valid", "present", "values"))
    second = take(records, 99, split="validation", batch_size=4, once=True, host=(1, 2))
    assert numbers(second[1]) == [0, 0]


def test_only_the_modalities_asked_for_are_read(records):
    (batch,) = take(records, 1, modalities=("s1",))
    assert list(batch) == ["s1"] and batch["s1"]["values"].dtype == np.int16
    with pytest.raises(UsageError, match="no modality 's3'"):
        take(records, 1, modalities=("s3",))
    with pytest.raises(UsageError, match="divided among 3 hosts"):
        take(records, 1, host=(0, 3))
    with pytest.raises(DataError, match="no split 'night'"):
        take(records, 1, split="night")


@pytest.fixture
def strata(records):
    """The same records, of which few are heath: numbers 4, 11 and 23, in both shards."""
    opened = open_records(records.path)
    train = [f for f in opened.manifest["files"] if f["split"] == "train"]
    for entry, sites in zip(train, ({"a": 4, "b": 1, "c": 6, "d": 1}, {"c": 11, "d": 1}), strict=True):
        entry["sites"] = sites
    opened.manifest["strata"] = {"a": "crop", "b": "heath", "c": "crop", "d": "heath"}
    opened.manifest["balance"] = describe_balance(train, opened.manifest["strata"])
    return opened


def test_balanced_by_stratum_the_rare_are_seen_as_often_on_any_number_of_hosts(strata):
    heath = {4, 11, 23}
    whole = take(strata, 12, balance="stratum")
    drawn = np.array([numbers(b) for b in whole])
    assert (np.isin(drawn, list(heath)).sum(axis=1) == 4).all()  # half of every batch of 8
    stream = drawn.ravel()
    rare, common = stream[np.isin(stream, list(heath))], stream[~np.isin(stream, list(heath))]
    assert all(set(part) == heath for part in rare.reshape(-1, 3)) and len({*map(tuple, rare.reshape(-1, 3))}) > 1
    assert len(set(common[:21])) == 21 and set(common[:21]) == set(range(24)) - heath  # each once before any again
    parts = [take(strata, 12, balance="stratum", host=(i, 4)) for i in range(4)]
    assert [[n for p in parts for n in numbers(p[k])] for k in range(12)] == drawn.tolist()
    resumed = take(strata, 7, balance="stratum", state={"next_index": 5}, threads=0)
    assert [numbers(b) for b in resumed] == drawn[5:].tolist()
    rows = batch_records(strata, Order(split="train", batch_size=8, seed=1, balance="stratum"), 3)
    assert [r["row"] for r in rows] == drawn[3].tolist()
    assert [numbers(b) for b in take(strata, 3, balance="stratum", seed=2)] != drawn[:3].tolist()
    by_site = np.array([numbers(b) for b in take(strata, 3, balance="site")])
    assert (np.isin(by_site, [4]).sum(axis=1) == 2).all()  # one record of four sites


def test_records_that_cannot_be_balanced_are_refused(records, strata):
    with pytest.raises(UsageError, match="cannot be balanced by 'stratum', only by nothing"):
        take(records, 1, balance="stratum")
    with pytest.raises(UsageError, match="cannot be balanced by 'soil', only by site, stratum"):
        take(strata, 1, balance="soil")
    with pytest.raises(UsageError, match="drawn for ever"):
        take(strata, 1, balance="stratum", once=True)


@pytest.mark.parametrize("damage", ["record", "index", "other records"])
def test_a_damaged_shard_is_named_with_the_record(records, tmp_path, damage):
    shutil.copytree(records.path, tmp_path / "r")
    opened = open_records(tmp_path / "r")
    shard = opened.files("train")[1]
    content = bytearray(shard.read_bytes())
    if damage == "record":
        content[1000:1010] = bytes(10)
    elif damage == "index":
        content[-66_000:] = bytes(66_000)
    else:
        content = bytearray(opened.files("validation")[0].read_bytes())  # fewer records than the manifest says
    shard.write_bytes(content)
    opened = open_records(tmp_path / "r")
    for entry in opened.manifest["files"]:
        entry["bytes"] = (tmp_path / "r" / entry["name"]).stat().st_size  # only reading can find out
    source = RecordSource(opened, split="train")
    for i in range(12):
        source[i]
    with pytest.raises(DataError, match=rf"{shard.name}: record \d+ cannot be read"):
        for i in range(12, 24):
            source[i]
    with pytest.raises(DataError, match=shard.name):
        take(opened, 3)
