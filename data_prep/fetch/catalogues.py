"""What STAC catalogues call things, and what their items say of themselves. No network and no pixels here.

A catalogue is a row of values; a new provider is a new row. What was looked up, November 2026:

- Planetary Computer serves Sentinel-2 as delivered: from baseline 04.00 on the offset is in the numbers
  (microsoft/PlanetaryComputer issue 134). Assets must be signed, which needs no account.
- Earth Search applies the offset to `sentinel-2-l2a` and says so in `earthsearch:boa_offset_applied`, while
  `raster:bands` still names it; some items state the flag wrongly (Element84/earth-search issues 66 and 71), which
  only the pixels tell: the check of dark pixels in `prepare cube`.
- Copernicus Data Space names the offset per asset (`raster:offset`); its files (JPEG 2000) need the user's S3 keys.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from data_prep.mappings.mapping import RTC_SOURCES
from eomm.data.days import parse_time
from eomm.errors import ContractError, DataError, UsageError

FILES: dict[str, dict[str, tuple[int, tuple[str, ...]]]] = {
    "s2": {
        "_10m": (10, ("B02", "B03", "B04", "B08")),
        "_20m": (20, ("B05", "B06", "B07", "B8A", "B11", "B12")),
        "_SCL": (20, ("SCL",)),
    },
    "s1": {"": (10, ("VV", "VH"))},
}
"""Modality -> ending of a scene's file -> (pixel size in metres, the layers in it)."""

_NAMES = tuple(layer for _, layers in FILES["s2"].values() for layer in layers)
_COMMON = {
    "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1", "B06": "rededge2", "B07": "rededge3",
    "B08": "nir", "B8A": "nir08", "B11": "swir16", "B12": "swir22", "SCL": "scl",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """One provider's collection.

    Attributes:
        name: what `--from` calls it.
        modality: a key of `FILES`.
        address: of the API, or of a static catalogue; a path is one too.
        collection: the collection's id; None for all items.
        assets: layer ("B02", "SCL", "VV") -> the asset that holds it.
        calibration: of radar, as the files' tag CALIBRATION names it.
        unit: of radar, as the files' tag UNIT names it.
        sign: whether hrefs are signed by the package planetary-computer.
        settings: environment variables that GDAL needs for the assets, unless the user has set them.
        credentials: environment variables that the user must have set.
        get_credentials: where they are had.
    """

    name: str
    modality: str
    address: str
    collection: str | None
    assets: Mapping[str, str]
    calibration: str | None = None
    unit: str | None = None
    sign: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    credentials: Sequence[str] = ()
    get_credentials: str = ""


KNOWN = {
    c.name: c
    for c in (
        Catalogue(
            name="planetary-computer-s2",
            modality="s2",
            address="https://planetarycomputer.microsoft.com/api/stac/v1",
            collection="sentinel-2-l2a",
            assets={n: n for n in _NAMES},
            sign=True,
        ),
        Catalogue(
            name="planetary-computer-s1-rtc",
            modality="s1",
            address="https://planetarycomputer.microsoft.com/api/stac/v1",
            collection="sentinel-1-rtc",
            assets={"VV": "vv", "VH": "vh"},
            calibration="gamma0_rtc",
            unit="linear power",
            sign=True,
        ),
        Catalogue(
            name="earth-search-s2",
            modality="s2",
            address="https://earth-search.aws.element84.com/v1",
            collection="sentinel-2-l2a",
            assets=_COMMON,
        ),
        Catalogue(
            name="cdse-s2",
            modality="s2",
            address="https://stac.dataspace.copernicus.eu/v1",
            collection="sentinel-2-l2a",
            assets={n: f"{n}_{gsd}m" for gsd, layers in FILES["s2"].values() for n in layers},
            settings={"AWS_S3_ENDPOINT": "eodata.dataspace.copernicus.eu", "AWS_VIRTUAL_HOSTING": "FALSE"},
            credentials=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            get_credentials="https://eodata-s3keysmanager.dataspace.copernicus.eu",
        ),
    )
}
"""Catalogues by the name that `--from` uses."""


def own_catalogue(address: str, collection: str | None, like: Catalogue) -> Catalogue:
    """A catalogue at another address whose items are like those of a known one; nothing of it is signed."""
    return Catalogue(
        name=address,
        modality=like.modality,
        address=address,
        collection=collection,
        assets=like.assets,
        calibration=like.calibration,
        unit=like.unit,
    )


def recognise(assets: Sequence[str], *, address: str) -> Catalogue:
    """The known Sentinel-2 catalogue that names its assets as these are named.

    Raises:
        UsageError: there is none; for radar always, since assets `vv` and `vh` do not tell their calibration.
    """
    for known in KNOWN.values():
        if known.modality == "s2" and set(known.assets.values()) <= set(assets):
            return known
    if {a.lower() for a in assets} & {"vv", "vh", "hh", "hv"}:
        raise UsageError(
            f"{address}: assets {' '.join(sorted(assets))} look like radar, but their names do not tell the "
            "calibration; if they are RTC gamma0 in linear power, say --like planetary-computer-s1-rtc"
        )
    raise UsageError(
        f"{address}: its items have the assets {' '.join(sorted(assets))}; expected those of one of "
        f"{', '.join(KNOWN)}. Name the one that it resembles by --like"
    )


def check_item(item: Any, catalogue: Catalogue) -> None:
    """Refuse what an item says it is not. Raises ContractError for L1C and for uncalibrated radar."""
    p = {k: str(v) for k, v in item.properties.items() if v}
    kind = p.get("product:type") or p.get("s2:product_type") or p.get("sar:product_type", "")
    if catalogue.modality == "s2":
        level = p.get("processing:level", "")
        if "1C" in kind.upper() or level.upper() in ("L1C", "L1"):
            raise ContractError(f"item {item.id}: is {kind or level} (top of atmosphere), expected L2A")
    elif not _is_gamma0(p, kind, f"{item.collection_id} {item.id}".lower()):
        raise ContractError(
            f"item {item.id}: is {p.get('card4l:measurement_type') or kind}, whose numbers are not terrain-corrected "
            f"gamma0; {RTC_SOURCES}"
        )


def _is_gamma0(properties: Mapping[str, str], kind: str, named: str) -> bool:
    """Whether radar is what it says, or else what its product is: GRD is not, unless it is called RTC."""
    measured = properties.get("card4l:measurement_type", "").lower()
    return measured == "gamma0" if measured else "GRD" not in kind.upper() or "rtc" in named


def baseline_of(item: Any) -> str | None:
    """The processing baseline, such as "05.10", from the properties or the product's name."""
    p = item.properties
    text = str(p.get("s2:processing_baseline") or p.get("processing:version") or "")
    if match := re.fullmatch(r"N?(\d\d)\.?(\d\d)", text):
        return f"{match[1]}.{match[2]}"
    if match := re.search(r"_N(\d\d)(\d\d)_", product_of(item)):
        return f"{match[1]}.{match[2]}"
    return None


def boa_offset(item: Any, catalogue: Catalogue) -> int:
    """What must be added to an item's numbers: 0 or -1000. Never by date.

    The baseline says whether the product was made with an offset; the catalogue's own word, whether it is still in.

    Raises:
        DataError: no baseline is stated.
        ContractError: the offset that assets name is not the baseline's.
    """
    baseline = baseline_of(item)
    if baseline is None:
        raise DataError(
            f"item {item.id}: states no processing baseline (s2:processing_baseline, processing:version), so that "
            "the offset of baseline 04.00 cannot be decided"
        )
    expected = -1000 if float(baseline) >= 4 else 0
    applied = item.properties.get("earthsearch:boa_offset_applied")
    if applied is not None:
        return 0 if applied else expected
    named = {
        round(offset * 10_000)
        for layer, asset in catalogue.assets.items()
        if layer != "SCL" and asset in item.assets and (offset := _named(item.assets[asset], "offset")) is not None
    }
    if named - {expected}:
        raise ContractError(
            f"item {item.id}: its assets name the offsets {sorted(named)}, expected {expected} of baseline {baseline}"
        )
    return expected


def tags_of(item: Any, catalogue: Catalogue) -> dict[str, str]:
    """The tags of an item's scenes, as readers.geotiff expects them; what the item does not say is left out."""
    p = item.properties
    tags: dict[str, Any] = {
        "PLATFORM": platform_of(item),
        "DATETIME": time_of(item).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "RELATIVE_ORBIT": orbit_of(item),
        "ORBIT_DIRECTION": str(p.get("sat:orbit_state") or "").upper(),
        "PRODUCT_ID": product_of(item),
        "VIEW_ZENITH": p.get("view:incidence_angle"),
        "VIEW_AZIMUTH": p.get("view:azimuth"),
        "SOURCE": catalogue.address,
        "SOURCE_COLLECTION": item.collection_id,
        "SOURCE_ITEM": item.id,
        "SIMULATED": "YES" if p.get("eomm:simulated") else None,
    }
    if catalogue.modality == "s2":
        elevation = p.get("view:sun_elevation")
        zenith = None if elevation is None else 90 - float(elevation)
        tags |= {
            "PROCESSING_LEVEL": "L2A",  # `check_item` has refused what says otherwise
            "PROCESSING_BASELINE": baseline_of(item),
            "BOA_OFFSET": boa_offset(item, catalogue),
            "SUN_ZENITH": p.get("s2:mean_solar_zenith", zenith),
            "SUN_AZIMUTH": p.get("s2:mean_solar_azimuth", p.get("view:sun_azimuth")),
        }
    else:
        tags |= {"CALIBRATION": catalogue.calibration, "UNIT": catalogue.unit}
    return {k: str(v) for k, v in tags.items() if v is not None and v != ""}


def product_of(item: Any) -> str:
    """The provider's name of the product."""
    name = str(item.properties.get("s2:product_uri") or item.id)
    return name.removesuffix(".SAFE")


def platform_of(item: Any) -> str | None:
    """Such as "S2A" of "Sentinel-2A"."""
    match = re.fullmatch(r"sentinel-?([12])([a-d])", str(item.properties.get("platform") or "").lower())
    return f"S{match[1]}{match[2].upper()}" if match else item.properties.get("platform")


def orbit_of(item: Any) -> int | None:
    """The relative orbit, from the properties or the product's name."""
    stated = item.properties.get("sat:relative_orbit")
    match = re.search(r"_R(\d{3})_", product_of(item))
    return int(stated) if stated is not None else int(match[1]) if match else None


def time_of(item: Any) -> datetime:
    """The acquisition's time, UTC. Raises DataError where the item has none."""
    text = item.properties.get("start_datetime")
    time = item.datetime or (parse_time(text, where=f"item {item.id}: start_datetime") if text else None)
    if time is None:
        raise DataError(f"item {item.id}: states neither datetime nor start_datetime")
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def check_numbers(item: Any, catalogue: Catalogue) -> None:
    """Compare the scales and fills that assets state with those that we read them by. Raises ContractError."""
    for layer, name in catalogue.assets.items():
        if layer == "SCL" or name not in item.assets:
            continue
        expected = {"scale": 1e-4, "nodata": 0.0} if catalogue.modality == "s2" else {"scale": 1.0}
        for key, ours in expected.items():
            stated = _named(item.assets[name], key)
            if stated is not None and not math.isclose(stated, ours, rel_tol=1e-6):
                raise ContractError(
                    f"item {item.id}, asset {name} ({layer}): states the {key} {stated:g}, expected {ours:g} as the "
                    f"{catalogue.modality} of all known catalogues; fetch another collection"
                )


def _named(asset: Any, what: str) -> float | None:
    """What an asset, or else its one band, states by the raster extension or STAC 1.1; None where it is no number."""
    fields = asset.extra_fields
    bands = fields.get("raster:bands") or fields.get("bands") or [{}]
    for table in (fields, bands[0]):
        for key in (f"raster:{what}", what):
            if isinstance(found := table.get(key), int | float) and math.isfinite(found):
                return float(found)
    return None
