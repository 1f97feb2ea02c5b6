"""Pre-train an encoder of a static layer, such as elevation or soil, prepared with a mapping that says `static = true`.

    eomm train --config experiments/static.py --workdir runs/elevation --config.data.records=records

A layer has one acquisition and no date, so nothing can be hidden in time. What a vector must tell is the layer around
its pixel, up to the encoder's margin away: its height, slope and form. Where a strip counts as outside the cube
(`objective.edges`) that is told from the rest. It is embedded in a fusion alone, which is calibrated.
"""

from ml_collections import ConfigDict

from . import common


def get_config() -> ConfigDict:
    """The configuration; another layer is `--config.modality=soil`."""
    config = common.pretrain("elevation")
    config.steps = 1000
    config.data.batch_size = 8
    config.encoder.frames = (0, 0)
    config.calibrate_records = 0
    config.objective.update(targets=1, hidden=0.0, hidden_neighbours=0.0, borrowed_clouds=0.0, sam=0.0)
    return config
