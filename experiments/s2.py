"""Pre-train the Sentinel-2 encoder (context encoder, D = 64) on patch records.

eomm train --config experiments/s2.py --workdir runs/s2 --config.data.records=records
"""

from ml_collections import ConfigDict

from experiments import common


def get_config() -> ConfigDict:
    """The configuration."""
    return common.pretrain("s2")
