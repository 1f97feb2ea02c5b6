"""Where the sites of a record set lie and which split each has, as text and as a figure. Reads the manifest alone.

Sites without a position (local grids, records of before positions were noted) are counted, not drawn.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eomm.errors import DataError, UsageError
from eomm.store.fields import Json

WIDTH, HEIGHT = 60, 18  # characters of the map
SIGNS = {"train": "o", "validation": "v", "test": "T"}
SHARED, SEVERAL = "#", "+"
MANY = "several splits"
COLOURS = {"train": "#0072B2", "validation": "#E69F00", "test": "#D55E00", MANY: "#000000"}


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A site on the map.

    Attributes:
        site: its name.
        lon: degrees.
        lat: degrees.
        radius_m: of a circle that holds it.
        splits: those that have records of it or keep it free.
    """

    site: str
    lon: float
    lat: float
    radius_m: float
    splits: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Its split, or that there is another number of them."""
        return self.splits[0] if len(self.splits) == 1 else MANY


def places(manifest: Mapping[str, Any]) -> list[Placed]:
    """The sites of a record set that have a position."""
    sites = manifest.get("split", {}).get("sites", {})
    found = {}
    for source in manifest.get("sources", ()):
        place, name = source.get("place"), source.get("site")
        if place:
            splits = tuple(split for split in SIGNS if name in sites.get(split, ()))
            found[name] = Placed(site=name, splits=splits, **place)
    return [found[name] for name in sorted(found)]


def describe_coverage(manifest: Mapping[str, Any]) -> Json:
    """JSON types: sites in all, those without a position, by split, west, south, east, north, and the map's lines."""
    drawn = places(manifest)
    names = {s.get("site") for s in manifest.get("sources", ())}
    found: Json = {"sites": len(names), "without_position": len(names) - len(drawn)}
    found["splits"] = dict(Counter(p.splits[0] if len(p.splits) == 1 else "several" for p in drawn))
    if drawn:
        lon, lat = [p.lon for p in drawn], [p.lat for p in drawn]
        found["west_south_east_north"] = [round(v, 4) for v in (min(lon), min(lat), max(lon), max(lat))]
        found["map"] = text_map(drawn)
    return found


def text_map(drawn: Sequence[Placed]) -> list[str]:
    """North up, a character per cell: a split's sign, "#" a site that several splits share, "+" sites of several."""
    lon, lat = np.array([p.lon for p in drawn]), np.array([p.lat for p in drawn])
    cells = np.full((HEIGHT, WIDTH), ".")
    for x, y, place in zip(_cell(lon, WIDTH), HEIGHT - 1 - _cell(lat, HEIGHT), drawn, strict=True):
        sign = SIGNS[place.splits[0]] if len(place.splits) == 1 else SHARED
        cells[y, x] = sign if cells[y, x] in (".", sign) else SEVERAL
    filled = [i for i in range(HEIGHT) if (cells[i] != ".").any()]
    lines = ["".join(row) for row in cells[filled[0] : filled[-1] + 1]]
    return [
        *lines,
        f"north up; o train, v validation, T test, {SHARED} several splits, {SEVERAL} sites of several splits",
    ]


def draw_coverage(manifest: Mapping[str, Any], path: Path | str) -> Path:
    """A map of sites, splits and the buffers between them, as PNG, SVG or PDF.

    Raises:
        DataError: no site has a position.
        UsageError: the ending is none of these.
    """
    path = Path(path)
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"{path}: expected a name that ends in .png, .svg or .pdf")
    drawn = places(manifest)
    if not drawn:
        raise DataError("the records' manifest tells no positions; cut them again, from cubes on a georeferenced grid")
    from matplotlib.figure import Figure

    buffer_m = float(manifest["split"].get("site_buffer_m", 0.0))
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot()
    for place in drawn:
        _draw_place(axes, place, buffer_m)
    for name, colour in COLOURS.items():
        if of := [p for p in drawn if p.kind == name]:
            lon, lat = [p.lon for p in of], [p.lat for p in of]
            axes.plot(lon, lat, ".", color=colour, markersize=5, label=f"{name} ({len(of)})")
    axes.set_aspect(1 / max(np.cos(np.radians(np.mean([p.lat for p in drawn]))), 0.01))
    axes.margins(0.15)
    axes.autoscale_view()
    axes.set_xlabel("longitude")
    axes.set_ylabel("latitude")
    axes.set_title(_title(manifest, len(drawn), buffer_m), size=9)
    axes.legend(loc="best", fontsize=8)
    figure.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
    return path


def _draw_place(axes: Any, place: Placed, buffer_m: float) -> None:
    """A site's circle, and a pale one of half the buffer around it."""
    from matplotlib.patches import Ellipse

    for radius, alpha in ((place.radius_m, 0.9), (place.radius_m + buffer_m / 2, 0.15)):
        north = radius / 111_320
        east = north / max(np.cos(np.radians(place.lat)), 0.01)
        size = (2 * east, 2 * north)
        axes.add_patch(Ellipse((place.lon, place.lat), *size, color=COLOURS[place.kind], alpha=alpha, linewidth=0))


def _title(manifest: Mapping[str, Any], count: int, buffer_m: float) -> str:
    gap = manifest["split"].get("least_distance_m")
    between = f"; nearest sites of two splits {gap / 1000:,.1f} km apart" if gap is not None else ""
    leaky = "LEAKY: splits share sites. " if manifest["split"].get("leaky") else ""
    simulated = "SIMULATED. " if manifest.get("simulated") else ""
    return f"{simulated}{leaky}{count} sites, half of the {buffer_m:g} m buffer around each{between}"


def _cell(values: np.ndarray, count: int) -> np.ndarray:
    """The cells of values along a side, from the least to the largest; of a single value the middle."""
    span = values.max() - values.min()
    share = (values - values.min()) / span if span else np.full(len(values), 0.5)
    return np.rint(share * (count - 1)).astype(int)
