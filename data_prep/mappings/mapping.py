"""What a provider's files mean: a small TOML file per source. Not how they are read (readers)."""

import dataclasses
import re
from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from eomm.data.described import modality_of, read_toml, to_dataclass
from eomm.data.modality import KNOWN, Modality
from eomm.errors import ContractError, UsageError
from eomm.store.fields import Fields, Json, Maybe, Number, check

READERS = ("netcdf", "geotiff", "hdf5", "safe", "zarr")
UNITS = {"dB": ("dB", "linear power", "amplitude")}
"""Units that files may have where a modality's own is not the only one."""
MASK = "mask"
"""The layer name of a scene's classes or cloud probability, beside the names of its bands."""
SNOW = "mask snow"
"""The layer name of a snow probability."""
ANGLES = ("sun_zenith", "sun_azimuth", "view_azimuth")
"""Angles that a scene may state besides its incidence, in degrees."""

IN_NAME = {
    "band": "",
    "time": "DATETIME",
    "platform": "PLATFORM",
    "orbit": "RELATIVE_ORBIT",
    "baseline": "PROCESSING_BASELINE",
    "product": "PRODUCT_ID",
}
"""Groups of `Mapping.in_name` -> the tag for which each stands."""

SHIPPED = Path(__file__).parent
RTC_SOURCES = (
    "radiometrically terrain-corrected gamma0 is had as collection sentinel-1-rtc of the Planetary Computer "
    "(--from planetary-computer-s1-rtc), from ASF HyP3, or from openEO's sar_backscatter with "
    "coefficient gamma0-terrain"
)


MASK_RANGES = {
    "threshold": Number(low=0, high=100),
    "dilation_m": Number(low=0, high=100_000),
    "scale": float,
    "offset": float,
}
RANGES = {
    "scale": float,
    "offset": float,
    "gsd_m": Maybe(Number(low=0.01, high=1_000_000)),
    "orbit_cycle_days": Number(low=0, high=366, whole=True),
    "mask_shift": Number(low=-(2**15), high=2**15, whole=True),
}


@dataclass(frozen=True, kw_only=True)
class Mask:
    """How clouds are found (`data_prep.cubes.clouds`), and what is done with what was found.

    Attributes:
        method: a key of `METHODS`; the bands that it computes clouds from, where it does.
        variable: "classes": the provider's classes, such as "SCL"; "probability": the cloud probability in percent.
        clear: "classes": those that are kept; all others, and no data, are not clear.
        cloud: "classes": those that are cloud, shadow or what is mistaken for it; None for all that are not kept.
            Lone unclassified pixels are dropped, but their neighbours are not: on Flanders that keeps half as much
            again.
        snow: "probability": the snow probability in percent, or none.
        bands: "s2cloudless" (reflectance of L1C) and "omnicloudmask": each band -> the variable that holds it.
        scale: of `bands`: reflectance = number * scale + offset.
        offset: see `scale`.
        weights: "omnicloudmask": the folder of its weights.
        threshold: "probability" and "s2cloudless": percent from which a pixel is cloud, or snow.
        fill: numbers of the layers that mean no data; of classes 0 always does.
        dilation_m: pixels nearer than or at this distance from cloud go too.
        haze: whether clear pixels are compared with their own series (`haze.HazeScreen`).
    """

    METHODS: ClassVar[Table[str, tuple[str, ...]]] = {
        "classes": (),
        "probability": (),
        "s2cloudless": ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12"),
        "omnicloudmask": ("B04", "B03", "B8A"),
    }

    method: str = "classes"
    variable: str | None = None
    clear: tuple[int, ...] = ()
    cloud: tuple[int, ...] | None = None
    snow: str | None = None
    bands: Table[str, str] = field(default_factory=dict)
    scale: float = 1.0
    offset: float = 0.0
    weights: str | None = None
    threshold: float = 40.0
    fill: tuple[float, ...] = ()
    dilation_m: float = 40.0
    haze: bool = True

    def __post_init__(self) -> None:
        if self.method not in self.METHODS:
            raise ContractError(f"[mask]: method is {self.method!r}, expected one of {', '.join(self.METHODS)}")
        remedy = "correct [mask] of the mapping"
        check(vars(self), Fields(MASK_RANGES), "[mask]", error=ContractError, remedy=remedy)
        if self.method == "classes" and not self.clear:
            raise ContractError("[mask]: clear is empty, expected the classes that are kept, such as [4, 5, 6] of SCL")
        needed = self.METHODS[self.method]
        if not needed and not self.variable:
            raise ContractError(f"[mask]: variable is missing; method {self.method!r} reads it")
        if sorted(needed) != sorted(self.bands):
            found = " ".join(self.bands) or "none"
            raise ContractError(
                f"[mask]: bands are {found}, expected {' '.join(needed) or 'none'} for method {self.method!r}"
            )

    @property
    def layers(self) -> dict[str, str]:
        """Layer names, each beginning with MASK, -> the variables or descriptions that hold them."""
        if not self.variable:
            return {f"{MASK} {band}": variable for band, variable in self.bands.items()}
        return {MASK: self.variable} | ({SNOW: self.snow} if self.snow else {})


@dataclass(frozen=True, kw_only=True)
class Mapping:
    """What one source's files mean.

    Attributes:
        name: the shipped mapping's name, or the file's.
        reader: one of READERS.
        modality: what the values become: a key of `eomm.data.modality.KNOWN`, or a contract of one's own, in the file a
            table [modality] with the fields of `Modality` and `bands` with those of `Band`.
        files: pattern of the file names below the source's folder; several between "|".
        in_name: GeoTIFF: a regular expression for folder/name of each file, whose groups (IN_NAME) say what tags and
            descriptions do not: "band" of a file with a single one, "time", "platform", "orbit", …; files that it
            does not fit are left out.
        level: the processing level the files claim to have, such as "L2A".
        calibration: the calibration the files claim to have, such as "sigma0".
        unit: of the files after `scale` and `offset`: the modality's, or "linear power" or "amplitude" (its square
            root) for dB.
        bands: band of the modality -> the variable or band description that holds it; of Zarr arrays with a dimension
            of bands such as "s2l2a[B02]".
        scale: physical value = number * scale + offset.
        offset: see `scale`; a file that states its own (tag BOA_OFFSET) goes before.
        harmonised: whether the provider has taken the +1000 of Sentinel-2's baseline 04.00 out of the numbers already,
            whatever baseline its products name.
        fill: numbers that mean no data, besides what the file declares itself.
        clipped: numbers that stand for all values at or below 0, where a scene has no offset: no data too.
        mask: how clouds are found, or none.
        mask_shift: NetCDF and Zarr: added to the mask's classes, where 0 is one of them and not no data.
        time: NetCDF: the time dimension and its coordinate, UTC.
        platform: the platform, where all files have one and do not say it.
        direction: "ascending" or "descending", where the files do not say it.
        orbit_cycle_days: where the files name no orbit: acquisitions whose days are equal modulo this number share
            one (the constellation's repeat: 6 for two Sentinel-1, 5 for two Sentinel-2); 0: leave it unknown.
        incidence: NetCDF: variable [time] with the view's zenith angle in degrees.
        angles: NetCDF: "sun_zenith", "sun_azimuth", "view_azimuth" -> variable [time] with it in degrees.
        gsd_m: NetCDF: the pixel's size, where a file has a single one, which coordinates do not tell. HDF5: the same.
        corners: Zarr: coordinates are those of pixels' upper-left corners, unless x says otherwise (`coord_save_mode`).
        local_grid: HDF5: must be true, since the files have no coordinates: pixels lie on a grid of `gsd_m` whose
            position is unknown. One file is one site.
        products: HDF5: the data set [time] of ESA product names, from which dates, platforms and orbits are taken.

    With a table [modality], `level`, `calibration` and `unit` are the modality's and `bands` have its names, unless
    the file says otherwise.
    """

    name: str
    reader: str
    modality: str | Modality
    files: str
    level: str
    calibration: str
    unit: str
    bands: Table[str, str]
    scale: float = 1.0
    offset: float = 0.0
    harmonised: bool = False
    in_name: str | None = None
    fill: tuple[float, ...] = ()
    clipped: tuple[float, ...] = ()
    mask: Mask | None = None
    mask_shift: int = 0
    time: str = "time"
    platform: str | None = None
    direction: str | None = None
    orbit_cycle_days: int = 0
    incidence: str | None = None
    angles: Table[str, str] = field(default_factory=dict)
    gsd_m: float | None = None
    corners: bool = False
    local_grid: bool = False
    products: str | None = None

    def __post_init__(self) -> None:
        where, remedy = f"mapping {self.name!r}", "correct the mapping"
        check(vars(self), Fields(RANGES), where, error=ContractError, remedy=remedy)
        self._demand(self.reader in READERS, "reader", self.reader, "one of " + ", ".join(READERS))
        for path in map(Path, self.files.split("|")):
            inside = path.parts and not path.is_absolute() and ".." not in path.parts
            self._demand(inside, "files", repr(str(path)), "patterns of names below the source's folder")
        self._demand(self.scale, "scale", self.scale, "a number other than 0")
        known = isinstance(self.modality, Modality) or self.modality in KNOWN
        self._demand(known, "modality", self.modality, f"one of {', '.join(KNOWN)}, or a table [modality]")
        directed = self.direction in (None, "ascending", "descending")
        self._demand(directed, "direction", self.direction, "ascending or descending")
        self._check_in_name(self.in_name or "")
        placed = self.reader != "hdf5" or (self.local_grid and self.gsd_m and self.products)
        lacking = "all three: HDF5 stacks have no coordinates or times"
        self._demand(placed, "local_grid, gsd_m or products", "missing", lacking)
        unknown = " ".join(angle for angle in self.angles if angle not in ANGLES)
        self._demand(not unknown, "angles", unknown, "some of " + " ".join(ANGLES))
        self._check_contract(self.contract)

    def _check_contract(self, modality: Modality) -> None:
        """Raise ContractError where what the files are said to hold is not what the modality has."""
        unknown = " ".join(b for b in self.bands if b not in modality.band_names)
        expected = "some of " + " ".join(modality.band_names)
        self._demand(self.bands and not unknown, "bands", unknown or "none", expected)
        layered = not modality.static or self.reader == "geotiff"
        expected = "geotiff of a static modality: make GeoTIFFs of its files (gdal_translate)"
        self._demand(layered, "reader", self.reader, expected)
        units = UNITS.get(modality.unit, (modality.unit,))
        self._demand(self.unit in units, "unit", self.unit, "one of " + ", ".join(units))
        for key in ("level", "calibration"):
            found, expected = getattr(self, key), getattr(modality, key)
            self._demand(found == expected, key, found, f"{expected}, as modality {modality.name} demands")
        screened = not (self.mask and self.mask.haze) or {"B02", "B04"} <= set(modality.band_names)
        self._demand(screened, "mask.haze", "true", "false, since the screen needs bands B02 and B04")

    def _check_in_name(self, pattern: str) -> None:
        try:
            groups = set(re.compile(pattern).groupindex)
        except re.error as e:
            found, expected = f"no regular expression ({e})", "one with groups such as (?P<band>B..)"
            raise self._wrong("in_name", found, expected) from e
        expected = f"groups of {', '.join(IN_NAME)}, of GeoTIFF"
        known = groups <= set(IN_NAME) and (self.reader == "geotiff" or self.in_name is None)
        self._demand(known, "in_name", f"{pattern!r} (reader {self.reader})", expected)

    def _demand(self, holds: object, field: str, found: object, expected: str) -> None:
        """Raise ContractError unless something holds."""
        if not holds:
            raise self._wrong(field, found, expected)

    def _wrong(self, field: str, found: object, expected: str) -> ContractError:
        return ContractError(f"mapping {self.name!r}: {field} is {found}, expected {expected}; correct the mapping")

    @property
    def contract(self) -> Modality:
        """The modality's contract."""
        return self.modality if isinstance(self.modality, Modality) else KNOWN[self.modality]

    @property
    def layers(self) -> dict[str, str]:
        """Band names and the mask's layers -> the variables or descriptions that hold them."""
        return dict(self.bands) | self.mask_layers

    @property
    def mask_layers(self) -> dict[str, str]:
        """The mask's layers, which readers give as the file has them."""
        return self.mask.layers if self.mask else {}

    def to_dict(self) -> Json:
        """For provenance."""
        return dataclasses.asdict(self)


def load_mapping(name: str | Path) -> Mapping:
    """A shipped mapping by name (such as "worldcereal_s2"), or a user's own TOML file by path.

    Raises:
        UsageError: no such mapping.
        DataError: the file is not TOML.
        ContractError: a key is unknown or missing, or its value cannot be.
    """
    path = SHIPPED / f"{name}.toml"
    if not path.is_file():
        path = Path(name)
    if not path.is_file():
        shipped = ", ".join(sorted(p.stem for p in SHIPPED.glob("*.toml")))
        raise UsageError(f"{name}: neither a file nor a shipped mapping; shipped are {shipped}")
    table = read_toml(path)
    check(table, Fields({"mask?": dict}), str(path), error=ContractError, remedy="correct the mapping")
    if "mask" in table:
        table["mask"] = to_dataclass(Mask, table["mask"], where=f"{path}, [mask]")
    defaults: Json = {"name": path.stem}
    if isinstance(table.get("modality"), dict):
        table["modality"] = own = modality_of(table["modality"], where=f"{path}, [modality]")
        defaults |= {"level": own.level, "calibration": own.calibration, "unit": own.unit}
        defaults["bands"] = {name: name for name in own.band_names}
    return to_dataclass(Mapping, defaults | table, where=str(path))
