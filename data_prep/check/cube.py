"""What a finished cube looks like, in numbers: bands, dates, alignment, and what is suspicious. Draws nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.check import expected
from data_prep.check.alignment import Shift, compare
from data_prep.check.dates import suspicious_dates
from data_prep.check.sample import MIN_SIDE_PX, Sample, take_sample
from eomm.data.cube import open_cube
from eomm.data.grid import to_date
from eomm.store.fields import Json
from eomm.store.progress import NamedProgress

CLEAREST = 12  # optical dates that alignment is measured with
QUANTILES = (0.01, 0.05, 0.5, 0.95, 0.99)
MOVED_METRES = 20.0
"""Between sensors: a shift that is determined and longer than this is a finding."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found.

    Attributes:
        summary: plain JSON types.
        samples: by modality, for figures.
    """

    summary: Json
    samples: dict[str, Sample] = field(repr=False)


def check_cube(path: Path | str, progress: NamedProgress | None = None) -> Checked:
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
    alignment = _alignments(samples)
    findings = [f"{n}: {b['band']}: {b['finding']}" for n, m in modalities.items() for b in m["bands"] if b["finding"]]
    findings += [f"{a['between']}: {a['finding']}" for a in alignment if a["finding"]]
    return Checked(
        summary={
            "cube": str(path),
            "site": cube.site,
            "simulated": cube.simulated,
            "accepted": list(cube.provenance.get("accepted", [])),
            "crs": cube.grid.text,
            "modalities": modalities,
            "alignment": alignment,
            "findings": findings,
        },
        samples=samples,
    )


def _alignments(samples: Mapping[str, Sample]) -> list[Json]:
    """How the other sensors lie on the optical one, where that can be told."""
    pairs = [_align(samples["s2"], s) for n, s in samples.items() if n != "s2"] if "s2" in samples else []
    return [a for a in pairs if a]


def nothing_found(summary: Json) -> bool:
    """Whether there is no finding; suspicious dates are none."""
    return not summary["findings"]


def _modality(sample: Sample) -> Json:
    group, used = sample.group, np.flatnonzero(sample.group.usable)
    days = group.day
    labels = ["static"] if group.modality.static else [str(to_date(d)) for d in days]
    return {
        "unit": group.modality.unit,
        "level": group.modality.level,
        "calibration": group.modality.calibration,
        "speckle_filter": group.modality.speckle_filter,
        "acquisitions": len(group),
        "usable": int(group.usable.sum()),
        **dict(zip(("first", "last"), group.dates, strict=False)),
        "longest_gap_days": int(np.diff(days[used]).max()) if len(used) > 1 else 0,
        "sample_px": list(sample.valid.shape[1:]),
        "valid_fraction": {label: round(float(f), 4) for label, f in zip(labels, sample.fraction, strict=True)},
        "pixels": group.attributes.get("pixels"),
        "clouds": group.attributes.get("clouds"),
        "checks": group.attributes.get("checks", []),
        "bands": [_band(sample, k) for k in range(len(group.modality.bands))],
        "suspicious": suspicious_dates(sample),
    }


def _band(sample: Sample, k: int) -> Json:
    band, modality = sample.group.modality.bands[k], sample.group.modality
    chosen = sample.group.usable[:, None, None] & sample.valid
    stored = sample.values[..., k][chosen]
    unit = modality.units[band.name]
    found: Json = {
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


def _align(optical: Sample, other: Sample) -> Json | None:
    """The shift between the optical images and another sensor's, averaged against speckle by orbit; None if unfit."""
    if other.group.modality.unit != "dB" or min(other.valid.shape[1:]) < MIN_SIDE_PX:
        return None
    clear, radar = _clearest(optical), _averaged(other)
    if optical.group.grid != other.group.grid or len(clear) < 3 or not radar:
        return None
    names = optical.group.modality.band_names
    k = next((names.index(b) for b in ("B11", "B08", "B04") if b in names), 0)
    images = [optical.physical(i)[..., k] for i in clear]
    shift = compare(images, radar)
    gsd_m = optical.group.grid.gsd_m
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


def _clearest(sample: Sample) -> list[int]:
    """The clearest usable acquisitions, if they are clear."""
    share = sample.valid.mean((1, 2))
    return [int(i) for i in np.argsort(-share)[:CLEAREST] if share[i] > 0.8 and sample.group.usable[i]]


def _averaged(sample: Sample) -> list[np.ndarray]:
    """Means against speckle, of up to four parts of each orbit's acquisitions."""
    orbit_of = {i: sample.group.acquisitions[i].orbit or "" for i in sample.compared}
    found = []
    for orbit in sorted(set(orbit_of.values())):
        members = [i for i, own in orbit_of.items() if own == orbit]
        parts = np.array_split(members, max(1, min(4, len(members) // 10)))
        found += [np.nanmean([sample.physical(i)[..., 0] for i in part], axis=0) for part in parts if len(part) >= 5]
    return found


def _alignment_finding(shift: Shift, gsd_m: float) -> str | None:
    metres = shift.length_px * gsd_m
    if shift.determined and metres > MOVED_METRES:
        return f"shifted by {metres:.0f} m, with a spread of {shift.spread_px * gsd_m:.0f} m over {shift.pairs} pairs"
    return None
