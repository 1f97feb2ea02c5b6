"""How fast do scenes become a cube and a cube records, in how much memory, beside a plain xarray and HDF5 loop?

python -m eomm.benchmarks.prepare --json    (five minutes on 2 idle cores, most of it simulating the sites)

Expected before it was measured: 20 MB of stored values per second to a cube, 60 from a cube to records; targets at
least 5 times as quickly as by the loop and at most a third of the bytes each (the issue's aim; by the layouts alone
some 250 times fewer bytes); peak memory the same for half as long a series, above what the imports take.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data_prep.simulate import SiteOptions, simulate_site
from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.models.directory import build_part
from eomm.training.config import load_config

from .common import YEAR, Result, machine, print_result
from .loader import targets_per_record
from .prepare_steps import SITE

SIZE_PX = 96


def run(*, size_px: int = SIZE_PX, repeats: int = 3) -> Result:
    """`measure` on a simulated site, and peak memory of half its series and of a site of four times the pixels."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = _simulate(folder / "scenes", size_px)
        found = measure(scenes, folder, repeats=repeats)
        for kind, other in (
            ("half_series", _first_half(scenes, folder / "half")),
            ("four_times_the_pixels", _simulate(folder / "wide", 2 * size_px)),
        ):
            for step, source, out in (("cube", other, f"{kind}.zarr"), ("records", folder / f"{kind}.zarr", kind)):
                found[f"{step}_peak_mib_{kind}"] = _step(step, source, folder / out)["peak_mib"]
    return {**found, "size_px": size_px, **machine(), "simulated": True}


def measure(scenes: Path, folder: Path, *, repeats: int) -> Result:
    """Each step in a process of its own, the quickest of `repeats`; a target is what `loader` says.

    Megabytes are those of stored values (int16) of all acquisitions, `_files` those of the scenes' files. The loop
    takes Sentinel-2 alone, our records Sentinel-1 too. By CPU seconds, too, since other work slows the others.
    """
    made, cut, samples = folder / "a.zarr", folder / "records", folder / "published.h5"
    cube = _best("cube", scenes, made, repeats)
    records = _best("records", made, cut, repeats)
    loop = _best("published", made, samples, repeats)
    config, opened = load_config("s2"), open_records(cut)
    halo = build_part("encoder", config.encoder, opened.shapes["s2"].modality).halo
    per_record = targets_per_record(config, opened, halo=halo)
    stored = sum(f["bytes"] for f in opened.manifest["files"]) / records["count"]
    files = sum(f.stat().st_size for s in ("s2", "s1") for f in (scenes / s).iterdir()) / 1e6
    sample = samples.stat().st_size / loop["count"]
    ours, theirs = records["count"] * per_record, loop["count"]
    return {
        "cube_megabytes_per_second": _megabytes(made) / cube["seconds"],
        "cube_megabytes_per_second_files": files / cube["seconds"],
        "cube_megabytes_per_cpu_second": _megabytes(made) / cube["cpu_seconds"],
        "cube_peak_mib": cube["peak_mib"],
        "records_megabytes_per_second": stored * records["count"] / 1e6 / records["seconds"],
        "records_per_second": records["count"] / records["seconds"],
        "records_per_cpu_second": records["count"] / records["cpu_seconds"],
        "records_peak_mib": records["peak_mib"],
        "imports_mib": cube["before_mib"],
        "targets_per_second": ours / records["seconds"],
        "loop_targets_per_second": theirs / loop["seconds"],
        "times_as_fast": ours / records["seconds"] / (theirs / loop["seconds"]),
        "times_as_fast_by_cpu": ours / records["cpu_seconds"] / (theirs / loop["cpu_seconds"]),
        "loop_peak_mib": loop["peak_mib"],
        "bytes_per_record": stored,
        "bytes_per_target": stored / per_record,
        "loop_bytes_per_target": sample,
        "share_of_bytes": stored / per_record / sample,
        "targets_per_record": per_record,
        "records": records["count"],
        "loop_samples": theirs,
        "acquisitions": cube["count"],
        "repeats": repeats,
    }


def _simulate(folder: Path, size_px: int) -> Path:
    return simulate_site(folder, SiteOptions(site=SITE, seed=0, start=YEAR[0], end=YEAR[1], size_px=size_px))


def _first_half(scenes: Path, out: Path) -> Path:
    """The scenes of the first half of the dates."""
    for sensor in ("s2", "s1"):
        files = sorted((scenes / sensor).iterdir(), key=lambda f: (f.name.split("_")[1], f.name))
        middle = files[len(files) // 2].name.split("_")[1]
        (out / sensor).mkdir(parents=True)
        for file in files:
            if file.name.split("_")[1] < middle:
                (out / sensor / file.name).symlink_to(file)
    return out


def _megabytes(path: Path) -> float:
    groups = open_cube(path).groups.values()
    return sum(len(g) * g.grid.height * g.grid.width * len(g.modality.bands) * 2 for g in groups) / 1e6


def _best(step: str, source: Path, out: Path, repeats: int) -> Result:
    found = []
    for _ in range(repeats):
        shutil.rmtree(out, ignore_errors=True)
        found.append(_step(step, source, out))
    return min(found, key=lambda one: float(one["seconds"]))


def _step(step: str, source: Path, out: Path) -> Result:
    command = [sys.executable, "-m", f"{__package__}.prepare_steps", step, str(source), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    result: Result = json.loads(done.stdout)
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Print the result."""
    print_result(run, str(__doc__).splitlines()[0], argv)


if __name__ == "__main__":
    main()
