"""Pre-train the Sentinel-1 encoder (context encoder, D = 64, with orbit direction and incidence) on patch records.

eomm train --config experiments/s1.py --workdir runs/s1 --config.data.records=records
"""

from ml_collections import ConfigDict

from . import common


def get_config() -> ConfigDict:
    """The configuration."""
    config = common.pretrain("s1")
    config.encoder.use_orbit = True
    config.objective = common.radar_objective()
    return config
