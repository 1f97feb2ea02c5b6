"""Which records a global batch holds: functions of seed and number alone, the same on every host. Reads no record.

Orders are drawn over a whole split, before hosts take their rows.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grain
import numpy as np

from eomm.data.records import RecordSet
from eomm.errors import UsageError

ENDLESS = 1 << 60  # batches

POOL = 8  # records whose crops are mixed
PERMUTATION = "permutation"  # the manifest's "shuffle" of sets of small records
Stream = Callable[[np.ndarray], np.ndarray]  # numbers of elements -> rows


@dataclass(frozen=True, kw_only=True)
class Order:
    """What decides which records a global batch holds.

    Attributes:
        split: of the record set.
        batch_size: records in a global batch, over all hosts.
        seed: of the order; every epoch has another one.
        once: in the set's own order, each record once, the last batch filled up; else drawn for ever.
        balance: "site" or "stratum": draw each as often as the others, by the weights in the manifest; records of rare
            ones come again before all others were seen.
        group_weights: group -> how much more often than others it is drawn, where balanced; 0 leaves it out.
    """

    split: str
    batch_size: int
    seed: int
    once: bool = False
    balance: str = ""
    group_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.group_weights and not self.balance:
            raise UsageError(
                f"weights of groups ({', '.join(self.group_weights)}) need config.data.balance: 'site' or 'stratum'"
            )
        if self.balance and self.once:
            raise UsageError(f"balance {self.balance!r}: needs records drawn for ever")


def order_batches(records: RecordSet, order: Order) -> grain.MapDataset[Any]:
    """The indices of the records in every global batch, by its number. Raises UsageError: nothing to balance by."""
    count, size = records.count(order.split), order.batch_size
    if crops := records.manifest.get("draw", {}).get("per_record"):
        return _draws(records, order, crops)
    if order.once:
        return grain.MapDataset.source(np.arange(count)).seed(order.seed).batch(size)
    drawn = records.manifest.get("shuffle") == PERMUTATION
    if not (order.balance or drawn):
        return shuffled(np.arange(count), order.seed).batch(size, drop_remainder=True)
    element = _elements(records, order, permuted if drawn else one_by_one)
    numbers = np.arange(size)
    return grain.MapDataset.range(ENDLESS).map(lambda number: element(number * size + numbers))


def _elements(records: RecordSet, order: Order, stream: Callable[[np.ndarray, int], Stream]) -> Stream:
    if order.balance:
        return _balanced(records, order, stream)
    return stream(np.arange(records.count(order.split)), order.seed)


def shuffled(rows: np.ndarray, seed: int) -> grain.MapDataset[int]:
    """Rows one by one, for ever; each epoch is shuffled anew."""
    return grain.MapDataset.source(rows).seed(seed).shuffle().repeat()


def one_by_one(rows: np.ndarray, seed: int) -> Stream:
    """An endless stream of rows in Grain's order, which needs no memory: 0.1 to 0.2 ms for each."""
    order = shuffled(rows, seed)
    return lambda number: np.array([order[int(k)] for k in number], np.int64)


def permuted(rows: np.ndarray, seed: int) -> Stream:
    """The same from a permutation of each epoch: for records so small that Grain's order takes most of the time."""

    @functools.lru_cache(maxsize=4)  # threads may be an epoch ahead
    def epoch_of(epoch: int) -> np.ndarray:
        return rows[np.random.default_rng([seed, epoch]).permutation(len(rows))]

    def draw(number: np.ndarray) -> np.ndarray:
        epoch, place = np.divmod(number, len(rows))
        found = np.empty(len(number), np.int64)
        for e in np.unique(epoch):
            found[epoch == e] = epoch_of(int(e))[place[epoch == e]]
        return found

    return draw


def pooled(rows: np.ndarray, seed: int, each: int) -> Stream:
    """An endless stream of rows, `each` times an epoch, mixed within pools of POOL rows: few are held at once."""

    @functools.lru_cache(maxsize=4)
    def pool_of(epoch: int, pool: int) -> np.ndarray:
        mine = np.random.default_rng([seed, epoch]).permutation(len(rows))[pool * POOL : (pool + 1) * POOL]
        return np.random.default_rng([seed, epoch, pool]).permutation(np.repeat(rows[mine], each))

    def draw(number: np.ndarray) -> np.ndarray:
        epoch, place = np.divmod(number, len(rows) * each)
        pool, within = np.divmod(place, POOL * each)
        keys = zip(epoch.tolist(), pool.tolist(), within.tolist(), strict=True)
        return np.array([pool_of(e, p)[w] for e, p, w in keys], np.int64)

    return draw


def _draws(records: RecordSet, order: Order, each: int) -> grain.MapDataset[Any]:
    """[records, seeds of their crops] of every batch; each record gives `each` crops in an epoch."""
    size = order.batch_size

    def seeded(rows: np.ndarray, number: np.ndarray) -> np.ndarray:
        seeds = [np.random.SeedSequence([order.seed, int(n)]).generate_state(1, np.uint64)[0] >> 1 for n in number]
        return np.stack([rows, np.array(seeds, np.int64)], axis=1)

    if order.once:
        crops = np.arange(records.count(order.split) * each)
        found = grain.MapDataset.source(crops).seed(order.seed).batch(size)
        return found.map(lambda number: seeded(number // each, number))
    element, numbers = _elements(records, order, functools.partial(pooled, each=each)), np.arange(size)
    return grain.MapDataset.range(ENDLESS).map(
        lambda number: seeded(element(number * size + numbers), number * size + numbers)
    )


def _balanced(records: RecordSet, order: Order, stream: Callable[[np.ndarray, int], Stream]) -> Stream:
    """Every group's records in an order of its own, repeated, and groups by turns."""
    split, by = order.split, order.balance
    groups = group_records(records, split, by)
    weights = records.manifest["balance"][by][split]
    shares = np.array(
        [weights[name]["records"] * weights[name]["weight"] * order.group_weights.get(name, 1.0) for name in groups]
    )
    own = [int(np.random.default_rng([order.seed, number]).integers(1 << 31)) for number in range(len(groups))]
    kept = shares > 0
    if not kept.any():
        raise UsageError(f"{records.path}: the weights of all {by} groups of {split!r} are 0; give one of them another")
    streams = [stream(rows, one) for rows, one, k in zip(groups.values(), own, kept, strict=True) if k]
    turns = proportions([float(s) for s in np.round(shares[kept] / shares[kept].min(), 3)])

    def draw(number: np.ndarray) -> np.ndarray:
        which, key = interleave(number, turns)
        found = np.empty(len(number), np.int64)
        for i in np.unique(which):
            found[which == i] = streams[i](key[which == i])
        return found

    return draw


def proportions(weights: Sequence[float]) -> tuple[int, ...]:
    """Whole numbers in proportion to `weights`, the least of them 100."""
    scale = 100 / min(weights)
    return tuple(int(w * scale) for w in weights)


def interleave(number: np.ndarray, turns: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Which of several endless streams gives element `number` of their mixture, and its number in that stream.

    As `grain.MapDataset.mix` has it, so that orders stay what they were, and for all elements of a batch at once: one
    by one a batch of 256 records from 20 groups took 150 ms.

    Args:
        number: [n] from 0.
        turns: of every stream, in proportion.
    """
    now, after = np.asarray(number, np.int64), np.asarray(number, np.int64) + 1
    which, key, remaining = np.full(now.shape, -1), np.zeros(now.shape, np.int64), sum(turns)
    for i, turn in enumerate(turns):
        next_now, next_after = (x * (remaining - turn) // remaining for x in (now, after))
        count = after - next_after
        found = (which < 0) & ((now - next_now) != count)
        which[found], key[found] = i, count[found] - 1
        now, after, remaining = next_now, next_after, remaining - turn
    return which, key


def group_records(records: RecordSet, split: str, by: str) -> dict[str, np.ndarray]:
    """Group -> the indices of its records in a split, by "site" or "stratum". Raises UsageError without such groups."""
    there = records.manifest.get("balance", {})
    if by not in there:
        raise UsageError(
            f"{records.path}: its records cannot be balanced by {by!r}, only by {', '.join(there) or 'nothing'}; cut "
            "them again, with strata (eomm prepare sites --records --by COLUMN)"
        )
    strata, found, start = records.manifest.get("strata", {}), dict[str, list[np.ndarray]](), 0
    for file in (f for f in records.manifest["files"] if f["split"] == split):
        for site, count in file["sites"].items():
            group = site if by == "site" else strata.get(site, "")
            found.setdefault(group, []).append(np.arange(start, start + count))
            start += count
    return {group: np.concatenate(found[group]) for group in sorted(found)}
