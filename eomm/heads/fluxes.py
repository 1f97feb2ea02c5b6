"""Fluxes of towers with the vectors round them as samples, in the folds of `eomm evaluate gpp`."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from eomm.data.grid import to_date
from eomm.errors import UsageError
from eomm.evaluation.gpp.features import WEATHER_COLUMNS, Inputs, sites_table
from eomm.evaluation.gpp.flux_files import UNIT, FluxSeries
from eomm.evaluation.gpp.flux_sites import Tower
from eomm.evaluation.gpp.models import features_of
from eomm.evaluation.gpp.plan import GppPlan
from eomm.evaluation.gpp.rows import Table
from eomm.evaluation.gpp.tables import choose_folds, make_folds
from eomm.heads.options import FluxOptions
from eomm.heads.samples import Samples, joint_contract, told

NAME = "embedding"  # of the features in the table
HELD_OUT = {"site": "group", "year": "year", "both": "group"}  # by kind of folds, what is one witness


def flux_table(
    embedding: str, fluxes: Sequence[FluxSeries], towers: Mapping[str, Tower], options: FluxOptions
) -> Table:
    """A row for each tower and date of its embedding cube, with the flux of that day where it is good enough.

    Args:
        embedding: path of the stores; `{site}` stands for the tower's name.
        fluxes: of towers.
        towers: where they stand.
        options: which pixels and days.

    Raises:
        EommError: as `sites_table`.
    """
    inputs = Inputs(embeddings={NAME: embedding}, extract=options.extract, quality=options.quality)
    bare = [dataclasses.replace(f, table=f.table.drop(columns=[*WEATHER_COLUMNS], errors="ignore")) for f in fluxes]
    return sites_table(bare, towers, inputs)


def flux_samples(table: Table, stores: Sequence[Path], options: FluxOptions, *, seed: int = 0) -> Samples:
    """Samples of a table by `flux_table`.

    Args:
        table: of towers and days.
        stores: of the towers.
        options: folds, and leading numbers of the vectors.
        seed: of folds.

    Raises:
        UsageError: too few sites or years.
    """
    kind = options.folds or choose_folds(table, GppPlan())
    if kind not in HELD_OUT:
        raise UsageError(f"folds {kind!r}: expected one of {', '.join(HELD_OUT)}")
    rows, contract = np.flatnonzero(table.scored), joint_contract(stores, options.length)
    parts = make_folds(table, rows, GppPlan(folds=kind, seed=seed))
    group = np.unique(getattr(table, HELD_OUT[kind]), return_inverse=True)[1]
    count = len(np.unique(group[rows]))
    what = {"site": "towers or neighbourhoods", "year": "years", "both": "towers, with each year held out too"}[kind]
    return Samples(
        x=features_of(table, [NAME])[:, : contract["length"]].astype(np.float32),
        y=table.gpp,
        group=group,
        rows=rows,
        folds=parts,
        classes=(),
        target="GPP",
        unit=UNIT,
        thinned=False,
        contract=contract,
        about={
            "on": "fluxes",
            "sites": np.unique(table.site).tolist(),
            "stores": [told(p) for p in stores],
            "extract": options.extract,
            "rows": len(rows),
            "days_by_site": days_by_site(table, rows),
            "folds": kind,
            "held_out": f"{count} {what}",
            "lines": list(table.lines),
        },
    )


def days_by_site(table: Table, rows: Int[np.ndarray, " r"]) -> dict[str, list[str]]:
    """The days of some rows, by site."""
    names, days = table.site[rows], table.day[rows]
    return {str(site): [str(to_date(d)) for d in days[names == site]] for site in np.unique(names)}
