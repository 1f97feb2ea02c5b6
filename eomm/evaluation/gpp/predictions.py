"""What every method predicted of every tower-day, as a table for a file. Scores are scores.py."""

import numpy as np
import pandas as pd

from eomm.data.grid import to_date
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.gpp.tables import Predictions


def prediction_rows(table: Table, predictions: Predictions) -> pd.DataFrame:
    """A row for each tested tower-day.

    Columns are `site`, `date`, `group`, `kind`, `tested` ("folds", or "final" for rows set aside), `measured` (g C m-2
    d-1), and each method by its name: what it said while the row was held out, empty where it could not.
    """
    every = {name: predictions.every(name) for name in predictions.methods}
    final = np.any([np.isfinite(p) for p in predictions.final.values()], axis=0)
    rows = np.flatnonzero(np.any([np.isfinite(p) for p in every.values()], axis=0))
    known = {
        "site": table.site[rows],
        "date": [to_date(d) for d in table.day[rows].tolist()],
        "group": table.group[rows],
        "kind": table.kind[rows],
        "tested": np.where(final[rows], "final", "folds"),
        "measured": table.gpp[rows],
    }
    return pd.DataFrame({**known, **{name: p[rows] for name, p in every.items()}})
