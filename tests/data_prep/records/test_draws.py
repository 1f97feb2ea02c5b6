"""Record sets without copies: what is stored once, and what batches draw from it."""

import dataclasses
import itertools
from contextlib import closing

import numpy as np
import pytest

from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig
from eomm.data.batches import RecordSource, batch_records, batches, count_batches
from eomm.data.cube import open_cube, write_cube
from eomm.data.draw import draw_start
from eomm.data.mixture import mix, mixed_batches
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.data.order import Order
from eomm.data.records import open_records
from eomm.errors import UsageError
from tests.data_prep.records.test_build_patches import S1_DAYS, WEATHER, grid, group, write

LARGE = CropConfig(crop_px=30, acquisitions=60, window=(3, 2), margin_px=2, draw_px=10, draw_acquisitions=8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("draws")
    weather = group(WEATHER, range(16900, 17200), grid(1, 1, gsd=9000.0), clear=1.0)
    cube = write(folder / "a.zarr", "a", on=grid(56, 108), more=(weather,))
    split = SplitConfig(columns={"test": (0.7, 1.0)}, space_buffer_px=4)
    out = build_patches(
        folder / "r", cubes=[cube], split=split, crops=dataclasses.replace(LARGE, windows={"weather": (5, 0)})
    )
    return open_cube(cube), open_records(out)


def take(records, count, *, start=0, **options):
    options = {"split": "train", "batch_size": 4, "seed": 2, **options}
    with closing(batches(records, **options)) as data:
        data.set_state({"next_index": start})
        return list(itertools.islice(data, count))


def test_records_overlap_by_their_margins_alone_and_span_no_split(made):
    _, records = made
    s2 = records.stored["s2"]
    assert (s2.height, s2.width, s2.acquisitions) == (30, 30, 37)  # the whole series
    blocks = records.manifest["split"]["blocks"]["a"]
    for split in ("train", "test"):
        source = RecordSource(records, split=split)
        corners = {(p["row"], p["col"]) for p in (source._read(i) for i in range(len(source)))}
        ((low, high),) = blocks[split]["columns"]
        assert all(low <= c and c + 30 <= high for _, c in corners)
        inner = np.zeros((56, 108), int)
        for r, c in corners:
            inner[r + 2 : r + 28, c + 2 : c + 28] += 1
        assert inner[2:54, low + 2 : high - 2].min() >= 1
        assert len(corners) == records.count(split) == 2 * -(-(high - low - 4) // 26)  # as few as can be


def test_a_cube_is_stored_less_than_half_larger(tmp_path):
    cube = write(tmp_path / "a.zarr", "a", on=grid(56, 108))
    records = open_records(build_patches(tmp_path / "r", cubes=[cube], split=SplitConfig(), crops=LARGE))
    assert records.count("train") * 30 * 30 < 1.2 * 56 * 108  # (30 / 26) ** 2 less the cube's own rim
    assert (78 / (78 - 2 * 7)) ** 2 < 1.5  # of the halo of 7 px and large records


def test_what_is_drawn_is_what_the_cube_holds_there_and_then(made):
    cube, records = made
    assert records.shapes["s2"].fields()["values"][0] == (8, 10, 10, 10)
    assert records.shapes["weather"].site_wide and records.shapes["s1"].height == 10
    rows, seen = {}, set()
    for batch in take(records, 12):
        for b in range(4):
            day = batch["s2"]["day"][b]
            assert batch["s2"]["present"][b].all() and (np.diff(day) > 0).all()
            at = np.searchsorted(cube["s2"].day, day)
            values, valid = cube["s2"].read(slice(at[0], at[-1] + 1), slice(0, 56), slice(0, 108))
            found = np.argwhere(
                [
                    [(valid[at - at[0], r : r + 10, c : c + 10] == batch["s2"]["valid"][b]).all() for c in range(99)]
                    for r in range(47)
                ]
            )
            ((r, c),) = found.tolist()
            np.testing.assert_array_equal(batch["s2"]["values"][b], values[at - at[0], r : r + 10, c : c + 10])
            seen.add((r, c, int(day[0])))
            rows[b] = (r, c)
            for name, (before, after) in {"s1": (3, 2), "weather": (5, 0)}.items():
                other = batch[name]
                present = other["present"][b].astype(bool)
                usable = cube[name].day[cube[name].usable]
                first = max(0, np.searchsorted(usable, day[0]) - before)
                stop = np.searchsorted(usable, day[-1], side="right") + after
                np.testing.assert_array_equal(other["day"][b][present], usable[first:stop])
                assert not other["valid"][b][~present].any()
                t = np.searchsorted(cube[name].day, usable[first:stop])
                y, x = (slice(0, 1),) * 2 if name == "weather" else (slice(r, r + 10), slice(c, c + 10))
                expected, _ = cube[name].read(slice(t[0], t[-1] + 1), y, x)
                np.testing.assert_array_equal(other["values"][b][present], expected[t - t[0]])
    assert len(seen) > 40 and set(S1_DAYS)


def test_drawn_batches_are_exact_on_any_hosts_and_from_any_start(made):
    _, records = made
    whole = take(records, 9)
    assert not np.array_equal(whole[0]["s2"]["day"], take(records, 1, seed=3)[0]["s2"]["day"])
    halves = [take(records, 9, host=(i, 2)) for i in range(2)]
    for k, batch in enumerate(whole):
        for name, field in itertools.product(("s2", "s1"), ("values", "day")):
            joined = np.concatenate([h[k][name][field] for h in halves])
            np.testing.assert_array_equal(joined, batch[name][field])
    for batch, again in zip(whole[5:], take(records, 4, start=5, threads=0), strict=True):
        np.testing.assert_array_equal(batch["s2"]["values"], again["s2"]["values"])
    only = take(records, 2, modalities=("s1",))
    np.testing.assert_array_equal(only[1]["s1"]["values"], whole[1]["s1"]["values"])
    balanced = take(records, 3, balance="site")
    assert balanced[0]["s2"]["values"].shape == (4, 8, 10, 10, 10)
    options = {"split": "test", "once": True}
    once = take(records, 10**6, **options)
    each = records.manifest["draw"]["per_record"]
    assert len(once) == count_batches(records, split="test", batch_size=4) == -(-records.count("test") * each // 4)
    np.testing.assert_array_equal(once[0]["s2"]["values"], take(records, 1, **options)[0]["s2"]["values"])
    assert len(batch_records(records, Order(split="train", batch_size=4, seed=2), 3)) == 4
    mixture = mix([records], batch_size=4)
    with closing(mixed_batches(mixture, split="train", seed=2)) as data:
        np.testing.assert_array_equal(next(data)[1]["s2"]["values"], whole[0]["s2"]["values"])


def test_places_are_drawn_about_evenly():
    rng, hits = np.random.default_rng(0), np.zeros(64)
    for _ in range(5000):
        start = draw_start(rng, 78, 32, 7)
        hits[start : start + 18] += 1
    assert hits.min() > 0.4 * hits.mean() and hits.max() < 1.6 * hits.mean()


def test_what_cannot_be_drawn_is_refused(tmp_path):
    cube = write(tmp_path / "a.zarr", "a", on=grid(40, 40))
    with pytest.raises(UsageError, match="larger than their margins"):
        build_patches(tmp_path / "r", cubes=[cube], split=SplitConfig(), crops=dataclasses.replace(LARGE, draw_px=4))
    own = [group(SENTINEL2, range(17000, 17060, 3), grid(40, 40)), group(SENTINEL1, S1_DAYS, grid(20, 20, gsd=20.0))]
    odd = write_cube(tmp_path / "b.zarr", site="b", groups=own, provenance={"simulated": False})
    with pytest.raises(UsageError, match="s1 has a grid of its own"):
        build_patches(tmp_path / "r", cubes=[odd], split=SplitConfig(), crops=LARGE)
