"""What a finished cube looks like, in numbers: bands, dates, alignment, and what is suspicious. Draws nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int16

from data_prep import expected
from data_prep.alignment import Shift, compare, shift_between
from eomm.cube import Cube, CubeGroup, open_cube, to_date

SAMPLE_BYTES = 2e8
MOST_PX, LEAST_PX = 256, 64
NEIGHBOURS = 3
"""Usable acquisitions before and after that an acquisition is compared with; of radar those of its own orbit."""
MIN_VALID = 0.2  # of the sample's pixels, for an acquisition to be compared
CLEAREST = 12  # optical dates that alignment is measured with
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
MOVED_METRES = 20.0
"""Between sensors: a shift that is determined and longer than this is a finding."""
SIGMA_FLOOR = 6.0
"""The robust deviation is taken for at least the step over this, so that very even series raise no alarm."""
MIN_SIDE_PX = 32  # smaller sites tell no shift

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One modality's pixels that are looked at: a square from the middle of the site, of all acquisitions.

    Attributes:
        group: of the cube.
        values: as stored.
        valid: which are.
        fraction: share of the whole site that is valid, per acquisition.
    """

    group: CubeGroup
    values: Int16[np.ndarray, "t y x band"]
    valid: Bool[np.ndarray, "t y x"]
    fraction: np.ndarray

    def physical(self, i: int) -> Float32[np.ndarray, "y x band"]:
        """One acquisition in physical units, NaN where invalid."""
        decoded = self.group.modality.decode(self.values[i])
        return np.where(self.valid[i][..., None], decoded, np.float32(np.nan))

    @property
    def compared(self) -> np.ndarray:
        """Indices of the usable acquisitions with enough of the sample valid."""
        return np.flatnonzero(self.group.usable & (self.valid.mean((1, 2)) >= MIN_VALID))


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found.

    Attributes:
        summary: plain JSON types.
        samples: by modality, for figures.
    """

    summary: dict[str, Any]
    samples: dict[str, Sample] = field(repr=False)


def check_cube(path: Path | str, progress: Progress | None = None) -> Checked:
    """Measure a cube and list what is suspicious.

    `summary["findings"]` are what is likely wrong (a band outside what land looks like, a determined shift between the
    sensors); `summary["modalities"][name]["suspicious"]` are dates to look at, which clouds alone bring about.

    Raises:
        DataError: not a finished cube, or damaged.
    """
    cube = open_cube(path)
    report = progress or (lambda what, done, total: None)
    samples, modalities = {}, {}
    for k, name in enumerate(cube):
        samples[name] = take_sample(cube[name])
        modalities[name] = _modality(samples[name])
        report("check", k + 1, len(cube.groups))
    pairs = [_align(samples["s2"], samples[n]) for n in samples if n != "s2"] if "s2" in samples else []
    alignment = [a for a in pairs if a]
    findings = [f"{n}: {b['band']}: {b['finding']}" for n, m in modalities.items() for b in m["bands"] if b["finding"]]
    findings += [f"{a['between']}: {a['finding']}" for a in alignment if a["finding"]]
    return Checked(
        summary={
            "cube": str(path),
            "site": cube.site,
            "simulated": bool(cube.provenance.get("simulated")),
            "accepted": list(cube.provenance.get("accepted", [])),
            "crs": _grid_text(cube),
            "modalities": modalities,
            "alignment": alignment,
            "findings": findings,
        },
        samples=samples,
    )


def nothing_found(summary: dict[str, Any]) -> bool:
    """Whether there is no finding; suspicious dates are none."""
    return not summary["findings"]


def take_sample(group: CubeGroup) -> Sample:
    """The square from the middle of the site that fits SAMPLE_BYTES, at all times."""
    per_pixel = 2 * len(group) * len(group.modality.bands)
    size = int(np.clip(np.sqrt(SAMPLE_BYTES / per_pixel), LEAST_PX, MOST_PX))
    rows, cols = (_middle(n, size) for n in (group.grid.height, group.grid.width))
    values, valid = group.read(None, rows, cols)
    return Sample(group=group, values=values, valid=valid, fraction=group.valid_fraction())


def _middle(length: int, size: int) -> slice:
    start = max(0, (length - size) // 2)
    return slice(start, min(length, start + size))


def _grid_text(cube: Cube) -> str:
    return max((g.grid for g in cube.groups.values()), key=lambda g: g.height * g.width).text


def _modality(sample: Sample) -> dict[str, Any]:
    group, used = sample.group, np.flatnonzero(sample.group.usable)
    days = group.day
    deviations = dict(_deviations(sample))
    return {
        "unit": group.modality.unit,
        "level": group.modality.level,
        "calibration": group.modality.calibration,
        "speckle_filter": group.modality.speckle_filter,
        "acquisitions": len(group),
        "usable": int(group.usable.sum()),
        "first": str(to_date(days[0])),
        "last": str(to_date(days[-1])),
        "longest_gap_days": int(np.diff(days[used]).max()) if len(used) > 1 else 0,
        "sample_px": list(sample.valid.shape[1:]),
        "valid_fraction": {str(to_date(d)): round(float(f), 4) for d, f in zip(days, sample.fraction, strict=True)},
        "pixels": group.attributes.get("pixels"),
        "clouds": group.attributes.get("clouds"),
        "bands": [_band(sample, k) for k in range(len(group.modality.bands))],
        "suspicious": _suspicious(sample, deviations),
    }


def _band(sample: Sample, k: int) -> dict[str, Any]:
    band, modality = sample.group.modality.bands[k], sample.group.modality
    chosen = sample.group.usable[:, None, None] & sample.valid
    stored = sample.values[..., k][chosen]
    unit = modality.units[band.name]
    found: dict[str, Any] = {
        "band": band.name,
        "unit": unit,
        "quantiles": None,
        "expected_median": None,
        "finding": None,
    }
    if not stored.size:
        return found | {"finding": "no valid pixel in the sample"}
    quantiles = [round(float(q * band.scale + band.offset), 5) for q in np.quantile(stored, QUANTILES)]
    found["quantiles"] = dict(zip(("q01", "q05", "median", "q95", "q99"), quantiles, strict=True))
    span = expected.LAND.get(unit, {}).get(band.name)
    if span:
        found["expected_median"] = list(span)
        if not span[0] <= quantiles[2] <= span[1]:
            found["finding"] = f"median {quantiles[2]:g} {unit}, expected {span[0]:g} to {span[1]:g} over land"
    if quantiles[0] == quantiles[-1]:
        found["finding"] = f"the value {quantiles[2]:g} nearly everywhere; expected an image"
    return found


def _deviations(sample: Sample) -> Iterator[tuple[int, dict[str, Any]]]:
    """(index, how the acquisition differs from its neighbours in time): medians per band, correlation."""
    group, compared = sample.group, sample.compared
    radar = group.modality.unit == "dB"
    orbits = [a.orbit if radar else None for a in group.acquisitions]
    for i in compared:
        same = [j for j in compared if orbits[j] == orbits[i] and j != i]
        near = [j for j in same if j < i][-NEIGHBOURS:] + [j for j in same if j > i][:NEIGHBOURS]
        if len(near) < 2:
            continue
        own, others = sample.physical(i), np.stack([sample.physical(j) for j in near])
        known = np.isfinite(own[..., 0]) & (np.isfinite(others[..., 0]).sum(0) >= 2)
        if known.sum() < max(16, 0.05 * known.size):
            continue
        reference = np.nanmedian(others[:, known], axis=0)
        change = np.median(own[known] - reference, axis=0)
        by_band = [_correlation(own[known][:, k], reference[:, k]) for k in range(own.shape[-1])]
        filled = np.full_like(own, np.nan)
        filled[known] = reference
        yield int(i), {"change": change, "correlation": float(np.median(by_band)), "reference": filled}


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0


def _suspicious(sample: Sample, deviations: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """Dates that lie far from their neighbours, with the likely reason."""
    modality = sample.group.modality
    step = expected.STEP.get(modality.unit)
    if not deviations or step is None:
        return []
    changes = np.stack([d["change"] for d in deviations.values()])
    middle = np.median(changes, axis=0)
    sigma = np.maximum(1.4826 * np.median(np.abs(changes - middle), axis=0), step / SIGMA_FLOOR)
    found = []
    for i, d in deviations.items():
        reasons = _reasons(sample, i, d, np.abs(d["change"] - middle) / sigma, step)
        if reasons:
            acquisition = sample.group.acquisitions[i]
            found.append(
                {
                    "date": str(to_date(sample.group.day[i])),
                    "orbit": acquisition.orbit,
                    "valid": round(float(sample.fraction[i]), 4),
                    "change": dict(zip(modality.band_names, (round(float(c), 4) for c in d["change"]), strict=True)),
                    "correlation": round(d["correlation"], 3),
                    "reasons": reasons,
                }
            )
    return found


def _reasons(sample: Sample, i: int, d: dict[str, Any], sigmas: np.ndarray, step: float) -> list[str]:
    modality = sample.group.modality
    change = dict(zip(modality.band_names, d["change"], strict=True))
    reasons = []
    if modality.unit == "reflectance":
        blue = change.get("B02", change.get("B01"))
        infrared = change.get("B12", change.get("B11"))
        every = list(change.values())
        if min(every) >= expected.OFFSET[0] and max(every) <= expected.OFFSET[1]:
            reasons.append(
                f"every band is brighter by {min(every):.2f} to {max(every):.2f}: an offset left in, or cloud"
            )
        elif blue is not None and blue > expected.HAZE_BLUE and (infrared is None or infrared < blue):
            reasons.append(f"blue is {blue:.3f} above the dates around it: haze or missed cloud")
        elif max(every) < -step / 3 and min(every) < -step:
            reasons.append("every band is darker: shadow or smoke")
    if not reasons and ((sigmas > expected.SIGMAS) & (np.abs(d["change"]) > step)).any():
        k = int(np.argmax(sigmas))
        name = modality.band_names[k]
        reasons.append(
            f"{name} is {change[name]:+.3g} {modality.units[name]} off the dates around it, {sigmas[k]:.0f} times the "
            "spread"
        )
    if d["correlation"] < expected.LOW_CORRELATION and modality.unit == "reflectance":
        reasons.append(f"correlates with the dates around it by {d['correlation']:.2f} only: another place, or cloud")
    moved = _moved(sample, i, d)
    if moved > expected.MOVED_PX:
        reasons.append(f"lies {moved:.1f} px off the dates around it")
    return reasons


def _moved(sample: Sample, i: int, d: dict[str, Any]) -> float:
    """How far an optical image is shifted against its neighbours, pixels; 0 where that cannot be told."""
    own = sample.physical(i)
    if sample.group.modality.unit != "reflectance" or min(own.shape[:2]) < MIN_SIDE_PX or sample.valid[i].mean() < 0.9:
        return 0.0
    k = own.shape[-1] // 2
    if d["correlation"] > 0.8:  # a shifted image of fields correlates less
        return 0.0
    return float(np.hypot(*shift_between(d["reference"][..., k], own[..., k])))


def _align(optical: Sample, other: Sample) -> dict[str, Any] | None:
    """The shift between the optical images and another sensor's, averaged against speckle by orbit; None if unfit."""
    if other.group.modality.unit != "dB" or min(other.valid.shape[1:]) < MIN_SIDE_PX:
        return None
    if optical.group.grid != other.group.grid:
        return None
    order = np.argsort(-optical.valid.mean((1, 2)))[:CLEAREST]
    clear = [int(i) for i in order if optical.valid[i].mean() > 0.8 and optical.group.usable[i]]
    if len(clear) < 3:
        return None
    names = optical.group.modality.band_names
    k = next((names.index(b) for b in ("B11", "B08", "B04") if b in names), 0)
    images = [optical.physical(i)[..., k] for i in clear]
    orbits = sorted({a.orbit or "" for a in other.group.acquisitions})
    radar = []
    for orbit in orbits:
        members = [i for i in other.compared if (other.group.acquisitions[i].orbit or "") == orbit]
        for part in np.array_split(members, max(1, min(4, len(members) // 10))):
            if len(part) >= 5:
                radar.append(np.nanmean([other.physical(i)[..., 0] for i in part], axis=0))
    if not radar:
        return None
    shift = compare(images, radar)
    gsd_m = optical.group.grid.transform[0]
    return {
        "between": f"{optical.group.modality.name} {names[k]} and {other.group.modality.name}",
        "rows_px": shift.rows,
        "cols_px": shift.cols,
        "metres": round(shift.length_px * gsd_m, 1),
        "spread_metres": round(shift.spread_px * gsd_m, 1),
        "agreeing": shift.agreeing,
        "pairs": shift.pairs,
        "determined": shift.determined,
        "finding": _alignment_finding(shift, gsd_m),
    }


def _alignment_finding(shift: Shift, gsd_m: float) -> str | None:
    metres = shift.length_px * gsd_m
    if shift.determined and metres > MOVED_METRES:
        return f"shifted by {metres:.0f} m, with a spread of {shift.spread_px * gsd_m:.0f} m over {shift.pairs} pairs"
    return None


def format_check(summary: dict[str, Any]) -> str:
    """For people: a table per modality, then what was found."""
    lines = [f"{summary['cube']}: site {summary['site']}, {summary['crs']}"]
    for name, m in summary["modalities"].items():
        lines += [
            "",
            f"{name} ({m['level']}, {m['calibration']}): {m['usable']} of {m['acquisitions']} acquisitions usable, "
            f"{m['first']} to {m['last']}, longest gap {m['longest_gap_days']} days",
            f"  {'band':22}{'1 %':>10}{'median':>10}{'99 %':>10}  expected median",
        ]
        for b in m["bands"]:
            q, span = b["quantiles"], b["expected_median"]
            numbers = f"{q['q01']:10.4g}{q['median']:10.4g}{q['q99']:10.4g}" if q else f"{'-':>10}{'-':>10}{'-':>10}"
            wanted = f"{span[0]:g} to {span[1]:g}" if span else "-"
            lines.append(f"  {b['band']:22}{numbers}  {wanted}{'   <-- ' + b['finding'] if b['finding'] else ''}")
        if m["pixels"]:
            lines.append(f"  pixel-dates: {pixel_words(m['pixels'])}")
        if m["suspicious"]:
            lines.append(f"  {len(m['suspicious'])} dates to look at:")
            lines += [f"    {s['date']}: {'; '.join(s['reasons'])}" for s in m["suspicious"]]
    for a in summary["alignment"]:
        lines += ["", f"alignment of {alignment_words(a)}"]
    lines += ["", f"findings: {len(summary['findings'])}"] + [f"  {f}" for f in summary["findings"]]
    return "\n".join(lines)


def pixel_words(pixels: dict[str, int]) -> str:
    """Why pixel-dates are invalid, as shares."""
    total = max(sum(pixels.values()), 1)
    return ", ".join(f"{reason.replace('_', ' ')} {count / total:.1%}" for reason, count in pixels.items())


def alignment_words(a: dict[str, Any]) -> str:
    """A sentence on how well two sensors lie on each other."""
    agreeing = f"{a['agreeing']:.0%} of them within a pixel of their median"
    if not a["determined"]:
        return (
            f"{a['between']}: not determined; {a['pairs']} pairs of images give shifts that scatter by "
            f"{a['spread_metres']:.0f} m, {agreeing}"
        )
    return (
        f"{a['between']}: shift {a['rows_px']:+.1f} rows, {a['cols_px']:+.1f} columns ({a['metres']:.0f} m), spread "
        f"{a['spread_metres']:.0f} m over {a['pairs']} pairs of images, {agreeing}"
    )
