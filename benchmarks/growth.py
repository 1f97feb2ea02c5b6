"""Does what eomm takes grow with the work and no faster?

    python -m eomm.benchmarks.growth --out growth.json    (40 minutes on 2 cores; --sites 3 9 --sides 32 64 for a look)

Many small sites are prepared, cut, trained on and embedded, one large site is embedded, and a hundred thousand units
are listed, resumed and reported. A site is simulated once and linked: what the sites hold repeats, their cubes do not.
What the smallest run of all takes is fixed and subtracted; slopes are those of straight lines through logarithms.
Of memory nothing is subtracted; its slope is of the runs with the most blocks at once: each has memory of its own.
Before anything is measured every program is run once, so that no row compiles what the next one finds compiled.
Results so far lie in --out after every step.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyproj

from data_prep.simulate import SiteOptions, simulate_site
from data_prep.sites.units import SiteFolder
from data_prep.sites.units import status as status_of_cubes
from eomm.data.cube import GroupSource, open_cube, write_cube
from eomm.embedding.run import BLOCK, lanes
from eomm.embedding.sites import NOTES, embed_sites
from eomm.embedding.units import Run, list_units
from eomm.embedding.units import status as status_of_units
from eomm.models.directory import load_model
from eomm.models.shipped import find_model
from eomm.store.digest import sha256
from eomm.store.folders import partial_of, write_json
from eomm.store.notes import FOLDER, Notes

from .common import Result, machine

PERIOD = (date(2020, 5, 1), date(2020, 7, 9))  # some ten usable dates
SMALL = 24  # px
TINY = ("steps=20", "encoder.size=tiny", "decoder.width=16", "objective.targets=2", "objective.queries=2")
# By a process that is small itself: Linux counts the peak of whoever starts a process as that process's own.
LAUNCH = """
import json, resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
Row = dict[str, Any]


def run(
    *, sites: Sequence[int], sides: Sequence[int], units: int, note: Callable[[Result], None] = lambda _: None
) -> Result:
    """All parts: rows and slopes.

    Args:
        sites: numbers of sites, ascending; a single site is measured besides, as what is fixed.
        sides: of one large site, px; a site of 16 px is measured besides.
        units: how many are listed.
        note: called with what is known so far.
    """
    result: Result = {"sites": {}, "sides": {}, "units": {}, **machine(), "simulated": True}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = SiteOptions(site="a", seed=0, start=PERIOD[0], end=PERIOD[1], size_px=SMALL)
        scenes = simulate_site(folder / "scenes", options)
        many_sites(folder / "warm", scenes, 2)
        for side in (16, *sides[:2]):
            one_site(folder / "warm", folder / "warm", side)
        for count in (1, *sites):
            for step, row in many_sites(folder / str(count), scenes, count).items():
                result["sites"].setdefault(step, []).append(row)
            note(result)
        for side in (16, *sides):
            result["sides"].setdefault("embed", []).append(one_site(folder, folder / str(sites[0]), side))
            note(result)
        result["units"] = many_units(folder / "units", units)
    for part in ("sites", "sides"):
        result[f"slopes_{part}"] = {step: slopes(rows) for step, rows in result[part].items()}
    note(result)
    return result


def many_sites(work: Path, scenes: Path, count: int) -> dict[str, Row]:
    """From scenes to embeddings of so many sites, a command a step."""
    names = [f"site{i:05d}" for i in range(count)]
    lon, lat = place_of(scenes)
    (work / "scenes").mkdir(parents=True)
    for name in names:
        (work / "scenes" / name).symlink_to(scenes)
    listed = work / "sites.csv"
    listed.write_text("name,lon,lat\n" + "".join(f"{name},{lon},{lat}\n" for name in names))
    source = f"simulated_s2={work}/scenes/{{site}}/s2"
    prepare = ["prepare", "sites", listed, "--source", source, "--out", work / "many"]
    crops = ["--records", "--crop-px", SMALL, "--acquisitions", 8]
    records = f"--config.data.records={work / 'many' / 'records'}"
    steps: dict[str, tuple[list[Any], Path]] = {
        "prepare": (prepare, work / "many" / "cubes"),
        "cut": ([*prepare, *crops], work / "many" / "records"),
        "train": (
            ["train", "--config", "s2", "--workdir", work / "run", records, *(f"--config.{o}" for o in TINY)],
            work / "run",
        ),
        "embed": (["embed", "--cubes", work / "many" / "cubes", "--out", work / "out"], work / "out"),
    }
    return {step: {"count": count, **measure(words, made)} for step, (words, made) in steps.items()}


def one_site(work: Path, many: Path, side: int) -> Row:
    """Embedding of a site of `side` px at four dates, tiles of a small site's."""
    small = open_cube(next((many / "many" / "cubes").glob("*.zarr")))["s2"]
    usable = np.flatnonzero(small.usable)[:4]
    values, valid = small.begin_read(usable, slice(0, SMALL), slice(0, SMALL))()
    times = -(-side // SMALL)
    grid = small.grid.__class__(crs=small.grid.crs, transform=small.grid.transform, height=side, width=side)

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        tile = np.tile(values[i], (times, times, 1))[:side, :side]
        return tile, np.tile(valid[i], (times, times))[:side, :side]

    acquisitions = [small.acquisitions[i] for i in usable]
    group = GroupSource(modality=small.modality, grid=grid, acquisitions=acquisitions, read=read)
    cube, out = work / f"{side}.zarr", work / f"{side}.embedding.zarr"
    write_cube(cube, site="large", groups=[group], provenance={"simulated": True})
    blocks = (-(-side // BLOCK)) ** 2
    row = {"count": side * side, "side": side, "at_once": min(blocks, len(lanes(None)))}
    return row | measure(["embed", "--cube", cube, "--out", out], out)


def measure(words: Sequence[Any], made: Path, *, module: str = "eomm") -> Row:
    """Run a command of eomm in a process of its own: time, peak memory of its largest process, what it wrote.

    Processor seconds are of all its processes, so that other work on the machine counts for little.
    """
    command = [sys.executable, "-m", module, *map(str, words)]
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", LAUNCH, *command], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    code, cpu_seconds, peak_mib = json.loads(done.stdout)
    if code:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    files = [f for f in made.rglob("*") if f.is_file()]
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "peak_mib": peak_mib,
        "files": len(files),
        "bytes": sum(f.stat().st_size for f in files),
    }


def slopes(rows: Sequence[Row]) -> Result:
    """Of time, files and bytes against the work, the first row's subtracted; of peak memory with all workers busy."""
    first, rest = rows[0], rows[1:]
    if len(rest) < 2:
        return {}
    found: Result = {}
    for name in ("cpu_seconds", "files", "bytes"):
        more = [(r["count"] - first["count"], r[name] - first[name]) for r in rest if r[name] > first[name]]
        if len(more) > 1:
            found[name] = slope(more)
    most = max(r.get("at_once", 1) for r in rest)
    busy = [(r["count"], r["peak_mib"]) for r in rest if r.get("at_once", 1) == most]
    if len(busy) > 1:
        found["peak_mib"] = slope(busy)
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the straight line through the logarithms of points."""
    work, values = np.log(points).T
    return float(np.polyfit(work, values, 1)[0])


def many_units(folder: Path, count: int) -> Result:
    """Seconds that so many finished units take to be listed, resumed and reported; their notes are fabricated."""
    side = int(np.ceil(np.sqrt(count)))
    units = list_units(1, (side * 16, side * 16), (16, 16))[:count]
    out = folder / "one.zarr"
    marks = partial_of(out) / FOLDER
    marks.mkdir(parents=True)
    write_json(marks / "request.json", {"units": count})
    for unit in units:
        (marks / f"{unit.number}.json").write_text('{"seconds": 1.0, "files": {"embedding": "00000000"}}')
    model = load_model(find_model("base"))
    asked = json.loads(json.dumps({"model": model.hash, "options": {}}))
    cubes = fabricate_sites(folder, count, asked)
    prepared = SiteFolder(folder / "many")
    acts: dict[str, Callable[[], Any]] = {
        "units of a store listed": lambda: Run(out).missing(units),
        "units of a store reported": lambda: status_of_units(out),
        "notes of a store read": lambda: Run(out).figures(),
        "embedded sites resumed and reported": lambda: embed_sites(model, cubes, folder / "out"),
        "prepared sites reported": lambda: status_of_cubes(prepared.path),
    }
    found: Result = {"count": count}
    for name, act in acts.items():
        start = time.perf_counter()
        act()
        found[name] = time.perf_counter() - start
    return found


def fabricate_sites(folder: Path, count: int, asked: Mapping[str, Any]) -> dict[str, Path]:
    """So many sites that are prepared and embedded, as far as their notes tell."""
    prepared, notes = SiteFolder(folder / "many"), Notes(folder / "out" / NOTES)
    names = [f"site{i:06d}" for i in range(count)]
    prepared.begin([{"name": name} for name in names])
    notes.begin()
    head = ""
    for name in names:
        cube = prepared.cube(name)
        cube.mkdir()
        (cube / "zarr.json").write_text('{"attributes": {"eomm:kind": "cube"}}')
        head = head or sha256(cube / "zarr.json")
        prepared.notes.done(name, {"request": {"site": name}})
        (folder / "out" / f"{name}.zarr").mkdir()
        notes.done(name, {**asked, "cube": head})
    return {name: prepared.cube(name) for name in names}


def place_of(scenes: Path) -> tuple[float, float]:
    """Longitude and latitude of a simulated site."""
    about = json.loads((scenes / "site.json").read_text())
    to_degrees = pyproj.Transformer.from_crs(about["crs"], "EPSG:4326", always_xy=True).transform
    lon, lat = to_degrees(about["tower"]["x"], about["tower"]["y"])
    return float(lon), float(lat)


def format_growth(result: Mapping[str, Any]) -> str:
    """A table for people."""
    lines = [f"{'':<16}{'work':>10}{'CPU s':>9}{'s':>8}{'MiB':>7}{'files':>9}{'MB':>9}"]
    for part in ("sites", "sides"):
        for step, rows in result[part].items():
            for r in rows:
                sizes = f"{r['peak_mib']:>7.0f}{r['files']:>9}{r['bytes'] / 1e6:>9.1f}"
                lines.append(f"{step:<16}{r['count']:>10}{r['cpu_seconds']:>9.1f}{r['seconds']:>8.1f}{sizes}")
            found = result.get(f"slopes_{part}", {}).get(step, {})
            lines.append("  slopes: " + ", ".join(f"{n} {v:.2f}" for n, v in found.items()))
    lines += [f"{name}: {value:,.1f}" for name, value in result["units"].items()]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sites", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 256, 512, 1024])
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--out", type=Path, help="JSON, written after every step")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    a = parser.parse_args(argv)
    with redirect_stdout(sys.stderr):
        note = (lambda result: write_json(a.out, result)) if a.out else (lambda _: None)
        result = run(sites=a.sites, sides=a.sides, units=a.units, note=note)
    print(json.dumps(result) if a.json else format_growth(result))


if __name__ == "__main__":
    main()
