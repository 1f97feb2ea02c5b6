"""What the shipped experiments share. A configuration is plain values; every one can be overridden by name."""

from ml_collections import ConfigDict


def base() -> ConfigDict:
    """Values common to both stages."""
    config = ConfigDict()
    config.seed = 0  # of the first parameters, the order of the records and all that is drawn
    config.steps = 4000  # updates
    config.data = ConfigDict(
        {
            "records": "",  # a record set, or several between commas
            "split": "train",  # of the records, which is trained on
            "validation": "",  # a split that is scored while training; none where empty
            "batch_size": 2,  # records of a batch, of all hosts together
            "threads": 2,  # that read records on each host
        }
    )
    config.data.on_bad_record = "fail"  # or "skip": a damaged record is left out and counted
    config.data.balance = ""  # "site" or "stratum": each is drawn as often as the others; records alike where empty
    config.data.weights = ()  # of several record sets (eomm/training/sets.py): how often a batch comes from each
    config.data.batch_sizes = ()  # of each set: records of a batch; batch_size where empty
    config.data.group_weights = ()  # "GROUP=WEIGHT" of groups by `balance` that are drawn more or less often
    config.accumulate = 1  # pieces of a batch, computed one after the other to save memory
    config.remat = False  # compute the encoder's features again in the backward pass, to save memory
    config.best = ConfigDict(
        {
            "metric": "",  # of validation, less is better: the parameters at its least stay; the last ones where empty
            "patience": 0,  # validations without a new best after which training ends; 0: never
        }
    )
    config.optimiser = ConfigDict(
        {
            "learning_rate": 3e-3,  # the highest
            "warmup_steps": 100,  # over which it rises
            "weight_decay": 0.02,  # of the weights of layers (AdamW)
            "clip": 1.0,  # of the gradient's global norm; 0: none
            "schedule": "cosine",  # after the warm-up, to zero at the last step; or "constant", or "plateau"
        }
    )
    config.mesh = ConfigDict(
        {
            "data": -1,  # devices that share a batch; -1: all that remain
            "fsdp": 1,  # devices that also share parameters and optimiser state
        }
    )
    config.log_every = 50  # steps between entries of the log
    config.save_every = 500  # steps between checkpoints
    config.validate_every = 500  # steps between validations
    config.metrics = ("tensorboard",)  # beside metrics.jsonl: tensorboard, wandb, or a module of yours (writers.py)
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
    config.stage = "pretrain"  # what is trained: an encoder (pretrain), the head (fuse), or the published model's
    config.modality = modality  # whose encoder is trained
    config.init = ""  # a model directory with this encoder and decoder, whose parameters training starts from
    config.encoder = ConfigDict(
        {
            "code": "eomm.models.context",  # the module it is built by: one of eomm.models, or yours
            "size": "base",  # or "tiny", "large": channels, heads and length
            "frames": (8, 8),
            "use_orbit": False,
            "dtype": "float32",
        }
    )
    config.encoder.dim = 0  # length of the embedding; 0: as the size has it
    config.encoder.band_flags = False  # whether bands may be missing (objective.hidden_bands)
    config.decoder = ConfigDict({"width": 128, "leading": 0, "geometry": False, "nearest": False, "dtype": "float32"})
    config.objective = objective()
    return config
