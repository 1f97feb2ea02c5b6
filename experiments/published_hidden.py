"""Train the published Sentinel-2 encoder (arXiv 2511.11706) on our objective, that of `experiments/s2.py`.

    eomm train --config experiments/published_hidden.py --workdir runs/published_hidden --config.data.records=records

A step of 16 targets takes 1.1 s of two cores, so the 2,000 steps 37 minutes.

What differs between this run and `experiments/s2.py` is the architecture alone, its length (9) and its 5 acquisitions
before and after; the decoder is ours. One pixel of every crop is embedded, at 8 targets, since a pixel-date costs
3.5e9 multiply-adds.
"""

from ml_collections import ConfigDict

from . import common
from .published import CODE


def get_config() -> ConfigDict:
    """The configuration."""
    config = common.pretrain("s2")
    config.steps = 2000
    config.optimiser.learning_rate = 1e-4
    config.encoder = ConfigDict({"code": CODE})
    config.objective.update({"crop_px": 15, "prefixes": ()})
    return config
