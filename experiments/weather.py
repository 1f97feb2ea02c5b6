"""Pre-train an encoder of daily weather: one pixel per site, prepared with the mapping `worldcereal_agera5`.

    eomm prepare records flanders.zarr --window weather=60,0 --out records
    eomm train --config experiments/weather.py --workdir runs/weather --config.data.records=records

The window is the 60 days before the target and none after: what grows on a day has met the weeks before it, and
weather that is yet to come would keep embeddings from being made in time. One pixel has no neighbours, so there are
no convolutions and no offsets in space. Days differ more than pixels and cost little: many targets, short gaps,
since hidden weather beyond some days is climatology.
"""

from ml_collections import ConfigDict

from . import common


def get_config() -> ConfigDict:
    """The configuration."""
    config = common.pretrain("weather")
    config.steps = 1000
    config.data.batch_size = 8
    config.encoder.frames = (60, 0)
    config.encoder.dilations = ()
    config.objective.update(targets=32, gap_days=(1, 5), sam=0.0)
    config.objective.update(reach_px=0, borrowed_clouds=0.0, edges=0.0, turns=False)  # nothing to see in one pixel
    return config
