"""One step of preparation in a process of its own, so that its peak memory is its own: see prepare.py. No JAX."""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from data_prep.cubes.build import Source, build_cube
from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig
from eomm.data.records import open_records

from .published import cut_samples

SITE = "bench"


def cube(scenes: Path, out: Path) -> int:
    """Scenes to a cube; returns acquisitions."""
    build_cube(out, site=SITE, sources=[Source(path=scenes / s, mapping=f"simulated_{s}") for s in ("s2", "s1")])
    return sum(len(list((scenes / s).glob("*_10m.tif" if s == "s2" else "*.tif"))) for s in ("s2", "s1"))


def records(made: Path, out: Path) -> int:
    """A cube to records; returns their number."""
    build_patches(out, cubes=[made], split=SplitConfig(sites={"train": [SITE]}), crops=CropConfig(stride_px=8))
    return open_records(out).count("train")


STEPS = {"cube": cube, "records": records, "published": lambda made, out: cut_samples(out, made)}


def main(argv: Sequence[str] | None = None) -> None:
    """Print {"count", "seconds", "cpu_seconds", "peak_mib", "before_mib"} as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    a = parser.parse_args(argv)
    before, before_mib = resource.getrusage(resource.RUSAGE_SELF), peak_mib()
    began = time.perf_counter()
    count = STEPS[a.step](a.source, a.out)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {"count": count, "seconds": seconds, "cpu_seconds": cpu}
    print(json.dumps(found | {"peak_mib": peak_mib(), "before_mib": before_mib}))


def peak_mib() -> float:
    """Of this program alone, where `ru_maxrss` counts what the parent had when it forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


if __name__ == "__main__":
    main()
