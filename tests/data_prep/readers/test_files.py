"""What lies below a folder is taken, or counted and said."""

import dataclasses
import os
import shutil
import string
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.cubes.build import Source, build_cube
from data_prep.mappings.mapping import load_mapping
from data_prep.readers import find_source, open_scenes
from data_prep.readers.files import TWINS, find_files, is_twin
from eomm.cli.info import describe
from eomm.cli.info_words import format_info
from eomm.data.cube import open_cube
from eomm.errors import DataError
from tests.data_prep.tiny_safe import write_safe
from tests.data_prep.tiny_scenes import START, write_s2

S2 = load_mapping("simulated_s2")


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names(found, root):
    return [p.relative_to(root).as_posix() for p in found.files]


def test_linked_folders_and_files_are_entered_once(tmp_path):
    root, disk = tmp_path / "in", tmp_path / "disk"
    touch(root / "a" / "S2_1.tif"), touch(disk / "S2_2.tif"), touch(disk / "deep" / "S2_3.tif")
    (root / "b").symlink_to(disk)
    (root / "latest").symlink_to(root / "a")  # the same again
    (disk / "round").symlink_to(root)  # and for ever
    (root / "S2_4.tif").symlink_to(disk / "S2_2.tif")
    (root / "S2_lost.tif").symlink_to(tmp_path / "gone.tif")
    found = find_files(root, "S2*.tif")
    assert len(found.files) == 3 and {p.name for p in found.files} >= {"S2_1.tif", "S2_3.tif"}
    assert found.passed_over == {
        "links to folders that are entered already": 2,
        "links to files that are there already": 1,
        "links that lead nowhere": 1,
    }


def test_endings_are_told_in_any_case_and_twins_are_counted(tmp_path):
    for name in ("S2_1.TIF", "s2_2.Tif", "._S2_1.TIF", "__MACOSX/._S2_2.tif", "S2_3.tiff", "notes.txt"):
        touch(tmp_path / name)
    found = find_files(tmp_path, "S2*.tif")
    assert names(found, tmp_path) == ["S2_1.TIF", "s2_2.Tif"] and found.passed_over == {TWINS: 2}
    with pytest.raises(DataError, match=r"no file named \*.nc, .* expects; is it the right folder"):
        find_source(tmp_path, dataclasses.replace(S2, files="*.nc"))
    only = touch(tmp_path / "only" / "._S2_1.tif").parent
    with pytest.raises(DataError, match=r"no file named S2\*.tif, .*; passed over were 1 AppleDouble files"):
        find_source(only, S2)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    paths=st.sets(
        st.lists(st.text(string.ascii_letters + "._-", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join),
        max_size=6,
    )
)
def test_what_a_pattern_names_is_what_is_found_or_counted(tmp_path_factory, paths):
    root = tmp_path_factory.mktemp("in")
    made = [touch(root / f"d{p.replace('/', '/d')}.x" / f"{p.rpartition('/')[2]}.NC") for p in sorted(paths)]
    found = find_files(root, "*.nc")
    twins = [p for p in made if is_twin(p.relative_to(root).as_posix())]
    assert found.files == sorted(set(made) - set(twins)) and sum(found.passed_over.values()) == len(twins)


def test_a_store_in_a_folder_of_its_own_name_is_the_inner_one(tmp_path):
    product = write_safe(tmp_path / "made", START, size=8)
    outer = tmp_path / "in" / product.name.replace(".SAFE", ".safe")
    outer.mkdir(parents=True)
    shutil.move(product, outer / product.name)
    mapping = load_mapping("safe_s2")
    for path in (tmp_path / "in", outer):
        assert find_source(path, mapping).files == [outer / product.name]


@pytest.mark.parametrize("zipped", [False, True])
def test_twins_within_a_product_are_none_of_its_files(tmp_path, zipped):
    product = write_safe(tmp_path, START, size=8)
    for path in [p for p in product.rglob("*") if p.is_file()]:
        touch(path.with_name(f"._{path.name}"))
    if zipped:
        archive = product.with_suffix(".zip")
        with zipfile.ZipFile(archive, "w") as z:
            for path in sorted(product.rglob("*")):
                z.write(path, path.relative_to(tmp_path))
            z.writestr(f"__MACOSX/{product.name}/._MTD_MSIL2A.xml", b"x")
        product = archive
    (scene,) = open_scenes([product], load_mapping("safe_s2"), None)
    assert (scene.read("B02") > 0).all()


def test_a_cube_has_every_date_and_says_what_was_passed_over(tmp_path):
    root, disk = tmp_path / "in", tmp_path / "disk"
    for k in range(2):
        write_s2(root / "here", START.replace(day=1 + 5 * k), seed=k)
        write_s2(disk, START.replace(day=11 + 5 * k), seed=2 + k)
    (root / "there").symlink_to(disk)
    for path in list(disk.iterdir()):
        os.rename(path, path.with_suffix(".TIF"))
        touch(path.with_name(f"._{path.name}"))
    cube = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=root, mapping=S2)]))
    assert len(cube["s2"]) == 4
    assert cube.provenance["sources"][0]["passed_over"] == {TWINS: 6}
    assert "AppleDouble files (._…), which macOS writes beside others 6" in format_info(describe(cube.path))
