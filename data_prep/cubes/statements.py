"""What files state of their numbers against what their mapping says: each band of each file, before a pixel is read."""

from collections.abc import Collection, Sequence

import numpy as np

from data_prep.mappings.mapping import MASK, Mapping
from data_prep.readers.scene import Scene
from data_prep.readers.stated import Numbers, plain_unit
from eomm.errors import ContractError

RADAR = ("dB", "linear power", "amplitude")
QUANTITIES = ("reflectance", "%", *RADAR, "k", "degc", "radiance")
"""Units that say what a number is; of others files write what they like ("1", "sr-1")."""
FACTORS = {("%", "reflectance"): 0.01}
"""(unit of a file, of its mapping) -> what the file's quantity is multiplied by to be the mapping's."""


def check_numbers(scene: Scene, accept: Collection[str]) -> None:
    """Compare scale, offset and unit of every band with the mapping.

    A scale or an offset that a file states is never applied in the place of the mapping's: two that differ mean that
    somebody is wrong, and nobody here knows who. Raises ContractError ("unit", "scale", "offset").
    """
    for band, stated in scene.numbers.items():
        if band.startswith(MASK):
            continue
        where, mapping = f"{scene.label}, band {band}", scene.mapping
        factor = _check_unit(stated, band, where, mapping, accept)
        scale = factor if stated.scale is None and factor != 1 else stated.scale and stated.scale * factor
        offset = None if stated.offset is None else stated.offset * factor
        by = f"mapping {mapping.name!r}"
        check_stated("scale", scale, mapping.scale, where, by, accept)
        own = by if scene.offset is None else "its own BOA_OFFSET"
        check_stated("offset", offset, scene.added_offset, where, own, accept)


def check_stated(key: str, found: float | None, said: float, where: str, by: str, accept: Collection[str]) -> None:
    """Compare a scale or offset that a file states, if it does, with the one that is applied. Raises ContractError."""
    if found is None or key in accept or np.isclose(found, said, rtol=1e-6, atol=1e-9 if key == "offset" else 0):
        return
    raise ContractError(
        f"{where}: the file declares the {key} {found:g}, expected {said:g} as {by} says; correct `{key}` of the "
        f"mapping or what the file declares, or accept {key!r} if the mapping is right"
    )


def check_mixture(scenes: Sequence[Scene], accept: Collection[str]) -> None:
    """Refuse a series in which some files declare the offset that is applied to all of them, and others none.

    Raises ContractError ("offset").
    """
    if "offset" in accept:
        return
    for band in {b for s in scenes for b in s.numbers if not b.startswith(MASK)}:
        _check_band([s for s in scenes if band in s.numbers and s.offset is None], band)


def _check_band(scenes: Sequence[Scene], band: str) -> None:
    declared = [s for s in scenes if s.numbers[band].offset]
    silent = [s for s in scenes if _adds_unasked(s, band)]
    if declared and silent:
        raise ContractError(
            f"{silent[0].label}, band {band}: declares no offset, as {len(silent)} of {len(scenes)} files; "
            f"{declared[0].label} declares {declared[0].numbers[band].offset:g}, and mapping "
            f"{silent[0].mapping.name!r} adds {silent[0].mapping.offset:g} to all of them. Give every file the tag "
            "BOA_OFFSET, give the two kinds a mapping each, or accept 'offset' if the mapping is right"
        )


def _adds_unasked(scene: Scene, band: str) -> bool:
    """Whether only the mapping says that there is an offset: neither the file nor the baseline of its product does."""
    return bool(scene.mapping.offset) and not (scene.numbers[band].offset or scene.stated.get("baseline"))


def _check_unit(stated: Numbers, band: str, where: str, mapping: Mapping, accept: Collection[str]) -> float:
    """What the file's quantity is multiplied by to be in the mapping's unit. Raises ContractError ("unit")."""
    found = plain_unit(stated.unit or "")
    if not found:
        return 1.0
    own = {b.name: b.unit for b in mapping.contract.bands}.get(band)
    said = mapping.unit if own is None else own
    wanted = plain_unit(said)
    if factor := FACTORS.get((found, wanted)):
        return factor
    comparable = own is not None or found in QUANTITIES or wanted not in QUANTITIES
    if "unit" not in accept and comparable and found != wanted:
        raise ContractError(
            f"{where}: the file states the unit {stated.unit!r}, expected {said!r} as mapping {mapping.name!r} says; "
            "use a mapping for that unit, convert the file, or accept 'unit' if the file is wrong"
        )
    return 1.0
