"""What the shipped experiments share. A configuration is plain values; every one can be overridden by name."""

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """Values common to both stages."""
    config = ConfigDict()
    config.seed = 0
    config.steps = 4000
    config.data = ConfigDict({"records": "", "split": "train", "validation": "", "batch_size": 2, "threads": 2})
    config.data.on_bad_record = "fail"  # or "skip"
    config.data.balance = ""  # "site" or "stratum": draw each as often as the others
    config.data.weights = ()  # of several record sets (eomm/training/sets.py): how often a batch comes from each
    config.data.batch_sizes = ()  # of each; batch_size where empty
    config.data.group_weights = ()  # "GROUP=WEIGHT" of groups by `balance`
    config.accumulate = 1  # pieces of a batch, computed one after the other to save memory
    config.remat = False  # compute the encoder's features again in the backward pass, to save memory
    config.best = ConfigDict({"metric": "", "patience": 0})  # of validation: which parameters stay, when to end early
    config.optimiser = ConfigDict(
        {"learning_rate": 3e-3, "warmup_steps": 100, "weight_decay": 0.02, "clip": 1.0, "schedule": "cosine"}
    )
    config.mesh = ConfigDict({"data": -1, "fsdp": 1})
    config.log_every = 50
    config.save_every = 500
    config.validate_every = 500
    config.calibrate_records = 32  # on which int8 scales and expected errors are measured at the end; 0: not at all
    return config


def objective() -> ConfigDict:
    """The objective for an optical modality; see `eomm.training.objective.Objective`."""
    return ConfigDict(
        {
            "targets": 8,
            "queries": 16,
            "hidden": 0.5,
            "hidden_neighbours": 0.6,
            "gap_days": (5, 60),
            "reach_days": 60,
            "reach_px": 7,
            "borrowed_clouds": 0.15,
            "edges": 0.15,
            "target_weight": 0.5,
            "sam": 0.1,
            "next_same_orbit": False,
            "series": 0,
            "prefixes": (7, 16, 32),
            "turns": True,
            "crop_px": 0,
            "only_hidden": False,
            "hidden_others": (0.0, 0.0),
            "patterns": ("scattered",),
            "hidings": 1,
            "near_days": 0.0,
            "hidden_bands": 0.0,
            "agreement": 0.0,
            "agreement_from": (0.4, 0.6),
            "agreement_guard": 1.0,
            "decorrelation": 0.0,
            "cuts": 0.0,
            "cut_share": 0.33,
            "labels": 0.0,
        }
    )


def hidden_objective() -> ConfigDict:
    """For an optical modality: nothing visible is decoded, a share of the window is hidden besides the gap.

    With `config.decoder.nearest`, with `config.decoder.leading` where the encoder's first numbers are a state of the
    bands, and a weight decay of 0.5.
    """
    options = objective()
    options.update(
        {
            "hidden": 0.6,
            "hidden_neighbours": 0.75,
            "gap_days": (5, 75),
            "only_hidden": True,
            "hidden_others": (0.15, 0.6),
            "near_days": 12.0,
            "target_weight": 0.0,  # the target is drawn like any other hidden date, only more often
            "sam": 0.0,
            "cuts": 0.15,
        }
    )
    return options


def radar_objective() -> ConfigDict:
    """The same for radar: no spectral angle, and a visible target decodes the next pass of its orbit."""
    options = objective()
    options.sam = 0.0
    options.next_same_orbit = True
    options.series = 48
    options.turns = False  # radar looks from one side
    return options


def pretrain(modality: str) -> ConfigDict:
    """Stage one for a modality, at the default size."""
    config = base()
    config.stage = "pretrain"
    config.modality = modality
    config.init = ""  # a model directory with this encoder and decoder, whose parameters training starts from
    config.encoder = ConfigDict(
        {"code": "eomm.models.context", "size": "base", "frames": (8, 8), "use_orbit": False, "dtype": "float32"}
    )
    config.encoder.dim = 0  # length of the embedding; 0: as the size has it
    config.encoder.band_flags = False  # true: bands may be missing (objective.hidden_bands)
    config.decoder = ConfigDict({"width": 128, "leading": 0, "geometry": False, "nearest": False, "dtype": "float32"})
    config.objective = objective()
    return config
