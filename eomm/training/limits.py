"""What values of a configuration can be, told before anything is read or compiled. Not what they mean (experiments/).

Every number is finite. A key that no rule names, such as one of a user's own encoder, is free otherwise.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ml_collections import ConfigDict

from eomm.data.mixture import Share
from eomm.errors import UsageError
from eomm.store.fields import COUNT, SIZE, ListOf, Number, check, fits
from eomm.store.log import LOGGER

SHARE, POSITIVE = Number(low=0, high=1), Number(low=0, high=1e30)
PAIR = ListOf(of=COUNT, count=2)
DTYPE = Literal["float32", "bfloat16", "float16"]
RULES: tuple[tuple[str, Any], ...] = (  # of dotted keys; the first that fits counts
    (r"seed", Number(low=0, high=2**32 - 1, whole=True)),
    (r"steps|accumulate|(log|save|validate)_every|keep_checkpoints|max_bad_steps|validate_batches", SIZE),
    (r"calibrate_records|best\.patience|optimiser\.warmup_steps|optimiser\.plateau\.patience", COUNT),
    (r"data\.batch_size", Number(low=1, high=2**24, whole=True)),
    (r"data\.threads", Number(low=0, high=1024, whole=True)),
    (r"data\.on_bad_record", Literal["fail", "skip"]),
    (r"data\.(split|validation|balance)|best\.metric|stage|modality|reference", str),
    (r"optimiser\.(learning_rate|weight_decay|clip)", POSITIVE),
    (r"optimiser\.b2|optimiser\.plateau\.factor|drop", SHARE),
    (r"optimiser\.schedule", Literal["cosine", "constant", "plateau"]),
    (r"mesh\.(data|fsdp)", Number(low=-1, high=2**20, whole=True)),
    (r"remat|finetune|encoder\.(use_orbit|band_flags)|decoder\.(geometry|nearest)", bool),
    (r"objective(\.\w+)?\.(next_same_orbit|turns|only_hidden)", bool),
    (r"(encoder|decoder|fusion)\.dtype", DTYPE),
    (r"encoder\.frames", PAIR),
    (r"encoder\.dim|decoder\.leading|fusion\.max_offset_days", COUNT),
    (r"(encoder|decoder|fusion)\.(width|heads|layers|dim)", Number(low=1, high=2**16, whole=True)),
    (r"objective(\.\w+)?\.(targets|queries)", Number(low=1, high=2**20, whole=True)),
    (
        r"objective(\.\w+)?\.(hidden|hidden_neighbours|borrowed_clouds|edges|target_weight|hidden_bands|cut_share)",
        SHARE,
    ),
    (r"objective(\.\w+)?\.(hidden_others|agreement_from)", ListOf(of=SHARE, count=2)),
    (r"objective(\.\w+)?\.(reach_days|reach_px|series|crop_px|classes)", COUNT),
    (r"objective(\.\w+)?\.hidings|sampling\.\w+", SIZE),
    (r"objective(\.\w+)?\.gap_days", PAIR),
    (r"objective(\.\w+)?\.prefixes", ListOf(of=Number(low=1, high=2**16, whole=True))),
    (r"objective(\.\w+)?\.(sam|agreement|agreement_guard|decorrelation|cuts|labels|near_days)", POSITIVE),
)


def check_values(values: Mapping[str, Any]) -> None:
    """Raise UsageError for the first value, by its dotted key, that cannot be."""
    remedy = "correct the configuration, or say --config.KEY=VALUE"
    for key, value in values.items():
        expected = next((spec for pattern, spec in RULES if re.fullmatch(pattern, key)), None)
        if key.startswith(("encoder.", "decoder.")) and not _ours(values.get(f"{key.split('.')[0]}.code")):
            expected = None
        if expected is None and isinstance(value, float):
            expected = float
        if expected is not None:
            check(value, expected, f"config.{key}", error=UsageError, remedy=remedy)


def _ours(code: Any) -> bool:
    return not isinstance(code, str) or code.startswith("eomm.models.")


def scale_warmup(config: ConfigDict, given: bool) -> None:
    """Shorten a warm-up that a shortened training would not end, unless it was asked for by name; say so."""
    options, steps = config.get("optimiser"), config.get("steps")
    if not isinstance(options, ConfigDict) or given:
        return
    warmup = options.get("warmup_steps")
    if fits(warmup, COUNT) and fits(steps, SIZE) and warmup >= steps:
        options.warmup_steps = steps // 10
        LOGGER.warning(f"config.optimiser.warmup_steps: {steps // 10}, not {warmup}, of {steps} steps")


def check_batch(sets: Sequence[Share], *, hosts: int) -> None:
    """Raise UsageError where a host's share of a batch of any of the sets does not fit its memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for one in sets:
        files = one.records.manifest["files"]
        record = max((f["bytes"] / max(f["records"], 1) for f in files), default=0)
        needed = one.batch_size * record / hosts
        if needed > memory:
            raise UsageError(
                f"config.data.batch_size is {one.batch_size}: its records of {one.name} take "
                f"{needed / 2**30:,.0f} GiB here, and this machine has {memory / 2**30:,.0f}; choose a smaller batch"
            )
