"""How tests of fetching ask the server on loopback."""

from datetime import date

import pytest

from data_prep.fetch.net import Net
from data_prep.fetch.run import FetchOptions, fetch_scenes

DATES = (date(2020, 5, 1), date(2020, 5, 22))
# odc-geo 0.5.3 calls what shapely 2.2 and affine 3.1 have superseded, planetary-computer 1.0.0 what pydantic 2 has.
OLD_CALLS = [
    pytest.mark.filterwarnings("ignore:The 'shapely.ops:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Support for class-based `config`:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning"),
]


def fetch(server, out, grid, *, source="/catalog.json", tries=3, **options):
    net = Net(timeout_s=1, tries=tries, parallel=4)
    options = FetchOptions(site="a", source=server.url + source, dates=DATES, net=net, **options)
    return fetch_scenes(out, grid, options)


def first_s2(world):
    return sorted(p.parent.name for p in world[1].glob("S2*/item.json"))[0]
