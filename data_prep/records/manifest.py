"""What the manifest of a record set says of its making: split, blocks, buffers, crops, sources."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.records.crops import CropConfig
from data_prep.records.split import SPLITS, Part, SplitConfig, extents, least_distance
from eomm.data.cube import Cube
from eomm.data.grid import to_date
from eomm.store.digest import digest
from eomm.store.fields import Json


def content_of(cube: Cube) -> str:
    """16 hex digits that stand for every acquisition of a cube, and its contracts."""
    parts = {
        name: [g.modality.contract_hash, g.grid.attributes(), g.day.tolist(), g.digests]
        for name, g in cube.groups.items()
    }
    return digest(parts)


def describe_crops(config: CropConfig) -> Json:
    """How records were cut, with the rule by which some were skipped."""
    pixels, acquisitions = config.strides
    rule = (
        f"a record is kept when at least {config.min_clear} of its {config.reference} acquisitions have at least "
        f"{config.clear_fraction:g} of the crop valid"
    )
    strides = {"stride_px": pixels, "stride_acquisitions": acquisitions}
    windows = {"window": list(config.window), "windows": {n: list(w) for n, w in config.windows.items()}}
    fields = dataclasses.asdict(config)
    del fields["shard_records"]  # the files tell
    if not config.margin_px:  # as sets were described before there were margins
        fields = {k: v for k, v in fields.items() if k not in ("margin_px", "draw_px", "draw_acquisitions")}
    return {**fields, **strides, **windows, "rule": rule}


def describe_split(
    split: SplitConfig,
    cubes: Sequence[Cube],
    split_of: Mapping[str, str],
    shares: Sequence[Sequence[Part]],
    config: CropConfig,
) -> Json:
    """The manifest's account of the split: rule, sites, buffers, held-out days, and block ranges per site."""
    blocks = _blocks(cubes, shares, config.reference) if split.divides_sites else {}
    return {
        "rule": split.rule,
        "sites": _sites(split, split_of),
        "uncut": list(split.uncut),
        "fractions": dict(split.fractions),
        "site_buffer_m": split.site_buffer_m,
        "least_distance_m": None if blocks else least_distance(extents(cubes, config.reference), split_of),
        "sites_without_position": sorted({c.site for c in cubes if c[config.reference].grid.crs == "LOCAL"}),
        "space_buffer_px": split.space_buffer_px,
        "time_buffer_acquisitions": max(config.window),
        "hold_out_days": list(split.hold_out_days),
        "hold_out_dates": [str(to_date(d)) for d in split.hold_out_days],
        "hold_out_from": [s for s in split.names if s != "test"] if split.hold_out_days else [],
        "blocks": blocks,
    }


def _sites(split: SplitConfig, split_of: Mapping[str, str]) -> dict[str, list[str]]:
    """Split -> its sites; where blocks divide them, all sites are every split's."""
    if split.divides_sites:
        return {s: sorted(split_of) for s in split.names}
    named = {s: sorted(site for site in split_of if split_of[site] == s) for s in SPLITS}
    return {s: sites for s, sites in named.items() if sites}


def _blocks(cubes: Sequence[Cube], shares: Sequence[Sequence[Part]], reference: str) -> Json:
    """Site -> split -> the columns and dates that are its own."""
    found: Json = {}
    for cube, share in zip(cubes, shares, strict=True):
        group = cube[reference]
        day = group.day[group.usable]
        for p in share:
            dates = [[str(to_date(day[a])), str(to_date(day[b - 1]))] for a, b in p.times]
            found.setdefault(cube.site, {})[p.split] = {"columns": [list(c) for c in p.columns], "dates": dates}
    return found


def describe_source(cube: Cube, names: Sequence[str], reference: str) -> Json:
    """A source cube: name, site, content, place, contracts, dates, acquisitions."""
    extent = extents([cube], reference).get(cube.site)
    place = dataclasses.asdict(extent) if extent else None
    groups = {
        name: {
            "contract": cube[name].modality.contract_hash,
            "dates": cube[name].dates,
            "acquisitions": len(cube[name]),
            "usable": int(cube[name].usable.sum()),
        }
        for name in names
    }
    head = {"name": cube.path.name, "site": cube.site, "content": content_of(cube), "simulated": cube.simulated}
    return {**head, "place": place, "modalities": groups}


def describe_balance(files: Sequence[Mapping[str, Any]], strata: Mapping[str, str]) -> Json:
    """{"site" and, where there are strata, "stratum": {split: {group: {"records", "weight"}}}}.

    Drawn by its weight (the mean number of records of a group over its own), a record of a rare group is drawn more
    often, and every group as often as any other. Sites without a stratum are the stratum "".

    Args:
        files: the shards, each with its split and "sites" {site: records}.
        strata: site -> stratum.
    """
    found: Json = {}
    for by in ("site", "stratum") if strata else ("site",):
        counts: dict[str, Counter[str]] = {}
        for file in files:
            for site, records in file["sites"].items():
                group = site if by == "site" else strata.get(site, "")
                counts.setdefault(file["split"], Counter())[group] += records
        found[by] = {split: _weights(counts[split]) for split in sorted(counts)}
    return found


def _weights(counts: Mapping[str, int]) -> Json:
    mean = sum(counts.values()) / len(counts)
    return {group: {"records": n, "weight": round(mean / n, 6)} for group, n in sorted(counts.items())}
