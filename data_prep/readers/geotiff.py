"""Folders of GeoTIFF or COG scenes: one or more files per acquisition. A band is what its description says."""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import MaskFlags
from rasterio.errors import RasterioError

from data_prep.mappings.mapping import ANGLES, IN_NAME, RTC_SOURCES
from data_prep.mappings.mapping import Mapping as SourceMapping
from data_prep.readers.crop import Crop, crop_to
from data_prep.readers.scene import STATIC, Scene, decode
from data_prep.readers.stated import Numbers, agreed, check_utc, is_true
from data_prep.readers.stated import number as stated_number
from eomm.data.days import parse_time
from eomm.data.grid import Grid
from eomm.data.raster import open_raster
from eomm.errors import ContractError, DataError

EXPECTED_TAGS = "PLATFORM, DATETIME, RELATIVE_ORBIT, ORBIT_DIRECTION, INCIDENCE_DEG or VIEW_ZENITH"
FILL_TAGS = ("_FILLVALUE", "MISSING_VALUE", "NODATA")
"""What GDAL makes of a NetCDF's attributes, and others write by hand."""
STATED = {
    "level": "PROCESSING_LEVEL",
    "calibration": "CALIBRATION",
    "baseline": "PROCESSING_BASELINE",
}


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of itself, and what its name does.

    Attributes:
        tags: of the file, then what its name says in their place.
        bands: layer of the mapping -> number of the band that holds it.
        numbers: band -> what is stated of its numbers.
        masked: bands of which a mask says where they have data.
        crop: what is read of it.
    """

    tags: Mapping[str, str]
    bands: Mapping[str, int]
    numbers: Mapping[int, Numbers]
    masked: frozenset[int]
    crop: Crop


def open_file(file: Path, mapping: SourceMapping, keep_open: ExitStack, window: Grid | None = None) -> list[Scene]:
    """The scene in one file (a list of one). Raises DataError or ContractError as `open_scenes` says."""
    del keep_open  # files are opened per read: a folder may hold more of them than may be open at once
    head = _read_header(file, mapping, window)
    tags, static = head.tags, mapping.contract.static

    def number(tag: str) -> float | None:
        return stated_number(tags.get(tag), f"{file}: tag {tag}")

    # Baseline 04.00 of Sentinel-2 adds 1000 to DN; the metadata say so, per scene, and the scene's own word is used.
    boa_offset = number("BOA_OFFSET")
    offset = None if boa_offset is None else boa_offset * mapping.scale
    stated = STATED | ({"time": "DATETIME"} if static else {})
    direction = tags.get("ORBIT_DIRECTION", "").lower() or mapping.direction
    scene = Scene(
        product=tags.get("PRODUCT_ID", file.stem),
        file=file,
        time=STATIC if static else _time(file, tags),
        mapping=mapping,
        grids=dict.fromkeys(head.bands, head.crop.grid),
        read=lambda layer: _read(file, layer, mapping, head, offset),
        platform=tags.get("PLATFORM") or mapping.platform,
        orbit=_orbit(tags.get("RELATIVE_ORBIT"), direction, radar=mapping.contract.unit == "dB"),
        direction=direction,
        incidence_deg=number("INCIDENCE_DEG") or number("VIEW_ZENITH"),
        angles={angle: degrees for angle in ANGLES if (degrees := number(angle.upper())) is not None},
        named=True,
        offset=offset,
        simulated=is_true(tags.get("SIMULATED")),
        stated={key: tags[tag] for key, tag in stated.items() if tags.get(tag)},
        numbers={layer: head.numbers[i] for layer, i in head.bands.items()},
    )
    return [scene]


def _read_header(file: Path, mapping: SourceMapping, window: Grid | None) -> Header:
    try:
        with open_raster(file) as data:
            tags, descriptions = data.tags(), data.descriptions
            numbers = {i: numbers_of(data, i, f"{file}, band {i}") for i in data.indexes}
            masked = frozenset(i for i in data.indexes if _has_mask(data, i))
            crop = crop_to(grid_of(data, str(file)), window)
    except (RasterioError, OSError) as e:
        raise DataError(f"{file}: not a readable GeoTIFF ({e}); it is empty, truncated or of another kind") from e
    name = named(file, mapping)
    bands = _bands(file, mapping, descriptions, name.get("band"))
    tags = {IN_NAME[group]: text for group, text in name.items()} | tags  # what the file itself says, goes before
    return Header(tags=tags, bands=bands, numbers=numbers, masked=masked, crop=crop)


def _bands(
    file: Path, mapping: SourceMapping, descriptions: Sequence[str | None], in_name: str | None
) -> dict[str, int]:
    """Layer -> the band that is described as it, or of a single one so called in the file's name."""
    at = {description: i for i, description in enumerate(descriptions, 1)}
    if len(descriptions) == 1 and in_name:
        at = {in_name: 1}
    elif descriptions == (None,) and len(mapping.layers) == 1 and mapping.contract.static:
        at = dict.fromkeys(mapping.layers.values(), 1)  # elevation as it is delivered: no order is guessed
    found = {layer: at[variable] for layer, variable in mapping.layers.items() if variable in at}
    if not found:
        raise ContractError(
            f"{file}: its bands are described as {', '.join(str(d) for d in descriptions)}; expected some of "
            f"{' '.join(mapping.layers.values())}. Describe the bands (gdal_edit.py -a_band_description, or rasterio's "
            "set_band_description), or correct [bands] of the mapping: the order of bands is never guessed"
        )
    return found


def _read(file: Path, layer: str, mapping: SourceMapping, head: Header, offset: float | None) -> np.ndarray:
    band, window = head.bands[layer], head.crop.window
    try:
        with open_raster(file) as data:
            raw = data.read(band, window=window)
            seen = data.read_masks(band, window=window) > 0 if band in head.masked else None
    except (RasterioError, OSError) as e:
        raise DataError(f"{file}: {layer} cannot be read ({e}); the file is truncated or damaged") from e
    classes = layer in mapping.mask_layers
    values = raw if classes else decode(raw, mapping, offset=offset, stated=head.numbers[band])
    return values if seen is None else np.where(seen, values, np.array(0 if classes else np.nan, values.dtype))


def numbers_of(data: Any, band: int, where: str) -> Numbers:
    """What an open GeoTIFF states of one band's numbers: in the band's own fields, or in tags of it or of the file.

    GDAL tells scale 1 and offset 0 also where nothing is stated, so these say nothing here.

    Raises:
        ContractError: two places state different numbers.
        DataError: a tag that must be a number is none.
    """
    scale, offset = data.scales[band - 1], data.offsets[band - 1]
    scales = [("SCALE of its band", None if (scale, offset) == (1, 0) else scale)]
    offsets = [("OFFSET of its band", offset or None)]
    units, fill = [data.units[band - 1]], [data.nodatavals[band - 1]]
    for place, given in (("its band", data.tags(band)), ("its tags", data.tags())):
        tags = {k.upper(): v for k, v in given.items()}
        scales += _tagged(tags, ("SCALE_FACTOR", "SCALE"), place, where)
        wholes = _tagged(tags, ("BOA_QUANTIFICATION_VALUE", "QUANTIFICATION_VALUE"), place, where)
        scales += [(f"1 / {name}", 1 / whole) for name, whole in wholes if whole]
        offsets += _tagged(tags, ("ADD_OFFSET", "OFFSET"), place, where)
        units += map(tags.get, ("UNITS", "UNIT", "UNITTYPE"))
        fill += [value for _, value in _tagged(tags, FILL_TAGS, place, where)]
    return Numbers(
        scale=agreed(scales, where=where, what="scale"),
        offset=agreed(offsets, where=where, what="offset"),
        unit=next(filter(None, units), None),
        fill=tuple(dict.fromkeys(v for v in fill if v is not None)),
    )


def _tagged(tags: Mapping[str, str], names: Sequence[str], place: str, where: str) -> list[tuple[str, float | None]]:
    return [(f"{name} among {place}", _tag(tags, name, where)) for name in names]


def _tag(tags: Mapping[str, str], name: str, where: str) -> float | None:
    """A number among tags. SCALE and OFFSET are anybody's words: where they are no number, they are none of these."""
    try:
        return stated_number(tags.get(name), f"{where}: tag {name}")
    except DataError:
        if name in ("SCALE", "OFFSET"):
            return None
        raise


def _has_mask(data: Any, band: int) -> bool:
    """Whether a mask or an alpha band says which pixels have data; nodata does so in the numbers themselves."""
    flags = data.mask_flag_enums[band - 1]
    return MaskFlags.per_dataset in flags and MaskFlags.all_valid not in flags


def named(file: Path, mapping: SourceMapping) -> dict[str, str]:
    """What a file's name says, by the groups of the mapping's `in_name`; nothing where it does not fit."""
    found = re.search(mapping.in_name, f"{file.parent.name}/{file.name}") if mapping.in_name else None
    groups = found.groupdict() if found else {}
    if baseline := groups.get("baseline"):
        groups["baseline"] = re.sub(r"^N?(\d\d)(\d\d)$", r"\1.\2", baseline)
    return {k: v for k, v in groups.items() if v}


def grid_of(data: Any, label: str) -> Grid:
    """The grid of an open raster. Raises ContractError where it has no EPSG code, or is not north-up."""
    transform, crs = data.transform, data.crs
    if data.gcps[0]:
        raise ContractError(
            f"{label}: has control points instead of a grid: radar geometry, as ESA delivers Sentinel-1 GRD, neither "
            f"calibrated nor terrain-corrected; {RTC_SOURCES}"
        )
    if crs is None or crs.to_epsg() is None or transform.b or transform.d or transform.e >= 0:
        raise ContractError(
            f"{label}: no EPSG code, or not north-up; expected a UTM grid. Warp the scene with gdalwarp"
        )
    corners = (transform.a, transform.b, transform.c, transform.d, transform.e, transform.f)
    return Grid(crs=f"EPSG:{crs.to_epsg()}", transform=corners, height=data.height, width=data.width)


def _orbit(relative: str | None, direction: str | None, *, radar: bool) -> str | None:
    """A label per track: the two halves of one relative orbit are two for radar; Sentinel-2 images by day only."""
    if not relative:
        return None
    digits = relative.lstrip("RADrad")
    first = (direction or "R")[0].upper() if radar else "R"
    return f"{first}{int(digits):03d}" if digits.isdigit() else relative


def _time(file: Path, tags: Mapping[str, str]) -> datetime:
    text = tags.get("DATETIME")
    if not text:
        own = tags.get("TIFFTAG_DATETIME")
        seen = f" (its TIFFTAG_DATETIME, {own}, says when the file was written)" if own else ""
        raise DataError(
            f"{file}: no tag DATETIME{seen}; expected the tags {EXPECTED_TAGS}. Write at least DATETIME, when it was "
            "acquired (UTC), or say `static = true` in [modality] of a mapping for what has no date, such as elevation"
        )
    check_utc(tags, where=f"{file}: tag DATETIME")
    return parse_time(text, where=f"{file}: tag DATETIME")
