"""Train the published Sentinel-2 autoencoder (arXiv 2511.11706) on patch records, as it was released.

    eomm train --config experiments/published_s2.py --workdir runs/published_s2 --config.data.records=records

A step of 16 windows takes 2.1 s of two cores, so the 2,000 steps 70 minutes and validation 4 more.
"""

from ml_collections import ConfigDict

from . import published


def get_config() -> ConfigDict:
    """The configuration."""
    return published.pretrain("s2")
