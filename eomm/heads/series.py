"""A head's series at towers, or any points: the vectors of a date are averaged as for the fit, then predicted."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from eomm.data.grid import to_date
from eomm.embedding.blocks import days_of
from eomm.embedding.store import open_embedding
from eomm.errors import UsageError
from eomm.evaluation.gpp.features import read_embedding
from eomm.evaluation.gpp.flux_sites import Tower
from eomm.heads.head import NONE, Head

DEFAULT_EXTRACT = "pixel"  # for heads that were fitted on pixels


def series(head: Head, embedding: str, towers: Mapping[str, Tower], *, extract: str | None = None) -> pd.DataFrame:
    """A row for each place and date of its store, of the columns that `eomm.heads.words.COLUMNS` explains.

    They are `site`, `date`, the head's layers (classes by name), `clear`, `outside`, and for heads of fluxes, which
    know their days, `fitted`.

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
        day = np.unique(days_of(open_embedding(path)))
        vectors = read_embedding(path, tower, how).set_index("day").reindex(day)
        clear = vectors.notna().all(axis=1).to_numpy()
        found = head.predict(vectors.fillna(0).to_numpy(np.float32), clear)
        dates = [to_date(d) for d in day]
        columns = {"site": tower.site, "date": dates, **found.layers, "clear": clear, "outside": found.outside}
        if head.classes:
            columns["prediction"] = named(found.layers["prediction"], head.classes)
        if (days := head.fitted.get("days_by_site")) is not None:
            columns["fitted"] = np.isin(list(map(str, dates)), days.get(tower.site, []))
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def named(numbers: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Classes by name, "" for none."""
    return np.array([*classes, ""], object)[np.where(numbers == NONE, len(classes), numbers)]
