"""Who trains and who tests: sites to splits, blocks within a site, and days kept from training. Cuts nothing.

Every cube of a site goes to one split, and so do sites near each other. A single site may be divided instead, into
blocks of columns and ranges of dates with buffers between them.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyproj

from eomm.cube import EPOCH, Cube, CubeGroup, Grid
from eomm.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")  # a later one keeps its block whole, an earlier one gives way
HALO_PX = 7  # half of the 15 px that an encoder sees
RESAMPLING_PX = 2  # how far resampling 20 m bands to 10 m spreads a pixel

Ranges = tuple[tuple[int, int], ...]  # half-open, ascending


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How sites, or the pixels and dates of a site, are divided; without `sites`, `fractions` or blocks all is train.

    Attributes:
        sites: split -> names of its sites; every site must be named once.
        fractions: split other than train -> share of the sites, drawn by seed; at least one site each.
        columns: split other than train -> (from, to) as shares of the site's columns, such as (0.7, 1.0).
        dates: split other than train -> (first, last) date, inclusive.
        site_buffer_m: sites whose centres are nearer than this stay together.
        space_buffer_px: columns left out between blocks: the halo and the reach of resampling.
        uncut: splits that keep their block free but get no records, being scored on the cube itself; their block may
            be narrower than a crop.
        hold_out_days: reference acquisitions of these days (since 1970-01-01) enter no record but those of test.
    """

    sites: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fractions: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    dates: Mapping[str, tuple[date, date]] = field(default_factory=dict)
    site_buffer_m: float = 5000.0
    space_buffer_px: int = HALO_PX + RESAMPLING_PX
    uncut: tuple[str, ...] = ()
    hold_out_days: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        chosen = [name for name in ("sites", "fractions") if getattr(self, name)] + ["blocks"] * self.divides_sites
        if len(chosen) > 1:
            raise UsageError(f"split: {' and '.join(chosen)} exclude each other; divide by sites or within a site")
        for name in ("sites", "fractions", "columns", "dates"):
            allowed = SPLITS if name == "sites" else SPLITS[1:]
            for split in getattr(self, name):
                if split not in allowed:
                    raise UsageError(f"split: {name} names {split!r}, expected one of {', '.join(allowed)}")
        if self.fractions and not (min(self.fractions.values()) > 0 and sum(self.fractions.values()) < 1):
            raise UsageError(f"split: fractions are {dict(self.fractions)}; each must be above 0, their sum below 1")
        for split, (a, b) in self.columns.items():
            if not 0 <= a < b <= 1:
                raise UsageError(f"split: columns of {split} are {a} to {b}, expected shares 0 <= from < to <= 1")
        for split, (first, last) in self.dates.items():
            if first > last:
                raise UsageError(f"split: dates of {split} run from {first} to {last}; the first is after the last")

    @property
    def divides_sites(self) -> bool:
        """Whether splits are blocks within each site, not whole sites."""
        return bool(self.columns or self.dates)

    @property
    def rule(self) -> str:
        """The kind of split in a word."""
        return "blocks" if self.divides_sites else "sites" if self.sites else "fractions" if self.fractions else "none"

    @property
    def names(self) -> list[str]:
        """Splits that are asked for."""
        asked = {*self.sites, *self.fractions, *self.columns, *self.dates}
        return [s for s in SPLITS if s in asked or (s == "train" and not self.sites)]

    @property
    def cut(self) -> list[str]:
        """Splits that get records, and must not be empty."""
        return [s for s in self.names if s not in self.uncut]

    def held_out_of(self, split: str) -> tuple[int, ...]:
        """Days whose reference acquisitions a split may not have; validation chooses models, so it has none either."""
        return () if split == "test" else self.hold_out_days


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one split may use of one cube.

    Attributes:
        split: its name.
        columns: ranges of columns; a crop lies within one.
        times: ranges of positions in the usable reference acquisitions; a record's series lies within one.
    """

    split: str
    columns: Ranges
    times: Ranges


def clear_days(group: CubeGroup, *, fraction: float = 0.9, every: int = 1, offset: int = 0) -> tuple[int, ...]:
    """Each `every`-th day, from number `offset`, among those with an acquisition at least `fraction` valid.

    `SplitConfig(hold_out_days=clear_days(cube["s2"], every=3))` keeps every third clear day from training.
    """
    clear = group.day[group.usable & (group.valid_fraction() >= fraction)]
    return tuple(int(d) for d in np.unique(clear)[offset::every])


def assign_sites(config: SplitConfig, cubes: Sequence[Cube], *, reference: str, seed: int) -> dict[str, str]:
    """Site -> split, independent of the order of `cubes`; everything is train where sites are divided by blocks.

    Raises:
        UsageError: a site named not at all, twice, or without a cube; near sites in different splits; too few sites
            for the fractions; several cubes of a site, or near sites, where blocks divide them.
    """
    grids = {c.site: c[reference].grid for c in sorted(cubes, key=lambda c: (c.site, c.path.name))}
    clusters = near_sites(grids, buffer_m=config.site_buffer_m)
    if config.divides_sites:
        if len(grids) < len(cubes) or len(clusters) < len(grids):
            raise UsageError(
                "split: columns and dates divide each cube by itself, so that several cubes of one site, or sites "
                f"nearer than {config.site_buffer_m:g} m, could leak; divide by sites or give one cube"
            )
        return dict.fromkeys(grids, "train")
    if config.sites:
        return _named(config, set(grids), clusters)
    return _drawn(config.fractions, clusters, seed)


def near_sites(grids: Mapping[str, Grid], *, buffer_m: float) -> list[list[str]]:
    """Sites grouped so that centres nearer than `buffer_m` share a group; a site without position stands alone."""
    centres = {}
    for site, grid in grids.items():
        if grid.crs != "LOCAL":
            to_degrees = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
            centres[site] = to_degrees.transform(float(grid.x.mean()), float(grid.y.mean()))
    geod = pyproj.Geod(ellps="WGS84")
    groups = [[site] for site in sorted(grids)]
    for a, b in itertools.combinations(sorted(centres), 2):
        if geod.inv(*centres[a], *centres[b])[2] < buffer_m:
            of_a, of_b = (next(g for g in groups if s in g) for s in (a, b))
            if of_a is not of_b:
                of_a.extend(of_b)
                groups.remove(of_b)
    return [sorted(g) for g in groups]


def _named(config: SplitConfig, present: set[str], clusters: Sequence[Sequence[str]]) -> dict[str, str]:
    pairs = [(site, split) for split, sites in config.sites.items() for site in sites]
    named = dict(pairs)
    if len(named) < len(pairs):
        twice = sorted({s for s, _ in pairs if sum(s == t for t, _ in pairs) > 1})
        raise UsageError(f"split: {', '.join(twice)} named twice; every site belongs to one split")
    if set(named) != present:
        missing, unknown = sorted(present - set(named)), sorted(set(named) - present)
        raise UsageError(
            f"split: sites without a split: {', '.join(missing) or 'none'}; named but without a cube: "
            f"{', '.join(unknown) or 'none'}; name every site of the given cubes once"
        )
    for cluster in clusters:
        if len({named[s] for s in cluster}) > 1:
            raise UsageError(
                f"split: {', '.join(f'{s} ({named[s]})' for s in cluster)} lie nearer than {config.site_buffer_m:g} m "
                "to each other; put them into one split, or lower site_buffer_m and say why"
            )
    return named


def _drawn(fractions: Mapping[str, float], clusters: Sequence[Sequence[str]], seed: int) -> dict[str, str]:
    order = [clusters[i] for i in np.random.default_rng([seed, 0]).permutation(len(clusters))]
    split_of: dict[str, str] = {}
    for split in sorted(fractions):
        count = max(1, round(fractions[split] * len(clusters)))
        if count >= len(order):
            raise UsageError(
                f"split: {len(clusters)} sites (near ones counted once) are too few for {dict(fractions)} and train; "
                "add sites, or divide a single site by columns or dates"
            )
        split_of.update({site: split for cluster in order[:count] for site in cluster})
        order = order[count:]
    return split_of | {site: "train" for cluster in order for site in cluster}


def parts(config: SplitConfig, cube: Cube, split: str, *, reference: str, window: tuple[int, int]) -> list[Part]:
    """What each split may use of `cube`, a cube of a site that `assign_sites` gave to `split`."""
    group = cube[reference]
    day, width = group.day[group.usable], group.grid.width
    whole_time: Ranges = ((0, len(day)),)
    if not config.divides_sites:
        return [Part(split=split, columns=((0, width),), times=whole_time)]
    columns = {s: (round(a * width), round(b * width)) for s, (a, b) in config.columns.items()}
    times = {}
    for s, (first, last) in config.dates.items():
        low, high = (d.toordinal() - EPOCH.toordinal() for d in (first, last))
        times[s] = (int(np.searchsorted(day, low)), int(np.searchsorted(day, high, side="right")))
        if times[s][0] == times[s][1]:
            raise DataError(f"{cube.path}: no usable {reference} acquisition from {first} to {last}, the dates of {s}")
    return [
        Part(
            split=s,
            columns=_share(s, columns, width, config.space_buffer_px),
            times=_share(s, times, len(day), max(window)),
        )
        for s in config.names
    ]


def _share(split: str, blocks: Mapping[str, tuple[int, int]], size: int, buffer: int) -> Ranges:
    """Ranges of [0, size) for `split`: its block, or else all, without the buffered blocks of those it gives way to."""
    free = np.zeros(size, bool)
    free[slice(*blocks.get(split, (0, size)))] = True
    for other, (start, stop) in blocks.items():
        if other != split and (split not in blocks or SPLITS.index(other) > SPLITS.index(split)):
            free[max(0, start - buffer) : stop + buffer] = False
    edges = np.flatnonzero(np.diff(free.astype(np.int8), prepend=0, append=0))
    return tuple((int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True))
