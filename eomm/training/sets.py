"""The record sets that a configuration names, as a mixture. Not how batches are drawn from them (eomm/data/mixture.py).

config.data.records        a path, several between commas, or a tuple of them
config.data.weights        of each set: how often a batch comes from it; all alike where empty
config.data.batch_sizes    of each set: records of a batch; config.data.batch_size where empty
config.data.balance        "", "site" or "stratum": of all sets; or one for each, between commas
config.data.group_weights  "GROUP=WEIGHT", of groups (by `balance`) that are drawn more or less often than others
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from eomm.data.mixture import Mixture, mix
from eomm.data.records import RecordSet, open_records
from eomm.errors import UsageError


def open_mixture(config: ConfigDict) -> Mixture:
    """Open what `config.data.records` names.

    Raises:
        UsageError: it names nothing, or what `mix` raises.
        DataError: a set is missing, unfinished or damaged.
    """
    paths = record_paths(config.data.records)
    if not paths:
        raise UsageError("config.data.records is empty; name a record set, such as --config.data.records=records")
    return mixture_of(config, [open_records(p) for p in paths])


def mixture_of(config: ConfigDict, records: Mixture | RecordSet | Sequence[RecordSet]) -> Mixture:
    """Opened record sets as the mixture that `config.data` describes; a mixture as it is."""
    if isinstance(records, Mixture):
        return records
    sets = [records] if isinstance(records, RecordSet) else list(records)
    data = config.data
    balance = data.get("balance", "")
    return mix(
        sets,
        batch_size=data.batch_size,
        weights=data.get("weights", ()),
        batch_sizes=data.get("batch_sizes", ()),
        balance=balance.split(",") if "," in balance else balance,
        group_weights=group_weights(data.get("group_weights", ())),
    )


def record_paths(value: Any) -> list[str]:
    """Paths of record sets: of a text that is no path itself, the parts between commas."""
    if isinstance(value, str | Path):
        text = str(value)
        return [text] if text and Path(text).exists() else [part.strip() for part in text.split(",") if part.strip()]
    return [str(v) for v in value]


def group_weights(values: Sequence[str]) -> dict[str, float]:
    """("nh=2",) to {"nh": 2.0}. Raises UsageError for what is not such."""
    found = {}
    for text in values:
        name, _, number = str(text).rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            name = ""
        if not name:
            raise UsageError(f"config.data.group_weights has {text!r}; expected GROUP=WEIGHT, such as nh=2")
    return found
