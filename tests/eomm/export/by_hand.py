"""What an export must hold, worked out from the store."""

import numpy as np

from eomm.data.grid import to_date
from eomm.embedding.run import open_embedding
from eomm.export.frames import period_of
from tests.eomm.site import DAYS


def masked(store, cloudy=False):
    """Vectors of a store [time, y, x, d], NaN where there is none."""
    return open_embedding(store, masked=not cloudy)["embedding"].values


def means_by_hand(vectors, composite):
    """By period: name, mean over its dates where there is a vector, and over how many."""
    names = [period_of(to_date(d), composite)[0] for d in DAYS]
    for name in dict.fromkeys(names):
        own = vectors[[n == name for n in names]]
        count = np.isfinite(own[..., 0]).sum(0)
        yield name, np.where(count[..., None] > 0, np.nansum(own, 0) / np.maximum(count, 1)[..., None], np.nan), count
