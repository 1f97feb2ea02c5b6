"""Radar series: a Flemish site's training columns and forest plots, which train; Slovak plots, for evaluation."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from data_prep.records.points import PointOptions, build_point_records
from eomm.data.modality import SENTINEL1_SIGMA0
from eomm.data.points import PointSeries

from .flanders import fields_of, part_of
from .places import PLOT_KM, WHOLE
from .slovakia import USES
from .tables import files, near_places, table, to_days

ACQUISITIONS = 96  # of a record: windows of 17 and gaps of 75 days where two orbits pass every third day
CYCLES_DAYS = (12, 175)  # of a satellite's track: days, and relative orbits
FIRST_ORBIT = {"S1A": 73, "S1B": 27}  # relative orbit = (absolute - this) mod 175 + 1
ORBIT_CYCLE_DAYS = 6
ORBIT = 175  # of the Slovak plots


def read_flanders_radar(data: Path, part: str) -> list[PointSeries]:
    """Pixels of 20 m of a part ("train", "test") of the Flemish site, sigma nought, two ascending orbits; by field.

    The files say no orbit; tracks repeat after six days of two satellites.
    """
    folder = data / "flanders_s1s2"
    with xr.open_dataset(files(folder, "S1_GRD*")[0], mask_and_scale=False) as ds:
        raw = np.stack([ds.VV.values, ds.VH.values], axis=-1)
        day = ds.timestamp.values.astype("datetime64[D]").astype(np.int32)
    with xr.open_dataset(files(folder, "OUTPUT*")[0], mask_and_scale=False) as ds:
        crop, cover = ds.CT.values.astype(int), ds.LC.values.astype(int)
    field = fields_of(np.where(crop > 0, crop, 10_000 + cover))[::2, ::2]
    orbit, values, valid = day % ORBIT_CYCLE_DAYS + 1, raw * np.float32(1e-4), (raw != 0).all(-1)
    return [
        PointSeries(
            id=f"{y} {x}",
            group=f"field {field[y, x]}",
            day=day,
            values=values[:, y, x],
            valid=valid[:, y, x],
            orbit=orbit.astype(np.int32),
            split="train",
        )
        for y, x in np.ndindex(raw.shape[1:3])
        if part_of(2 * x) == part_of(2 * x + 1) == part
    ]


def read_forest_radar(data: Path) -> list[PointSeries]:
    """All pixels of two forest plots, ascending and descending apart; linear power, whether sigma nought is not said.

    Several products of one pass are one acquisition, the first that is valid. The three plots of 2017 (in
    forest_plots_more) are left out: in each of their two layers levels of VV and of VH alternate among the pixels.
    """
    out = []
    for path in files(data / "forest_plots", "*.h5"):
        with h5py.File(path) as h:
            for direction in ("asc", "des"):
                raw = np.moveaxis(h[f"sen-1-{direction}-data"][:], 1, -1)
                names = [n.decode() for n in h[f"sen-1-{direction}-products"][:]]
                with np.errstate(divide="ignore", invalid="ignore"):
                    decibels = (10 * np.log10(raw)).astype(np.float32)
                day, orbit = to_days([_date(n) for n in names]), np.array([relative_orbit(n) for n in names], np.int32)
                for y, x in np.ndindex(raw.shape[1:3]):
                    about = {"id": f"{direction} {y} {x}", "group": path.stem, "split": "train"}
                    out.append(_first_of_days(decibels[:, y, x], day, orbit, about))
    return out


def relative_orbit(product: str) -> int:
    """The relative orbit of a Sentinel-1 product's name."""
    return (int(product.split("_")[6]) - FIRST_ORBIT[product[:3]]) % CYCLES_DAYS[1] + 1


def read_slovak_radar(data: Path) -> list[PointSeries]:
    """Plots of LR and NB, one orbit, 2021 to 2023, in dB; labels and groups as of `slovakia.read_plots`."""
    folder = data / "slovak_grasslands"
    first = table(folder, "plots_s2.parquet").drop_duplicates("PLOTID").copy()
    first["place"] = near_places(first.Longitude.to_numpy(), first.Latitude.to_numpy(), PLOT_KM)
    known = first.set_index("PLOTID")
    out = []
    for plot, rows in table(folder, "plots_s1.parquet").sort_values("Date", kind="stable").groupby("PLOTID"):
        about = known.loc[plot]
        if about.LandUse not in USES:
            continue
        values = rows[["VV", "VH"]].to_numpy(np.float32)
        day, where = np.unique(to_days(rows.Date.to_numpy()), return_index=True)
        out.append(
            PointSeries(
                id=str(plot),
                group=f"{about.region} {about.place}",
                values=values[where],
                day=day,
                valid=np.isfinite(values[where]).all(1),
                orbit=np.full(len(day), ORBIT, np.int32),
                labels={"use": about.LandUse, "role": WHOLE[f"plots {about.region}"], "region": about.region},
            )
        )
    return out


def of_one_orbit(points: list[PointSeries]) -> list[PointSeries]:
    """The valid passes of the orbit that has most of them, for closed forms that know of no orbits."""
    out = []
    for p in points:
        assert p.orbit is not None
        orbits, counts = np.unique(p.orbit[p.valid], return_counts=True)
        if len(orbits):
            out.append(p.keep(p.valid & (p.orbit == orbits[counts.argmax()])))
    return out


def build_radar_records(
    data: Path, out: Path, *, change: Callable[[Sequence[PointSeries]], Sequence[PointSeries]] = list
) -> dict[str, float]:
    """Record sets below `out`; what is complete is kept. Returns the weight of each: the root of its groups.

    Args:
        data: folder of the data sets.
        out: of the record sets.
        change: made to the series of a set before.
    """
    sets = {"flanders": read_flanders_radar(data, "train"), "forest": read_forest_radar(data)}
    for name, series in sets.items():
        options = PointOptions(modality=SENTINEL1_SIGMA0, acquisitions=ACQUISITIONS, min_dates=20, source=name)
        build_point_records(out / name, change(series), options)
    return {name: len({s.group for s in series}) ** 0.5 for name, series in sets.items()}


def _date(product: str) -> str:
    found = re.search(r"_(\d{8})T", product)
    assert found, product
    return found.group(1)


def _first_of_days(values: np.ndarray, day: np.ndarray, orbit: np.ndarray, about: dict[str, Any]) -> PointSeries:
    valid = np.isfinite(values).all(1)
    order = np.lexsort((~valid, day))
    days, where = np.unique(day[order], return_index=True)
    kept = order[where]
    numbers = np.where(valid[kept, None], values[kept], 0).astype(np.float32)
    return PointSeries(day=days, values=numbers, valid=valid[kept], orbit=orbit[kept], **about)
