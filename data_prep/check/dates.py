"""Acquisitions that stand out against the pixels' own series, and the likely reason. Real change is among them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_prep.check import expected
from data_prep.check.alignment import shift_between
from data_prep.check.sample import MIN_SIDE_PX, Sample
from eomm.data.grid import to_date
from eomm.store.fields import Json

NEIGHBOURS = 3
"""Usable acquisitions before and after that an acquisition is compared with; of radar those of its own orbit."""
SIGMA_FLOOR = 6.0
"""The robust deviation is taken for at least the step over this, so that very even series raise no alarm."""


def suspicious_dates(sample: Sample) -> list[Json]:
    """Dates that lie far from their neighbours in time, with the likely reason; plain JSON types."""
    modality = sample.group.modality
    deviations = {int(i): d for i in sample.compared if (d := _deviation(sample, int(i)))}
    step = expected.STEP.get(modality.unit)
    if not deviations or step is None:
        return []
    changes = np.stack([d.change for d in deviations.values()])
    middle = np.median(changes, axis=0)
    sigma = np.maximum(1.4826 * np.median(np.abs(changes - middle), axis=0), step / SIGMA_FLOOR)
    found = []
    for i, d in deviations.items():
        reasons = _reasons(sample, i, d, np.abs(d.change - middle) / sigma, step)
        if reasons:
            acquisition = sample.group.acquisitions[i]
            found.append(
                {
                    "date": str(to_date(sample.group.day[i])),
                    "orbit": acquisition.orbit,
                    "valid": round(float(sample.fraction[i]), 4),
                    "change": dict(zip(modality.band_names, (round(float(c), 4) for c in d.change), strict=True)),
                    "correlation": round(d.correlation, 3),
                    "reasons": reasons,
                }
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """How an acquisition differs from its neighbours in time.

    Attributes:
        change: medians per band of what it lies above them.
        correlation: with them, pixel by pixel; the median over bands.
        reference: [y, x, band] their median, NaN where it is not known.
    """

    change: np.ndarray
    correlation: float
    reference: np.ndarray


def _deviation(sample: Sample, i: int) -> Deviation | None:
    """None where too few neighbours, or pixels, are known."""
    near = _neighbours(sample, i)
    if len(near) < 2:
        return None
    own, others = sample.physical(i), np.stack([sample.physical(j) for j in near])
    known = np.isfinite(own[..., 0]) & (np.isfinite(others[..., 0]).sum(0) >= 2)
    if known.sum() < max(16, 0.05 * known.size):
        return None
    reference = np.nanmedian(others[:, known], axis=0)
    change = np.median(own[known] - reference, axis=0)
    by_band = [_correlation(own[known][:, k], reference[:, k]) for k in range(own.shape[-1])]
    filled = np.full_like(own, np.nan)
    filled[known] = reference
    return Deviation(change=change, correlation=float(np.median(by_band)), reference=filled)


def _neighbours(sample: Sample, i: int) -> list[int]:
    """The acquisitions before and after, of radar those of its own orbit."""
    orbits = [a.orbit if sample.group.modality.unit == "dB" else None for a in sample.group.acquisitions]
    same = [j for j in sample.compared if orbits[j] == orbits[i]]
    return [j for j in same if j < i][-NEIGHBOURS:] + [j for j in same if j > i][:NEIGHBOURS]


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0


def _reasons(sample: Sample, i: int, d: Deviation, sigmas: np.ndarray, step: float) -> list[str]:
    modality, optical = sample.group.modality, sample.group.modality.unit == "reflectance"
    change = dict(zip(modality.band_names, d.change, strict=True))
    reasons = _optical_reasons(change, step) if optical else []
    if not reasons and ((sigmas > expected.SIGMAS) & (np.abs(d.change) > step)).any():
        k = int(np.argmax(sigmas))
        name = modality.band_names[k]
        reasons.append(
            f"{name} is {change[name]:+.3g} {modality.units[name]} off the dates around it, {sigmas[k]:.0f} times the "
            "spread"
        )
    if optical and d.correlation < expected.LOW_CORRELATION:
        reasons.append(f"correlates with the dates around it by {d.correlation:.2f} only: another place, or cloud")
    moved = _moved(sample, i, d)
    if moved > expected.MOVED_PX:
        reasons.append(f"lies {moved:.1f} px off the dates around it")
    return reasons


def _optical_reasons(change: Mapping[str, float], step: float) -> list[str]:
    """An offset, haze or shadow, by what bands lie above the dates around (`change`)."""
    low, high = min(change.values()), max(change.values())
    blue = change.get("B02", change.get("B01", -np.inf))
    infrared = change.get("B12", change.get("B11", -np.inf))
    if low >= expected.OFFSET[0] and high <= expected.OFFSET[1]:
        return [f"every band is brighter by {low:.2f} to {high:.2f}: an offset left in, or cloud"]
    if blue > expected.HAZE_BLUE and infrared < blue:
        return [f"blue is {blue:.3f} above the dates around it: haze or missed cloud"]
    if high < -step / 3 and low < -step:
        return ["every band is darker: shadow or smoke"]
    return []


def _moved(sample: Sample, i: int, d: Deviation) -> float:
    """How far an optical image is shifted against its neighbours, pixels; 0 where that cannot be told."""
    own = sample.physical(i)
    if sample.group.modality.unit != "reflectance" or min(own.shape[:2]) < MIN_SIDE_PX or sample.valid[i].mean() < 0.9:
        return 0.0
    k = own.shape[-1] // 2
    if d.correlation > 0.8:  # a shifted image of fields correlates less
        return 0.0
    return float(np.hypot(*shift_between(d.reference[..., k], own[..., k])))
