"""Series of points and parcels to a record set: a record is one pixel, or a small field with what is not of it masked.

Such records have no margin: `reading` says what an encoder that sees neighbours may take for them.
"""

import csv
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.cubes.checks import check_accept, check_spectra
from data_prep.records.build import is_whole, unfinished
from data_prep.records.cut import starts
from data_prep.records.manifest import describe_balance
from data_prep.records.shards import Statistics, write_file
from data_prep.records.split import SPLITS, Extent, draw_groups, least_distance
from eomm.data.modality import SENTINEL2, Modality
from eomm.data.order import PERMUTATION
from eomm.data.points import PointSeries
from eomm.data.records import READINGS, VERSION, Patch, PatchShape, finish_records, shard_name
from eomm.errors import ContractError, DataError, UsageError
from eomm.store.digest import digest, digest_text
from eomm.store.folders import check_free, recover
from eomm.store.notes import FOLDER

USABLE = 0.03  # of the field's pixels valid, as of a site in a cube
TABLE = "series.csv"


def build_point_records(
    out: Path | str,
    series: Sequence[PointSeries],
    *,
    modality: Modality = SENTINEL2,
    reading: str = "lone",
    acquisitions: int | None = None,
    min_dates: int = 4,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    source: str = "",
    simulated: bool = False,
    accept: Collection[str] = (),
    shard_records: int = 4096,
    overwrite: bool = False,
) -> Path:
    """Write the records of a training set from series; the order of `series` does not matter.

    Only dates with at least 3 % of a series' pixels valid are kept. Orbit, direction and incidence are unknown (0).
    Where series have labels, records carry them as numbers: places in the sorted names of the manifest's `labels`.
    `series.csv` in the set tells which series has which number, by which records name it (`row`; `col` is the first
    date's number). A set that is complete and of the same request is kept.

    Args:
        out: directory of the record set.
        series: what to write.
        modality: contract of the values.
        reading: "lone": nothing is known beside the pixels; "homogeneous": the pixels beside are like the nearest.
        acquisitions: dates of a record; series longer than that become several records, half of one apart, and
            shorter ones are padded. The longest series' where None.
        min_dates: series with fewer are left out, and counted.
        fractions: split other than train -> share of the groups, drawn by `seed`; only where no series names a split.
        seed: of what is drawn.
        source: where the series come from, for the manifest.
        simulated: whether they were simulated.
        accept: checks to overrule (`data_prep.cubes.checks.CHECKS`): scale, offset, band_order.
        shard_records: at most so many records in a file.
        overwrite: replace an existing set of another request.

    Raises:
        UsageError: no series; a group in two splits; `out` is another set; an unknown reading, split or check.
        ContractError: values are not what the modality says.
        DataError: two series of a name in a group; no series has `min_dates` dates.
    """
    out, fractions = Path(out).absolute(), dict(fractions or {})
    check_accept(accept)
    if reading not in READINGS[1:] or not series or shard_records < 1 or (acquisitions or 1) < 1:
        raise UsageError(
            f"points: {len(series)} series, reading {reading!r}, {acquisitions} acquisitions, {shard_records} records "
            f"a shard; expected some series, {' or '.join(READINGS[1:])}, and numbers from 1"
        )
    series = sorted(series, key=lambda s: (s.group, s.id))
    split_of = _splits(series, fractions, seed)
    strata, labels = _strata(series), sorted({s.label for s in series if s.label})
    head: dict[str, Any] = {
        "simulated": simulated,
        "seed": seed,
        "reading": reading,
        "shuffle": PERMUTATION,
        "split": _describe_split(series, split_of, fractions),
        "crop": {"reference": modality.name, "acquisitions": acquisitions, "min_dates": min_dates},
        "strata": strata,
    }
    options = [head, modality.to_dict(), shard_records, sorted(accept), source]
    request = digest([VERSION, [*options, [_content(s) for s in series]]])
    recover(out)
    if is_whole(out, request):
        return out
    check_free(out, overwrite=overwrite, kind="records")
    checked = check_values(series, modality, label=source or "points", accept=accept)
    stored = [_stored(s, modality) for s in series]
    kept = [i for i, (day, _, _) in enumerate(stored) if len(day) >= min_dates]
    if not kept:
        raise DataError(f"{source or 'points'}: none of {len(series)} series has {min_dates} dates; lower min_dates")
    length = acquisitions or max(len(stored[i][0]) for i in kept)
    height, width = (max(stored[i][1].shape[axis] for i in kept) for axis in (1, 2))
    size = {"acquisitions": length, "height": height, "width": width, "labelled": bool(labels)}
    shapes = {modality.name: PatchShape(modality=modality, **size)}
    statistics = Statistics({modality.name: modality})
    with unfinished(out, request) as folder:
        files: list[dict[str, Any]] = []
        numbers = Counter[int]()
        for split in SPLITS:
            chosen = [i for i in kept if split_of[series[i].group] == split]
            places = [(i, a) for i in chosen for a in _runs(len(stored[i][0]), length)]
            numbers.update(i for i, _ in places)
            for k in range(count := -(-len(places) // shard_records)):
                part = places[k * shard_records : (k + 1) * shard_records]
                patches = [_patch(series[i], i, a, stored[i], shapes[modality.name], labels) for i, a in part]
                file = write_file(folder / shard_name(split, k, count), shapes, patches)
                files.append({"name": shard_name(split, k, count), "split": split, **file})
                for patch in patches if split == "train" else ():
                    statistics.add(patch)
        skipped = Counter(split_of[s.group] for s in series) - Counter(split_of[series[i].group] for i in kept)
        manifest = {
            **head,
            "crop": {**head["crop"], "acquisitions": length, "rule": f"series with at least {min_dates} usable dates"},
            "counts": {s: {"records": _count(files, s), "skipped": skipped[s]} for s in sorted(set(split_of.values()))},
            "balance": describe_balance(files, strata),
            **({"labels": _count_labels(series, labels, split_of, numbers)} if labels else {}),
            "statistics": statistics.to_dict(),
            "checked": checked,
            "accepted": sorted(accept),
            "sources": _describe_sources(series, source, simulated),
            "request": request,
        }
        _write_table(folder / TABLE, series, split_of, numbers)
        shutil.rmtree(folder / FOLDER)
        finish_records(folder, shapes=shapes, files=files, manifest=manifest)
    return out


def check_values(
    series: Sequence[PointSeries], modality: Modality, *, label: str, accept: Collection[str]
) -> str | None:
    """Raise ContractError where reflectances look like something else; what was checked, or None for other units."""
    if modality.unit != "reflectance":
        return None
    clear = np.concatenate([s.values[s.valid.astype(bool)] for s in series])
    clear = clear[np.isfinite(clear).all(1)]
    if not len(clear):
        raise DataError(f"{label}: no valid value in {len(series)} series; correct the mapping's valid column or fill")
    middle, high = (float(v) for v in np.quantile(clear, [0.5, 0.99]))
    dark = float(np.quantile(clear.min(1), 0.01))
    found = f"{label}: reflectances have the median {middle:.4g}, 99 % are below {high:.4g}"
    if "scale" not in accept and (middle > 2 or 0 < high < 5e-4):
        raise ContractError(
            f"{found}; expected 0 to 1.6: correct `scale` of the mapping (usually 1e-4), or accept 'scale'"
        )
    if "offset" not in accept and dark > 0.09:
        raise ContractError(
            f"{found}, and the darkest band of the darkest 1 % is {dark:.3f}; expected below 0.09: is the +1000 offset "
            "of Sentinel-2 left in (`offset` = -0.1)? Correct the mapping, or accept 'offset'"
        )
    if set(SENTINEL2.band_names) <= set(modality.band_names):
        return check_spectra(clear, names=modality.band_names, label=label, accept=accept)
    return "band order: not checked (other bands)"


def _splits(series: Sequence[PointSeries], fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """Group -> split: as series name it, or else drawn."""
    named: dict[str, set[str]] = {}
    for s in series:
        named.setdefault(s.group, set()).add(s.split)
    if {x for v in named.values() for x in v} == {""}:
        return draw_groups(sorted(named), fractions, seed)
    wrong = {g: v for g, v in named.items() if len(v) > 1 or not v <= set(SPLITS)}
    if wrong or fractions:
        group = next(iter(wrong), "")
        raise UsageError(
            f"points: group {group!r} has the splits {sorted(wrong.get(group, ()))}, fractions are {dict(fractions)}; "
            f"expected one of {', '.join(SPLITS)} for every group, or fractions and no split"
        )
    return {g: next(iter(v)) for g, v in named.items()}


def _strata(series: Sequence[PointSeries]) -> dict[str, str]:
    found: dict[str, str] = {}
    for s in series:
        if found.setdefault(s.group, s.stratum) != s.stratum:
            both = f"{found[s.group]!r} and {s.stratum!r}"
            raise UsageError(f"points: group {s.group!r} has the strata {both}; expected one")
    return found if any(found.values()) else {}


def _stored(s: PointSeries, modality: Modality) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(days, values as stored [t, y, x, band], valid [t, y, x]) of its usable dates."""
    if s.values.shape[-1] != len(modality.bands):
        raise ContractError(
            f"series {s.name}: {s.values.shape[-1]} bands, expected {' '.join(modality.band_names)}, those of modality "
            f"{modality.name!r}"
        )
    square = s.values if s.values.ndim == 4 else s.values[:, None, None]
    mask = s.valid.astype(bool).reshape(square.shape[:-1])
    values, valid = modality.encode(np.where(mask[..., None], square, np.nan).astype(np.float32))
    pixels = max(int(valid.any(0).sum()), 1)
    usable = valid.sum((1, 2)) >= max(USABLE * pixels, 1)
    return s.day[usable].astype(np.int32), values[usable], valid[usable]


def _runs(dates: int, length: int) -> list[int]:
    return starts(0, dates, min(length, dates), max(1, length // 2))


def _patch(
    s: PointSeries,
    number: int,
    first: int,
    stored: tuple[np.ndarray, np.ndarray, np.ndarray],
    shape: PatchShape,
    labels: Sequence[str],
) -> Patch:
    day, values, valid = (x[first : first + shape.acquisitions] for x in stored)
    fields: dict[str, np.ndarray] = {name: np.zeros(dims, dtype) for name, (dims, dtype) in shape.fields().items()}
    t, y, x = valid.shape
    fields["values"][:t, :y, :x], fields["valid"][:t, :y, :x] = values, valid
    fields["day"][:], fields["present"][:t] = day[-1], 1
    fields["day"][:t] = day
    if shape.labelled:
        fields["label"][...] = labels.index(s.label) if s.label else -1
    return {shape.modality.name: fields, "site": s.group, "row": number, "col": first}


def _content(s: PointSeries) -> str:
    described = (s.id, s.group, s.split, s.stratum, s.place, s.values.shape, str(s.values.dtype))
    arrays = (("", a) for a in (s.day, s.values, s.valid.astype(np.uint8)))
    return digest_text(repr(described + ((s.label,) if s.label else ())), arrays)


def _describe_split(
    series: Sequence[PointSeries], split_of: Mapping[str, str], fractions: Mapping[str, float]
) -> dict[str, Any]:
    places = {s.group: Extent(lon=s.place[0], lat=s.place[1], radius_m=0.0) for s in series if s.place}
    placed = {g: split for g, split in split_of.items() if g in places}
    sites = {split: sorted(g for g, own in split_of.items() if own == split) for split in SPLITS}
    return {
        "rule": "fractions of groups" if fractions else "groups",
        "sites": {split: groups for split, groups in sites.items() if groups},
        "fractions": dict(fractions),
        "least_distance_m": least_distance(places, placed),
        "sites_without_position": sorted(set(split_of) - set(places)),
        "hold_out_days": [],
        "blocks": {},
    }


def _describe_sources(series: Sequence[PointSeries], source: str, simulated: bool) -> list[dict[str, Any]]:
    counts = Counter(s.group for s in series)
    places = {s.group: {"lon": s.place[0], "lat": s.place[1], "radius_m": 0.0} for s in series if s.place}
    return [
        {"name": source, "site": g, "series": n, "simulated": simulated, "place": places.get(g)}
        for g, n in sorted(counts.items())
    ]


def _count_labels(
    series: Sequence[PointSeries], labels: Sequence[str], split_of: Mapping[str, str], records: Mapping[int, int]
) -> dict[str, int]:
    """Label -> training records that carry it, sorted by label."""
    found = dict.fromkeys(labels, 0)
    for i, s in enumerate(series):
        if s.label and split_of[s.group] == "train":
            found[s.label] += records[i]
    return found


def _count(files: Sequence[Mapping[str, Any]], split: str) -> int:
    return sum(f["records"] for f in files if f["split"] == split)


def _write_table(
    path: Path, series: Sequence[PointSeries], split_of: Mapping[str, str], records: Mapping[int, int]
) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["number", "id", "group", "split", "stratum", "dates", "records"])
        for i, s in enumerate(series):
            rows.writerow([i, s.id, s.group, split_of[s.group], s.stratum, len(s.day), records[i]])
