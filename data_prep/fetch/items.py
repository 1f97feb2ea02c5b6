"""Finding a site's items in a STAC API or a static catalogue, by pystac-client. No pixels here."""

import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from data_prep.fetch.catalogues import Catalogue, time_of
from data_prep.fetch.net import FIRST_WAIT_S, Net
from data_prep.fetch.place import Bbox
from eomm.data import longitude
from eomm.errors import DataError, UsageError

RETRY_CODES = (429, 500, 502, 503, 504)
T = TypeVar("T")


def find_items(catalogue: Catalogue, *, bbox: Bbox, first: date, last: date, net: Net) -> list[Any]:
    """The items that touch a box on days from first to last, sorted by time and id, each once.

    Args:
        catalogue: where to look.
        bbox: west, south, east, north in degrees; west > east across 180 degrees.
        first: the first day, UTC.
        last: the last day, included.
        net: how it is asked.

    Raises:
        UsageError: the extra `stac` is not installed.
        DataError: the catalogue cannot be read.
    """
    pystac, client, retry = clients()
    waits = retry(
        total=net.tries - 1,
        backoff_factor=FIRST_WAIT_S,
        backoff_jitter=FIRST_WAIT_S,
        status_forcelist=RETRY_CODES,
        allowed_methods=None,  # a search is a POST
    )
    io = client.stac_api_io.StacApiIO(timeout=net.timeout_s, max_retries=waits)
    address = catalogue.address if is_remote(catalogue.address) else str(Path(catalogue.address).resolve())
    failures = (client.exceptions.APIError, pystac.STACError, OSError, ValueError, KeyError, TypeError)

    def read(href: str) -> Any:
        # An answer cut off in the middle is none of the failures that `waits` is for.
        return patiently(lambda: io.read_json(href), failures, net.tries)

    def search() -> list[Any]:
        api = client.Client.open(address, stac_io=io)
        collections = [catalogue.collection] if catalogue.collection else None
        days = f"{first}T00:00:00Z/{last}T23:59:59Z"
        parts = [api.search(collections=collections, bbox=b, datetime=days, limit=100).items() for b in _divided(bbox)]
        return [item for part in parts for item in part]

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of catalogues in older versions of STAC, which are migrated
            if read(address).get("conformsTo"):
                found = patiently(search, failures, net.tries)
            else:
                found = [pystac.Item.from_dict(d, href=href) for href, d in _walk(address, read, pystac)]
        for item in found:
            item.make_asset_hrefs_absolute()
    except failures as e:
        raise DataError(
            f"{catalogue.address}: cannot be searched ({short(e)}); is it a STAC API or a catalogue, and within reach? "
            "Run again to go on"
        ) from e
    wanted = {
        i.id: i
        for i in found
        if catalogue.collection in (None, i.collection_id) and _touches(i, bbox) and first <= time_of(i).date() <= last
    }
    return sorted(wanted.values(), key=lambda i: (time_of(i), i.id))


def _walk(root: str, read: Callable[[str], Any], pystac: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The items below a static catalogue, (address, document). Raises DataError where a remote one leads to files."""
    waiting, seen = [root], {root}
    while waiting:
        href = waiting.pop()
        document = read(href)
        if document.get("type") == "FeatureCollection":
            yield from ((href, d) for d in document["features"])
        elif document.get("type") == "Feature":
            yield href, document
        else:
            for link in document["links"]:
                target = pystac.utils.make_absolute_href(link["href"], href)
                if link["rel"] in ("child", "item") and target not in seen:
                    check_href(target, root)
                    seen.add(target)
                    waiting.append(target)


def is_remote(href: str) -> bool:
    """Whether a reference is an address rather than a path."""
    return "://" in href


def check_href(href: str, catalogue: str) -> None:
    """Raise DataError where a catalogue on the net leads to a file of this machine, or to GDAL's virtual files."""
    if href.startswith("/vsi") or (
        is_remote(catalogue) and not href.startswith(("http://", "https://", "s3://", "gs://", "az://"))
    ):
        raise DataError(f"{catalogue}: refers to {href}; expected addresses of the net (http, https, s3, gs, az)")


def patiently(call: Callable[[], T], failures: tuple[type[BaseException], ...], tries: int) -> T:
    """The result of a call, tried again after waits that double, with jitter; the last failure is raised."""
    for attempt in range(tries - 1):
        try:
            return call()
        except failures:
            wait(attempt)
    return call()


def wait(attempt: int) -> None:
    """Sleep after the failed attempt 0, 1, …: doubling, up to 30 s, times 0.5 to 1.5."""
    time.sleep(min(FIRST_WAIT_S * 2**attempt, 30) * random.uniform(0.5, 1.5))


def short(error: BaseException) -> str:
    """An error in one line, without what a signed address holds."""
    words = " ".join(str(error).split()).split(" ")
    text = " ".join(w.partition("?")[0] if "?" in w and "://" in w else w for w in words)
    return f"{type(error).__name__}: {text[:300]}"


def _touches(item: Any, box: Bbox) -> bool:
    """Whether an item's box, or else its geometry, shares ground with one; true where it does not say where it lies.

    Boxes with west > east lie across 180 degrees (RFC 7946). An item without a place is read and found empty, rather
    than passed over.
    """
    a: Sequence[float] | None = item.bbox or _box_of((item.geometry or {}).get("coordinates"))
    if a is None:
        return True
    west, south, east, north = a if len(a) == 4 else (a[0], a[1], a[3], a[4])
    return south < box[3] and box[1] < north and longitude.share((west, east), (box[0], box[2]))


def _box_of(coordinates: Any) -> Bbox | None:
    """Around the positions of a GeoJSON geometry; None where there is none."""
    found = list(_positions(coordinates))
    if not found:
        return None
    west, wide = longitude.extent(p[0] for p in found)
    return west, min(p[1] for p in found), longitude.wrapped(west + wide), max(p[1] for p in found)


def _positions(coordinates: Any) -> Iterator[list[float]]:
    if isinstance(coordinates, list | tuple) and coordinates:
        if isinstance(coordinates[0], int | float):
            yield list(coordinates)
        else:
            for part in coordinates:
                yield from _positions(part)


def _divided(box: Bbox) -> list[Bbox]:
    """A box across 180 degrees as the two on either side, which every server understands."""
    west, south, east, north = box
    return [box] if west <= east else [(west, south, 180.0, north), (-180.0, south, east, north)]


def clients() -> tuple[Any, Any, Any]:
    """The modules pystac and pystac_client and urllib3's Retry. Raises UsageError where the extra is missing."""
    try:
        import pystac
        import pystac_client
        import pystac_client.exceptions
        import pystac_client.stac_api_io
        from urllib3 import Retry
    except ImportError as e:
        raise UsageError(f"{e}: fetching needs an extra; pip install 'eomm[stac]'") from e
    return pystac, pystac_client, Retry
