"""Train the fusion head over the frozen encoders of `experiments/s2.py` and `experiments/s1.py`.

    eomm train --config experiments/fusion.py --workdir runs/fusion --config.data.records=records

The encoders are those in runs/s2/model and runs/s1/model, or --config.encoders=DIR,DIR; what they say is a closed form
(a state) stands in front of the fused embedding as it is. `--config.finetune=True`
optimises encoders and decoders too, as the published release does.
"""

from ml_collections import ConfigDict

from . import common


def get_config() -> ConfigDict:
    """The configuration."""
    config = common.base()
    config.stage = "fuse"
    config.steps = 2000
    config.reference = "s2"  # the modality at whose dates and pixels embeddings stand
    config.encoders = ("runs/s2/model", "runs/s1/model")  # model directories, one for each modality
    config.code = ()  # modules of yours that these models need
    config.drop = 0.25  # share of targets from which a modality is taken, so that any subset will do
    config.finetune = False  # whether encoders and decoders are optimised too
    config.weight = 0.35  # of the fused numbers beside closed forms that lead; 0: as they come
    config.fusion = ConfigDict(
        {"dim": 64, "width": 64, "heads": 4, "layers": 2, "max_offset_days": 12, "dtype": "float32"}
    )
    config.objective = ConfigDict({"s2": common.objective(), "s1": common.radar_objective()})
    return config
