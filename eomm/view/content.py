"""What a page is told before it asks for any layer: place, dates, colours, and what the numbers mean.

One PCA and one stretch serve all dates, so that colours compare between them. Plain JSON types; draws nothing.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from bokeh.palettes import Viridis256
from jaxtyping import Float, Float32

from eomm.data.grid import Grid, to_date
from eomm.embedding.layers import FLAGS
from eomm.embedding.read import MISSING
from eomm.errors import DataError
from eomm.page.style import ORANGE, PURPLE, SKY
from eomm.store.fields import Json
from eomm.view.layers import NO_VALUE, Layers

COMPONENTS = 3
NODES = 17  # along each side, of positions in degrees between which a page interpolates: metres off at 100 km
LOOK = {"edge": SKY, "clouded": "#c9ced4", "alone": PURPLE, "sparse": ORANGE}
MEANING = {
    "edge": "the window reaches beyond the cube",
    "clouded": "no clear view on this date",
    "alone": "no other sensor was near enough and valid",
    "sparse": "fewer than three valid acquisitions in the window",
}
WORDS = {
    "Embedding": "The vector of a pixel on a date: what the model makes of that pixel, what it sees around it and "
    "the dates before and after. Its single numbers mean nothing by themselves; that two vectors are alike does.",
    "Colours": "The three directions in which the vectors differ most (principal components), as red, green and blue, "
    "or one of them from dark to bright, which everybody can read. The same for all dates, so that colours compare.",
    "Like A": "The cosine of two vectors, 1 where they point the same way; at the date that is shown, or its mean over "
    "all dates at which both pixels have a vector. Vectors are compared as the page holds them, in 8 bits a number.",
    "Observed": "What the satellite measured where the date was clear. NDVI is (near infrared - red) / (near infrared "
    "+ red), high where plants are green. Of a polygon: the mean of its clear pixels.",
    "Keys": "Shift and a click sets B. The arrow keys move the slider. Ctrl and the wheel zoom. A click into a chart "
    "goes to its date.",
}


def describe(layers: Layers, *, length: int, dates: Sequence[int], share: Float32[np.ndarray, " date"]) -> Json:
    """What a page is told.

    Args:
        layers: of the page.
        length: numbers of each vector that the page holds.
        dates: which of the embedding's it holds.
        share: of each of the embedding's dates, how much of it is clear.

    Raises:
        DataError: no pixel of the sample has a vector.
    """
    grid, provenance = layers.grid, layers.attributes.get("provenance", {})
    one = len(provenance.get("modalities", ())) == 1  # of which "alone" would say nothing
    flags = [
        {"name": name, "bit": bit, "color": LOOK[name], "meaning": MEANING[name]}
        for name, bit in FLAGS.items()
        if not (one and name == "alone")
    ]
    words = WORDS | {"Flags": "; ".join(f"{f['name']}: {f['meaning']}" for f in flags) + "."}
    words |= {name.replace("_", " ").capitalize(): told.meaning for name, told in layers.told.items()}
    return {
        "site": layers.site,
        "simulated": bool(provenance.get("simulated", False)),
        "model": str(layers.attributes.get("eomm:model", "")),
        "crs": None if grid.crs == "LOCAL" else grid.crs,
        "transform": [float(v) for v in grid.transform],
        "height": grid.height,
        "width": grid.width,
        "degrees": degrees(grid),
        "dates": [to_date(layers.day[i]).isoformat() for i in dates],
        "times": times(layers, dates),
        "clear": [round(float(share[i]), 4) for i in dates],
        "all_dates": len(layers.day),
        "flags": flags,
        "palette": list(Viridis256),
        "words": [*words.items()],
        "vectors": vectors(layers, length),
        "bands": bands(layers),
        "told": [{"name": name, "label": name.replace("_", " "), **asdict(told)} for name, told in layers.told.items()],
        "layers": {
            name: {"dtype": layer.dtype, "channels": length if name == "vectors" else layer.channels}
            for name, layer in layers.table.items()
        },
    }


def times(layers: Layers, dates: Sequence[int]) -> list[str]:
    """When each date was acquired; empty where that is not known, as of composites and the oldest stores."""
    acquired = layers.attributes.get("acquisitions", [])
    known = len(acquired) == len(layers.day)
    return [str(acquired[i].get("datetime") or "") if known else "" for i in dates]


def vectors(layers: Layers, length: int) -> Json:
    """Scale and principal components of the vectors' first numbers, fitted on the sample."""
    stored = layers.sample("vectors")[:, :length]
    rows = stored[(stored != MISSING).all(1)] * layers.scale[:length]
    if len(rows) < 2:
        raise DataError(f"{layers.path}: no pixel has a vector; there is nothing to show")
    mean, components, explained = principal(rows)
    shown = (rows - mean) @ components.T
    return {
        "length": length,
        "all": layers.length,
        "missing": MISSING,
        "scale": numbers(layers.scale[:length]),
        "mean": numbers(mean),
        "components": [numbers(c) for c in components],
        "explained": numbers(explained),
        "range": [numbers(np.quantile(c, (0.02, 0.98))) for c in shown.T],
    }


def principal(rows: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean [d], first components [k, d], their largest numbers above 0, and the share of the variance in each."""
    mean = rows.mean(0, dtype=np.float64)
    values, columns = np.linalg.eigh(np.atleast_2d(np.cov((rows - mean).T, bias=True)))
    found = columns[:, ::-1][:, :COMPONENTS].T
    signs = np.sign(np.take_along_axis(found, np.abs(found).argmax(1)[:, None], 1))
    return mean, found * signs, values[::-1][:COMPONENTS] / max(values.sum(), 1e-12)


def bands(layers: Layers) -> Json | None:
    """Bands of the reference modality, which of them are the true colour, and its stretch; None without a cube."""
    if layers.group is None:
        return None
    modality = layers.group.modality
    names = list(modality.band_names)
    shown = ["B04", "B03", "B02"] if {"B04", "B03", "B02"} <= set(names) else [names[0]] * 3
    stored = layers.sample("bands")
    physical = modality.decode(stored[(stored != NO_VALUE).all(1)])
    index = [names.index(n) for n in shown]
    low, high = np.quantile(physical[:, index], (0.01, 0.99)) if len(physical) else (0.0, 1.0)
    red_and_infrared = [names.index("B04"), names.index("B08")] if {"B04", "B08"} <= set(names) else None
    return {
        "modality": modality.name,
        "names": names,
        "units": list(modality.units.values()),
        "scale": [b.scale for b in modality.bands],
        "offset": [b.offset for b in modality.bands],
        "missing": NO_VALUE,
        "colour": index,
        "range": numbers((low, high)),
        "ndvi": red_and_infrared,
    }


def degrees(grid: Grid) -> Json | None:
    """Longitude and latitude at nodes [row, column] spread over the grid; None where its position is unknown."""
    if grid.crs == "LOCAL":
        return None
    west, south, east, north = grid.bounds
    lon, lat = grid.to_degrees(*np.meshgrid(np.linspace(west, east, NODES), np.linspace(north, south, NODES)))
    return {"lon": [numbers(r, 8) for r in lon], "lat": [numbers(r, 8) for r in lat]}


def numbers(values: Any, digits: int = 7) -> list[float]:
    """Floats of few digits, for JSON."""
    return [float(f"{float(v):.{digits}g}") for v in np.ravel(values)]
