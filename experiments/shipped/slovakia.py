"""Slovak grasslands, for evaluation only: plots with their use, polygons with dates of mowing."""

from pathlib import Path

import pandas as pd

from eomm.data.points import PointSeries

from .places import LOCALITY_KM, PLOT_KM, WHOLE, mowing_role
from .tables import NINE, make_series, near_places, table, to_days, with_b8a

USES = ("grazed meadow", "meadow", "pasture")  # those with at least three plots in both regions


def read_plots(data: Path) -> list[PointSeries]:
    """Plots of LR and NB, 2021 to 2023. Labels: `use`, `role`. Plots within 500 m have one group."""
    rows = table(data / "slovak_grasslands", "plots_s2.parquet")
    first = rows.drop_duplicates("PLOTID").copy()
    first["place"] = near_places(first.Longitude.to_numpy(), first.Latitude.to_numpy(), PLOT_KM)
    place = dict(zip(first.PLOTID, first.place, strict=True))
    out: list[PointSeries] = []
    for plot, one in rows.groupby("PLOTID"):
        about = one.iloc[0]
        labels = {"use": about.LandUse, "role": WHOLE[f"plots {about.region}"]}
        values, clear = with_b8a(one[list(NINE)].to_numpy()), (one["mask"] == 1).to_numpy()
        group = f"{about.region} {place[plot]}"
        out += make_series(("plots", about.region, group), values, clear, to_days(one.Date.to_numpy()), labels)
    return out


def read_mowing(data: Path) -> list[PointSeries]:
    """A series for every year of a polygon. Labels: `mown` (days), `year`, `plot`, `role`. Group: the place."""
    rows = table(data / "slovak_grasslands", "polygons_slovakia_s2.parquet")
    places = places_of(rows)
    columns = [c for c in rows.columns if c.startswith("Mow_")]
    out: list[PointSeries] = []
    for (plot, year), one in rows.groupby(["plotID", "year"]):
        mown = [m for m in one.iloc[0][columns] if isinstance(m, str)]
        locality = locality_of(str(plot))
        labels = {
            "mown": tuple(int(d) for d in to_days(mown)) if mown else (),
            "year": int(year),
            "plot": str(plot),
            "role": mowing_role(locality),
        }
        values, clear = with_b8a(one[list(NINE)].to_numpy()), (one["mask"] == 1).to_numpy()
        out += make_series(("mowing", "SK", places[locality]), values, clear, to_days(one.Date.to_numpy()), labels)
    return out


def locality_of(plot: str) -> str:
    """The name before the plot's number."""
    return plot.rsplit("_", 1)[0]


def places_of(rows: pd.DataFrame) -> dict[str, str]:
    """Locality -> its group: names of localities of one role within 3.5 km of each other, joined by +."""
    centres = rows.assign(locality=rows.plotID.map(locality_of)).groupby("locality")[["lon", "lat"]].mean()
    out: dict[str, str] = {}
    for _, centre in centres.groupby(centres.index.map(mowing_role)):
        number = near_places(centre.lon.to_numpy(), centre.lat.to_numpy(), LOCALITY_KM)
        out |= {str(n): "+".join(centre.index[number == k]) for n, k in zip(centre.index, number, strict=True)}
    return out
