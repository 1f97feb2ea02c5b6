"""Korean parcels: parcel means at raw dates, with crops and land types."""

from pathlib import Path

import numpy as np

from eomm.data.points import PointSeries
from eomm.evaluation.quality.series import BANDS

from .places import LARGE_M2, WHOLE, korean_roles
from .tables import make_series, table, to_days

GREENHOUSE = "시설"


def read_korea(data: Path) -> list[PointSeries]:
    """All parcels; numbers carry the +1000 offset, 0 is missing, no mask but the screen.

    Labels: `crop` (number), `large` (at least 1,000 square metres), `greenhouse`, `role`.
    """
    rows = table(data / "korea_parcels", "korea_parcels.parquet")
    first = rows.drop_duplicates("parcel")
    us = first[first.region == "us"]
    halves = korean_roles(dict(zip(us.parcel, us.crop_id.astype(int).tolist(), strict=True)))
    out: list[PointSeries] = []
    for (region, parcel), one in rows.groupby(["region", "parcel"]):
        raw, about = one[list(BANDS)].to_numpy(), one.iloc[0]
        labels = {
            "crop": int(about.crop_id),
            "large": bool(about.area_m2 >= LARGE_M2),
            "greenhouse": about.crop == GREENHOUSE or about.land_type == GREENHOUSE,
            "role": halves[parcel] if region == "us" else WHOLE[f"korea {region}"],
        }
        values, day = (raw - 1000) * 1e-4, to_days(one.date.to_numpy())
        out += make_series(("korea", region, parcel), values, (raw > 0).all(1) & np.isfinite(raw).all(1), day, labels)
    return out
