"""The +1000 of Sentinel-2's baseline 04.00: what metadata say of it and what dark pixels say must agree.

Never decided by date: old dates were processed anew, and providers remove the offset or do not, and state it wrongly.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from data_prep.cubes.passes import Overpass
from data_prep.readers.scene import Scene
from eomm.errors import ContractError

VISIBLE = ("B01", "B02", "B04")
"""Bands in which some land or water of any clear scene is dark."""
INFRARED = ("B12", "B11")
"""A band that haze does not brighten, but the offset does; the first that a modality has."""
BASELINE = 4.0
FLOOR = 0.095  # no clear land scene of many pixels lacks a visible pixel below; 1000 DN are 0.1
RUN = 8  # this many acquisitions in a row, each at least half clear, without a dark pixel
NEGATIVE = -0.02  # the median of the darkest visible band of clear land or water is never below
SHIFT = (0.07, 0.13)  # how much brighter than its neighbours an acquisition is with the offset in, visible and infrared
ALIKE = 0.03  # and by how much the two may differ; missed cloud brightens the visible more
MIXED = 2  # so many such acquisitions are no accident
MIN_PIXELS = 200  # of fewer, as on a plot of 6 x 6 px, missed cloud can look like anything
NEAR = 5  # neighbours compared with


@dataclass(frozen=True, kw_only=True)
class Darkness:
    """How dark an acquisition is.

    Attributes:
        index: its position in the series.
        label: files and date, for messages.
        stated: what the metadata say of the offset, and what was done.
        clear: share of the site that is clear.
        low: 1 % quantile of the darkest visible band over clear pixels, reflectance; NaN without any.
        middle: its median.
        pixels: how many that is of.
    """

    index: int
    label: str
    stated: str
    clear: float
    low: float
    middle: float
    pixels: int

    @classmethod
    def of(cls, index: int, overpass: Overpass, darkest: Float[np.ndarray, " n"], *, clear: float) -> "Darkness":
        """From the darkest visible band at clear pixels."""
        finite = darkest[np.isfinite(darkest)]
        low, middle = np.quantile(finite, [0.01, 0.5]) if finite.size else (np.nan, np.nan)
        stated = sorted({_said(s) for p in overpass.products for s in p.values()})
        return cls(
            index=index,
            label=overpass.label,
            stated="; ".join(stated),
            clear=clear,
            low=float(low),
            middle=float(middle),
            pixels=int(finite.size),
        )


def check_statement(scene: Scene, accept: Collection[str]) -> None:
    """Check that a scene's metadata and what its mapping does with it agree. Raises ContractError ("offset")."""
    if "offset" in accept or scene.mapping.contract.unit != "reflectance":
        return
    if words := _contradiction(scene):
        raise ContractError(f"{scene.label}: {_said(scene)}{words}, or accept 'offset'")


def _contradiction(scene: Scene) -> str:
    """What is wrong between a scene's baseline and what is added to it, and what to do; "" where nothing is."""
    baseline, added = _baseline(scene), scene.added_offset
    left_in = added == 0 and scene.offset is None and not scene.mapping.harmonised
    if left_in and baseline >= BASELINE:
        return (
            ". Products of baseline 04.00 and later carry +1000, and nothing takes it out: write the tag "
            "BOA_OFFSET=-1000 into the file or `offset = -0.1` into the mapping; if the provider has taken it out, "
            "BOA_OFFSET=0 or `harmonised = true`"
        )
    if added < 0 and scene.mapping.harmonised:
        return (
            ", so it is taken out twice: remove `offset` or `harmonised` from the mapping, or BOA_OFFSET from the file"
        )
    if added < 0 and baseline < BASELINE:
        return (
            ". Products before baseline 04.00 carry none: remove BOA_OFFSET from the file or `offset` from the mapping"
        )
    return ""


def check_values(series: Sequence[Darkness], infrared: Callable[[int], float], accept: Collection[str]) -> str:
    """Check that dark pixels agree with what was done about the offset. Raises ContractError ("offset").

    Args:
        series: the acquisitions in time order.
        infrared: index of an acquisition -> 1 % quantile of an `INFRARED` band over its clear pixels, or NaN.
        accept: overrides.

    Returns:
        What was checked, for the record.
    """
    if "offset" in accept:
        return "offset: not checked (accepted)"
    clear = [d for d in series if d.clear >= 0.5 and np.isfinite(d.low)]
    for d in clear:
        if d.middle < NEGATIVE:
            _fail(
                d,
                f"the median of the darkest visible band is {d.middle:.3f}, expected land or water above {NEGATIVE}: "
                "the +1000 offset looks taken out of values that do not carry it (BOA_OFFSET, `offset`)",
            )
    _check_run(clear)
    _check_mixed(clear, infrared)
    if not clear:
        return "offset: not checked"
    return f"offset: dark pixels agree with the metadata at {len(clear)} clear acquisitions"


def _check_run(clear: Sequence[Darkness]) -> None:
    """One hazy date may be bright everywhere; a run of clear ones, or all of a short series, is not."""
    run = min(RUN, max(len(clear), 1))
    for i in range(len(clear) - run + 1):
        lowest = min(d.low for d in clear[i : i + run])
        if lowest >= FLOOR:
            _fail(
                clear[i],
                f"in this and the {run - 1} clear acquisitions after it the darkest visible pixels are never below "
                f"{lowest:.3f}, expected dark land or water below {FLOOR}: the +1000 offset of Sentinel-2 baseline "
                "04.00 looks left in (or the product is L1C): set `offset = -0.1` in the mapping or write the tag "
                "BOA_OFFSET=-1000",
            )


def _check_mixed(clear: Sequence[Darkness], infrared: Callable[[int], float]) -> None:
    """Some acquisitions bright in the visible and, unlike haze, in the infrared too, between others that are not."""
    bright, dark = ([d for d in clear if (d.low >= FLOOR) is high] for high in (True, False))
    if not dark:
        return
    shifted = [(d, shift) for d in bright if (shift := _shift(d, dark, infrared)) is not None]
    if len(shifted) >= MIXED:
        d, shift = shifted[0]
        _fail(
            d,
            f"in this and {len(shifted) - 1} more of {len(clear)} clear acquisitions the darkest pixels are brighter "
            f"than in those around them, in the infrared by {shift:.3f}, as with the +1000 offset of Sentinel-2 "
            "baseline 04.00 left in: the series mixes products with and without it. Tag each file with BOA_OFFSET",
        )


def _shift(d: Darkness, dark: Sequence[Darkness], infrared: Callable[[int], float]) -> float | None:
    """How much brighter an acquisition is in the infrared than those near it; None where not as with the offset in."""
    if d.pixels < MIN_PIXELS:
        return None
    near = sorted(dark, key=lambda other: abs(other.index - d.index))[:NEAR]
    shift = infrared(d.index) - float(np.median([infrared(other.index) for other in near]))
    visible = d.low - float(np.median([other.low for other in near]))
    low, high = sorted((shift, visible))
    return shift if SHIFT[0] <= low and high <= SHIFT[1] and high - low <= ALIKE else None


def _fail(d: Darkness, values_say: str, /) -> None:
    raise ContractError(
        f"{d.label}: the metadata say: {d.stated}; the values say: {values_say}; or accept 'offset' (desert, snow)"
    )


def _said(scene: Scene) -> str:
    baseline = scene.stated.get("baseline")
    words = [f"baseline {baseline}" if baseline else "no baseline stated"]
    if scene.mapping.harmonised:
        words.append("the mapping says that the offset has been taken out")
    if scene.offset is not None:
        words.append(f"the file says to add {scene.offset:g}")
    elif scene.mapping.offset:
        words.append(f"the mapping says to add {scene.mapping.offset:g}")
    else:
        words.append("nothing is added")
    return ", ".join(words)


def _baseline(scene: Scene) -> float:
    """The processing baseline; NaN, which is neither before nor after any, where none is stated."""
    text = str(scene.stated.get("baseline", "")).upper().lstrip("N")
    if text.isdigit() and len(text) == 4:  # N0400
        text = f"{text[:2]}.{text[2:]}"
    try:
        return float(text)
    except ValueError:
        return math.nan
