import dataclasses
import errno
import json
import subprocess
import sys
from datetime import date

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader

from data_prep.records import shards
from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig, clear_days
from eomm.data.cube import Acquisition, GroupSource, open_cube, write_cube
from eomm.data.grid import Grid, to_date
from eomm.data.modality import SENTINEL1, SENTINEL1_SIGMA0, SENTINEL2, Band, Modality
from eomm.data.records import open_records
from eomm.errors import ContractError, DataError, UsageError

WEATHER = Modality(
    name="weather",
    bands=(Band(name="rain", gsd_m=9000, scale=0.1, valid_min=0.0, valid_max=500.0),),
    unit="mm",
    level="daily",
    calibration="none",
)
S2_DAYS, S1_DAYS = range(17000, 17120, 3), range(16980, 17150, 2)
SMALL = CropConfig(crop_px=8, acquisitions=12, window=(3, 2), stride_px=8, shard_records=7)


def grid(height=24, width=40, west=500000.0, gsd=10.0):
    return Grid(crs="EPSG:32631", transform=(gsd, 0.0, west, 0.0, -gsd, 5600000.0), height=height, width=width)


def group(modality, days, on, *, seed=0, cloudy=(), clear=0.9):
    """Random values; `cloudy` acquisitions are too cloudy to be usable."""
    low, high = {"dB": (-2000, -500)}.get(modality.unit, (100, 4000))
    acquisitions = [Acquisition(day=d, orbit=f"R{d % 3}", direction="ascending", incidence_deg=30.0) for d in days]

    def read(i):
        rng = np.random.default_rng([seed, i])
        valid = rng.random((on.height, on.width)) < (0.01 if i in cloudy else clear)
        values = rng.integers(low, high, (*valid.shape, len(modality.bands)), dtype=np.int16)
        return np.where(valid[..., None], values, 0).astype(np.int16), valid

    return GroupSource(modality=modality, grid=on, acquisitions=acquisitions, read=read)


def write(
    path, site, *, on=None, seed=0, s2_days=S2_DAYS, s1=SENTINEL1, s1_days=S1_DAYS, simulated=False, more=(), **kw
):
    on = on or grid()
    groups = [
        group(SENTINEL2, s2_days, on, seed=seed, cloudy=(5, 6, 20), **kw),
        group(s1, s1_days, on, seed=seed + 1, cloudy=(9, 30), clear=1.0),
        *more,
    ]
    return write_cube(path, site=site, groups=groups, provenance={"simulated": simulated})


@pytest.fixture(scope="module")
def cubes(tmp_path_factory):
    """Three sites 20 km apart; the second has two cubes."""
    path = tmp_path_factory.mktemp("cubes")
    return [
        write(path / f"{name}.zarr", site, on=grid(west=500000.0 + 20000 * i), seed=10 * i, s2_days=days)
        for i, name, site, days in [
            (0, "a", "a", S2_DAYS),
            (1, "b1", "b", S2_DAYS),
            (1, "b2", "b", range(17130, 17190, 3)),
            (2, "c", "c", S2_DAYS),
        ]
    ]


def patches(path, split):
    records = open_records(path)
    for file in records.files(split):
        reader = ArrayRecordReader(str(file))
        yield from (records.codec.decode(r) for r in reader.read_all())
        reader.close()


def test_every_record_is_the_cubes_own_window_padded_and_flagged(cubes, tmp_path):
    out = build_patches(
        tmp_path / "r", cubes=cubes[:1], split=SplitConfig(), crops=dataclasses.replace(SMALL, stride_px=5)
    )
    cube, records = open_cube(cubes[0]), open_records(out)
    read = {name: cube[name].read() for name in cube}
    seen, padded = set(), 0
    for patch in patches(out, "train"):
        y, x = (slice(patch[k], patch[k] + 8) for k in ("row", "col"))
        present = {name: patch[name]["present"].astype(bool) for name in cube}
        s2 = patch["s2"]["day"][present["s2"]]
        seen.add((patch["row"], patch["col"], int(s2[0])))
        usable = {name: np.flatnonzero(cube[name].usable) for name in cube}
        days = {name: cube[name].day[usable[name]] for name in cube}
        first = int(np.searchsorted(days["s2"], s2[0]))
        at = {"s2": usable["s2"][first : first + 12]}  # consecutive, usable
        before = np.flatnonzero(days["s1"] < s2[0])[-3:]
        within = np.flatnonzero((days["s1"] >= s2[0]) & (days["s1"] <= s2[-1]))
        after = np.flatnonzero(days["s1"] > s2[-1])[:2]
        at["s1"] = usable["s1"][np.concatenate([before, within, after])]
        for name, index in at.items():
            got, n = patch[name], len(index)
            values, valid = read[name]
            assert present[name].tolist() == [True] * n + [False] * (len(present[name]) - n)
            np.testing.assert_array_equal(got["values"][:n], values[index, y, x])
            np.testing.assert_array_equal(got["valid"][:n], valid[index, y, x])
            np.testing.assert_array_equal(got["day"][:n], cube[name].day[index])
            for field, expected in cube[name].meta().items():
                np.testing.assert_array_equal(got[field][:n], expected[index])
                assert not got[field][n:].any()
            assert not got["values"][n:].any() and not got["valid"][n:].any()
            assert (got["day"][n:] == got["day"][n - 1]).all()
            padded += len(present[name]) - n
    assert padded, "no record was padded: the test shows nothing"
    assert {s[:2] for s in seen} == {(r, c) for r in (0, 5, 10, 15, 16) for c in (*range(0, 33, 5), 32)}
    longest = max(int(p["s1"]["present"].sum()) for p in patches(out, "train"))
    assert records.shapes["s1"].acquisitions == longest


@pytest.mark.whole
def test_the_same_shards_in_any_order_and_in_another_process(cubes, tmp_path):
    split = SplitConfig(fractions={"test": 0.3})
    build_patches(tmp_path / "r", cubes=cubes, split=dataclasses.replace(split, seed=3), crops=SMALL)
    code = (
        "import json, sys; from data_prep.records.build import build_patches\n"
        "from data_prep.records.crops import CropConfig\n"
        "from data_prep.records.split import SplitConfig\n"
        "out, cubes, small = json.loads(sys.argv[1]); build_patches(out, cubes=cubes, "
        "split=SplitConfig(fractions={'test': 0.3}, seed=3), crops=CropConfig(**small))"
    )
    arguments = json.dumps([str(tmp_path / "p"), [str(c) for c in cubes[::-1]], dataclasses.asdict(SMALL)])
    subprocess.run([sys.executable, "-c", code, arguments], check=True)
    manifests = [(tmp_path / name / "manifest.json").read_text() for name in "rp"]
    assert manifests[0] == manifests[1]
    other = open_records(
        build_patches(tmp_path / "s", cubes=cubes, split=dataclasses.replace(split, seed=4), crops=SMALL)
    )
    assert other.data_hash != open_records(tmp_path / "r").data_hash
    assert all(f["records"] <= 7 for f in other.manifest["files"])


def test_all_cubes_of_a_site_and_near_sites_share_a_split(cubes, tmp_path):
    coarse = dataclasses.replace(SMALL, stride_px=16)
    drawn = set()
    for seed in range(4):
        split = SplitConfig(fractions={"test": 0.3})
        build_patches(
            tmp_path / "r", cubes=cubes, split=dataclasses.replace(split, seed=seed), overwrite=True, crops=coarse
        )
        sites = open_records(tmp_path / "r").manifest["split"]["sites"]
        assert sorted(sites["train"] + sites["test"]) == ["a", "b", "c"] and len(sites["test"]) == 1
        assert {p["site"] for p in patches(tmp_path / "r", "test")} == set(sites["test"])
        drawn |= set(sites["test"])
    assert len(drawn) > 1
    with pytest.raises(UsageError, match="too few"):
        split = SplitConfig(fractions={"test": 0.3}, site_buffer_m=25000)
        build_patches(tmp_path / "s", cubes=cubes, split=split, crops=SMALL)
    with pytest.raises(UsageError, match=r"a \(train\), b \(test\), c \(train\) lie nearer than 25000 m"):
        split = SplitConfig(sites={"train": ["a", "c"], "test": ["b"]}, site_buffer_m=25000)
        build_patches(tmp_path / "s", cubes=cubes, split=split, crops=SMALL)
    with pytest.raises(UsageError, match="without a split: c; named but without a cube: z"):
        build_patches(tmp_path / "s", cubes=cubes, split=SplitConfig(sites={"train": ["a", "b", "z"]}), crops=SMALL)
    assert not (tmp_path / "s").exists()


def test_splits_of_one_site_are_a_buffer_apart_in_space_and_a_window_in_time(cubes, tmp_path):
    s2 = open_cube(cubes[0])["s2"]
    first, last = to_date(s2.day[24]), to_date(s2.day[31])
    split = SplitConfig(columns={"test": (0.6, 1.0)}, dates={"validation": (first, last)})
    out = build_patches(tmp_path / "r", cubes=cubes[:1], split=split, crops=SMALL)
    usable = s2.day[s2.usable]
    rank = {int(d): i for i, d in enumerate(usable)}
    pixels, days, s1_days = {}, {}, {}
    for name in ("train", "validation", "test"):
        found = list(patches(out, name))
        pixels[name] = {c for p in found for c in range(p["col"], p["col"] + 8)}
        days[name] = {rank[int(d)] for p in found for d in p["s2"]["day"]}
        s1_days[name] = {int(d) for p in found for d in p["s1"]["day"][p["s1"]["present"] > 0]}
    assert min(pixels["test"]) == 24 and max(pixels["train"]) < 24 - 9 and max(pixels["validation"]) < 24 - 9
    inside = {rank[int(d)] for d in usable if s2.day[24] <= d <= s2.day[31]}
    assert days["validation"] == inside
    assert min(abs(a - b) for a in days["train"] for b in inside) == 3 + 1  # a window of (3, 2) lies between
    low, high = s2.day[24], s2.day[31]
    assert not {d for d in s1_days["train"] if low <= d <= high} and s1_days["validation"] <= set(range(low, high + 1))
    blocks = open_records(out).manifest["split"]["blocks"]["a"]
    assert blocks["test"]["columns"] == [[24, 40]] and blocks["validation"]["dates"] == [[str(first), str(last)]]
    assert open_records(out).manifest["split"]["space_buffer_px"] == 9


def test_held_out_days_are_in_no_record_but_those_of_test(cubes, tmp_path):
    cube = open_cube(cubes[0])
    s2 = cube["s2"]
    np.testing.assert_allclose(s2.valid_fraction(), s2.read()[1].mean(axis=(1, 2)))
    held = clear_days(s2, fraction=0.9, every=3, offset=1)
    clear = s2.day[s2.read()[1].mean(axis=(1, 2)) >= 0.9].tolist()
    assert 0 < len(clear) < s2.usable.sum() and list(held) == clear[1::3]
    split = SplitConfig(sites={"train": ["a"], "validation": ["b"], "test": ["c"]}, hold_out_days=held)
    out = build_patches(tmp_path / "r", cubes=cubes, split=split, crops=SMALL)
    for name in ("train", "validation"):
        assert not {int(d) for p in patches(out, name) for d in p["s2"]["day"]} & set(held)
    assert {int(d) for p in patches(out, "test") for d in p["s2"]["day"]} & set(held)
    assert open_records(out).manifest["split"]["hold_out_dates"] == [str(to_date(d)) for d in held]
    with pytest.raises(UsageError, match="1970-01-02"):
        build_patches(tmp_path / "s", cubes=cubes[:1], split=SplitConfig(hold_out_days=(1,)), crops=SMALL)


def test_statistics_are_those_of_the_train_records_alone(cubes, tmp_path):
    split = SplitConfig(sites={"train": ["a", "b"], "test": ["c"]})
    out = build_patches(tmp_path / "r", cubes=cubes, split=split, crops=SMALL)
    found = open_records(out).manifest["statistics"]
    for name, modality in (("s2", SENTINEL2), ("s1", SENTINEL1)):
        values = np.concatenate([p[name]["values"][p[name]["valid"] > 0] for p in patches(out, "train")])
        physical = modality.decode(values).astype(np.float64)
        assert found[name]["valid"] == len(values)
        np.testing.assert_allclose(found[name]["mean"], physical.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(found[name]["std"], physical.std(axis=0), rtol=1e-5)
        for key, q in (("low", 0.001), ("high", 0.999)):
            expected = np.quantile(physical, q, axis=0, method="inverted_cdf")
            np.testing.assert_allclose(found[name][key], expected, rtol=1e-5)


def test_tensorflow_datasets_opens_the_set_and_the_manifest_says_what_it_is(cubes, tmp_path):
    split, told = SplitConfig(fractions={"test": 0.3}), []
    out = build_patches(tmp_path / "r", cubes=cubes, split=split, progress=lambda *at: told.append(at), crops=SMALL)
    assert told[-1] == ("cutting patches", len(told), len(told))
    records = open_records(out, expect={"s2": SENTINEL2, "s1": SENTINEL1})
    records.verify()
    source = tfds.builder_from_directory(out).as_data_source()
    manifest = records.manifest
    for name in ("train", "test"):
        assert len(source[name]) == records.count(name) == manifest["counts"][name]["records"] > 0
    assert manifest["simulated"] is False and manifest["sources"][0]["name"] == "a.zarr"
    assert manifest["sources"][0]["modalities"]["s2"]["contract"] == SENTINEL2.contract_hash
    assert str(tmp_path) not in (out / "manifest.json").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r"] and not (out / ".spool").exists()


def test_a_modality_on_its_own_grid_covers_the_crop(tmp_path):
    coarse = dataclasses.replace(SENTINEL1, name="s1_20m")
    one = Grid(crs="EPSG:4326", transform=(0.1, 0, 3.0, 0, -0.1, 51.0), height=1, width=1)
    more = [
        group(coarse, S1_DAYS, grid(12, 20, gsd=20.0), seed=5, clear=1.0),
        group(WEATHER, range(16990, 17140), one, seed=6, clear=1.0),
    ]
    cube = open_cube(write(tmp_path / "c.zarr", "a", more=more))
    out = build_patches(
        tmp_path / "r", cubes=[cube.path], split=SplitConfig(), crops=dataclasses.replace(SMALL, stride_px=5)
    )
    shapes = open_records(out).shapes
    assert (shapes["s1_20m"].height, shapes["s1_20m"].width) == (5, 5)  # 8 px from an odd pixel touch five of 20 m
    assert (shapes["weather"].height, shapes["weather"].width) == (1, 1)
    for patch in patches(out, "train"):
        y, x = patch["row"] // 2, patch["col"] // 2
        i = int(np.searchsorted(cube["s1_20m"].day, patch["s1_20m"]["day"][0]))
        values, valid = cube["s1_20m"].read(slice(i, i + 1), slice(y, y + 5), slice(x, x + 5))
        np.testing.assert_array_equal(patch["s1_20m"]["values"][0], values[0])
        np.testing.assert_array_equal(patch["s1_20m"]["valid"][0], valid[0])
        assert patch["weather"]["day"][3] == patch["s2"]["day"][0]
    longer = build_patches(
        tmp_path / "l",
        cubes=[cube.path],
        split=SplitConfig(),
        crops=dataclasses.replace(SMALL, windows={"weather": (9, 0)}),
    )
    for patch in patches(longer, "train"):
        last = patch["weather"]["present"].sum() - 1
        assert patch["weather"]["day"][9] == patch["s2"]["day"][0]
        assert patch["weather"]["day"][last] == patch["s2"]["day"].max()
    for windows, message in [({"wether": (9, 0)}, "windows name wether"), ({"s2": (1, 1)}, "modalities beside 's2'")]:
        with pytest.raises(UsageError, match=message):
            build_patches(
                tmp_path / "no",
                cubes=[cube.path],
                split=SplitConfig(),
                crops=dataclasses.replace(SMALL, windows=windows),
            )


def test_crops_without_clear_acquisitions_are_skipped_and_counted(tmp_path):
    def read(i):
        rng = np.random.default_rng(i)
        valid = np.zeros((24, 40), bool)
        valid[:, :16] = True
        return np.where(valid[..., None], rng.integers(100, 4000, (24, 40, 10)), 0).astype(np.int16), valid

    half = dataclasses.replace(group(SENTINEL2, S2_DAYS, grid()), read=read)
    write_cube(tmp_path / "c.zarr", site="a", groups=[half], provenance={})
    small = dataclasses.replace(SMALL, acquisitions=40)
    out = build_patches(tmp_path / "r", cubes=[tmp_path / "c.zarr"], split=SplitConfig(), crops=small)
    assert open_records(out).manifest["counts"] == {"train": {"records": 6, "skipped": 9}}
    assert {p["col"] for p in patches(out, "train")} == {0, 8}
    with pytest.raises(DataError, match=r"test is empty: all of .* crops have fewer than 4 s2"):
        split = SplitConfig(columns={"test": (0.6, 1.0)}, space_buffer_px=0)
        build_patches(tmp_path / "s", cubes=[tmp_path / "c.zarr"], split=split, crops=small)
    assert not (tmp_path / "s").exists() and not (tmp_path / "s.partial").exists()


def test_a_block_too_narrow_for_its_buffer_is_named(cubes, tmp_path):
    with pytest.raises(UsageError, match=r"train is empty: no crop of 8 px.*columns \[\(0, 7\)\]"):
        build_patches(tmp_path / "r", cubes=cubes[:1], split=SplitConfig(columns={"test": (0.4, 1.0)}), crops=SMALL)
    with pytest.raises(UsageError, match=r"columns \[\(0, 15\)\].*crops of at most 15 px fit \(--crop-px 15\)"):
        split = SplitConfig(columns={"test": (0.6, 1.0)}, uncut=("test",))
        build_patches(tmp_path / "r", cubes=cubes[:1], split=split, crops=dataclasses.replace(SMALL, crop_px=18))
    with pytest.raises(DataError, match="no usable s2 acquisition from 1990-01-01"):
        split = SplitConfig(dates={"test": (date(1990, 1, 1), date(1990, 2, 1))})
        build_patches(tmp_path / "r", cubes=cubes[:1], split=split, crops=SMALL)
    with pytest.raises(UsageError, match="several cubes of one site"):
        build_patches(tmp_path / "r", cubes=cubes[1:3], split=SplitConfig(columns={"test": (0.6, 1.0)}), crops=SMALL)


@pytest.mark.parametrize(
    "config",
    [
        {"fractions": {"test": 0.5}, "columns": {"test": (0.5, 1.0)}},
        {"fractions": {"test": 0.6, "validation": 0.4}},
        {"columns": {"train": (0.5, 1.0)}},
        {"columns": {"test": (0.9, 0.5)}},
        {"dates": {"test": (date(2020, 2, 1), date(2020, 1, 1))}},
        {"sites": {"tset": ["a"]}},
    ],
)
def test_a_split_that_makes_no_sense_is_refused(config):
    with pytest.raises(UsageError, match="split:"):
        SplitConfig(**config)


def test_cubes_that_do_not_belong_together_are_refused(cubes, tmp_path):
    def build(*paths, **kw):
        build_patches(tmp_path / "r", cubes=[cubes[0], *paths], split=SplitConfig(), **{"crops": SMALL, **kw})

    sigma = dataclasses.replace(SENTINEL1_SIGMA0, name="s1")
    with pytest.raises(ContractError, match="calibration"):
        build(write(tmp_path / "sigma.zarr", "d", s1=sigma))
    with pytest.raises(UsageError, match=r"sim\.zarr is simulated and .*a\.zarr is real"):
        build(write(tmp_path / "sim.zarr", "e", simulated=True))
    more = [group(WEATHER, range(16990, 17140), grid(), clear=1.0)]
    extra = write(tmp_path / "more.zarr", "f", more=more)
    with pytest.raises(ContractError, match=r"more\.zarr holds s1, s2, weather"):
        build(extra)
    build(extra, modalities=["s2"])
    assert list(open_records(tmp_path / "r").shapes) == ["s2"]
    with pytest.raises(UsageError, match="already exists"):
        build()
    with pytest.raises(UsageError, match="lack the reference 's2'"):
        build(modalities=["s1"], overwrite=True)
    with pytest.raises(UsageError, match="given twice"):
        build(cubes[0], overwrite=True)
    with pytest.raises(DataError, match="smaller than a crop of 32 px"):
        build(crops=dataclasses.replace(SMALL, crop_px=32), overwrite=True)
    with pytest.raises(DataError, match="do not overlap in time"):
        late = write(tmp_path / "late.zarr", "g", s1_days=range(19000, 19060, 2))
        build_patches(
            tmp_path / "t", cubes=[late], split=SplitConfig(), crops=dataclasses.replace(SMALL, window=(0, 0))
        )
    assert list(open_records(tmp_path / "r").shapes) == ["s2"]


def test_a_full_disk_is_named_and_nothing_is_left(cubes, tmp_path, monkeypatch):
    class Full(shards.ArrayRecordWriter):
        def write(self, record):
            raise RuntimeError("write() failed: No space left on device; writing x")

    monkeypatch.setattr(shards, "ArrayRecordWriter", Full)
    with pytest.raises(UsageError, match="disk is full") as error:
        build_patches(tmp_path / "r", cubes=cubes[:1], split=SplitConfig(), crops=SMALL)
    assert error.value.__cause__.errno == errno.ENOSPC and list(tmp_path.iterdir()) == []


def test_an_uncut_block_may_be_narrow_and_stays_free(cubes, tmp_path):
    split = SplitConfig(columns={"test": (0.9, 1.0)}, uncut=("test",))
    path = build_patches(tmp_path / "r", cubes=cubes[:1], split=split, crops=SMALL)
    records = open_records(path)
    assert records.count("test") == 0 and records.manifest["split"]["blocks"]["a"]["test"]["columns"] == [[36, 40]]
    assert max(p["col"] for p in patches(path, "train")) + SMALL.crop_px <= 36 - split.space_buffer_px
