"""Mixtures: several record sets, each of one shape, trained on together. Every batch comes from one set. No JAX.

Which set and which records global batch k has is a function of seed and k alone (order.py), as for a single set, which
is a mixture of one.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grain
import numpy as np

from eomm.data.batches import Batch, Loading, batch_records, prefetched, reader
from eomm.data.modality import check_contract
from eomm.data.order import ENDLESS, Order, interleave, order_batches, proportions
from eomm.data.records import RecordSet
from eomm.errors import UsageError
from eomm.store.digest import digest_text
from eomm.store.fields import Json

BALANCES = ("", "site", "stratum")


@dataclass(frozen=True, kw_only=True)
class Share:
    """A record set and its share of a mixture.

    Attributes:
        name: by which logs call it.
        records: the set.
        weight: how often a batch comes from it, against the other sets.
        batch_size: records of a global batch.
        balance: "", "site" or "stratum"; see `eomm.data.batches.batches`.
    """

    name: str
    records: RecordSet
    weight: float
    batch_size: int
    balance: str = ""


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Record sets that are trained on together.

    Attributes:
        shares: at least one.
        group_weights: group (a site, or a stratum, by the share's `balance`) -> how much more often it is drawn.
    """

    shares: tuple[Share, ...]
    group_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise where shares cannot be mixed: contracts that differ, weights that are none, unknown groups."""
        first: dict[str, RecordSet] = {}  # that holds a modality
        for share in self.shares:
            if not share.weight > 0 or share.balance not in BALANCES:
                raise UsageError(
                    f"{share.records.path}: weight {share.weight:g}, balance {share.balance!r}; expected a weight above"
                    f" 0 and one of {', '.join(map(repr, BALANCES))}"
                )
            for name, shape in share.records.shapes.items():
                other = first.setdefault(name, share.records)
                where = {"found_in": str(share.records.path), "expected_by": str(other.path)}
                check_contract(shape.modality, other.shapes[name].modality, **where)
        self._check_group_weights()

    def _check_group_weights(self) -> None:
        if self.group_weights and min(self.group_weights.values()) < 0:
            raise UsageError(f"weights of groups are {dict(self.group_weights)}; expected numbers from 0")
        groups = {g for s in self.shares if s.balance for g in _groups(s)}
        if unknown := sorted(set(self.group_weights) - groups):
            raise UsageError(
                f"weights name the groups {', '.join(unknown)}; balanced are {', '.join(sorted(groups)) or 'none'} "
                "(config.data.balance says of which sets, by site or by stratum)"
            )

    @property
    def single(self) -> bool:
        """Whether it is one record set, which trains as it did before there were mixtures."""
        return len(self.shares) == 1

    @property
    def paths(self) -> str:
        """For messages."""
        return ", ".join(str(s.records.path) for s in self.shares)

    @property
    def data_hash(self) -> str:
        """16 hex digits that stand for the sets and their weights; of one set its own."""
        if self.single:
            return self.shares[0].records.data_hash
        described = [(s.records.data_hash, s.weight) for s in self.shares]
        return digest_text(repr(described))

    def check_unchanged(self) -> None:
        """Raise DataError where another record set lies in the place of one by now."""
        for share in self.shares:
            share.records.check_unchanged()

    @property
    def turns(self) -> tuple[int, ...]:
        """Weights as whole numbers."""
        return proportions([s.weight for s in self.shares])

    def views(self) -> tuple[RecordSet, ...]:
        """The sets as a stage should see them: each with its own shapes, reading and labels.

        All with the pooled statistics, and with `classes`: label -> training records of all sets that carry it.
        """
        if self.single:
            return (self.shares[0].records,)
        pooled = {"statistics": self.statistics(), "classes": self.classes()}
        return tuple(dataclasses.replace(s.records, manifest={**s.records.manifest, **pooled}) for s in self.shares)

    def statistics(self) -> Json:
        """Mean and deviation per band over all sets, as often as batches come from them; the widest low and high."""
        names = dict.fromkeys(n for s in self.shares for n in s.records.manifest.get("statistics", {}))
        return {name: pool_statistics(*self._statistics_of(name)) for name in names}

    def classes(self) -> dict[str, int]:
        """Label -> training records that carry it, over all sets."""
        counts = Counter[str]()
        for share in self.shares:
            counts.update(share.records.manifest.get("labels", {}))
        return dict(sorted(counts.items()))

    def _statistics_of(self, name: str) -> tuple[list[Mapping[str, Any]], list[float]]:
        there = [(s.records.manifest.get("statistics", {}).get(name), s.weight) for s in self.shares]
        found = [(one, weight) for one, weight in there if one and one["valid"]]
        return [one for one, _ in found], [weight for _, weight in found]

    def manifest(self) -> Mapping[str, Any]:
        """What a single set's manifest says of sites, splits and what was held out, for the whole mixture."""
        manifests = [s.records.manifest for s in self.shares]
        if self.single:
            return manifests[0]
        return {
            "simulated": any(m.get("simulated") for m in manifests),
            "split": _pooled_split(manifests),
            "sources": [source for m in manifests for source in m.get("sources", ())],
            "statistics": self.statistics(),
        }

    def count(self, split: str) -> int:
        """Number of records in a split, over all sets."""
        return sum(s.records.count(split) for s in self.shares)

    def with_split(self, split: str) -> "Mixture":
        """The shares whose sets have records of a split. Raises UsageError where none has."""
        kept = tuple(s for s in self.shares if s.records.count(split))
        if not kept:
            raise UsageError(f"{self.paths}: no record set has a split {split!r} with records; prepare one that has")
        return dataclasses.replace(self, shares=kept, group_weights={})

    def share_of(self, number: int) -> tuple[int, int]:
        """Which share global batch `number` comes from, and its number among that share's batches."""
        which, key = interleave(np.array([number]), self.turns)
        return int(which[0]), int(key[0])

    def batch_records(self, *, split: str, seed: int, number: int) -> list[Json]:
        """The record in each row of global batch `number`; see `eomm.data.batches.batch_records`."""
        i, own = self.share_of(number)
        share = self.shares[i]
        rows = batch_records(share.records, self.order_of(i, split, seed), own)
        return rows if self.single else [{"set": share.name, **row} for row in rows]

    def order_of(self, number: int, split: str, seed: int) -> Order:
        """Of a share's records."""
        share, own = self.shares[number], self.seed_of(number, seed)
        weights = _weights_of(share, self.group_weights)
        return Order(split=split, batch_size=share.batch_size, seed=own, balance=share.balance, group_weights=weights)

    def seed_of(self, share: int, seed: int) -> int:
        """Of a share's order: the mixture's own where there is one set."""
        return seed if self.single else int(np.random.default_rng([seed, 7, share]).integers(1 << 31))


def mixed_batches(
    mixture: Mixture, *, split: str, seed: int, loading: Loading = Loading()
) -> grain.DatasetIterator[tuple[int, Batch]]:
    """Iterate over (number of the share, this host's rows) of the global batches, for ever.

    Hosts, position and closing are as in `eomm.data.batches.batches`, whose batches these are for a single set.

    Raises:
        DataError: a set lacks the split; while iterating without `skip`, a record is damaged.
        UsageError: a set lacks a modality or what to balance by, or a batch cannot be divided among the hosts.
    """
    each = [(s.records, mixture.order_of(i, split, seed)) for i, s in enumerate(mixture.shares)]
    readers = [reader(records, order, loading) for records, order in each]
    orders = [order_batches(records, order) for records, order in each]
    if mixture.single:
        return prefetched(orders[0].map(lambda indices: (0, readers[0](indices))), loading.threads)

    def read(number: int) -> tuple[int, Batch]:
        i, own = mixture.share_of(number)
        return i, readers[i](orders[i][own])

    return prefetched(grain.MapDataset.range(ENDLESS).map(read), loading.threads)


def mix(
    sets: Sequence[RecordSet],
    *,
    batch_size: int,
    weights: Sequence[float] = (),
    batch_sizes: Sequence[int] = (),
    balance: str | Sequence[str] = "",
    group_weights: Mapping[str, float] | None = None,
) -> Mixture:
    """A mixture of opened record sets.

    Args:
        sets: at least one.
        batch_size: records of a batch, of every set without a size of its own.
        weights: of every set; 1 where empty.
        batch_sizes: of every set; `batch_size` where empty.
        balance: of all sets, or of each.
        group_weights: see `Mixture`.

    Raises:
        UsageError: no set, a list of another length, a set given twice, or what `Mixture` says.
        ContractError: sets that hold a modality under different contracts.
    """
    count = len(sets)
    lists: Json = {
        "weights": list(weights) or [1.0] * count,
        "batch_sizes": list(batch_sizes) or [batch_size] * count,
        "balance": [balance] * count if isinstance(balance, str) else list(balance) or [""] * count,
    }
    _check_lists(sets, lists)
    rows = zip(names_of([s.path for s in sets]), sets, *lists.values(), strict=True)
    shares = tuple(
        Share(name=name, records=one, weight=float(weight), batch_size=int(size), balance=by)
        for name, one, weight, size, by in rows
    )
    return Mixture(shares=shares, group_weights=group_weights or {})


def _check_lists(sets: Sequence[RecordSet], lists: Json) -> None:
    wrong = {k: len(v) for k, v in lists.items() if len(v) != len(sets)}
    if not sets or wrong or len({s.path.resolve() for s in sets}) < len(sets):
        raise UsageError(
            f"records: {len(sets)} sets ({', '.join(str(s.path) for s in sets)}), lists of other lengths: "
            f"{wrong or 'none'}; expected each set once, and one value for each in config.data.weights, batch_sizes "
            "and balance, or none"
        )


def names_of(paths: Sequence[Path]) -> list[str]:
    """The folder's name of each set, with its number where two are called the same."""
    names = [p.name for p in paths]
    return [n if names.count(n) == 1 else f"{n}-{i}" for i, n in enumerate(names)]


def pool_statistics(found: Sequence[Mapping[str, Any]], weights: Sequence[float]) -> Json:
    """Statistics of a modality over several sets.

    Args:
        found: of each set {"mean", "std", "low", "high": per band; "valid": how many were counted}.
        weights: of each set.
    """
    if not found:
        return {"mean": None, "std": None, "low": None, "high": None, "valid": 0}
    share = np.array(weights) / np.sum(weights)
    mean, std = (np.array([one[k] for one in found]) for k in ("mean", "std"))
    centre = share @ mean
    spread = np.sqrt(np.maximum(share @ (std**2 + (mean - centre) ** 2), 0))
    return {
        "mean": centre.tolist(),
        "std": spread.tolist(),
        "low": np.min([one["low"] for one in found], axis=0).tolist(),
        "high": np.max([one["high"] for one in found], axis=0).tolist(),
        "valid": int(sum(one["valid"] for one in found)),
    }


def _pooled_split(manifests: Sequence[Mapping[str, Any]]) -> Json:
    """What several sets say of their splits, as one."""
    splits = [m.get("split", {}) for m in manifests]
    kept = {g: days for m in manifests for g, days in _held_out_days(m).items()}
    return {
        "rule": "mixture",
        "leaky": any(one.get("leaky") for one in splits),
        **next(({"warning": one["warning"]} for one in splits if one.get("warning")), {}),
        "sites": _pooled_sites([one.get("sites", {}) for one in splits]),
        "hold_out_days": sorted({d for days in kept.values() for d in days}),
        "hold_out_days_of": kept,
        "blocks": {site: b for one in splits for site, b in one.get("blocks", {}).items()},
    }


def _pooled_sites(found: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, list[str]]:
    """Split -> sites of all sets."""
    names = sorted({name for one in found for name in one})
    return {name: sorted({site for one in found for site in one.get(name, ())}) for name in names}


def _weights_of(share: Share, group_weights: Mapping[str, float]) -> dict[str, float]:
    groups = _groups(share) if share.balance and group_weights else set()
    return {g: w for g, w in group_weights.items() if g in groups}


def _groups(share: Share) -> set[str]:
    there = share.records.manifest.get("balance", {}).get(share.balance, {})
    return {g for groups in there.values() for g in groups}


def _held_out_days(manifest: Mapping[str, Any]) -> dict[str, list[int]]:
    """Site -> days that its set kept from training, of the reference s2 alone."""
    split = manifest.get("split", {})
    if manifest.get("crop", {}).get("reference", "s2") != "s2":
        return {}
    return {site: list(split.get("hold_out_days", ())) for own in split.get("sites", {}).values() for site in own}
