"""Sources and requests of which no cube is made: each is refused by name, and leaves nothing."""

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from data_prep.cubes.build import Source, build_cube
from data_prep.cubes.options import CubeOptions
from data_prep.mappings.mapping import load_mapping
from eomm.data.cube import open_cube
from eomm.errors import ContractError, DataError, UsageError
from tests.data_prep.tiny_scenes import (
    SIZE,
    START,
    WEST,
    optical,
    sources,
    write_s1,
    write_s2,
)


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        ({"scale": 1.0}, "scale", r"_10m.tif \(2019-04-01.*band B0.: values .*expected reflectance.*digital numbers"),
        ({"offset": 0.1}, "offset", r"_10m.tif.*metadata say: no baseline.*never below 0.1.*BOA_OFFSET=-1000"),
        (
            {"bands": load_mapping("simulated_s2").bands | {"B02": "B04", "B04": "B02"}},
            "band_order",
            r"_10m.tif.*bare pixels the medians are B03 .* and B02.*bands look exchanged",
        ),
    ],
)
def test_a_broken_contract_fails_early_and_leaves_nothing_unless_overruled(tmp_path, site, change, name, message):
    with pytest.raises(ContractError, match=message):
        build_cube(tmp_path / "c.zarr", site="x", sources=optical(site / "s2", **change))
    assert list(tmp_path.iterdir()) == []
    if name != "scale":  # digital numbers are out of range: nothing of them could be stored
        out = build_cube(
            tmp_path / "c.zarr", site="x", sources=optical(site / "s2", **change), options=CubeOptions(accept=(name,))
        )
        assert open_cube(out).provenance["accepted"] == [name]


def test_l1c_is_refused_by_its_metadata_unless_asked_for(tmp_path):
    write_s2(tmp_path / "in", START, tags={"PROCESSING_LEVEL": "L1C"})
    with pytest.raises(ContractError, match=r"_10m.tif .*: level is 'L1C', expected 'L2A'"):
        build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path / "in"))
    out = build_cube(
        tmp_path / "c.zarr", site="x", sources=optical(tmp_path / "in"), options=CubeOptions(accept=["level"])
    )
    assert open_cube(out).provenance["accepted"] == ["level"]


def test_db_for_linear_power_is_refused(tmp_path):
    db = np.random.default_rng(0).normal(-12, 2, (2, SIZE, SIZE)).astype(np.float32)
    write_s1(tmp_path, START, values=db)
    with pytest.raises(ContractError, match=r"S1A_2019.*band VV.*look like dB"):
        build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path, mapping="simulated_s1")])


def test_a_band_that_is_empty_on_one_date_is_found_while_writing(tmp_path):
    for k in range(40):
        values = np.random.default_rng(k).gamma(5, 0.02, (2, SIZE, SIZE)).astype(np.float32)
        if k == 38:  # between the sampled dates
            values[1] = np.nan
        write_s1(tmp_path / "in", START + timedelta(days=6 * k), values=values)
    with pytest.raises(ContractError, match=r"S1A_2019111.*band VH is empty"):
        build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path / "in", mapping="simulated_s1")])
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("skip", ["20m", "SCL"])
def test_missing_bands_are_named(tmp_path, skip):
    write_s2(tmp_path, START)
    write_s2(tmp_path, START + timedelta(days=5), skip=(skip,))
    missing = "mask" if skip == "SCL" else "B05 B06 B07 B8A B11 B12"
    with pytest.raises(DataError, match=rf"S2A_20190406T.* bands {missing} are missing; found .*expected B02"):
        build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path))


@pytest.mark.parametrize(
    ("days", "place", "error", "message"),
    [
        (-400, {}, DataError, r"S1A.*ends on 2018-02-25, before .*S2A.* begins on 2019-04-01: no overlap"),
        (
            0,
            {"west": WEST + 5000},
            DataError,
            r"S1A.*: no overlap in space: its 1 scenes lie at .*506360.*is it",
        ),
        (0, {"epsg": 32632}, ContractError, r"S1A.*: lies in EPSG:32632, expected EPSG:32631.*gdalwarp"),
    ],
    ids=["no overlap in time", "no overlap in space", "another CRS"],
)
def test_radar_that_lies_elsewhere_than_the_optical_scenes_is_refused(tmp_path, site, days, place, error, message):
    write_s1(tmp_path, START + timedelta(days=days), **place)
    pair = [sources(site)[0], Source(path=tmp_path, mapping="simulated_s1")]
    with pytest.raises(error, match=message):
        build_cube(tmp_path / "c.zarr", site="x", sources=pair)


def test_unresolved_duplicates_are_refused(tmp_path):
    write_s1(tmp_path, START)
    write_s1(tmp_path, START + timedelta(hours=5))
    with pytest.raises(DataError, match=r"two overpasses of platform S1A, orbit A088 on one day.*or remove one"):
        build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path, mapping="simulated_s1")])


def test_an_all_cloud_series_is_refused(tmp_path):
    write_s2(tmp_path / "in", START, classes=np.full((SIZE // 2, SIZE // 2), 9, np.uint8))
    with pytest.raises(DataError, match=r"'s2': none of 1 acquisitions .* all cloud"):
        build_cube(tmp_path / "c.zarr", site="x", sources=optical(tmp_path / "in"))
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_an_existing_cube_is_kept_unless_told(tmp_path, site):
    out = tmp_path / "c.zarr"
    out.mkdir()
    (out / "mine").touch()
    with pytest.raises(UsageError, match=r"c.zarr: already exists; .*--overwrite"):
        build_cube(out, site="x", sources=sources(site))
    with pytest.raises(UsageError, match=r"c.zarr: already exists and was not made by eomm"):
        build_cube(out, site="x", sources=sources(site), overwrite=True)
    assert (out / "mine").exists()
    (out / "mine").unlink()
    for name in ("old", "x"):  # an empty folder and an earlier cube may be replaced
        build_cube(out, site=name, sources=sources(site)[1:], overwrite=True)
    assert open_cube(out).site == "x" and list(tmp_path.iterdir()) == [out]


def test_wrong_requests_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no source given"):
        build_cube(tmp_path / "c", site="x", sources=[])
    with pytest.raises(UsageError, match="resampling 'best' is unknown; choose one of nearest"):
        CubeOptions(resampling="best")
    with pytest.raises(UsageError, match="accept names everything, which is no check"):
        CubeOptions(accept=("everything",))


def test_a_truncated_scene_is_named_and_nothing_is_left(tmp_path, site):
    shutil.copytree(site / "s1", tmp_path / "s1")
    last = sorted((tmp_path / "s1").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-4000])
    with pytest.raises(DataError, match=rf"{last.name}: not a readable GeoTIFF .*truncated"):
        build_cube(tmp_path / "c.zarr", site="x", sources=[Source(path=tmp_path / "s1", mapping="simulated_s1")])
    assert [p.name for p in tmp_path.iterdir()] == ["s1"]


FULL = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from data_prep.cubes.build import build_cube
from eomm.errors import UsageError
from tests.data_prep.tiny_scenes import sources
for disk in map(Path, {disks!r}):
    try:
        build_cube(disk / "c.zarr", site="x", sources=sources(Path({site!r})))
    except UsageError as e:
        print(e, sorted(p.name for p in disk.iterdir()))
"""


def test_a_full_disk_is_said_and_nothing_is_left(tmp_path, site):
    disks = {size: str(tmp_path / size) for size in ("64k", "400k")}  # full while masking, full while writing
    for disk in disks.values():
        Path(disk).mkdir()
    private = ["unshare", "--mount", "--map-root-user"] if os.geteuid() else ["unshare", "--mount"]
    mounts = " && ".join(f"mount -t tmpfs -o size={size} tmpfs {disk}" for size, disk in disks.items())
    probe = subprocess.run([*private, "sh", "-c", mounts], capture_output=True)
    if probe.returncode:
        pytest.skip(f"no private tmpfs here: {probe.stderr.decode().strip()}")
    script = FULL.format(root=str(Path(__file__).parents[3]), disks=[*disks.values()], site=str(site))
    command = [*private, "sh", "-c", f'{mounts} && exec "$0" -c "$1"', sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True)
    said = [line for line in done.stdout.splitlines() if line.endswith("[]")]
    assert len(said) == 2 and all("c.zarr: the disk is full; nothing unfinished was kept" in s for s in said), done
