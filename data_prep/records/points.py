"""Series of points and parcels to a record set: a record is one pixel, or a small field with what is not of it masked.

Such records have no margin: `reading` says what an encoder that sees neighbours may take for them.
"""

import csv
import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_prep.cubes.checks import check_accept, check_spectra
from data_prep.records.build import is_complete, unfinished
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
from eomm.store.fields import Json

USABLE = 0.03  # of the field's pixels valid, as of a site in a cube
TABLE = "series.csv"


@dataclass(frozen=True, kw_only=True)
class PointOptions:
    """How records are made of series: the options of `prepare points`. Raises UsageError where a choice cannot be.

    Attributes:
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
    """

    modality: Modality = SENTINEL2
    reading: str = "lone"
    acquisitions: int | None = None
    min_dates: int = 4
    fractions: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    source: str = ""
    simulated: bool = False
    accept: Sequence[str] = ()
    shard_records: int = 4096

    def __post_init__(self) -> None:
        check_accept(self.accept)
        if self.reading not in READINGS[1:] or self.shard_records < 1 or (self.acquisitions or 1) < 1:
            raise UsageError(
                f"points: reading {self.reading!r}, {self.acquisitions} acquisitions, {self.shard_records} records a "
                f"shard; expected {' or '.join(READINGS[1:])}, and numbers from 1"
            )

    @property
    def label(self) -> str:
        """Where the series come from, for messages."""
        return self.source or "points"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The usable dates of a series, as records have them.

    Attributes:
        day: [t] days since 1970-01-01.
        values: [t, y, x, band] as stored.
        valid: [t, y, x].
        orbit: [t], 0 unknown.
    """

    day: np.ndarray
    values: np.ndarray
    valid: np.ndarray
    orbit: np.ndarray


def build_point_records(
    out: Path | str,
    series: Sequence[PointSeries],
    options: PointOptions = PointOptions(),
    *,
    overwrite: bool = False,
) -> Path:
    """Write the records of a training set from series; the order of `series` does not matter.

    Only dates with at least 3 % of a series' pixels valid are kept. Direction and incidence are unknown (0), and so is
    the orbit where series have none.
    Where series have labels, records carry them as numbers: places in the sorted names of the manifest's `labels`.
    `series.csv` in the set tells which series has which number, by which records name it (`row`; `col` is the first
    date's number). A set that is complete and of the same request is kept.

    Args:
        out: directory of the record set.
        series: what to write.
        options: how.
        overwrite: replace an existing set of another request.

    Raises:
        UsageError: no series; a group in two splits; `out` is another set; an unknown split.
        ContractError: values are not what the modality says.
        DataError: two series of a name in a group; no series has `min_dates` dates.
    """
    out, modality = Path(out).absolute(), options.modality
    if not series:
        raise UsageError(f"{options.label}: no series given; expected some")
    series = sorted(series, key=lambda s: (s.group, s.id))
    split_of = _splits(series, options)
    head = _head(series, split_of, options)
    asked = [head, modality.to_dict(), options.shard_records, sorted(options.accept), options.source]
    request = digest([VERSION, [*asked, [_content(s) for s in series]]])
    if is_complete(out, request, overwrite=overwrite):
        return out
    checked = check_values(series, modality, label=options.label, accept=options.accept)
    stored = [_stored(s, modality) for s in series]
    kept = [i for i, one in enumerate(stored) if len(one.day) >= options.min_dates]
    if not kept:
        few = f"none of {len(series)} series has {options.min_dates} dates; lower min_dates"
        raise DataError(f"{options.label}: {few}")
    labels = sorted({s.label for s in series if s.label})
    shape = _shape([stored[i] for i in kept], options, labelled=bool(labels))
    with unfinished(out, request) as folder:
        writer = _Writer(folder, shape, options.shard_records)
        for split in SPLITS:
            chosen = [i for i in kept if split_of[series[i].group] == split]
            places = [(i, a) for i in chosen for a in _runs(len(stored[i].day), shape.acquisitions)]
            writer.write(split, places, lambda i, a: _patch(series[i], i, a, stored[i], shape, labels))
        manifest = {
            **_manifest(head, series, kept, split_of, writer),
            **({"labels": _count_labels(series, labels, split_of, writer.records)} if labels else {}),
            "checked": checked,
            "accepted": sorted(options.accept),
            "sources": _describe_sources(series, options),
            "request": request,
        }
        _write_table(folder / TABLE, series, split_of, writer.records)
        finish_records(folder, shapes=writer.shapes, files=writer.files, manifest=manifest)
    return out


class _Writer:
    """Writes records to shards, and counts: `files` as of the manifest, `records` of each series, `statistics`."""

    def __init__(self, folder: Path, shape: PatchShape, shard_records: int):
        self.folder, self.shard_records, self.shapes = folder, shard_records, {shape.modality.name: shape}
        self.files: list[Json] = []
        self.records = Counter[int]()
        self.statistics = Statistics({shape.modality.name: shape.modality})

    def write(self, split: str, places: Sequence[tuple[int, int]], patch: Callable[[int, int], Patch]) -> None:
        """The records of a split: `patch` of (number of the series, its first date) of every place."""
        self.records.update(i for i, _ in places)
        for k in range(count := -(-len(places) // self.shard_records)):
            part = places[k * self.shard_records : (k + 1) * self.shard_records]
            patches = [patch(i, a) for i, a in part]
            name = shard_name(split, k, count)
            self.files.append({"name": name, "split": split, **write_file(self.folder / name, self.shapes, patches)})
            for one in patches if split == "train" else ():
                self.statistics.add(one)


def _manifest(
    head: Json, series: Sequence[PointSeries], kept: Sequence[int], split_of: Mapping[str, str], writer: _Writer
) -> Json:
    """What was written of the series that were kept, with how many of each split were not."""
    skipped = Counter(split_of[s.group] for s in series) - Counter(split_of[series[i].group] for i in kept)
    records = Counter[str]()
    for file in writer.files:
        records[file["split"]] += file["records"]
    (shape,) = writer.shapes.values()
    rule = f"series with at least {head['crop']['min_dates']} usable dates"
    return {
        **head,
        "crop": {**head["crop"], "acquisitions": shape.acquisitions, "rule": rule},
        "counts": {s: {"records": records[s], "skipped": skipped[s]} for s in sorted(set(split_of.values()))},
        "balance": describe_balance(writer.files, head["strata"]),
        "statistics": writer.statistics.to_dict(),
    }


def _head(series: Sequence[PointSeries], split_of: Mapping[str, str], options: PointOptions) -> Json:
    """What of the manifest is known before anything is read."""
    return {
        "simulated": options.simulated,
        "seed": options.seed,
        "reading": options.reading,
        "shuffle": PERMUTATION,
        "split": _describe_split(series, split_of, options.fractions),
        "crop": {
            "reference": options.modality.name,
            "acquisitions": options.acquisitions,
            "min_dates": options.min_dates,
        },
        "strata": _strata(series),
    }


def _shape(stored: Sequence[Stored], options: PointOptions, *, labelled: bool) -> PatchShape:
    """The least that all series fit, or as many dates as were asked for."""
    length = options.acquisitions or max(len(one.day) for one in stored)
    height, width = (max(one.valid.shape[axis] for one in stored) for axis in (1, 2))
    size = {"acquisitions": length, "height": height, "width": width}
    return PatchShape(modality=options.modality, labelled=labelled, **size)


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
    scaled = "expected 0 to 1.6: correct `scale` of the mapping (usually 1e-4), or accept 'scale'"
    lifted = (
        f"and the darkest band of the darkest 1 % is {dark:.3f}; expected below 0.09: is the +1000 offset of "
        "Sentinel-2 left in (`offset` = -0.1)? Correct the mapping, or accept 'offset'"
    )
    odd = {"scale": (middle > 2 or 0 < high < 5e-4, f"; {scaled}"), "offset": (dark > 0.09, f", {lifted}")}
    for check, (wrong, words) in odd.items():
        if wrong and check not in accept:
            raise ContractError(found + words)
    if set(SENTINEL2.band_names) <= set(modality.band_names):
        return check_spectra(clear, names=modality.band_names, label=label, accept=accept)
    return "band order: not checked (other bands)"


def _splits(series: Sequence[PointSeries], options: PointOptions) -> dict[str, str]:
    """Group -> split: as series name it, or else drawn."""
    if not any(s.split for s in series):
        return draw_groups(sorted({s.group for s in series}), options.fractions, options.seed)
    found: dict[str, str] = {}
    for s in series:
        if found.setdefault(s.group, s.split) != s.split or s.split not in SPLITS or options.fractions:
            raise UsageError(
                f"points: group {s.group!r} has the splits {sorted({found[s.group], s.split})}, fractions are "
                f"{dict(options.fractions)}; expected one of {', '.join(SPLITS)} for every group, or fractions and no "
                "split"
            )
    return found


def _strata(series: Sequence[PointSeries]) -> dict[str, str]:
    found: dict[str, str] = {}
    for s in series:
        if found.setdefault(s.group, s.stratum) != s.stratum:
            both = f"{found[s.group]!r} and {s.stratum!r}"
            raise UsageError(f"points: group {s.group!r} has the strata {both}; expected one")
    return found if any(found.values()) else {}


def _stored(s: PointSeries, modality: Modality) -> Stored:
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
    orbit = np.zeros(len(s.day), np.int32) if s.orbit is None else s.orbit.astype(np.int32)
    day = s.day[usable].astype(np.int32)
    return Stored(day=day, values=values[usable], valid=valid[usable], orbit=orbit[usable])


def _runs(dates: int, length: int) -> list[int]:
    return starts(0, dates, min(length, dates), max(1, length // 2))


def _patch(s: PointSeries, number: int, first: int, stored: Stored, shape: PatchShape, labels: Sequence[str]) -> Patch:
    run = slice(first, first + shape.acquisitions)
    day, valid = stored.day[run], stored.valid[run]
    fields: dict[str, np.ndarray] = {name: np.zeros(dims, dtype) for name, (dims, dtype) in shape.fields().items()}
    t, y, x = valid.shape
    fields["values"][:t, :y, :x], fields["valid"][:t, :y, :x] = stored.values[run], valid
    fields["day"][:], fields["present"][:t] = day[-1], 1
    fields["day"][:t], fields["orbit"][:t] = day, stored.orbit[run]
    if shape.labelled:
        fields["label"][...] = labels.index(s.label) if s.label else -1
    return {shape.modality.name: fields, "site": s.group, "row": number, "col": first}


def _content(s: PointSeries) -> str:
    described = (s.id, s.group, s.split, s.stratum, s.place, s.values.shape, str(s.values.dtype))
    orbit = () if s.orbit is None else (s.orbit,)
    arrays = (("", a) for a in (s.day, s.values, s.valid.astype(np.uint8), *orbit))
    return digest_text(repr(described + ((s.label,) if s.label else ())), arrays)


def _describe_split(series: Sequence[PointSeries], split_of: Mapping[str, str], fractions: Mapping[str, float]) -> Json:
    places = _places(series)
    sites = {split: sorted(g for g, own in split_of.items() if own == split) for split in SPLITS}
    return {
        "rule": "fractions of groups" if fractions else "groups",
        "sites": {split: groups for split, groups in sites.items() if groups},
        "fractions": dict(fractions),
        "least_distance_m": least_distance(places, {g: split_of[g] for g in split_of if g in places}),
        "sites_without_position": sorted(set(split_of) - set(places)),
        "hold_out_days": [],
        "blocks": {},
    }


def _describe_sources(series: Sequence[PointSeries], options: PointOptions) -> list[Json]:
    counts, places = Counter(s.group for s in series), _places(series)
    about = {"name": options.source, "simulated": options.simulated}
    return [
        {**about, "site": g, "series": n, "place": dataclasses.asdict(places[g]) if g in places else None}
        for g, n in sorted(counts.items())
    ]


def _places(series: Sequence[PointSeries]) -> dict[str, Extent]:
    """Where groups lie: where the last of their series does."""
    return {s.group: Extent(lon=s.place[0], lat=s.place[1], radius_m=0.0) for s in series if s.place}


def _count_labels(
    series: Sequence[PointSeries], labels: Sequence[str], split_of: Mapping[str, str], records: Mapping[int, int]
) -> dict[str, int]:
    """Label -> training records that carry it, sorted by label."""
    found = dict.fromkeys(labels, 0)
    for i, s in enumerate(series):
        if s.label and split_of[s.group] == "train":
            found[s.label] += records[i]
    return found


def _write_table(
    path: Path, series: Sequence[PointSeries], split_of: Mapping[str, str], records: Mapping[int, int]
) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["number", "id", "group", "split", "stratum", "dates", "records"])
        for i, s in enumerate(series):
            rows.writerow([i, s.id, s.group, split_of[s.group], s.stratum, len(s.day), records[i]])
