"""A little world of towers whose fluxes and features are known, for tests of GPP's evaluation."""

import numpy as np
import pandas as pd

from eomm.evaluation.gpp.rows import Table

KINDS = ("ENF", "GRA", "CRO")


def make_world(sites=9, years=(2018, 2019, 2020), step=12, noise=0.3, drought=None, seed=0, simulated=False):
    """Site level x season x a common dryness in `drought`; `state` knows it all, `noise` nothing, weather a part."""
    rng = np.random.default_rng(seed)
    site, day, gpp, kind, dry, level = [], [], [], [], [], []
    for s in range(sites):
        base, shift = 4 + 3 * rng.random(), rng.normal(0, 8)
        start = (np.datetime64(f"{years[0]}-01-01") - np.datetime64("1970-01-01")).astype(int)
        days = np.arange(start + s % step, start + 365 * len(years), step)
        year = days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970
        season = np.clip(np.cos(2 * np.pi * (days % 365.25 - 200 - shift) / 365.25), 0, None)
        stress = np.where(year == drought, 0.5, 1.0) if drought else 1 - 0.2 * rng.random(len(days))
        site += [f"S{s}"] * len(days)
        kind += [KINDS[s % 3]] * len(days)
        day.append(days)
        dry.append(np.broadcast_to(stress, days.shape))
        level.append(np.full(len(days), base))
        gpp.append(base * season * stress)
    truth, day = np.concatenate(gpp), np.concatenate(day)
    measured = truth + noise * rng.standard_normal(len(truth))
    features = {
        "state": (truth + 0.1 * rng.standard_normal(len(truth)))[:, None],
        "nothing": rng.standard_normal((len(truth), 3)),
        "weather": np.stack([np.concatenate(dry), np.cos(2 * np.pi * (day % 365.25 - 200) / 365.25)], axis=1),
        "oracle": measured[:, None],
    }
    site = np.array(site)
    return Table(
        site=site, day=day.astype(np.int32), gpp=measured, kind=np.array(kind), group=site.copy(), features=features,
        simulated=simulated,
    )  # fmt: skip


def gpp_table(world, path):
    """The world as a table of a row each tower and day; features as columns NAME_0, NAME_1 and so on."""
    columns = {"site": world.site, "date": world.day.astype("datetime64[D]"), "gpp": world.gpp, "kind": world.kind}
    for name, values in world.features.items():
        columns |= {f"{name}_{i}": column for i, column in enumerate(values.T)}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path
