"""Who trains and who tests: sites to splits, blocks within a site, and days kept from training. Cuts nothing.

Every cube of a site goes to one split, and so do sites near each other. A single site may be divided instead, into
blocks of columns and ranges of dates with buffers between them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import pyproj
from scipy.spatial import cKDTree

from eomm.data.cube import Cube, CubeGroup
from eomm.data.grid import EPOCH
from eomm.errors import DataError, UsageError

SPLITS = ("train", "validation", "test")  # a later one keeps its block whole, an earlier one gives way
HALO_PX = 7  # half of the 15 px that an encoder sees
RESAMPLING_PX = 2  # how far resampling 20 m bands to 10 m spreads a pixel

WGS84 = pyproj.Geod(ellps="WGS84")
EARTH_M = 6.371e6

Ranges = tuple[tuple[int, int], ...]  # half-open, ascending


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """How sites, or the pixels and dates of a site, are divided; without `sites`, `fractions` or blocks all is train.

    Attributes:
        sites: split -> names of its sites; every site must be named once.
        fractions: split other than train -> share of the sites, drawn by seed; at least one site each.
        columns: split other than train -> (from, to) as shares of the site's columns, such as (0.7, 1.0).
        dates: split other than train -> (first, last) date, inclusive.
        site_buffer_m: sites with less ground between them than this stay together.
        space_buffer_px: columns left out between blocks: the halo and the reach of resampling.
        uncut: splits that keep their block free but get no records, being scored on the cube itself; their block may
            be narrower than a crop.
        hold_out_days: reference acquisitions of these days (since 1970-01-01) enter no record but those of test.
        seed: by which fractions are drawn.
    """

    sites: Mapping[str, Sequence[str]] = field(default_factory=dict)
    fractions: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    dates: Mapping[str, tuple[date, date]] = field(default_factory=dict)
    site_buffer_m: float = 5000.0
    space_buffer_px: int = HALO_PX + RESAMPLING_PX
    uncut: tuple[str, ...] = ()
    hold_out_days: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        chosen = [name for name in ("sites", "fractions") if getattr(self, name)] + ["blocks"] * self.divides_sites
        if len(chosen) > 1:
            raise UsageError(f"split: {' and '.join(chosen)} exclude each other; divide by sites or within a site")
        for name in ("sites", "fractions", "columns", "dates"):
            allowed = SPLITS if name == "sites" else SPLITS[1:]
            if unknown := [split for split in getattr(self, name) if split not in allowed]:
                raise UsageError(f"split: {name} names {unknown[0]!r}, expected one of {', '.join(allowed)}")
        shares = self.fractions.values()
        if shares and not (min(shares) > 0 and sum(shares) < 1):
            raise UsageError(f"split: fractions are {dict(self.fractions)}; each must be above 0, their sum below 1")
        self._check_blocks()

    def _check_blocks(self) -> None:
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


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Where a site lies.

    Attributes:
        lon: of its centre, degrees.
        lat: of its centre, degrees.
        radius_m: of a circle around it that holds all of it.
    """

    lon: float
    lat: float
    radius_m: float

    def distance_m(self, other: "Extent") -> float:
        """Ground between two sites, negative where their circles overlap."""
        between: float = WGS84.inv(self.lon, self.lat, other.lon, other.lat)[2]
        return between - self.radius_m - other.radius_m

    def around(self, other: "Extent") -> "Extent":
        """A circle around the same centre that holds the other, too."""
        between = WGS84.inv(self.lon, self.lat, other.lon, other.lat)[2]
        return Extent(lon=self.lon, lat=self.lat, radius_m=max(self.radius_m, between + other.radius_m))


def clear_days(group: CubeGroup, *, fraction: float = 0.9, every: int = 1, offset: int = 0) -> tuple[int, ...]:
    """Each `every`-th day, from number `offset`, among those with an acquisition at least `fraction` valid.

    `SplitConfig(hold_out_days=clear_days(cube["s2"], every=3))` keeps every third clear day from training.
    """
    clear = group.day[group.usable & (group.valid_fraction() >= fraction)]
    return tuple(int(d) for d in np.unique(clear)[offset::every])


def assign_sites(config: SplitConfig, cubes: Sequence[Cube], *, reference: str) -> dict[str, str]:
    """Site -> split, independent of the order of `cubes`; everything is train where sites are divided by blocks.

    Raises:
        UsageError: a site named not at all, twice, or without a cube; near sites in different splits; too few sites
            for the fractions; several cubes of a site, or near sites, where blocks divide them.
    """
    grids = {c.site: c[reference].grid for c in sorted(cubes, key=lambda c: (c.site, c.path.name))}
    clusters = near_sites(extents(cubes, reference), sorted(grids), buffer_m=config.site_buffer_m)
    if config.divides_sites:
        if len(grids) < len(cubes) or len(clusters) < len(grids):
            raise UsageError(
                "split: columns and dates divide each cube by itself, so that several cubes of one site, or sites "
                f"nearer than {config.site_buffer_m:g} m, could leak; divide by sites or give one cube"
            )
        return dict.fromkeys(grids, "train")
    if config.sites:
        return _named(config, set(grids), clusters)
    return _drawn(config.fractions, clusters, config.seed)


def extents(cubes: Sequence[Cube], reference: str) -> dict[str, Extent]:
    """Where each site lies, over all its cubes; those without a position are left out."""
    found: dict[str, Extent] = {}
    for cube in cubes:
        grid = cube[reference].grid
        if grid.crs == "LOCAL":
            continue
        lon, lat = grid.to_degrees(float(grid.x.mean()), float(grid.y.mean()))
        corner = grid.to_degrees(grid.transform[2], grid.transform[5])
        one = Extent(lon=lon, lat=lat, radius_m=WGS84.inv(lon, lat, *corner)[2])
        found[cube.site] = found[cube.site].around(one) if cube.site in found else one
    return found


def near_sites(places: Mapping[str, Extent], sites: Sequence[str], *, buffer_m: float) -> list[list[str]]:
    """`sites` grouped so that those with less than `buffer_m` between them share a group.

    Sites are taken for circles around their corners. A site without a position stands alone.
    """
    names = sorted(places)
    groups = {site: [site] for site in sites}
    reach = buffer_m + 2 * max((p.radius_m for p in places.values()), default=0)
    pairs = cKDTree(_on_sphere(places, names)).query_pairs(1.01 * reach / EARTH_M) if names else ()
    for i, j in sorted(pairs):  # a chord is shorter than the arc, and the sphere within 1 % of the ellipsoid
        a, b = names[i], names[j]
        if groups[a] is not groups[b] and places[a].distance_m(places[b]) < buffer_m:
            joined = groups[a] + groups[b]
            groups.update(dict.fromkeys(joined, joined))
    distinct = {id(group): group for group in groups.values()}
    return sorted(sorted(group) for group in distinct.values())


def least_distance(places: Mapping[str, Extent], split_of: Mapping[str, str]) -> float | None:
    """Metres of ground between the nearest two sites of different splits; None where there are none."""
    found = []
    for split in set(split_of.values()):
        own, other = ([n for n in sorted(places) if (split_of[n] == split) is same] for same in (True, False))
        if own and other:
            _, nearest = cKDTree(_on_sphere(places, other)).query(_on_sphere(places, own))
            found += [places[a].distance_m(places[other[i]]) for a, i in zip(own, nearest, strict=True)]
    return round(min(found), 1) if found else None


def _on_sphere(places: Mapping[str, Extent], names: Sequence[str]) -> np.ndarray:
    lon, lat = np.radians([(places[n].lon, places[n].lat) for n in names]).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _named(config: SplitConfig, present: set[str], clusters: Sequence[Sequence[str]]) -> dict[str, str]:
    pairs = [(site, split) for split, sites in config.sites.items() for site in sites]
    named = dict(pairs)
    _check_named([site for site, _ in pairs], present)
    for cluster in clusters:
        if len({named[s] for s in cluster}) > 1:
            raise UsageError(
                f"split: {', '.join(f'{s} ({named[s]})' for s in cluster)} lie nearer than {config.site_buffer_m:g} m "
                "to each other; put them into one split, or lower site_buffer_m and say why"
            )
    return named


def _check_named(named: Sequence[str], present: set[str]) -> None:
    """Raise UsageError unless every site that is there is named once, and no other."""
    if twice := sorted(site for site, count in Counter(named).items() if count > 1):
        raise UsageError(f"split: {', '.join(twice)} named twice; every site belongs to one split")
    if set(named) != present:
        missing, unknown = sorted(present - set(named)), sorted(set(named) - present)
        raise UsageError(
            f"split: sites without a split: {', '.join(missing) or 'none'}; named but without a cube: "
            f"{', '.join(unknown) or 'none'}; name every site of the given cubes once"
        )


def draw_groups(groups: Sequence[str], fractions: Mapping[str, float], seed: int) -> dict[str, str]:
    """Group -> split, each split other than train its share of the groups. Errors as those of `SplitConfig` and below.

    Raises:
        UsageError: too few groups for the fractions.
    """
    SplitConfig(fractions=fractions)  # the checks
    return _drawn(fractions, [[g] for g in groups], seed)


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
