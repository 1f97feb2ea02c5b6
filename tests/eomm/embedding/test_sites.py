"""Many cubes in one call: the vectors of each alone, few compiled programs, a damaged one fails by itself."""

import json
import shutil

import numpy as np
import pytest

from eomm.cli import main
from eomm.data.cube import open_cube
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.embedding.compute import embed_unit, open_series
from eomm.embedding.dense import embed_group, features_of, fuse_dates
from eomm.embedding.plan import make_plan, sides
from eomm.embedding.run import open_embedding
from eomm.embedding.sites import embed_sites, read_cubes
from eomm.embedding.units import list_units
from eomm.errors import DataError, UsageError
from tests import zoo
from tests.eomm.embedding.site import GRID, make_group, same, write

SIZES = {"a": (21, 37, 28), "b": (17, 20, 11), "c": (30, 18, 19)}  # rows, columns, dates


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Three cubes of the zoo by names of their own."""
    folder = tmp_path_factory.mktemp("cubes")
    for name in "abc":
        shutil.copytree(zoo.cube().path, folder / f"{name}.zarr")
    return folder


@pytest.mark.whole
def test_unlike_sites_share_compiled_programs_and_padding_changes_no_vector(model, tmp_path):
    """Each is as it is in a block of its own shape; here blocks are of 32 px on a side, whatever the site."""
    rng, alone = np.random.default_rng(2), {"dtype": "float32", "clear_only": False}
    for name, (height, width, dates) in SIZES.items():
        grid = GRID.__class__(crs=GRID.crs, transform=GRID.transform, height=height, width=width)
        days = 17000 + 4 * np.arange(dates)
        radar = np.arange(days[0] - 9, days[-1] + 9, 6)
        groups = [make_group(rng, SENTINEL2, days, grid=grid), make_group(rng, SENTINEL1, radar, grid=grid)]
        write(tmp_path / "cubes" / f"{name}.zarr", groups)
    before = {f: f._cache_size() for f in (features_of, embed_group, fuse_dates)}
    found = embed_sites(model, read_cubes([tmp_path / "cubes"]), tmp_path / "out", **alone)
    assert found["done"] == found["sites"] == 3 and not found["failed"]
    # Two modalities; at most two numbers of targets and of dates (8 and 16) where there are three sizes and lengths.
    for program, most in ((features_of, 2), (embed_group, 4), (fuse_dates, 2)):
        assert 1 <= program._cache_size() - before[program] <= most
    for name, (height, width, dates) in SIZES.items():
        store = open_embedding(tmp_path / "out" / f"{name}.zarr", masked=False).load()
        assert store["embedding"].shape[:3] == (dates, height, width)
        plan = make_plan(model, open_cube(tmp_path / "cubes" / f"{name}.zarr"), **alone)
        unit = list_units(dates, (height, width), plan.block)[0]
        expected = embed_unit(plan, open_series(plan, unit), unit)[0]
        part = store.isel(time=unit.dates, y=unit.y, x=unit.x)
        for layer in ("embedding", "valid", "observations_s1"):
            inside = expected[layer][:, : part.sizes["y"], : part.sizes["x"]].astype(float)
            np.testing.assert_allclose(part[layer].values.astype(float), inside, atol=1e-5, err_msg=layer)


def test_blocks_are_square_by_the_shorter_side():
    assert sides(24, 24, 64, square=True) == (32, 32) and sides(24, 60, 64, square=True) == (32, 32)
    assert sides(24, 60, 64, square=False) == (32, 64) and sides(200, 64, 64, square=True) == (64, 64)
    shapes = {sides(h, w, 64, square=True) for h in range(1, 200, 7) for w in range(1, 200, 9)}
    assert shapes == {(16, 16), (32, 32), (48, 48), (64, 64)}


def test_a_damaged_cube_fails_alone_and_what_is_finished_is_not_done_again(sites, tmp_path, capsys):
    folder, out = tmp_path / "cubes", tmp_path / "out"
    shutil.copytree(sites, folder)
    words = ["embed", "--model", zoo.model_directory(), "--cubes", folder, "--out", out, "--dtype", "float32"]
    words = [str(w) for w in words]
    whole = (folder / "b.zarr" / "zarr.json").read_text()
    (folder / "b.zarr" / "zarr.json").write_text("{")
    assert main([*words, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["done"] == 2 and found["failed"] == 1 and "b.zarr" in found["failures"]["b"]
    same(out / "c.zarr", zoo.store("clear"))
    written = (out / "a.zarr" / "zarr.json").stat().st_mtime_ns
    assert main([*words, "--status"]) == 1
    assert capsys.readouterr().out.startswith(f"3 sites in {out}: 2 done, 1 failed, 0 waiting\n  b: DataError")
    (folder / "b.zarr" / "zarr.json").write_text(whole)
    assert main(words) == 0 and "3 done, 0 failed, 0 waiting" in capsys.readouterr().out
    assert (out / "a.zarr" / "zarr.json").stat().st_mtime_ns == written


def test_a_part_of_the_sites_is_one_jobs(sites, tmp_path):
    for i in (0, 1):
        found = embed_sites(zoo.model(), read_cubes([sites]), tmp_path, shard=(i, 2), dtype="float32")
        assert found["done"] == found["sites"] == 1 + i
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["a.zarr", "b.zarr", "c.zarr", "units"]


def test_cubes_are_named_by_folders_lists_and_tables(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "cubes" / f"{name}.zarr").mkdir(parents=True)
    both = {n: tmp_path / "cubes" / f"{n}.zarr" for n in ("a", "b")}
    assert read_cubes([tmp_path / "cubes"]) == both == read_cubes(list(both.values()))
    text = tmp_path / "list.txt"
    text.write_text("# two\ncubes/a.zarr\n\ncubes/b.zarr\n")
    assert read_cubes([text]) == both
    table = tmp_path / "list.csv"
    table.write_text("name,cube\nfirst,cubes/a.zarr\nA,cubes/b.zarr\n")
    assert list(read_cubes([table])) == ["first", "A"]
    with pytest.raises(UsageError, match=r"both would be a\.zarr"):
        read_cubes([table, both["a"]])
    table.write_text("name,cube\nfirst,cubes/a.zarr\n,cubes/b.zarr\n")
    assert list(read_cubes([table])) == ["first", "b"]
    for name in ("../first", "/tmp/first", ".first"):
        table.write_text(f"name,cube\n{name},cubes/a.zarr\n")
        with pytest.raises(DataError, match="expected one of a folder"):
            read_cubes([table])
    table.write_text("place\ncubes/a.zarr\n")
    with pytest.raises(DataError, match="expected one called cube"):
        read_cubes([table])
    text.write_text("# nothing\n")
    with pytest.raises(DataError, match="its list names none"):
        read_cubes([text])


def test_what_no_cube_could_meet_is_refused_before_any(sites, tmp_path):
    for wrong in ({"length": 99}, {"average_days": -1}, {"modalities": ["s3"]}, {"shard": (2, 2)}):
        with pytest.raises(UsageError):
            embed_sites(zoo.model(), read_cubes([sites]), tmp_path / "out", **{"dtype": "float32"} | wrong)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="is a store"):
        embed_sites(zoo.model(), read_cubes([sites]), zoo.store("clear"), dtype="float32")
