"""Tables of values: land covers, their optical, radar and carbon properties, and the crops' calendars.

Orders of magnitude follow the literature named in optics.py, radar.py and flux.py; the numbers are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Cover:
    """Properties of one cover.

    Attributes:
        leaf_layers: PROSPECT's structure parameter N.
        clumping: effective over true leaf area (rows, crowns).
        shade: share of the canopy's reflectance left after shadows between crowns or rows.
        thick_vv_db, thick_vh_db: gamma0 of an opaque canopy.
        opacity_vv, opacity_vh: attenuation per kg m-2 of canopy water (one way, nadir).
        wood_kg_m2: water in stems and branches all year.
        light_use: g C per MJ of absorbed PAR without stress.
        cold_c, warm_c: air temperatures where light use is 0 and unhindered.
        root: soil water capacity relative to the site's.
    """

    name: str
    leaf_layers: float = 1.5
    clumping: float = 0.9
    shade: float = 0.95
    thick_vv_db: float = -10.0
    thick_vh_db: float = -16.0
    opacity_vv: float = 0.3
    opacity_vh: float = 0.25
    wood_kg_m2: float = 0.0
    light_use: float = 1.6
    cold_c: float = -2.0
    warm_c: float = 13.0
    root: float = 1.0


BARE, CEREAL, MAIZE, BEET, RAPESEED, MEADOW, BROADLEAF, NEEDLELEAF, WATER, SETTLEMENT = range(10)

COVERS: dict[int, Cover] = {
    BARE: Cover(name="bare soil"),
    CEREAL: Cover(
        name="winter cereal", leaf_layers=1.45, thick_vv_db=-13.0, thick_vh_db=-18.5,
        opacity_vv=0.5, opacity_vh=0.28, light_use=1.75, cold_c=-2.0, warm_c=12.0,
    ),
    MAIZE: Cover(
        name="maize", leaf_layers=1.5, clumping=0.78, thick_vv_db=-8.8, thick_vh_db=-14.5,
        opacity_vv=0.16, opacity_vh=0.16, light_use=2.6, cold_c=6.0, warm_c=18.0,
    ),
    BEET: Cover(
        name="sugar beet", leaf_layers=1.7, clumping=0.85, thick_vv_db=-8.2, thick_vh_db=-13.8,
        opacity_vv=0.4, opacity_vh=0.4, light_use=1.9, cold_c=2.0, warm_c=14.0,
    ),
    RAPESEED: Cover(
        name="winter rapeseed", leaf_layers=1.6, thick_vv_db=-9.0, thick_vh_db=-13.5,
        opacity_vv=0.28, opacity_vh=0.3, light_use=1.7, cold_c=-1.0, warm_c=12.0,
    ),
    MEADOW: Cover(
        name="meadow", leaf_layers=1.45, thick_vv_db=-11.0, thick_vh_db=-17.0,
        opacity_vv=0.5, opacity_vh=0.45, light_use=1.5, cold_c=-1.0, warm_c=12.0, root=0.75,
    ),
    BROADLEAF: Cover(
        name="broadleaf forest", leaf_layers=1.55, clumping=0.8, shade=0.76, thick_vv_db=-8.6,
        thick_vh_db=-13.6, opacity_vv=0.16, opacity_vh=0.16, wood_kg_m2=7.0, light_use=1.5, cold_c=0.0,
        warm_c=13.0, root=1.5,
    ),
    NEEDLELEAF: Cover(
        name="needleleaf forest", leaf_layers=2.0, clumping=0.6, shade=0.5, thick_vv_db=-9.2,
        thick_vh_db=-14.4, opacity_vv=0.2, opacity_vh=0.2, wood_kg_m2=9.0, light_use=1.3, cold_c=-4.0,
        warm_c=12.0, root=1.35,
    ),
    WATER: Cover(name="water", light_use=0.0),
    SETTLEMENT: Cover(name="settlement", light_use=1.2, clumping=0.7, shade=0.85, root=0.7),
}  # fmt: skip
ARABLE = (CEREAL, MAIZE, BEET, RAPESEED)


def cover_column(attribute: str) -> NDArray[np.float64]:
    """One attribute of all covers, indexed by cover code."""
    return np.array([getattr(COVERS[code], attribute) for code in sorted(COVERS)], dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Crop:
    """The calendar and size of one crop; days count from 1 January of the harvest year.

    Attributes:
        winter_lai: leaf area that stands from emergence until green-up.
        green_up, green_up_days: middle and scale of the rise of leaf area.
        lai_fall: middle of the loss of leaf area; chlorophyll and water have their own, drawn around it.
        stem_kg_m2: water in the stems of the full-grown crop.
        flowering: middle of bright flowering, or None.
        ripens: dries out before harvest.
    """

    sow: float
    winter_lai: float
    green_up: float
    green_up_days: float
    lai_max: float
    chlorophyll: float
    lai_fall: float
    harvest: float
    height_m: float
    stem_kg_m2: float
    leaf_water_cm: float = 0.016
    flowering: float | None = None
    ripens: bool = True


CROPS: dict[int, Crop] = {
    CEREAL: Crop(
        sow=-72, winter_lai=0.7, green_up=98, green_up_days=9, lai_max=5.2, chlorophyll=48, lai_fall=183,
        harvest=207, height_m=0.9, stem_kg_m2=2.2,
    ),
    MAIZE: Crop(
        sow=118, winter_lai=0.0, green_up=174, green_up_days=8, lai_max=4.6, chlorophyll=52, lai_fall=266,
        harvest=277, height_m=2.6, stem_kg_m2=4.2,
    ),
    BEET: Crop(
        sow=92, winter_lai=0.0, green_up=158, green_up_days=9, lai_max=4.4, chlorophyll=46, lai_fall=315,
        harvest=287, height_m=0.5, stem_kg_m2=0.8, leaf_water_cm=0.028, ripens=False,
    ),
    RAPESEED: Crop(
        sow=-123, winter_lai=1.5, green_up=84, green_up_days=8, lai_max=4.4, chlorophyll=44, lai_fall=182,
        harvest=199, height_m=1.5, stem_kg_m2=3.2, leaf_water_cm=0.02, flowering=121,
    ),
}  # fmt: skip

# What may follow what, with weights; rapeseed needs a field free by late August.
ROTATION: dict[int, dict[int, float]] = {
    CEREAL: {MAIZE: 0.4, BEET: 0.22, RAPESEED: 0.25, CEREAL: 0.13},
    MAIZE: {CEREAL: 0.7, MAIZE: 0.3},
    BEET: {CEREAL: 0.85, MAIZE: 0.15},
    RAPESEED: {CEREAL: 1.0},
}
