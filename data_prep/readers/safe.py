"""Sentinel-2 L2A products in ESA's SAFE format, as folders or zips: JPEG 2000 images and XML. Nothing is unpacked.

Offsets, baseline, orbit and angles are taken from the product's metadata. A zip is somebody's file: its members are
checked for names that leave it, links and sizes that no product has before anything is read, and XML is parsed without
entities.
"""

import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import defusedxml
import defusedxml.ElementTree
import numpy as np
from rasterio.errors import RasterioError

from data_prep.mappings.mapping import RTC_SOURCES, Mapping
from data_prep.readers.crop import Crop, crop_to
from data_prep.readers.files import files_below, is_twin
from data_prep.readers.geotiff import grid_of
from data_prep.readers.scene import Scene, decode
from data_prep.readers.stated import Numbers
from eomm.data.days import parse_time
from eomm.data.grid import Grid
from eomm.data.raster import JPEG2000, open_raster
from eomm.errors import ContractError, DataError

MAX_XML_BYTES = 64 * 2**20  # the largest MTD_TL.xml has 1 MB
MAX_IMAGE_BYTES = 2 * 2**30  # the largest band has 150 MB
MAX_RATIO = 100  # JPEG 2000 does not shrink further, XML 20 times
METADATA = ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml")
MAX_SIDE_PX = 10_980  # a tile at 10 m
BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Names of bands in the order of ESA's numbers."""


@dataclass(frozen=True)
class Product:
    """What lies in a product: the names of its files, and where GDAL and we find them.

    Attributes:
        file: the folder or zip.
        names: of its files below the .SAFE folder, sorted, with slashes.
        inside: the .SAFE folder's name within a zip, with a slash; "" for a folder.
    """

    file: Path
    names: tuple[str, ...]
    inside: str

    @property
    def zipped(self) -> bool:
        """Whether it is a zip."""
        return self.file.is_file()

    def raster(self, name: str) -> str:
        """How GDAL names a file of it."""
        return f"/vsizip/{{{self.file.resolve()}}}/{self.inside}{name}" if self.zipped else str(self.file / name)

    def xml(self, name: str) -> Any:
        """The root of an XML file. Raises DataError where it is missing, too large, not well formed or hostile."""
        where = f"{self.file}: {name}"
        if name not in self.names:
            raise DataError(f"{where} is missing; expected a complete product in SAFE format. Download it again")
        try:
            if self.zipped:
                with zipfile.ZipFile(self.file) as archive, archive.open(self.inside + name) as stream:
                    text = stream.read(MAX_XML_BYTES + 1)
            else:
                with (self.file / name).open("rb") as stream:
                    text = stream.read(MAX_XML_BYTES + 1)
        except (OSError, zipfile.BadZipFile, EOFError) as e:
            raise DataError(f"{where} cannot be read ({e}); the product is damaged. Download it again") from e
        if len(text) > MAX_XML_BYTES:
            raise DataError(f"{where} has more than {MAX_XML_BYTES} bytes; no product's metadata do")
        try:
            return defusedxml.ElementTree.fromstring(text, forbid_dtd=True)
        except defusedxml.DefusedXmlException as e:
            raise DataError(f"{where} declares a document type or entities ({type(e).__name__}): refused") from e
        except defusedxml.ElementTree.ParseError as e:
            raise DataError(f"{where} is not well-formed XML ({e}); the product is damaged. Download it again") from e


def open_file(file: Path, mapping: Mapping, keep_open: ExitStack, window: Grid | None = None) -> list[Scene]:
    """The scenes of one product, one per granule. Raises DataError or ContractError as `open_scenes` says."""
    del keep_open
    if file.name.startswith("S1"):
        raise ContractError(
            f"{file}: is a Sentinel-1 product as ESA delivers it: digital numbers in radar geometry, neither "
            f"calibrated nor terrain-corrected; {RTC_SOURCES}"
        )
    product = list_product(file)
    root = product.xml("MTD_MSIL1C.xml" if "MTD_MSIL1C.xml" in product.names else "MTD_MSIL2A.xml")
    kind = _text(root, "PRODUCT_TYPE", file)
    if kind != "S2MSI2A":
        raise ContractError(
            f"{file}: is of type {kind}, top-of-atmosphere where it is S2MSI1C; expected S2MSI2A (L2A). Get the L2A "
            "product of the same name, or make it with Sen2Cor"
        )
    granules = sorted({n.split("/")[1] for n in product.names if re.fullmatch(r"GRANULE/[^/]+/MTD_TL\.xml", n)})
    if not granules:
        raise DataError(f"{file}: has no GRANULE/…/MTD_TL.xml; the product is incomplete. Download it again")
    return [_scene(product, root, granule, mapping, window) for granule in granules]


def list_product(file: Path) -> Product:
    """The files of a SAFE folder or zip. Raises DataError where it is none, or one that is not to be trusted."""
    if file.is_dir():
        names = [p.relative_to(file).as_posix() for p in files_below(file)]
        inside = _top(file, names)
        return Product(file / inside, _below(names, inside), "")
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile) as e:
        raise DataError(f"{file}: not a readable zip ({e}); it is truncated or of another kind") from e
    for member in members:
        _check_member(file, member)
    listed = sorted(m.filename for m in members if not m.is_dir())
    inside = _top(file, listed)
    return Product(file, _below(listed, inside), inside)


def _top(file: Path, names: Sequence[str]) -> str:
    """The folder that holds the product's metadata, with a slash; "" for `file` itself. It may lie deeper.

    Unpacking twice makes a .SAFE folder in another; Apple's twins (`._x`) and `__MACOSX` are no products.
    """
    own = [n for n in names if not is_twin(n)]
    tops = sorted({n[: -len(PurePosixPath(n).name)] for n in own if PurePosixPath(n).name in METADATA})
    if len(tops) == 1 and (not tops[0] or tops[0].rstrip("/").endswith(".SAFE")):
        return tops[0]
    if not own:
        raise DataError(f"{file}: holds nothing but Apple's notes on other files (._…, __MACOSX); leave it out")
    if not tops:
        raise DataError(
            f"{file}: MTD_MSIL2A.xml is missing among its {len(own)} files; expected a complete SAFE product. "
            "Download it again"
        )
    raise DataError(
        f"{file}: holds {len(tops)} products ({', '.join(tops[:3])}); expected one, in a folder named .SAFE"
    )


def _below(names: Sequence[str], top: str) -> tuple[str, ...]:
    return tuple(n.removeprefix(top) for n in names if n.startswith(top) and not is_twin(n))


def _check_member(file: Path, member: zipfile.ZipInfo) -> None:
    name, size = member.filename, member.file_size
    if name.startswith("/") or ".." in name.split("/") or set(name) & set("\\:}"):
        raise DataError(f"{file}: has a member {name!r}, which leads out of it; refused")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise DataError(f"{file}: its member {name!r} is a link; refused")
    if member.flag_bits & 1:
        raise DataError(f"{file}: its member {name!r} is encrypted; expected the product as downloaded")
    limit = MAX_XML_BYTES if name.endswith((".xml", ".safe")) else MAX_IMAGE_BYTES
    if size > limit or size > MAX_RATIO * max(member.compress_size, 1) + 100_000:
        raise DataError(
            f"{file}: its member {name!r} would have {size} bytes from {member.compress_size}; no product has. Refused"
        )


def _scene(product: Product, root: Any, granule: str, mapping: Mapping, window: Grid | None) -> Scene:
    file, folder = product.file, f"GRANULE/{granule}/"
    tile = product.xml(f"{folder}MTD_TL.xml")
    quantification = _number(root, ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"), file)
    offsets = {layer: number / quantification for layer, number in _offsets_of(mapping, root, file).items()}
    images = {layer: _image(product, folder, variable) for layer, variable in mapping.layers.items()}
    crops = {layer: crop_to(_grid(product, name), window) for layer, name in images.items()}
    special = [_integer(v, "SPECIAL_VALUE_INDEX", file) for v in _every(root, "Special_Values")]
    numbers = Numbers(scale=1 / quantification, fill=tuple(special))
    zenith, azimuth = _view(tile)

    def read(layer: str) -> np.ndarray:
        raw = _read(product, images[layer], crops[layer])
        return raw if layer in mapping.mask_layers else decode(raw, mapping, offset=offsets.get(layer), stated=numbers)

    sun = _first(tile, "Mean_Sun_Angle")
    angles = {
        "sun_zenith": None if sun is None else _degrees(sun, "ZENITH_ANGLE"),
        "sun_azimuth": None if sun is None else _degrees(sun, "AZIMUTH_ANGLE"),
        "view_azimuth": azimuth,
    }
    return Scene(
        product=_text(root, "PRODUCT_URI", file).removesuffix(".SAFE"),
        file=file,
        time=_time(_first(tile, "SENSING_TIME"), _first(root, "PRODUCT_START_TIME"), file),
        mapping=mapping,
        grids={layer: crop.grid for layer, crop in crops.items()},
        read=read,
        platform=_text(root, "SPACECRAFT_NAME", file).replace("Sentinel-", "S"),
        orbit=f"R{_integer(root, 'SENSING_ORBIT_NUMBER', file):03d}",
        direction=(_text(root, "SENSING_ORBIT_DIRECTION", file)).lower(),
        incidence_deg=zenith,
        angles={k: v for k, v in angles.items() if v is not None},
        offset=offsets.get(next(iter(mapping.bands))),
        named=True,
        stated={"level": "L2A", "baseline": _text(root, "PROCESSING_BASELINE", file)},
        # The offsets of bands are not compared: what the product states of each is what `read` adds to it.
        numbers=dict.fromkeys(mapping.bands, numbers),
    )


def _image(product: Product, folder: str, variable: str) -> str:
    """The one image of a band, named such as "B02_10m" or "SCL_20m"."""
    gsd = variable.rpartition("_")[2]
    ending = re.compile(rf"{re.escape(folder)}IMG_DATA/R{gsd}/[^/]*_{re.escape(variable)}\.jp2")
    found = [n for n in product.names if ending.fullmatch(n)]
    if len(found) != 1:
        raise DataError(
            f"{product.file}: {folder}IMG_DATA/R{gsd} has {len(found)} images …_{variable}.jp2, expected one; the "
            "product is incomplete. Download it again"
        )
    return found[0]


def _grid(product: Product, name: str) -> Grid:
    try:
        with open_raster(product.raster(name), JPEG2000) as data:
            grid = grid_of(data, f"{product.file}: {name}")
    except (RasterioError, OSError) as e:
        raise DataError(f"{product.file}: {name} is not a readable image ({e}); truncated? Download it again") from e
    if max(grid.height, grid.width) > MAX_SIDE_PX:
        raise DataError(
            f"{product.file}: {name} has {grid.height} x {grid.width} pixels; expected at most those of a tile"
        )
    return grid


def _read(product: Product, name: str, crop: Crop) -> np.ndarray:
    try:
        with open_raster(product.raster(name), JPEG2000) as data:
            raw: np.ndarray = data.read(1, window=crop.window)
    except (RasterioError, OSError) as e:
        raise DataError(f"{product.file}: {name} cannot be read ({e}); truncated? Download it again") from e
    return raw


def _offsets_of(mapping: Mapping, root: Any, file: Path) -> dict[str, float]:
    """BOA_ADD_OFFSET by band of the mapping, to be added to numbers; empty before baseline 04.00."""
    ids = {band: _band_id(variable, mapping) for band, variable in mapping.bands.items()}
    try:
        offsets = {int(o.attrib["band_id"]): float(o.text) for o in _every(root, "BOA_ADD_OFFSET")}
    except (KeyError, TypeError, ValueError) as e:
        raise DataError(f"{file}: a BOA_ADD_OFFSET has no band_id or number ({e}); the metadata are damaged") from e
    if lacking := [mapping.bands[band] for band, i in ids.items() if offsets and i not in offsets]:
        raise DataError(
            f"{file}: states BOA_ADD_OFFSET of other bands, but not of {', '.join(lacking)}; the metadata are damaged"
        )
    return {band: offsets[i] for band, i in ids.items()} if offsets else {}


def _band_id(variable: str, mapping: Mapping) -> int:
    """ESA's number of a band named such as "B8A_20m"."""
    name = variable.partition("_")[0]
    if name not in BAND_IDS:
        raise ContractError(
            f"mapping {mapping.name!r}: {variable!r} is no band of a SAFE product; expected such as B8A_20m"
        )
    return BAND_IDS.index(name)


def _view(tile: Any) -> tuple[float | None, float | None]:
    """Mean zenith and azimuth of the view over the bands, degrees."""
    found = [
        (z, a)
        for e in _every(tile, "Mean_Viewing_Incidence_Angle")
        if (z := _degrees(e, "ZENITH_ANGLE")) is not None and (a := _degrees(e, "AZIMUTH_ANGLE")) is not None
    ]
    if not found:
        return None, None
    zenith, azimuth = np.array(found).T
    mean = float(np.angle(np.exp(1j * np.radians(azimuth)).mean(), deg=True))
    return round(float(zenith.mean()), 3), round(mean, 3) % 360


def _time(tile: Any, product: Any, file: Path) -> datetime:
    text = next((e.text for e in (tile, product) if e is not None and e.text), None)
    return parse_time(text, where=f"{file}: SENSING_TIME")


def _every(root: Any, name: str) -> Iterator[Any]:
    return (e for e in root.iter() if e.tag.rpartition("}")[2] == name)


def _first(root: Any, name: str) -> Any:
    return next(_every(root, name), None)


def _text(root: Any, name: str, file: Path) -> str:
    found = _first(root, name)
    if found is None or not (found.text or "").strip():
        raise DataError(f"{file}: its metadata lack {name}; the product is damaged or of another format")
    return str(found.text).strip()


def _integer(root: Any, name: str, file: Path) -> int:
    text = _text(root, name, file)
    if not text.isdecimal():
        raise DataError(f"{file}: {name} is {text!r}, expected a whole number; the metadata are damaged")
    return int(text)


def _number(root: Any, names: tuple[str, ...], file: Path) -> float:
    text = next((e.text for n in names if (e := _first(root, n)) is not None), None)
    try:
        number = float(str(text))
    except ValueError:
        number = 0.0
    if number <= 0:
        raise DataError(f"{file}: {names[0]} is {text!r}, expected a number above 0; the metadata are damaged")
    return number


def _degrees(element: Any, name: str) -> float | None:
    found = _first(element, name)
    try:
        return None if found is None else round(float(found.text), 3)
    except (TypeError, ValueError):
        return None
