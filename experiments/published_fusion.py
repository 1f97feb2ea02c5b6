"""Train the published fusion of Sentinel-1 and Sentinel-2 (arXiv 2511.11706) over its two autoencoders.

    eomm train --config experiments/published_fusion.py --workdir runs/published_fusion --config.data.records=records

The autoencoders are those in runs/published_s2/model and runs/published_s1/model, or --config.encoders=DIR,DIR. They
are tuned too, as in the release; `--config.finetune=False` freezes them.

A step of 16 pairs takes 3.8 s of two cores, so the 2,000 steps two hours and validation 8 minutes more.
"""

from ml_collections import ConfigDict

from . import published


def get_config() -> ConfigDict:
    """The configuration."""
    config = published.base()
    config.stage = "published_fuse"
    config.encoders = ("runs/published_s2/model", "runs/published_s1/model")
    config.finetune = True
    config.fusion = ConfigDict({"code": published.CODE, "max_offset_days": 350})
    config.optimiser.plateau.update({"factor": 0.3, "patience": 9})
    return config
