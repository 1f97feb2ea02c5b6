"""Which scenes make one acquisition: joins the files of a product, and the products of one overpass. No pixels here."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time, timedelta

import numpy as np

from data_prep.mappings.mapping import ANGLES
from data_prep.readers.scene import Scene
from eomm.data.cube import Acquisition
from eomm.data.grid import EPOCH
from eomm.data.modality import STATIC_DAY
from eomm.errors import ContractError, DataError

SAME_PASS = timedelta(minutes=10)
"""Scenes of one platform and orbit that are nearer in time than this belong to one overpass."""

OTHER_ORBIT = timedelta(minutes=30).total_seconds()
"""Times of day further apart than this, on days of equal phase, are two orbits (one revolution lasts 100 minutes)."""

Product = dict[str, Scene]
"""Layer -> the scene (file) that holds it."""


@dataclass(frozen=True)
class Overpass:
    """One acquisition: its metadata and the products merged into it; where two overlap, the later wins.

    Attributes:
        acquisition: what goes into the cube.
        products: complete sets of layers, ordered by processing baseline and the names of their files.
    """

    acquisition: Acquisition
    products: tuple[Product, ...]

    @property
    def label(self) -> str:
        """Date and files, for messages."""
        files = sorted({str(s.file) for p in self.products for s in p.values()})
        return ", ".join(files) + (f" ({self.acquisition.datetime} UTC)" if self.acquisition.datetime else "")


def find_overpasses(scenes: Sequence[Scene]) -> list[Overpass]:
    """The acquisitions of one modality, sorted by key (day, platform, orbit).

    Raises:
        ContractError: files of a static layer are of several dates, or of the same ground.
        DataError: scenes of one key are too far apart in time to be one overpass; or a product lacks bands.
    """
    labels = label_orbits(scenes)
    keyed = sorted(
        (_key(s, label), s.time, s.file.name, i) for i, (s, label) in enumerate(zip(scenes, labels, strict=True))
    )
    grouped = itertools.groupby(keyed, key=lambda k: k[0])
    return [_overpass(key, [scenes[i] for *_, i in group]) for key, group in grouped]


def _overpass(key: tuple[int, str, str], members: Sequence[Scene]) -> Overpass:
    """The scenes of one key, in the order of their times, as one acquisition."""
    (_, platform, orbit), first, last = key, members[0], members[-1]
    if last.time - first.time > SAME_PASS:
        raise DataError(
            f"{first.label} and {last.label}: two overpasses of platform {platform or 'unknown'}, orbit "
            f"{orbit or 'unknown'} on one day; expected one, within {SAME_PASS}. "
            "State platform and orbit (tags, or `platform` and `orbit_cycle_days` in the mapping), or remove one"
        )
    products = _join(members)
    for product in products:
        _check_complete(product)
    if first.mapping.contract.static:
        _check_static(members, products)
    return Overpass(_acquisition(key, members), tuple(products))


def _acquisition(key: tuple[int, str, str], members: Sequence[Scene]) -> Acquisition:
    """What is known of an acquisition: what its scenes state, of angles the mean."""
    (day, platform, orbit), first = key, members[0]
    return Acquisition(
        day=day,
        datetime=None if first.mapping.contract.static else first.time.isoformat(timespec="seconds"),
        platform=platform or None,
        orbit=orbit or None,
        direction=next((s.direction for s in members if s.direction), None),
        incidence_deg=_mean_incidence(members),
        product_ids=tuple(sorted({s.product for s in members if s.named})),
        **{f"{angle}_deg": _mean_angle(members, angle) for angle in ANGLES},
    )


def _key(scene: Scene, orbit: str | None) -> tuple[int, str, str]:
    """Of its acquisition; a static layer's files are one, whatever platform or orbit they name."""
    if scene.mapping.contract.static:
        return (STATIC_DAY, "", "")
    return ((scene.time.date() - EPOCH).days, scene.platform or "", orbit or "")


def _check_static(members: Sequence[Scene], products: Sequence[Product]) -> None:
    """Raise ContractError where files of a static layer are of several dates, or two of them of the same ground.

    Tiles, and bands apart, are one layer.
    """
    dated = {s.stated["time"]: s for s in members if "time" in s.stated}
    whole = [next(iter(p.values())) for p in products]
    twice = [pair for pair in itertools.combinations(whole, 2) if _same_extent(*pair)]
    if len(dated) < 2 and not twice:
        return
    one, two = twice[0] if twice else tuple(dated.values())[:2]
    why = "hold the same bands of the same ground" if twice else f"state the times {' and '.join(tuple(dated)[:2])}"
    raise ContractError(
        f"{one.label} and {two.label}: {why}, but modality {one.mapping.contract.name!r} is static, one layer of a "
        "site; name the one file as the source, or leave `static` out of the contract of what changes in time"
    )


def label_orbits(scenes: Sequence[Scene]) -> list[str | None]:
    """The orbit of each scene: as its file names it, else by the mapping's repeat cycle, such as "ascending 17:32".

    A constellation passes a site on one orbit on every n-th day at nearly the same time: days of one phase and times
    of day without a gap are one orbit, and the label is their median time. Sources of days without times (all at
    midnight) have the phase for a label, such as "ascending day 3 of 12".
    """
    labels = [s.orbit for s in scenes]
    phases: dict[tuple[str, int], list[int]] = {}
    for i, s in enumerate(scenes):
        if s.orbit is None and s.mapping.orbit_cycle_days:
            phase = (s.time.date() - EPOCH).days % s.mapping.orbit_cycle_days
            phases.setdefault((s.direction or "orbit", phase), []).append(i)
    timed = any(s.time.time() != time.min for s in scenes)
    for (direction, phase), members in phases.items():
        cycle = f"day {phase} of {scenes[members[0]].mapping.orbit_cycle_days}"
        for i, when in _times_of_day(scenes, members).items() if timed else dict.fromkeys(members, cycle).items():
            labels[i] = f"{direction} {when}"
    return labels


def _times_of_day(scenes: Sequence[Scene], members: Sequence[int]) -> dict[int, str]:
    """Scene -> the median time of day, such as "17:32", of those that pass without a gap between them."""
    seconds = {i: scenes[i].time.hour * 3600 + scenes[i].time.minute * 60 + scenes[i].time.second for i in members}
    ordered, found = sorted(members, key=lambda i: seconds[i]), dict[int, str]()
    gaps = np.diff([seconds[i] for i in ordered]) > OTHER_ORBIT
    for run in np.split(np.array(ordered), np.flatnonzero(gaps) + 1):
        middle = int(np.median([seconds[i] for i in run]))
        found |= dict.fromkeys(run.tolist(), f"{middle // 3600:02d}:{middle // 60 % 60:02d}")
    return found


def _mean_incidence(members: Sequence[Scene]) -> float | None:
    degrees = [s.incidence_deg for s in members if s.incidence_deg is not None]
    return round(float(np.mean(degrees)), 3) if degrees else None


def _mean_angle(members: Sequence[Scene], angle: str) -> float | None:
    """The mean direction in degrees from 0 to 360: 359 and 1 make 0, not 180."""
    degrees = [s.angles[angle] for s in members if angle in s.angles]
    if not degrees:
        return None
    mean = np.angle(np.exp(1j * np.radians(degrees)).mean(), deg=True)
    return round(float(mean % 360), 3)


def _join(members: Sequence[Scene]) -> list[Product]:
    """Files of one overpass to products: each file joins the first product of its extent that lacks its layers.

    Ordered by the version of the provider's processor, then by name: the later wins where products overlap.
    """
    products: list[Product] = []
    for scene in sorted(members, key=lambda s: (str(s.stated.get("baseline", "")), s.file.name, str(s.file), s.time)):
        for product in products:
            if not set(product) & set(scene.grids) and _same_extent(next(iter(product.values())), scene):
                product.update(dict.fromkeys(scene.grids, scene))
                break
        else:
            products.append(dict.fromkeys(scene.grids, scene))
    return products


def _same_extent(a: Scene, b: Scene) -> bool:
    """Whether two files cover the same ground up to a pixel of the coarser."""
    one, two = next(iter(a.grids.values())), next(iter(b.grids.values()))
    tolerance = max(one.gsd_m, two.gsd_m)
    return one.crs == two.crs and bool(np.allclose(one.bounds, two.bounds, rtol=0, atol=tolerance))


def _check_complete(product: Product) -> None:
    scene = next(iter(product.values()))
    expected = list(scene.mapping.contract.band_names)
    expected += sorted({layer for s in product.values() for layer in s.mapping.mask_layers})
    missing = [layer for layer in expected if layer not in product]
    if missing:
        files = ", ".join(sorted({str(s.file) for s in product.values()}))
        raise DataError(
            f"{files}{scene.when}: bands {' '.join(missing)} are missing; found "
            f"{' '.join(sorted(product))}, expected {' '.join(expected)}. Add the files that hold them, "
            "or remove the incomplete acquisition"
        )
