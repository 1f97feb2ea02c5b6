"""What the three experiments with the published model share; no experiment itself.

The records need a split "validation", as the learning rate follows it. Where there is none (a single site),
`--config.data.validation=train --config.validate_batches=8` measures the plateau on training records: a leak, for this
purpose only.
"""

from ml_collections import ConfigDict

from . import common

CODE = "eomm.models.published"


def base() -> ConfigDict:
    """Batches of 16 windows, one per crop, and the published schedule in proportion to the steps given."""
    config = common.base()
    config.steps = 2000
    config.data.update({"batch_size": 16, "validation": "validation"})
    # Released: 35,000 steps of warm-up; both patiences in epochs. Here a tenth, and 40 validations in a run.
    steps = config.get_ref("steps")
    config.validate_every = steps // 40 + 1
    config.validate_batches = 8  # of a validation
    config.calibrate_records = 0  # takes long; `eomm calibrate --count 3` does it where int8 is wanted
    config.optimiser = ConfigDict(
        {
            "learning_rate": 1e-4,
            "warmup_steps": steps // 10,
            "weight_decay": 1.5e-4,
            "decay": "",  # parameters whose path this expression is found in decay: everything, as PyTorch does
            "clip": 1.0,
            "schedule": "plateau",
            "plateau": {
                "metric": "centre_mae",  # of validation, less is better: when it falls no more the rate does
                "factor": 0.35,  # of the learning rate after each plateau
                "patience": 5,  # validations without a new best that change nothing
            },
        }
    )
    config.best.update({"metric": "centre_mae", "patience": 16})
    config.sampling = ConfigDict({"samples": 1, "consecutive": 20, "span_days": 200, "tries": 32})
    return config


def pretrain(modality: str) -> ConfigDict:
    """The autoencoder of one modality."""
    config = base()
    config.stage = "published_pretrain"
    config.modality = modality
    config.encoder = ConfigDict({"code": CODE, "attention_over": "time"})
    config.decoder = ConfigDict({"code": CODE})
    return config
