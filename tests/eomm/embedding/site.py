"""The sites that tests of embedding share: two series of odd shapes, with dates that hold nothing."""

import numpy as np

from eomm.data.cube import Acquisition, GroupSource, open_cube, write_cube
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.embedding.run import open_embedding
from eomm.models.directory import Model, build_parts
from eomm.models.fusion import Fusion
from tests.parameters import parameters

GRID = Grid(crs="EPSG:32631", transform=(10.0, 0.0, 501600.0, 0.0, -10.0, 5630080.0), height=21, width=37)
UNUSABLE = (4, 17)  # of the short series


def make_group(rng, modality, days, *, grid=GRID, unusable=(), share=0.7):
    shape = (len(days), grid.height, grid.width)
    low, high = (100, 4000) if modality.unit == "reflectance" else (-2000, -500)
    valid = rng.random(shape) < share
    valid[list(unusable)] = False
    values = rng.integers(low, high, (*shape, len(modality.bands)), dtype=np.int16)
    return modality, grid, [int(d) for d in days], np.where(valid[..., None], values, 0).astype(np.int16), valid


def write(path, groups, simulated=True):
    def source(modality, grid, days, values, valid):
        acquisitions = [
            Acquisition(
                day=d,
                orbit=f"R{i % 2}",
                direction=("ascending", "descending")[i % 2],
                incidence_deg=38.5 if i % 3 else None,
            )
            for i, d in enumerate(days)
        ]
        return GroupSource(
            modality=modality, grid=grid, acquisitions=acquisitions, read=lambda i: (values[i], valid[i])
        )

    write_cube(path, site="here", groups=[source(*g) for g in groups], provenance={"simulated": simulated})
    return open_cube(path)


def make_model(size="tiny", names=("s2", "s1"), seed=0, of=None, **options):
    contracts = {"s2": SENTINEL2, "s1": SENTINEL1}
    encoders, decoders, params, parts = {}, {}, {}, {}
    # At the tiny size one block of the reach of three: a third of the time to compile.
    blocks = {"dilations": (7,)} if size == "tiny" else {}
    for name in names:
        parts[name] = {
            "encoder": {"size": size, "use_orbit": name == "s1", **blocks, **options, **(of or {}).get(name, {})},
            "decoder": {"width": 16},
        }
        encoders[name], decoders[name] = build_parts(contracts[name], **parts[name])
        networks = {"encoder": encoders[name], "decoder": decoders[name]}
        params[name] = {part: parameters(network, seed, name) for part, network in networks.items()}
    fusion = None
    if len(names) > 1:
        parts["fusion"] = {"dim": 24, "width": 16, "heads": 2}
        fusion = Fusion.build({n: e.dim for n, e in encoders.items()}, parts["fusion"])
        params["fusion"] = parameters(fusion, seed)
    return Model(encoders=encoders, decoders=decoders, fusion=fusion, params=params, parts=parts, info={"steps": 0})


COUNT = 40  # dates: three shards, the last not full


def same(a, b):
    """Two stores hold the same arrays, bit for bit."""
    a, b = (open_embedding(p, decode=False).load() for p in (a, b))
    assert set(a.variables) == set(b.variables)
    for name in a.variables:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


def same_values(a, b):
    a, b = (open_embedding(p).load() for p in (a, b))
    np.testing.assert_array_equal(a["time"], b["time"])
    assert "embedding" in a.data_vars and set(a.data_vars) == set(b.data_vars)
    for name in a.data_vars:
        np.testing.assert_allclose(a[name].values, b[name].values, atol=1e-5, err_msg=str(name))


def short_groups():
    """28 dates of which two are unusable, radar with a gap."""
    rng = np.random.default_rng(0)
    s2 = make_group(rng, SENTINEL2, 17000 + np.cumsum(rng.integers(1, 9, 28)), unusable=UNUSABLE)
    s1_days = np.concatenate([s2[2][0] + np.arange(-20, 60, 3), s2[2][-1] - np.arange(0, 30, 7)[::-1]])
    s1 = make_group(rng, SENTINEL1, np.unique(s1_days), unusable=(2, 8), share=0.9)
    return {"s2": s2, "s1": s1}


def long_groups():
    """COUNT dates of which one is unusable, radar all along."""
    rng = np.random.default_rng(1)
    days = 17000 + np.cumsum(rng.integers(1, 5, COUNT))
    s1_days = np.arange(days[0] - 20, days[-1] + 30, 6)
    return make_group(rng, SENTINEL2, days, unusable=(5,)), make_group(rng, SENTINEL1, s1_days, share=0.9)
