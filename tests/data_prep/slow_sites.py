"""Sites on two workers, of which one is to be killed at site b; run as a process of its own."""

import os
import time
from pathlib import Path

from data_prep import build_sites
from data_prep.build_sites import build_site
from data_prep.sites import Site


def slow_site(out, request):
    """As `build_site`, but says that it begins, and site b waits to be begun twice."""
    name = request["site"]
    Path(out, f"begun-{name}-{os.getpid()}").touch()
    while name == "b" and len(list(Path(out).glob("begun-b-*"))) < 2:
        time.sleep(0.1)
    build_site(out, request)


def main(out, scenes, lon, lat):
    build_sites.build_site = slow_site
    sites = [Site(name=n, lon=float(lon), lat=float(lat)) for n in "abc"]
    sources = [(f"simulated_{s}", f"{scenes}/{{site}}/{s}") for s in ("s2", "s1")]
    build_sites.build_sites(out, sites=sites, sources=sources, workers=2)
