"""Pre-train the Sentinel-2 encoder (context encoder, D = 64) on patch records.

    eomm train --config experiments/s2.py --workdir runs/s2 --config.data.records=records

On Flanders 1,200 steps take 11 minutes on two cores and reach an error of 0.0294 (reflectance) for targets with 30 days
hidden on both sides, where linear interpolation reaches 0.0381 (experiments/RESULTS.md).
"""

from ml_collections import ConfigDict

from . import common


def get_config() -> ConfigDict:
    """The configuration."""
    return common.pretrain("s2")
