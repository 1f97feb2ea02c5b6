"""Which sites and strata a record set holds how often, and how much more often to draw rare ones. Draws nothing."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


def describe_balance(files: Sequence[Mapping[str, Any]], strata: Mapping[str, str]) -> dict[str, Any]:
    """{"site" and, where there are strata, "stratum": {split: {group: {"records", "weight"}}}}.

    Drawn by its weight (the mean number of records of a group over its own), a record of a rare group is drawn more
    often, and every group as often as any other. Sites without a stratum are the stratum "".

    Args:
        files: the shards, each with its split and "sites" {site: records}.
        strata: site -> stratum.
    """
    found: dict[str, Any] = {}
    for by in ("site", "stratum") if strata else ("site",):
        counts: dict[str, Counter[str]] = {}
        for file in files:
            for site, records in file["sites"].items():
                group = site if by == "site" else strata.get(site, "")
                counts.setdefault(file["split"], Counter())[group] += records
        found[by] = {split: _weights(counts[split]) for split in sorted(counts)}
    return found


def _weights(counts: Mapping[str, int]) -> dict[str, Any]:
    mean = sum(counts.values()) / len(counts)
    return {group: {"records": n, "weight": round(mean / n, 6)} for group, n in sorted(counts.items())}
