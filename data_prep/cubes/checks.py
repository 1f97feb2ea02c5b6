"""Inputs that break silently elsewhere fail here: the metadata decide, and the statistics must agree.

Statistics cannot prove a contract. They find the mistakes that cost others their results (digital numbers, the +1000
offset, linear power for dB, exchanged bands), and each check can be overruled by name where a site is odd
(`accept`), which the cube then records.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from data_prep.mappings.mapping import Mapping as SourceMapping
from data_prep.readers.scene import Scene
from eomm.errors import ContractError, UsageError

CHECKS = {
    "level": "the processing level that the file states",
    "calibration": "the radiometric calibration that the file states",
    "unit": "reflectance, dB or linear power",
    "scale": "digital numbers, or a scale applied twice or not at all",
    "offset": "the +1000 offset of Sentinel-2 baseline 04.00 left in",
    "band_order": "bands exchanged",
    "constant": "a band empty or constant",
}
"""Name of each check, as `accept` uses it, and what it looks for."""

Rule = tuple[str, str, float, float]
MIN_PIXELS = 200  # fewer pixels of a kind decide nothing


def check_accept(accept: Collection[str]) -> None:
    """Raise UsageError when an override names no check."""
    unknown = [a for a in accept if a not in CHECKS]
    if unknown:
        known = "; ".join(f"{k} ({v})" for k, v in CHECKS.items())
        raise UsageError(f"accept names {', '.join(unknown)}, which is no check; the checks are: {known}")


def check_metadata(scene: Scene, accept: Collection[str]) -> None:
    """Compare what a file states of its making with its mapping; of its numbers `statements`. Raises ContractError."""
    mapping, stated = scene.mapping, scene.stated
    for key in ("level", "calibration"):
        if key in stated and key not in accept and _plain(stated[key]) != _plain(getattr(mapping, key)):
            raise ContractError(
                f"{scene.label}: {key} is {stated[key]!r}, expected {getattr(mapping, key)!r} as mapping "
                f"{mapping.name!r} says; use a mapping for that {key}, or get the other product"
            )


def check_raw(values: Float[np.ndarray, "y x"], *, band: str, scene: Scene, accept: Collection[str]) -> None:
    """Check one band of one scene in its mapping's unit. Raises ContractError for "unit" and "scale"."""
    finite = values[np.isfinite(values)]
    if finite.size < 16:
        return
    if scene.mapping.unit == "amplitude":
        finite = finite * np.abs(finite)  # power, and dB taken for amplitude stay negative
    low, middle, high = np.quantile(finite, [0.01, 0.5, 0.99])
    found = f"{scene.label}, band {band}: values from {low:.4g} to {high:.4g}, median {middle:.4g} (after `scale`)"

    unit = "power" if scene.mapping.unit in ("linear power", "amplitude") else scene.mapping.unit
    if unit in ODD and (odd := ODD[unit](low, middle, high)) and odd[0] not in accept:
        name, expected, remedy = odd
        do = (remedy or SCALE).format(scene.mapping.name)
        raise ContractError(f"{found}; expected {expected}. {do}, or accept {name!r} if this is right")


SCALE = "Correct `scale` of mapping {!r}"
Odd = tuple[str, str, str] | None  # the check that fails, what was expected, what to do where not to correct the scale


def _odd_reflectance(low: float, middle: float, high: float) -> Odd:
    if middle > 2:
        return "scale", "reflectance between 0 and 1.6: these look like digital numbers", f"{SCALE} (usually 1e-4)"
    if 0 < high < 5e-4:
        return "scale", "reflectance between 0 and 1.6: the scale looks applied twice", ""
    return None


def _odd_db(low: float, middle: float, high: float) -> Odd:
    if high > 50 or middle < -60:
        return "scale", "backscatter between -50 and 20 dB: these look like digital numbers", ""
    if low >= 0:
        expected = "backscatter in dB, mostly negative: these look like linear power"
        return "unit", expected, 'Set `unit = "linear power"`'
    return None


def _odd_power(low: float, middle: float, high: float) -> Odd:
    if middle < 0:
        return "unit", "linear power or amplitude, which is positive: these look like dB", 'Set `unit = "dB"`'
    if middle > 20:
        return "scale", "linear power or amplitude, in power near 0.1: these look like digital numbers", ""
    return None


ODD = {"reflectance": _odd_reflectance, "dB": _odd_db, "power": _odd_power}
"""Unit -> what is odd of values whose 1 %, 50 % and 99 % quantiles are these."""


def check_bands(
    values: Float[np.ndarray, "y x band"], *, mapping: SourceMapping, label: str, accept: Collection[str]
) -> None:
    """Check that no band of an acquisition is empty or constant while others are not. Raises ContractError."""
    if "constant" in accept:
        return
    counts = np.isfinite(values).sum((0, 1))
    if counts.max() < 64:
        return
    names = mapping.contract.band_names
    for k, name in enumerate(names):
        low, high = (np.nanmin(values[..., k]), np.nanmax(values[..., k])) if counts[k] else (0.0, 0.0)
        if counts[k] == 0:
            raise ContractError(
                f"{label}: band {name} is empty (no valid pixel) while others hold {counts.max()}; expected values in "
                f"all of {' '.join(names)}. Get the scene again, leave it out, or accept 'constant'"
            )
        if counts[k] >= 64 and low == high:
            raise ContractError(
                f"{label}: band {name} has the value {low:.6g} at all {counts[k]} pixels; expected "
                "an image. Get the scene again, leave it out, or accept 'constant'"
            )


def check_spectra(
    clear: Float[np.ndarray, "n band"], *, names: Sequence[str], label: str, accept: Collection[str]
) -> str:
    """Check that vegetation and soil look like themselves, which exchanged bands do not. Raises ContractError.

    Args:
        clear: reflectance of clear pixels, bands in the order of `names` (those of SENTINEL2).
        names: the names of the bands.
        label: where the pixels come from.
        accept: overrides.

    Returns:
        What was checked, for the record.
    """
    if "band_order" in accept:
        return "band order: not checked (accepted)"
    index = {n: clear[:, k] for k, n in enumerate(names)}
    land = clear.max(axis=1) > 0.1
    for a, b, least, most in LAND:
        ratio = np.maximum(index[a][land], DARK) / np.maximum(index[b][land], DARK)
        odd = int(((ratio < least) | (ratio > most)).sum())
        if odd > max(MIN_PIXELS, ODD_SHARE * len(ratio)):
            _fail_order(
                label, f"{odd} of {len(ratio)} land pixels have another {a} / {b}", f"{least} to {most} at most"
            )
    checked = []
    # Chosen by B8A against B11: when one of these is exchanged, its own rules fail within whatever is chosen.
    wet = index["B8A"] > 1.5 * index["B11"]
    dry = index["B11"] > 1.1 * index["B8A"]
    for kind, chosen, rules in (
        ("vegetated", wet & (index["B8A"] > 0.2), VEGETATION),
        ("bare", dry & (index["B11"] > 0.15), SOIL),
    ):
        if chosen.sum() >= MIN_PIXELS:
            _check_kind({n: v[chosen] for n, v in index.items()}, kind, rules, label)
            checked.append(f"{chosen.sum()} {kind} pixels")
    return "band order: agrees at " + ", ".join(checked) if checked else "band order: not checked (too few pixels)"


def _check_kind(pixels: Mapping[str, np.ndarray], kind: str, rules: Sequence[Rule], label: str) -> None:
    """Raise ContractError where the medians of pixels of one kind do not go together."""
    middle = {n: float(np.median(v)) for n, v in pixels.items()}
    for a, b, least, most in rules:
        if not least <= max(middle[a], DARK) / max(middle[b], DARK) <= most:
            count = len(pixels[a])
            found = f"at {count} {kind} pixels the medians are {a} {middle[a]:.3f} and {b} {middle[b]:.3f}"
            _fail_order(label, found, f"{a} between {least} and {most} times {b}")


LAND = (("B07", "B06", 0.9, 1.6), ("B8A", "B08", 0.75, 1.45), ("B12", "B11", 0.2, 1.15))
"""(a, b, least and most of a / b at nearly every land pixel)."""
ODD_SHARE = 0.25
DARK = 0.02  # reflectance below which a ratio says nothing
# (a, b, least and most of median a / median b). Wide: they part exchanged bands, not kinds of vegetation.
VEGETATION = (
    ("B03", "B02", 1.0, 9.0),
    ("B03", "B04", 0.9, 9.0),
    ("B05", "B04", 1.1, 15.0),
    ("B06", "B05", 1.2, 8.0),
    ("B07", "B06", 0.97, 2.0),
    ("B08", "B07", 0.8, 1.5),
    ("B8A", "B08", 0.85, 1.3),
    ("B8A", "B07", 0.98, 1.6),
    ("B11", "B8A", 0.1, 0.95),
    ("B12", "B11", 0.2, 0.9),
)
SOIL = (
    ("B03", "B02", 1.0, 3.0),
    ("B04", "B03", 1.0, 3.0),
    ("B05", "B04", 0.9, 1.6),
    ("B06", "B05", 0.9, 1.6),
    ("B07", "B06", 0.95, 1.5),
    ("B08", "B07", 0.8, 1.5),
    ("B8A", "B08", 0.8, 1.3),
    ("B11", "B04", 1.0, 5.0),
    ("B12", "B11", 0.4, 1.1),
)


def _fail_order(label: str, found: str, expected: str) -> None:
    raise ContractError(
        f"{label}: {found}, expected {expected}: bands look exchanged. Correct [bands] of the mapping or the "
        "descriptions in the files, or accept 'band_order' if this is right"
    )


def _plain(text: object) -> str:
    """A calibration or level without the spellings in which providers differ ("gamma0_rtc" is "rtc_gamma0")."""
    return " ".join(sorted(str(text).lower().replace("-", "_").replace("_", " ").split()))
