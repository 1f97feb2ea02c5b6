"""A first mapping for files of an unknown source, from what they say of themselves. What they do not say is marked.

Lines that end in `# CHECK` were guessed; a value "CHOOSE" is one that no file tells and that `load_mapping` refuses.
"""

import re
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rasterio.errors import RasterioError

from data_prep.readers.arrays import open_arrays
from data_prep.readers.files import find_files, is_store
from data_prep.readers.geotiff import numbers_of
from data_prep.readers.stated import Numbers, of_attributes, plain_unit
from eomm.data.modality import KNOWN
from eomm.data.raster import open_raster
from eomm.errors import DataError

LOOKED_AT = 12  # files of a folder
PATTERNS = {"netcdf": "*.nc|*.nc4", "geotiff": "*.tif|*.tiff", "zarr": "*.zarr"}
COMMON = {  # names of the STAC extension eo, and of tables
    "blue": "B02", "green": "B03", "red": "B04", "rededge1": "B05", "rededge2": "B06", "rededge3": "B07",
    "rededge": "B05", "nir": "B08", "nir08": "B8A", "swir1": "B11", "swir2": "B12", "swir16": "B11", "swir22": "B12",
}  # fmt: skip
IN_NAME = r"(?P<time>\d{8}(T\d{6})?).*_(?P<band>%s)"
CHECK = "  # CHECK"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A variable or band of a file.

    Attributes:
        name: as a mapping names it.
        dtype: of its numbers.
        numbers: what the file states of them.
    """

    name: str
    dtype: np.dtype
    numbers: Numbers


@dataclass(frozen=True, kw_only=True)
class Found:
    """What files say of themselves.

    Attributes:
        reader: that reads them.
        files: pattern of their names.
        layers: each name once.
        time: dimension of NetCDF files.
        in_name: whether names of GeoTIFFs, not their descriptions, tell bands.
    """

    reader: str
    files: str
    layers: Sequence[Layer]
    time: str | None = None
    in_name: bool = False


def propose(path: Path | str) -> str:
    """A mapping as TOML, to be looked through and corrected, for a file or a folder of alike files.

    Raises:
        DataError: no NetCDF, GeoTIFF or Zarr lies there, or it cannot be read.
    """
    found = look_at(Path(path))
    names = {band_of(layer.name): layer.name for layer in reversed(found.layers)}
    radar = {b: n for b, n in names.items() if b in KNOWN["s1"].band_names}
    optical = {b: n for b, n in names.items() if b in KNOWN["s2"].band_names}
    head = [f"# Proposed by `eomm prepare mapping {Path(path).name}`: look at every line that ends in CHECK."]
    if radar and len(radar) >= len(optical):
        lines = _radar(found, radar)
    elif optical:
        lines = _optical(found, optical)
    else:
        lines = _own(found)
    return "\n".join([*head, *lines]) + "\n"


def look_at(path: Path) -> Found:
    """What lies at a path says of itself. Raises as `propose`."""
    if path.is_dir() and not is_store(path):
        for reader, pattern in PATTERNS.items():
            if files := find_files(path, pattern).files[:LOOKED_AT]:
                return _read(reader, files, pattern)
        raise DataError(f"{path}: holds no file named {', '.join(PATTERNS.values())}")
    if not path.exists():
        raise DataError(f"{path}: does not exist; expected a file, or a folder of alike files")
    for reader, pattern in PATTERNS.items():
        if any(path.match(p) for p in pattern.split("|")):
            return _read(reader, [path], f"*{path.suffix}")
    raise DataError(f"{path}: ends in none of {', '.join(PATTERNS.values())}; name such a file, or its folder")


def band_of(name: str) -> str:
    """The band that a layer's name stands for: "b4", "B04_10m" and "red" are B04; else the name itself."""
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    if plain in COMMON:
        return COMMON[plain]
    if found := re.search(r"(?<![a-z])b0?(8a|1[0-2]|[1-9])(?![0-9a-z])", name.lower().replace("_", " ")):
        return f"B{found[1].upper().zfill(2)}"
    if found := re.search(r"(?<![a-z])(vv|vh|hh|hv)(?![a-z])", name.lower().replace("_", " ")):
        return found[1].upper()
    return "SCL" if plain.startswith("scl") else name


def _read(reader: str, files: Sequence[Path], pattern: str) -> Found:
    layers: dict[str, Layer] = {}
    time, in_name = None, False
    for file in files:
        try:
            if reader == "geotiff":
                own, from_name = _geotiff(file)
                in_name |= from_name
            else:
                own, time = _stack(file)
        except (OSError, ValueError, KeyError, RasterioError) as e:
            raise DataError(f"{file}: cannot be read as {reader} ({str(e)[:200]})") from e
        for layer in own:
            layers.setdefault(layer.name, layer)
    if not layers:
        raise DataError(f"{files[0]}: has no layer over time, y and x; which variable holds the pixels?")
    return Found(reader=reader, files=pattern, layers=list(layers.values()), time=time, in_name=in_name)


def _geotiff(file: Path) -> tuple[list[Layer], bool]:
    with open_raster(file) as data:
        named = any(data.descriptions)
        found = []
        for band, description in enumerate(data.descriptions, 1):
            name = description or (file.stem if data.count == 1 else f"band {band}")
            numbers = numbers_of(data, band, f"{file}, band {band}")
            found.append(Layer(name=name, dtype=np.dtype(data.dtypes[band - 1]), numbers=numbers))
        return found, not named and data.count == 1


def _stack(file: Path) -> tuple[list[Layer], str | None]:
    with open_arrays(file) as data:
        found, time = [], None
        for name, variable in data.data_vars.items():
            if variable.ndim == 3:
                time = str(variable.dims[0])
                numbers = of_attributes(variable.attrs, variable.dtype, where=f"{file}, {name}")
                found.append(Layer(name=str(name), dtype=variable.dtype, numbers=numbers))
        return found, time


def _common(found: Found, layers: Sequence[Layer]) -> list[str]:
    """Keys of any mapping: reader, files, scale, offset, fill, time."""
    first, fills = layers[0], sorted({f for layer in layers for f in layer.numbers.fill})
    scale, offset, said = first.numbers.scale, first.numbers.offset, "  # as the files say"
    whole = first.dtype.kind in "iu"
    guess = f"scale = {1e-4 if whole else 1.0:g}{CHECK}: {'whole numbers' if whole else 'fractions'}, no scale stated"
    lines = [f'reader = "{found.reader}"', f'files = "{found.files}"{CHECK}']
    lines += [guess if scale is None else f"scale = {scale!r}{said}"]
    lines += [f"offset = {offset!r}{said}"] if offset is not None else []
    if fills:
        lines += [f"fill = [{', '.join(f'{f:g}' for f in fills)}]{said}"]
    elif whole:
        lines += [f"fill = [0]{CHECK}: no fill stated"]
    return lines + ([f'time = "{found.time}"'] if found.time not in (None, "time") else [])


def _optical(found: Found, bands: Table[str, str]) -> list[str]:
    layers = [layer for layer in found.layers if layer.name in bands.values()]
    lines = _common(found, layers)
    lines += [
        'modality = "s2"',
        f'level = "L2A"{CHECK}: surface reflectance, not top of atmosphere (L1C)',
        'calibration = "surface_reflectance"',
        'unit = "reflectance"',
        'direction = "descending"',
        "orbit_cycle_days = 5",
    ]
    if layers[0].numbers.offset is None:
        lines += ["# offset = -0.1  # CHECK: where the +1000 of baseline 04.00 (from 2022-01-25 on) is still in"]
    lines += _in_name(found, bands) + _bands(KNOWN["s2"].band_names, bands, found)
    mask = next((layer.name for layer in found.layers if band_of(layer.name) == "SCL"), None)
    if mask is None:
        return [*lines, "# [mask]: no layer SCL was found; without one every pixel counts as clear" + CHECK]
    name = "SCL" if found.in_name else mask
    return [*lines, "", "[mask]", f'variable = "{name}"', "clear = [4, 5, 6]", "cloud = [3, 8, 9, 10, 11]"]


def _radar(found: Found, bands: Table[str, str]) -> list[str]:
    layers = [layer for layer in found.layers if layer.name in bands.values()]
    unit = next((plain_unit(layer.numbers.unit) for layer in layers if layer.numbers.unit), "")
    known = f'unit = "dB"{"" if unit == "db" else CHECK}: dB, "linear power" or "amplitude"'
    return [
        *_common(found, layers),
        'modality = "CHOOSE"  # s1: radiometrically terrain-corrected gamma nought; s1_sigma0: sigma nought',
        'level = "CHOOSE"  # RTC of s1, GRD of s1_sigma0',
        'calibration = "CHOOSE"  # rtc_gamma0 of s1, sigma0 of s1_sigma0',
        known.replace('"dB": dB', '"dB"  # dB') if unit == "db" else known,
        'direction = "ascending"  # CHECK: or descending; leave it out where files say it',
        "orbit_cycle_days = 6" + CHECK,
        *_in_name(found, bands),
        *_bands(KNOWN["s1"].band_names, bands, found),
    ]


def _own(found: Found) -> list[str]:
    """A modality that eomm does not know: its contract is to be written."""
    lines = [line for line in _common(found, found.layers) if not line.startswith(("scale", "offset"))]
    first, units = found.layers[0].numbers, {layer.numbers.unit for layer in found.layers}
    unit = "per band" if len(units) > 1 else first.unit or "CHOOSE"
    lines += [f"scale = {first.scale or 1.0!r}", f"offset = {first.offset or 0.0!r}", "", "[modality]"]
    lines += ['name = "CHOOSE"  # a short word, a-z', f'unit = "{unit}"', 'level = "CHOOSE"', 'calibration = "none"']
    if found.reader == "geotiff":
        lines += [f"# static = true{CHECK}: of a layer without dates, such as elevation or soil"]
    lines += ["bands = [  # scale: of the numbers in cubes, int16; valid_min, valid_max: what is kept"]
    for layer in found.layers:
        unit = f'unit = "{layer.numbers.unit}", ' if layer.numbers.unit else ""
        rest = 'gsd_m = "CHOOSE", scale = "CHOOSE", valid_min = "CHOOSE", valid_max = "CHOOSE"'
        lines += [f'    {{ name = "{layer.name}", {unit}{rest} }},']
    return [*lines, "]"]


def _in_name(found: Found, bands: Table[str, str]) -> list[str]:
    if not found.in_name:
        return []
    words = [*bands, "SCL"] if any(band_of(layer.name) == "SCL" for layer in found.layers) else [*bands]
    return [f"in_name = '{IN_NAME % '|'.join(words)}'{CHECK}: names tell date and band"]


def _bands(known: Sequence[str], bands: Table[str, str], found: Found) -> list[str]:
    missing = [b for b in known if b not in bands]
    lines = [f"# not found: {', '.join(missing)}{CHECK}"] if missing else []
    return [*lines, "", "[bands]", *(f'{b} = "{b if found.in_name else bands[b]}"' for b in known if b in bands)]
