import dataclasses
import itertools
from contextlib import closing

import grain
import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds

from data_prep.records.points import PointOptions, build_point_records
from eomm.data.batches import RecordSource, batches, reader
from eomm.data.modality import SENTINEL2
from eomm.data.order import Order, interleave, order_batches, proportions
from eomm.data.points import PointMapping, PointSeries, load_point_mapping, points_of, read_points
from eomm.data.records import open_records
from eomm.errors import ContractError, DataError, UsageError

BANDS = SENTINEL2.band_names
GREEN = np.array([0.03, 0.06, 0.04, 0.1, 0.25, 0.3, 0.32, 0.33, 0.2, 0.1])
MAPPING = PointMapping(
    modality="s2",
    id="parcel",
    date="date",
    bands={b: b.lower() for b in BANDS},
    scale=1e-4,
    offset=-0.1,
    fill=(0,),
    valid="scl",
    valid_values=(4, 5),
    group="farm",
    stratum="region",
    lon="lon",
    lat="lat",
)


def make_series(rng, number, *, dates=None, group=None, split="", square=None, label=""):
    dates = dates or int(rng.integers(6, 20))
    shape = (dates, *(square or ()))
    values = (GREEN * rng.uniform(0.8, 1.2, (*shape, 1))).astype(np.float32)
    day = (17500 + np.cumsum(rng.integers(1, 9, dates))).astype(np.int32)
    name = group or f"farm {number % 5}"
    about = {"id": str(number), "group": name, "split": split, "label": label}
    return PointSeries(day=day, values=values, valid=rng.random(shape) < 0.8, **about)


def make_table(rng):
    rows = []
    for farm, parcel in itertools.product(("a", "b"), range(3)):
        for k in range(8):
            stored = np.rint(GREEN * rng.uniform(0.8, 1.2) * 1e4 + 1000).astype(int)
            about = {"parcel": parcel, "farm": farm, "region": "north", "lon": 9.0, "lat": 48.0 + parcel}
            date = f"2020-0{k + 1}-15"
            bands = dict(zip(MAPPING.bands.values(), stored, strict=True))
            rows.append({**about, "date": date, "scl": 4 if k % 3 else 9, **bands})
    return pd.DataFrame(rows)


def test_a_table_becomes_series_with_its_scale_mask_and_groups(tmp_path):
    table = make_table(np.random.default_rng(0))
    twice = table.iloc[[1]].assign(scl=9, b02=0)  # the same date once more, cloudy
    table = pd.concat([twice, table, twice]).reset_index(drop=True)
    table.loc[3, "b03"] = 0
    table.to_csv(tmp_path / "t.csv", index=False)
    found = read_points(tmp_path / "t.csv", MAPPING)
    assert [s.name for s in found] == [f"{f}/{p}" for f in "ab" for p in range(3)]
    first = found[0]
    assert len(first.day) == 8 and first.place == (9.0, 48.0) and first.stratum == "north"
    assert first.valid.tolist() == [False, True, False, False, True, True, False, True]  # clouds; 3 is a fill
    np.testing.assert_allclose(first.values[1] / GREEN, (first.values[1] / GREEN)[0], rtol=5e-3)
    assert first.day[0] == (pd.Timestamp("2020-01-15") - pd.Timestamp("1970-01-01")).days
    table.to_parquet(tmp_path / "t.parquet")
    again = read_points(tmp_path / "t.parquet", MAPPING)
    assert [s.values.tolist() for s in again] == [s.values.tolist() for s in found]


def test_the_orbit_of_a_pass_travels_from_a_table_to_records_and_batches(tmp_path):
    rows = [{"id": p, "date": f"2020-0{1 + k}-03", "rel": (117, 44, None)[k % 3]} for p in "ab" for k in range(6)]
    table = pd.DataFrame(rows).assign(VV=np.linspace(-12, -8, 12), VH=np.linspace(-19, -15, 12))
    mapping = PointMapping(modality="s1", id="id", date="date", bands={b: b for b in ("VV", "VH")}, orbit="rel")
    series = points_of(table, mapping, where="t")
    assert [s.orbit.tolist() for s in series] == [[117, 44, 0] * 2] * 2
    with pytest.raises(DataError, match="column rel holds no orbit numbers"):
        points_of(table.assign(rel="ascending"), mapping, where="t")
    hidden = dataclasses.replace(series[0], valid=np.arange(6) != 1, split="train")
    radar = {"modality": mapping.contract, "min_dates": 1}
    records = open_records(build_point_records(tmp_path / "r", [hidden], PointOptions(acquisitions=7, **radar)))
    found = RecordSource(records, split="train")[0]["s1"]["orbit"]
    assert found.tolist() == [117, 0, 117, 44, 0, 0, 0]  # what is not usable is gone, padding has none
    unknown = [dataclasses.replace(hidden, orbit=None)]
    plain = open_records(build_point_records(tmp_path / "p", unknown, PointOptions(acquisitions=7, **radar)))
    assert not RecordSource(plain, split="train")[0]["s1"]["orbit"].any() and plain.data_hash != records.data_hash


def test_what_a_table_lacks_is_named(tmp_path):
    table = make_table(np.random.default_rng(0))
    with pytest.raises(DataError, match="columns missing: b8a"):
        points_of(table.drop(columns="b8a"), MAPPING, where="t")
    with pytest.raises(DataError, match="series '0' has stratum"):
        points_of(table.assign(region=np.arange(len(table)).astype(str)), MAPPING, where="t")
    with pytest.raises(DataError, match=r"t, column date: 'someday' is no day; expected YYYY-MM-DD"):
        points_of(table.assign(date="someday"), MAPPING, where="t")
    local = points_of(table.assign(date=table["date"] + "T00:00:00+01:00"), MAPPING, where="t")
    assert [s.day.tolist() for s in local] == [s.day.tolist() for s in points_of(table, MAPPING, where="t")]
    with pytest.raises(ContractError, match=r"expected all of B02"):
        PointMapping(modality="s2", id="i", date="d", bands={"B02": "x"})
    file = tmp_path / "m.toml"
    file.write_text('modality = "s2"\nid = "parcel"\nwrong = 1\n')
    with pytest.raises(ContractError, match=r"m.toml: unknown key wrong; expected only modality, id, date"):
        load_point_mapping(file)
    file.write_text('modality = "s2"\nid = "parcel"\n')
    with pytest.raises(ContractError, match=r"m.toml: key date, bands is missing"):
        load_point_mapping(file)
    bands = "\n".join(f'{b} = "{c}"' for b, c in MAPPING.bands.items())
    file.write_text(
        'modality = "s2"\nid = "parcel"\ndate = "date"\nscale = 1e-4\noffset = -0.1\nfill = [0]\nvalid = "scl"\n'
        f'valid_values = [4, 5]\ngroup = "farm"\nstratum = "region"\nlon = "lon"\nlat = "lat"\n[bands]\n{bands}\n'
    )
    assert load_point_mapping(file) == MAPPING


def test_records_of_series_hold_their_usable_dates_exactly(tmp_path):
    rng = np.random.default_rng(1)
    series = [make_series(rng, i, split="train" if i % 5 else "test") for i in range(20)]
    options = {"accept": ["band_order"], "min_dates": 1}
    out = build_point_records(tmp_path / "r", series[::-1], PointOptions(source="here", **options))
    records = open_records(out)
    records.verify()
    assert records.reading == "lone" and records.shapes["s2"].site_wide
    by_number = dict(enumerate(sorted(series, key=lambda s: (s.group, s.id))))
    seen = 0
    for split in ("train", "test"):
        for patch in map(RecordSource(records, split=split).__getitem__, range(records.count(split))):
            s, fields = by_number[patch["row"]], patch["s2"]
            present = fields["present"].astype(bool)
            assert patch["site"] == s.group and s.split == split
            np.testing.assert_array_equal(fields["day"][present], s.day[s.valid])
            values, _ = SENTINEL2.encode(s.values[s.valid])
            np.testing.assert_array_equal(fields["values"][present, 0, 0], values)
            assert fields["valid"][present].all() and not fields["valid"][~present].any()
            assert (fields["day"][~present] == s.day[s.valid][-1]).all()
            assert not any(fields[k].any() for k in ("orbit", "direction", "incidence"))
            seen += 1
    assert seen == 20
    assert records.manifest["balance"]["site"]["train"]["farm 1"]["records"] == 4
    train = np.concatenate([s.values[s.valid] for s in series if s.split == "train"])
    np.testing.assert_allclose(records.manifest["statistics"]["s2"]["mean"], train.mean(0), atol=1e-4)
    assert "0,0,farm 0,test," in (out / "series.csv").read_text()
    again = out.stat().st_mtime_ns
    assert build_point_records(out, series, PointOptions(source="here", **options)) == out  # kept
    assert out.stat().st_mtime_ns == again
    with pytest.raises(UsageError, match="already exists"):
        build_point_records(out, series, PointOptions(source="elsewhere", **options))
    ours = tfds.builder_from_directory(out).as_data_source(split="test")
    assert len(ours) == records.count("test")


def test_fields_are_masked_and_long_series_become_several_records(tmp_path):
    rng = np.random.default_rng(2)
    series = [make_series(rng, i, dates=20, square=(3, 2 + i % 2)) for i in range(4)]
    options = {"reading": "homogeneous", "acquisitions": 8, "accept": ["band_order"]}
    records = open_records(build_point_records(tmp_path / "r", series, PointOptions(**options)))
    assert records.shapes["s2"].fields()["values"][0] == (8, 3, 3, 10) and records.count("train") == 4 * 4
    patch = RecordSource(records, split="train")[1]
    assert patch["col"] == 4 and not patch["s2"]["valid"][..., 2].any()
    np.testing.assert_array_equal(patch["s2"]["valid"][..., :2].astype(bool), series[0].valid[4:12])
    lone = open_records(build_point_records(tmp_path / "l", series, PointOptions(**options | {"reading": "lone"})))
    assert records.reading == "homogeneous" and records.data_hash != lone.data_hash


def test_what_is_not_reflectance_or_shared_by_splits_is_refused(tmp_path):
    rng = np.random.default_rng(3)
    series = [make_series(rng, i) for i in range(8)]

    def changed(factor=1.0, offset=0.0):
        return [
            PointSeries(id=s.id, group=s.group, day=s.day, values=s.values * factor + offset, valid=s.valid)
            for s in series
        ]

    with pytest.raises(ContractError, match="correct `scale`"):
        build_point_records(tmp_path / "r", changed(1e4))
    with pytest.raises(ContractError, match=r"\+1000 offset"):
        build_point_records(tmp_path / "r", changed(offset=0.1))
    mixed = [make_series(rng, i, group="g", split=s) for i, s in enumerate(("train", "test"))]
    with pytest.raises(UsageError, match="group 'g' has the splits"):
        build_point_records(tmp_path / "r", mixed)
    with pytest.raises(UsageError, match="reading 'alone'"):
        build_point_records(tmp_path / "r", series, PointOptions(reading="alone"))
    with pytest.raises(DataError, match="none of 8 series has 99 dates"):
        build_point_records(tmp_path / "r", series, PointOptions(min_dates=99, accept=["band_order"]))
    drawn = open_records(
        build_point_records(tmp_path / "r", series, PointOptions(fractions={"validation": 0.2}, accept=["band_order"]))
    )
    sites = drawn.manifest["split"]["sites"]
    assert len(sites["validation"]) == 1 and not set(sites["validation"]) & set(sites["train"])
    assert not list(tmp_path.glob("*.partial"))


def test_small_records_are_drawn_by_permutations_as_exactly(tmp_path):
    rng = np.random.default_rng(4)
    series = [make_series(rng, i, dates=12) for i in range(23)]
    options = PointOptions(accept=["band_order"], min_dates=1)
    records = open_records(build_point_records(tmp_path / "r", series, options))

    def take(count, start=0, **options):
        with closing(batches(records, split="train", seed=1, **{"batch_size": 6, **options})) as data:
            data.set_state({"next_index": start})
            return np.array([b["s2"]["values"][:, 0, 0, 0, 0] for b in itertools.islice(data, count)])

    whole = take(23)
    epochs = whole.reshape(6, 23)
    assert all(sorted(e) == sorted(epochs[0]) for e in epochs) and (epochs[0] != epochs[1]).any()
    np.testing.assert_array_equal(take(4, 9, threads=0), whole[9:13])
    halves = [take(5, host=(i, 2)) for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(halves, axis=1), whole[:5])
    order = Order(split="train", batch_size=6, seed=1, balance="site", group_weights={"farm 0": 0.0, "farm 1": 3.0})
    read = reader(records, Order(split="train", batch_size=6, seed=1))
    drawn = order_batches(records, order)
    weighted = np.array([read(drawn[k])["s2"]["values"][:, 0, 0, 0, 0] for k in range(40)]).ravel()
    site = {int(RecordSource(records, split="train")[i]["s2"]["values"][0, 0, 0, 0]): i for i in range(23)}
    names = [RecordSource(records, split="train")[site[int(v)]]["site"] for v in weighted]
    assert "farm 0" not in names and names.count("farm 1") == 120
    with pytest.raises(UsageError, match=r"need config\.data\.balance"):
        Order(split="train", batch_size=6, seed=1, group_weights={"farm 0": 2.0})


@pytest.mark.parametrize("weights", [[1.0, 1.0], [3.0, 1.0, 2.5], [0.7, 12.0, 0.1, 5.0]])
def test_streams_are_interleaved_as_grain_does(weights):
    number = np.arange(3000)
    which, key = interleave(number, proportions(weights))
    parents = [grain.MapDataset.range(100_000).map(lambda i, p=p: (p, i)) for p in range(len(weights))]
    mixed = grain.MapDataset.mix(parents, weights)
    assert [mixed[int(i)] for i in number] == list(zip(which.tolist(), key.tolist(), strict=True))
    far, _ = interleave(np.array([2**38]), proportions(weights))
    assert far[0] >= 0


def test_labels_travel_from_a_table_to_batches_and_records_without_are_as_before(tmp_path):
    table = make_table(np.random.default_rng(0)).assign(crop=lambda t: t.parcel.map({0: "rice", 1: "maize", 2: None}))
    series = points_of(table, dataclasses.replace(MAPPING, label="crop"), where="t")
    assert [s.label for s in series] == ["rice", "maize", ""] * 2
    with pytest.raises(DataError, match="series '0' has label"):
        points_of(table.assign(crop=np.arange(len(table))), dataclasses.replace(MAPPING, label="crop"), where="t")
    options = {"accept": ["band_order"], "min_dates": 1}
    split = [dataclasses.replace(s, split="train" if s.group == "a" else "test") for s in series]
    records = open_records(build_point_records(tmp_path / "r", split, PointOptions(**options)))
    assert records.manifest["labels"] == {"maize": 1, "rice": 1} and records.shapes["s2"].labelled
    with closing(batches(records, split="train", batch_size=4, seed=0, once=True)) as rows:
        found = next(rows)["s2"]
    assert found["label"].tolist() == [1, 0, -1, 0] and not found["present"][3].any()  # the last row is empty
    plain = [dataclasses.replace(s, label="") for s in split]
    without = open_records(build_point_records(tmp_path / "p", plain, PointOptions(**options)))
    assert "labels" not in without.manifest and "label" not in without.shapes["s2"].fields()
    assert without.data_hash != records.data_hash
    with pytest.raises(UsageError, match="already exists"):
        build_point_records(tmp_path / "r", plain, PointOptions(**options))


def test_some_dates_are_kept_and_a_valid_value_is_finite():
    day, values = np.array([1, 5, 9], np.int32), np.arange(6, dtype=np.float32).reshape(3, 2)
    series = PointSeries(id="a", group="g", day=day, values=values, valid=np.array([True, False, True]), orbit=day)
    kept = series.keep(series.valid)
    assert len(kept) == 2 and kept.day.tolist() == [1, 9] == kept.orbit.tolist() and kept.values[1, 0] == 4
    assert series.keep(np.array([1])).valid.tolist() == [False]
    values[1] = np.nan
    assert len(dataclasses.replace(series, values=values)) == 3  # what is not valid says nothing
    with pytest.raises(DataError, match="NaN or infinity"):
        dataclasses.replace(series, values=values, valid=np.ones(3, bool))
