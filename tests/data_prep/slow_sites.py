"""Sites on two workers, of which one is to be killed at site b; run as a process of its own."""

import os
import time
from pathlib import Path

from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig
from data_prep.sites import build as build_sites
from data_prep.sites.build import build_site
from data_prep.sites.table import Site
from data_prep.sites.units import SiteFolder
from eomm.store.workers import Pool


def slow_site(out, site):
    """As `build_site`, but says that it begins, and site b waits to be begun twice."""
    name = site[0]
    Path(out, f"begun-{name}-{os.getpid()}").touch()
    while name == "b" and len(list(Path(out).glob("begun-b-*"))) < 2:
        time.sleep(0.1)
    build_site(out, site)


def cut_records(out, folder, workers):
    """Records of the three sites, small."""
    cubes = [SiteFolder(folder).cube(n) for n in "abc"]
    split = SplitConfig(fractions={"test": 0.3}, site_buffer_m=-1e4)  # all at one place
    crops = CropConfig(crop_px=8, acquisitions=3, min_clear=1, shard_records=7, stride_px=8)
    return build_patches(
        out, cubes=cubes, split=split, crops=crops, pool=Pool(workers=workers), strata=dict.fromkeys("ab", "crop")
    )


def main(out, scenes, lon, lat):
    build_sites.build_site = slow_site
    sites = [Site(name=n, lon=float(lon), lat=float(lat)) for n in "abc"]
    sources = [(f"simulated_{s}", f"{scenes}/{{site}}/{s}") for s in ("s2", "s1")]
    build_sites.build_sites(out, sites=sites, sources=sources, pool=Pool(workers=2))
    cut_records(Path(out) / "records", out, workers=2)
