"""A head's series at towers, or any points: the vectors of a date are averaged as for the fit, then predicted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eomm.data.grid import to_date
from eomm.errors import UsageError
from eomm.evaluation.gpp.features import read_embedding
from eomm.evaluation.gpp.flux_sites import Tower
from eomm.heads.head import NONE, Head

DEFAULT_EXTRACT = "pixel"  # for heads that were fitted on pixels


def series(head: Head, embedding: str, towers: Mapping[str, Tower], *, extract: str | None = None) -> pd.DataFrame:
    """A row for each place and date on which its pixels are clear: `site`, `date`, and the head's layers.

    Classes are given by name. `outside` is true where the vector is farther than the head's limit; there is no
    prediction then.

    Args:
        head: fitted on the vectors of the same model.
        embedding: path of the stores; `{site}` stands for the place's name.
        towers: places by name.
        extract: which pixels, as `eomm.evaluation.gpp.features.Inputs`; None: as the head was fitted, for one of
            labels the pixel.

    Raises:
        ContractError: a store of another model.
        UsageError: no place.
    """
    if not towers:
        raise UsageError("no place to predict at: give a list with site, lat and lon (--site-info)")
    how = extract or head.fitted.get("extract", DEFAULT_EXTRACT)
    parts = []
    for tower in towers.values():
        path = Path(embedding.format(site=tower.site))
        head.check(path)
        table = read_embedding(path, tower, how)
        found = head.predict(table[[c for c in table if c != "day"]].to_numpy(np.float32))
        layers = dict(found.layers)
        if head.classes:
            layers["prediction"] = named(layers["prediction"], head.classes)
        dates = [to_date(d) for d in table["day"]]
        parts.append(pd.DataFrame({"site": tower.site, "date": dates, **layers, "outside": found.outside}))
    return pd.concat(parts, ignore_index=True)


def named(numbers: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Classes by name, "" for none."""
    return np.array([*classes, ""], object)[np.where(numbers == NONE, len(classes), numbers)]
