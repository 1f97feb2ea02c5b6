"""A simulated site published as a catalogue on loopback, for the tests of fetching."""

import pytest
import rasterio
import rasterio.shutil

from data_prep.fetch import items, net
from data_prep.simulate import SiteOptions, simulate_site
from eomm.data.grid import Grid
from tests.data_prep.fetch.ask import DATES
from tests.data_prep.stac_server import publish, serve


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """(the simulated site's folder, its catalogue's folder, its grid)."""
    folder = tmp_path_factory.mktemp("world")
    site = simulate_site(folder / "site", SiteOptions(site="a", seed=3, start=DATES[0], end=DATES[1], size_px=40))
    publish(site, folder / "catalogue")
    with rasterio.open(next((site / "s2").glob("*_10m.tif"))) as file:
        t = file.transform
        grid = Grid(crs=str(file.crs), transform=(t.a, t.b, t.c, t.d, t.e, t.f), height=40, width=40)
    return site, folder / "catalogue", grid


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """A proxy that nobody serves, from which loopback is exempt, as behind a firewall; and no long waits."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    for module in (items, net):
        monkeypatch.setattr(module, "FIRST_WAIT_S", 0.02)


@pytest.fixture
def server(world):
    with serve(world[1]) as state:
        yield state
