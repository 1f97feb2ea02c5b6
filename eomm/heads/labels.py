"""Labelled pixels of embedding cubes as samples, in the groups and folds of `eomm evaluate probes`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float32, Int

from eomm.data.attributes import attributes_of
from eomm.data.grid import EPOCH, Grid, to_date
from eomm.embedding.blocks import blocks, days_of
from eomm.embedding.store import open_embedding
from eomm.errors import DataError, UsageError
from eomm.evaluation.folds import check_no_leak
from eomm.evaluation.labels import Labels, read_labels
from eomm.evaluation.probes.plan import ProbePlan
from eomm.evaluation.probes.rows import Rows, joint_classes, labelled, make_folds
from eomm.heads.options import LabelOptions
from eomm.heads.samples import Samples, joint_contract, told


@dataclass(frozen=True)
class LabelledStore:
    """An embedding cube, opened, and the labels on its grid."""

    path: Path
    data: xr.Dataset
    site: str
    labels: Labels


def labelled_store(path: Path, file: Path, options: LabelOptions) -> LabelledStore:
    """An embedding cube and its file of labels, read as the options say. Errors: `label_samples`."""
    data = open_embedding(path)
    about = attributes_of(data)
    names = ("column", "regression", "ignore", "classes", "min_pixels")
    reading: dict[str, Any] = {name: getattr(options, name) for name in names}
    found = read_labels(file, Grid.from_attributes(about), **reading)
    return LabelledStore(path, data, str(about.get("site", path.stem)), found)


def label_samples(
    embeddings: Sequence[Path], labels: Sequence[Path], options: LabelOptions, *, seed: int = 0
) -> Samples:
    """A row for each labelled pixel with a vector at each of some dates.

    Args:
        embeddings: stores.
        labels: a file for each.
        options: how they are read and held out.
        seed: of folds.

    Raises:
        ContractError: stores of different models, or simulated beside real.
        DataError: a file is damaged, or no labelled pixel has a vector.
        UsageError: options that do not fit, or too few groups.
    """
    if len(embeddings) != len(labels):
        raise UsageError(f"{len(embeddings)} embeddings and {len(labels)} files of labels; expected one for each")
    contract = joint_contract(embeddings, options.length)
    sites = [labelled_store(path, file, options) for path, file in zip(embeddings, labels, strict=True)]
    if len({s.site for s in sites}) < len(sites):
        raise UsageError("two embeddings are of one site; expected each site once")
    asked = {name: getattr(options, name) for name in ("groups", "block_px", "buffer_px", "folds")}
    plan = ProbePlan(**asked, seed=seed)
    known = joint_classes(sites)
    used = [days_for(s, options.dates) for s in sites]
    rows, x = with_vectors(labelled(sites, known, plan), sites, used, contract["length"])
    parts, buffer = make_folds(rows, plan)
    for fold in parts:
        check_no_leak(fold, groups={options.groups: rows.group}, buffer=buffer)
    return Samples(
        x=x,
        y=rows.y.astype(np.float64) if options.regression else rows.y,
        group=rows.group,
        rows=np.arange(len(x)),
        folds=parts,
        classes=known,
        target=options.target or options.column or labels[0].stem,
        unit=options.unit,
        thinned=True,
        contract=contract,
        about={
            "on": "labels",
            "labels": [f.name for f in labels],
            "stores": [told(s.path) for s in sites],
            "dates": sorted({str(to_date(d)) for own in used for d in own}),
            "rows": len(x),
            "held_out": f"{len(rows.names)} {options.groups} in {len(parts)} folds",
            "left_out": [f"{s.site}: {text}" for s in sites for text in s.labels.left_out],
        },
    )


def days_for(site: LabelledStore, dates: Sequence[date]) -> list[int]:
    """Days since 1970-01-01 whose vectors are used. Raises UsageError where the store lacks one."""
    day = days_of(site.data)
    if dates:
        wanted = [(d - EPOCH).days for d in dates]
        if lost := [str(to_date(d)) for d in wanted if d not in day]:
            have = ", ".join(str(to_date(d)) for d in day[:40])
            raise UsageError(f"{site.path}: has no vectors of {', '.join(lost)}; there are those of {have}")
        return wanted
    count = np.zeros(len(day), np.int64)
    for y, x in blocks(Grid.from_attributes(site.data.attrs)):
        known = site.labels.known[y, x]
        if known.any():
            count += site.data["valid"].isel(y=y, x=x).values[:, known].sum(1)
    return [int(day[np.argmax(count)])]


def with_vectors(
    rows: Rows, sites: Sequence[LabelledStore], days: Sequence[Sequence[int]], length: int
) -> tuple[Rows, Float32[np.ndarray, "n k"]]:
    """Rows that have a vector, once for every date, and the vectors. Raises DataError where none has one."""
    at, y, group, x = [], [], [], []
    for number, (site, own) in enumerate(zip(sites, days, strict=True)):
        mine = np.flatnonzero(rows.at[:, 0] == number)
        for index in np.flatnonzero(np.isin(days_of(site.data), own)):
            vectors, valid = vectors_at(site.data, int(index), rows.at[mine, 1:], length)
            kept = mine[valid]
            at.append(rows.at[kept])
            y.append(rows.y[kept])
            group.append(rows.group[kept])
            x.append(vectors[valid])
    found = Rows(np.concatenate(at), np.concatenate(y), np.concatenate(group), rows.names)
    if not len(found.at):
        raise DataError(f"{sites[0].path}: no labelled pixel has a vector at these dates; name others (--date)")
    return found.only(np.ones(len(found.at), bool)), np.concatenate(x)


def vectors_at(
    data: xr.Dataset, index: int, at: Int[np.ndarray, "n 2"], length: int
) -> tuple[Float32[np.ndarray, "n k"], Bool[np.ndarray, " n"]]:
    """Vectors of some pixels at one date, and where they are valid; only blocks that hold one are read."""
    out, valid = np.zeros((len(at), length), np.float32), np.zeros(len(at), bool)
    for y, x in blocks(Grid.from_attributes(data.attrs)):
        mine = (at[:, 0] >= y.start) & (at[:, 0] < y.stop) & (at[:, 1] >= x.start) & (at[:, 1] < x.stop)
        if not mine.any():
            continue
        part = data[["embedding", "valid"]].isel(time=index, y=y, x=x, feature=slice(length))
        row, col = at[mine, 0] - y.start, at[mine, 1] - x.start
        valid[mine] = part["valid"].values[row, col].astype(bool)
        out[mine] = part["embedding"].values[row, col]
    return np.where(valid[:, None], out, 0).astype(np.float32), valid
