"""What every probe said of every labelled pixel, as a table for a file. Scores are score.py."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from eomm.evaluation.probes.plan import Labelled, Method
from eomm.evaluation.probes.tables import Outcome


def prediction_rows(outcome: Outcome, sites: Sequence[Labelled], methods: Mapping[str, Method]) -> pd.DataFrame:
    """A row for each mode, probe, share and scored pixel, of the first draw.

    Columns are `mode`, `probe`, `share`, `site`, `row` and `column` (of the cube), `group`, `fold`, `label`, and each
    method by its name: what it said while the pixel's group was held out. Classes are given by name.
    """
    names = np.array([s.site for s in sites])
    parts = []
    for mode, probe, share in dict.fromkeys(key[:3] for key in outcome.guesses):
        rows = outcome.rows[mode]
        known = {
            "mode": mode,
            "probe": probe,
            "share": share,
            "site": names[rows.at[:, 0]],
            "row": rows.at[:, 1],
            "column": rows.at[:, 2],
            "group": np.array(rows.names)[rows.group],
            "fold": outcome.folds[mode],
            "label": named(rows.y, outcome.classes),
        }
        said = {m: named(outcome.guesses[mode, probe, share, m], outcome.classes) for m in methods}
        parts.append(pd.DataFrame({**known, **said}))
    return pd.concat(parts, ignore_index=True)


def named(values: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Classes by name; numbers as they are."""
    return np.array(classes)[values] if classes else values
