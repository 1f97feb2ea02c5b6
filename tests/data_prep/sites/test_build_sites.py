"""Many sites: a bad one stops no other, what is done is kept, and a killed worker costs its unit only."""

import inspect
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import date, timedelta

import pyproj
import pytest
import rasterio

from data_prep.cubes.options import CubeOptions
from data_prep.records.crops import CropConfig
from data_prep.simulate import SiteOptions, simulate_site
from data_prep.sites.build import build_site_records, build_sites
from data_prep.sites.table import Site
from data_prep.sites.units import SiteFolder, format_status, status
from eomm.cli import main
from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.errors import DataError, UsageError
from tests.data_prep.slow_sites import cut_records
from tests.data_prep.stac_server import publish
from tests.data_prep.tiny_scenes import EPSG, NORTH, SIZE, START, WEST, write_s1, write_s2

LON, LAT = pyproj.Transformer.from_crs(EPSG, 4326, always_xy=True).transform(WEST + 5 * SIZE, NORTH - 5 * SIZE)
SOURCES = ("simulated_s2", "{}/{{site}}/s2"), ("simulated_s1", "{}/{{site}}/s1")


def sources(folder):
    return [(mapping, path.format(folder)) for mapping, path in SOURCES]


def site(name, **more):
    return Site(name=name, lon=LON, lat=LAT, **more)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Three sites of one place, but other values."""
    folder = tmp_path_factory.mktemp("scenes")
    for n, name in enumerate("abc"):
        for k in range(3):
            write_s2(folder / name / "s2", START + timedelta(days=5 * k), seed=1000 * n + 100 * k)
            write_s1(folder / name / "s1", START + timedelta(days=5 * k + 1, hours=7), seed=10 * n + k)
    return folder


def digests(out, names="abc"):
    return {n: [g.digests for g in open_cube(SiteFolder(out).cube(n)).groups.values()] for n in names}


@pytest.fixture(scope="module")
def built(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "many"
    told = []
    done = build_sites(out, sites=[site(n) for n in "abc"], sources=sources(scenes), progress=lambda *a: told.append(a))
    assert done == {"sites": 3, "done": 3, "failed": 0, "waiting": 0, "records": False, "failures": {}}
    assert told == [("sites", i, 3) for i in (1, 2, 3)]
    return out


def marks(out):
    return {p.name: p.stat().st_mtime_ns for p in sorted((out / "units").iterdir())}


def test_a_bad_site_stops_no_other_and_is_tried_again(scenes, built, tmp_path):
    mine = tmp_path / "scenes"
    shutil.copytree(scenes, mine)
    broken = next((mine / "b" / "s2").glob("*_10m.tif"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    sites = [site("a"), site("b"), site("missing"), site("c")]
    done = build_sites(tmp_path / "o", sites=sites, sources=sources(mine))
    assert (done["done"], done["failed"], done["waiting"]) == (2, 2, 0)
    assert broken.name in done["failures"]["b"] and done["failures"]["missing"].startswith("DataError: ")
    assert "2 failed" in format_status(done) and "  b: " in format_status(done)
    before = marks(tmp_path / "o")
    broken.write_bytes(whole)
    done = build_sites(tmp_path / "o", sites=sites, sources=sources(mine))
    assert list(done["failures"]) == ["missing"] and done["done"] == 3
    after = marks(tmp_path / "o")
    assert all(after[n] == before[n] for n in ("a.json", "c.json")), "what was complete was made again"
    assert "b.failed" not in after and digests(tmp_path / "o") == digests(built)


def test_two_sites_of_one_name_are_refused(scenes, tmp_path):
    with pytest.raises(UsageError, match="sites: a, A are one name"):
        build_sites(tmp_path / "o", sites=[site("a"), site("b"), site("A")], sources=sources(scenes))
    assert not (tmp_path / "o").exists()


def test_an_unexpected_error_is_one_sites_own_and_says_where(scenes, tmp_path, monkeypatch):
    from data_prep.sites import build as module

    real = module.build_cube
    monkeypatch.setattr(module, "build_cube", lambda p, **kw: {}["odd"] if kw["site"] == "b" else real(p, **kw))
    done = build_sites(tmp_path / "o", sites=[site(n) for n in "abc"], sources=sources(scenes))
    assert done["done"] == 2 and "KeyError: 'odd'" in done["failures"]["b"] and "line" in done["failures"]["b"]


def test_a_site_killed_between_cube_and_note_is_made_again(scenes, built, tmp_path):
    shutil.copytree(built, tmp_path / "o")
    (tmp_path / "o" / "units" / "b.json").unlink()
    assert status(tmp_path / "o")["waiting"] == 1
    before = marks(tmp_path / "o")
    assert build_sites(tmp_path / "o", sites=[site(n) for n in "abc"], sources=sources(scenes))["done"] == 3
    after = marks(tmp_path / "o")
    assert "b.json" in after and {n: after[n] for n in before} == before


def test_another_request_is_refused_unless_it_may_replace(scenes, built, tmp_path):
    shutil.copytree(built, tmp_path / "o")
    moved = [site("a"), Site(name="b", lon=LON + 1e-5, lat=LAT)]
    with pytest.raises(UsageError, match=r"b \(1 of 2 sites\) were made of other"):
        build_sites(tmp_path / "o", sites=moved, sources=sources(scenes))
    before = marks(tmp_path / "o")
    build_sites(tmp_path / "o", sites=moved, sources=sources(scenes), overwrite=True)
    after = marks(tmp_path / "o")
    assert after["a.json"] == before["a.json"] and after["b.json"] != before["b.json"]
    assert status(tmp_path / "o")["sites"] == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="holds something else"):
        build_sites(tmp_path / "mine", sites=moved, sources=sources(scenes))
    with pytest.raises(UsageError, match=r"lacks \{site\}"):
        build_sites(tmp_path / "n", sites=moved, sources=[("simulated_s2", str(scenes))])
    with pytest.raises(DataError, match=r"n: does not exist; expected a folder of"):
        status(tmp_path / "n")


def test_a_folder_of_another_place_is_found_out(scenes, tmp_path):
    done = build_sites(tmp_path / "o", sites=[Site(name="a", lon=LON + 0.02, lat=LAT)], sources=sources(scenes))
    assert "outside of them" in done["failures"]["a"] and not SiteFolder(tmp_path / "o").cube("a").exists()


def test_records_of_the_sites_follow_the_list_and_leave_out_what_failed(scenes, built, tmp_path, capsys):
    shutil.copytree(built, tmp_path / "o")
    named = (("a", "crop"), ("b", "heath"), ("c", "crop"), ("missing", "heath"))
    lines = [f"{n},{LON},{LAT},train,{c}" for n, c in named]
    (tmp_path / "s.csv").write_text("\n".join(["name,lon,lat,split,land_cover", *lines]))
    command = ["prepare", "sites", str(tmp_path / "s.csv"), "--out", str(tmp_path / "o"), "--records"]
    command += ["--crop-px", "8", "--acquisitions", "3", "--by", "land_cover"]
    command += [x for m, p in sources(scenes) for x in ("--source", f"{m}={p}")]
    with pytest.MonkeyPatch.context() as patch:  # two clear acquisitions are enough here
        function = inspect.unwrap(CropConfig.__init__)  # tests/shapes.py wraps it
        patch.setattr(function, "__kwdefaults__", {**function.__kwdefaults__, "min_clear": 1})
        assert main(command) == 1
        assert "3 done, 1 failed, 0 waiting; records made" in capsys.readouterr().out
        records = open_records(tmp_path / "o" / "records")
        balance = records.manifest["balance"]["stratum"]["train"]
        assert balance["crop"]["records"] == 2 * balance["heath"]["records"] > 0
        made = (records.path / "manifest.json").stat().st_mtime_ns
        assert main(command) == 1 and (records.path / "manifest.json").stat().st_mtime_ns == made
        assert main([*command, "--stride-px", "8"]) == 1  # other records take their place
        assert open_records(records.path).count("train") < records.count("train")
    with pytest.raises(UsageError, match="none of 1 sites is finished"):
        build_site_records(tmp_path / "n", sites=[site("a")])


def test_a_site_whose_size_is_known_is_cut_out_of_what_its_sources_cover(scenes, tmp_path):
    sites = [site("a", size_m=200), site("b")]
    build_sites(tmp_path / "o", sites=sites, sources=sources(scenes), options=CubeOptions(resampling="nearest"))
    small, whole = (open_cube(SiteFolder(tmp_path / "o").cube(n)) for n in "ab")
    assert (small["s2"].grid.height, small["s1"].grid.width, whole["s2"].grid.height) == (20, 20, SIZE)
    assert small["s2"].attributes["resampling"]["method"] == "nearest"
    with pytest.raises(UsageError, match="resampling 'lanczos' is unknown"):
        build_sites(tmp_path / "n", sites=sites, sources=sources(scenes), options=CubeOptions(resampling="lanczos"))
    assert not (tmp_path / "n").exists()


@pytest.mark.whole
@pytest.mark.filterwarnings("ignore:The 'shapely.ops:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_scenes_are_fetched_first_and_what_is_missing_fails_the_site_until_it_is_there(tmp_path):
    dates = (date(2020, 5, 1), date(2020, 5, 16))
    world = simulate_site(tmp_path / "world", SiteOptions(site="a", seed=3, start=dates[0], end=dates[1], size_px=40))
    publish(world, tmp_path / "catalogue", offset_every=1)
    with rasterio.open(next((world / "s2").glob("*_10m.tif"))) as file:
        middle = pyproj.Transformer.from_crs(file.crs, 4326, always_xy=True).transform(*file.xy(20, 20, offset="ul"))
    options = {
        "sites": [Site(name="x", lon=middle[0], lat=middle[1], size_m=400)],
        "catalogues": [f"{tmp_path / 'catalogue' / 'catalog.json'}#s2"],
        "dates": dates,
    }
    asset = next((tmp_path / "catalogue").glob("S2*/*B11*"))
    asset.rename(asset.with_suffix(".away"))
    done = build_sites(tmp_path / "o", **options)
    assert "1 of " in done["failures"]["x"] and "run again" in done["failures"]["x"]
    asset.with_suffix(".away").rename(asset)
    (tmp_path / "s.csv").write_text(f"name,lon,lat,size_m\nx,{middle[0]},{middle[1]},400\n")
    command = ["prepare", "sites", str(tmp_path / "s.csv"), "--out", str(tmp_path / "o"), "--dates", *map(str, dates)]
    assert main([*command, "--from", options["catalogues"][0]]) == 0
    assert open_cube(SiteFolder(tmp_path / "o").cube("x"))["s2"].grid.height == 40
    with pytest.raises(UsageError, match="only be fetched of given dates"):
        build_sites(tmp_path / "n", **options | {"dates": None})


def test_the_command_prepares_reports_and_fails_by_its_status(scenes, built, tmp_path, capsys):
    lines = [f"{n},{LON},{LAT},{c}" for n, c in (("a", "crop"), ("b", "crop"), ("missing", "heath"))]
    (tmp_path / "s.csv").write_text("\n".join(["name,lon,lat,land_cover", *lines]))
    command = ["prepare", "sites", str(tmp_path / "s.csv"), "--out", str(tmp_path / "o")]
    command += [x for m, p in sources(scenes) for x in ("--source", f"{m}={p}")]
    assert main([*command, "--sample", "1"]) in (0, 1) and "1 sites:" in capsys.readouterr().out
    assert main([*command, "--sample", "2", "--by", "land_cover"]) == 1
    assert "missing: DataError" in capsys.readouterr().out
    assert main(["prepare", "status", str(built)]) == 0
    assert capsys.readouterr().out == "3 sites: 3 done, 0 failed, 0 waiting; records not made\n"
    assert main(["prepare", "status", str(tmp_path / "o"), "--json"]) == 1


@pytest.mark.whole
def test_a_killed_worker_costs_its_unit_only_and_two_workers_give_what_one_gives(scenes, built, tmp_path):
    out = tmp_path / "o"
    code = "import sys; from tests.data_prep.slow_sites import main; main(*sys.argv[1:])"
    command = [sys.executable, "-c", code, str(out), str(scenes), str(LON), str(LAT)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 240
        while not (list(out.glob("begun-b-*")) and (out / "units" / "a.json").exists()):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline, "the workers did not come to site b"
            time.sleep(0.1)
        (begun,) = out.glob("begun-b-*")
        os.kill(int(begun.name.split("-")[-1]), signal.SIGKILL)
        _, errors = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert {n: len(list(out.glob(f"begun-{n}-*"))) for n in "abc"} == {"a": 1, "b": 2, "c": 1}
    assert status(out)["done"] == 3 and digests(out) == digests(built)
    alone = cut_records(tmp_path / "alone", built, workers=0)
    assert (out / "records" / "manifest.json").read_text() == (alone / "manifest.json").read_text()
    open_records(out / "records").verify()
