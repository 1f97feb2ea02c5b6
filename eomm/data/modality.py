"""What a modality is: its bands, unit, level, calibration and how its values are stored. No JAX in here.

A modality is the contract between whoever prepared a cube and whoever reads it. It is written into every cube,
record set, model and embedding cube, and compared whenever one meets another (`check_contract`).
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int16

from eomm.errors import ContractError
from eomm.page.shown import Shown
from eomm.store.digest import digest_text
from eomm.store.fields import Fields, Json, ListOf, check, check_dataclass

INT16_MIN, INT16_MAX = -32767, 32767
OPTIONAL = ("unit", "centre", "spread")  # of a band; None stands for the modality's
RESERVED = ("fusion", "site", "row", "col")  # keys beside modalities in parameters and records
STATIC_DAY = 0
"""The day under which the one acquisition of a static layer is stored. It stands for none, and is nowhere a date.

A series of one at a neutral day, and a contract that says so: cubes, records and batches keep their one form, and all
that reads them serves a static layer. An axis less would be a second form of each.
"""


@dataclass(frozen=True, kw_only=True)
class Band:
    """One band of a modality.

    Attributes:
        name: the provider's band name, such as "B8A" or "VH".
        wavelength_nm: centre wavelength, or None where it has none.
        polarisation: "VV", "VH", … for radar, else None.
        gsd_m: native resolution in metres.
        scale: physical value = stored int16 * scale + offset.
        offset: see `scale`.
        valid_min: smallest physical value accepted; below it a value is invalid, never clipped.
        valid_max: largest physical value accepted.
        unit: where the modality's bands have several units, else None; so for `centre` and `spread`.
        centre: see `Modality`.
        spread: see `Modality`.
    """

    name: str
    wavelength_nm: float | None = None
    polarisation: str | None = None
    gsd_m: float
    scale: float
    offset: float = 0.0
    valid_min: float
    valid_max: float
    unit: str | None = None
    centre: float | None = None
    spread: float | None = None

    def to_dict(self) -> Json:
        """Plain JSON types; `OPTIONAL` fields only where they say something, so that older contracts keep a hash."""
        fields = dataclasses.asdict(self)
        return {k: v for k, v in fields.items() if not (k in OPTIONAL and v is None)}


@dataclass(frozen=True, kw_only=True, repr=False)
class Modality(Shown):
    """A sensor's product as eomm uses it: the contract that cubes, records and models carry.

    Attributes:
        name: key of the modality in cubes and batches, such as "s2".
        bands: in the order in which values are stored.
        unit: physical unit of the values, such as "reflectance" or "dB"; "per band" where bands have their own.
        level: processing level, such as "L2A".
        calibration: radiometric calibration; "rtc_gamma0" and "sigma0" are different contracts.
        speckle_filter: "none" or the filter's name.
        centre: physical value that becomes 0 in a model's input; a round number near the mean.
        spread: physical distance that becomes 1 in a model's input; a round number near the deviation.
        static: whether it is a layer without dates, such as elevation or soil: one acquisition of a site, which serves
            every date of the other modalities.

    Raises:
        ContractError: a name that cannot be a key, no band or two of a name, a range that does not fit int16.
    """

    name: str
    bands: tuple[Band, ...]
    unit: str
    level: str
    calibration: str
    speckle_filter: str = "none"
    centre: float = 0.0
    spread: float = 1.0
    static: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9_]*", self.name) or self.name in RESERVED:
            raise ContractError(
                f"modality {self.name!r}: expected a name of a-z, 0-9 and _ other than {', '.join(RESERVED)}"
            )
        names = self.band_names
        if not names or len(set(names)) != len(names):
            raise ContractError(f"modality {self.name!r}: band names must be present and distinct, found {names}")
        for band in self.bands:
            stored = [(v - band.offset) / band.scale for v in (band.valid_min, band.valid_max)]
            if min(stored) < INT16_MIN or max(stored) > INT16_MAX:
                raise ContractError(
                    f"modality {self.name!r}, band {band.name}: the range {band.valid_min} to {band.valid_max} "
                    f"does not fit int16 with scale {band.scale} and offset {band.offset}; choose a larger scale"
                )
        if not (self._own("spread") > 0).all():
            raise ContractError(f"modality {self.name!r}: spreads are {self._own('spread')}; each must be above 0")

    @property
    def band_names(self) -> tuple[str, ...]:
        """Band names in stored order."""
        return tuple(b.name for b in self.bands)

    @property
    def units(self) -> dict[str, str]:
        """Unit of each band."""
        return {b.name: self.unit if b.unit is None else b.unit for b in self.bands}

    @property
    def centres(self) -> Float32[np.ndarray, " band"]:
        """Physical value of each band that becomes 0 in a model's input."""
        return self._own("centre").astype(np.float32)

    @property
    def spreads(self) -> Float32[np.ndarray, " band"]:
        """Physical distance of each band that becomes 1 in a model's input."""
        return self._own("spread").astype(np.float32)

    @property
    def error_unit(self) -> tuple[str, Float32[np.ndarray, " band"]]:
        """In what errors of all bands may be averaged: its name and its size in each band's unit.

        The unit where the bands share one, else each band's spread.
        """
        if len(set(self.units.values())) == 1:
            return self.unit, np.ones(len(self.bands), np.float32)
        return "spreads", self.spreads

    @property
    def contract_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the contract."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return digest_text(text)

    def facts(self) -> Mapping[str, object]:
        """As of `Shown`."""
        told = {"bands": " ".join(self.band_names), "unit": self.unit, "level": self.level}
        return {"modality": self.name, **told, "calibration": self.calibration, "contract": self.contract_hash}

    def to_dict(self) -> Json:
        """The contract as plain JSON types; `static` only where it is, so that older contracts keep a hash."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if k != "static" or v}
        return fields | {"bands": [b.to_dict() for b in self.bands]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], found_in: str = "") -> "Modality":
        """Inverse of `to_dict`. Raises ContractError, naming `found_in`, on missing, unknown or impossible fields."""
        what = f"{found_in}: a modality's contract" if found_in else "a modality's contract"
        remedy = "was it written by another version?"
        check(fields, Fields({"bands": ListOf(of=dict)}), what, error=ContractError, remedy=remedy)
        for band in fields["bands"]:
            check_dataclass(Band, band, f"{what}, band", error=ContractError, remedy=remedy)
        check_dataclass(cls, {**fields, "bands": ()}, what, error=ContractError, remedy=remedy)
        try:
            return cls(**{**fields, "bands": tuple(Band(**b) for b in fields["bands"])})
        except ContractError as e:
            raise ContractError(f"{found_in}: {e}" if found_in else str(e)) from e
        except (TypeError, ValueError, ArithmeticError) as e:  # fields that are missing, or that there are none of
            raise ContractError(f"{what} is none: {e}; {remedy}") from e

    def encode(
        self, physical: Float[np.ndarray, "*dims band"]
    ) -> tuple[Int16[np.ndarray, "*dims band"], Bool[np.ndarray, "*dims"]]:
        """Physical values to (stored int16, valid). NaN, infinite and out-of-range values become invalid.

        `valid` is true where every band is valid; stored values are 0 wherever it is false.
        """
        lo, hi, scale, offset = self._columns("valid_min", "valid_max", "scale", "offset")
        with np.errstate(invalid="ignore"):
            valid = np.all((physical >= lo) & (physical <= hi), axis=-1)  # false for NaN and infinities
        stored = (physical - offset) / scale
        stored = np.where(valid[..., None], np.rint(stored), 0).astype(np.int16)
        return stored, valid

    def decode(self, stored: Int16[np.ndarray, "*dims band"]) -> Float[np.ndarray, "*dims band"]:
        """Stored int16 to physical float32. Says nothing of validity: keep the mask beside it."""
        scale, offset = self._columns("scale", "offset")
        return (stored.astype(np.float32) * scale + offset).astype(np.float32)

    def model_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """(scale, offset), float32 [band]: model input = stored * scale + offset (done on the device)."""
        scale, offset = self._columns("scale", "offset")
        centre, spread = self._own("centre"), self._own("spread")
        return (
            (scale / spread).astype(np.float32),
            ((offset - centre) / spread).astype(np.float32),
        )

    def _columns(self, *names: str) -> list[np.ndarray]:
        return [np.array([getattr(b, n) for b in self.bands], np.float64) for n in names]

    def _own(self, name: str) -> np.ndarray:
        """Of each band, its own value or else the modality's, float64."""
        own = (getattr(b, name) for b in self.bands)
        return np.array([getattr(self, name) if v is None else v for v in own], np.float64)


def contract_differences(found: Modality, expected: Modality) -> list[str]:
    """Every field in which two contracts differ, as readable lines; empty when they are the same."""
    lines = []
    for field in dataclasses.fields(Modality):
        a, b = getattr(found, field.name), getattr(expected, field.name)
        if field.name != "bands":
            if a != b:
                lines.append(f"{field.name}: found {a!r}, expected {b!r}")
        elif found.band_names != expected.band_names:
            lines.append(f"bands: found {' '.join(found.band_names)}, expected {' '.join(expected.band_names)}")
        else:
            for x, y in zip(a, b, strict=True):
                for f in dataclasses.fields(Band):
                    if getattr(x, f.name) != getattr(y, f.name):
                        lines.append(
                            f"band {x.name}, {f.name}: found {getattr(x, f.name)!r}, expected {getattr(y, f.name)!r}"
                        )
    return lines


TRAIN_YOUR_OWN = (
    " Sigma nought and gamma nought of terrain do not follow from each other without the terrain. Train on what you "
    "have: eomm prepare records CUBE --out records; eomm train --config radar --config.data.records=records "
    "--workdir runs/radar; or build the cube from products of the other kind: eomm prepare cube --source "
    "MAPPING=FOLDER (mappings: eomm prepare mapping --help)."
)


def check_contract(found: Modality, expected: Modality, *, found_in: str, expected_by: str) -> None:
    """Raise ContractError naming both sides and every difference, unless the contracts are the same."""
    lines = contract_differences(found, expected)
    if lines:
        calibrated = found.unit == expected.unit == "dB" and found.calibration != expected.calibration
        raise ContractError(
            f"modality {expected.name!r}: {found_in} and {expected_by} were made under different contracts: "
            + "; ".join(lines)
            + ". Prepare the data as the contract says, or use a model trained on this contract."
            + (TRAIN_YOUR_OWN if calibrated else "")
        )


def in_order(modalities: Mapping[str, Modality]) -> list[str]:
    """Names, first that at whose dates targets stand where none is named: s2, or another; static layers come last."""
    return sorted(modalities, key=lambda n: (n != "s2", modalities[n].static, n))


def _s2_band(name: str, wavelength_nm: float, gsd_m: float) -> Band:
    return Band(name=name, wavelength_nm=wavelength_nm, gsd_m=gsd_m, scale=1e-4, valid_min=-0.1, valid_max=1.6)


SENTINEL2 = Modality(
    name="s2",
    bands=(
        # Centre wavelengths of Sentinel-2A (Sentinel-2 User Handbook, ESA 2015, table 1).
        _s2_band("B02", 492.4, 10),
        _s2_band("B03", 559.8, 10),
        _s2_band("B04", 664.6, 10),
        _s2_band("B05", 704.1, 20),
        _s2_band("B06", 740.5, 20),
        _s2_band("B07", 782.8, 20),
        _s2_band("B08", 832.8, 10),
        _s2_band("B8A", 864.7, 20),
        _s2_band("B11", 1613.7, 20),
        _s2_band("B12", 2202.4, 20),
    ),
    unit="reflectance",
    level="L2A",
    calibration="surface_reflectance",
    centre=0.2,
    spread=0.15,
)
"""Sentinel-2 L2A surface reflectance, ten bands in the order of arXiv 2511.11706."""


def _s1_band(polarisation: str) -> Band:
    return Band(name=polarisation, polarisation=polarisation, gsd_m=20, scale=0.01, valid_min=-50.0, valid_max=20.0)


SENTINEL1 = Modality(
    name="s1",
    bands=(_s1_band("VV"), _s1_band("VH")),
    unit="dB",
    level="GRD",
    calibration="rtc_gamma0",
    centre=-14.0,
    spread=5.0,
)
"""Sentinel-1 IW GRD, radiometrically terrain-corrected gamma nought, VV and VH in dB."""

SENTINEL1_SIGMA0 = dataclasses.replace(SENTINEL1, calibration="sigma0")
"""The same as terrain-corrected sigma nought: another contract, since the two differ with incidence and slope."""

KNOWN = {"s2": SENTINEL2, "s1": SENTINEL1, "s1_sigma0": SENTINEL1_SIGMA0}
"""Shipped contracts by the word that mappings and configurations use for them."""
