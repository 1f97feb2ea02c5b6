"""A tiny site and model for tests of evaluation and report: fields whose reflectance is linear in time, and radar."""

import numpy as np

from eomm.data.cube import Acquisition, GroupSource, open_cube, write_cube
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.models.directory import Model, build_parts
from eomm.models.fusion import Fusion
from tests.parameters import parameters

SIZE, FIRST, STEP, COUNT = 24, 17600, 8, 20
DAYS = [FIRST + STEP * i for i in range(COUNT)]
GRID = Grid(crs="LOCAL", transform=(10, 0, 0, 0, -10, 0), height=SIZE, width=SIZE)
TEST_DAYS = [DAYS[i] for i in (4, 8, 11, 15)]
# One block of the reach of three: a third of the time to compile. Every test's models are of this one shape.
OPTIONS = {"size": "tiny", "width": 16, "dim": 8, "frames": (3, 3), "dilations": (7,)}


def truth(day):
    """Stored reflectance [y, x, band] of a day, linear in time, different in every pixel and band."""
    y, x, c = np.mgrid[:SIZE, :SIZE, :10]
    return (800 + 20 * y + 12 * x + 100 * c + (day - FIRST) * (1 + y % 4 + c)).astype(np.int16)


def make_cube(path, *, site="a", simulated=False, clouds=0.0, change=None, s1=True, radar=None, seed=0, grid=GRID):
    """`change` maps a day to what its stored values are replaced by; `radar` replaces its noise."""
    rng = np.random.default_rng(seed)
    masks = rng.random((COUNT, SIZE, SIZE)) >= clouds
    noise = rng.normal(-1400, 150, (COUNT, SIZE, SIZE, 2)).astype(np.int16)
    radar = noise if radar is None else radar

    def read(i):
        values = (change or {}).get(DAYS[i], truth(DAYS[i]))
        return np.where(masks[i][..., None], values, 0).astype(np.int16), masks[i]

    groups = [GroupSource(modality=SENTINEL2, grid=grid, acquisitions=[Acquisition(day=d) for d in DAYS], read=read)]
    if s1:
        acquisitions = [Acquisition(day=d + 3, orbit="R1", direction="ascending", incidence_deg=39.0) for d in DAYS]
        full = np.ones((SIZE, SIZE), bool)
        groups.append(
            GroupSource(modality=SENTINEL1, grid=grid, acquisitions=acquisitions, read=lambda i: (radar[i], full))
        )
    write_cube(path, site=site, groups=groups, provenance={"simulated": simulated})
    return open_cube(path)


def make_model(names=("s2",), *, fused=False, seed=0, of=None, **changes):
    """`changes` are options of every encoder, `of` those of one modality's."""
    encoders, decoders, params, parts = {}, {}, {}, {}
    for name in names:
        options = {
            "encoder": {**OPTIONS, "use_orbit": name == "s1", **changes, **(of or {}).get(name, {})},
            "decoder": {"width": 16},
        }
        encoder, decoder = build_parts({"s2": SENTINEL2, "s1": SENTINEL1}[name], **options)
        encoders[name], decoders[name], parts[name] = encoder, decoder, options
        params[name] = {"encoder": parameters(encoder, seed, name), "decoder": parameters(decoder, seed, name)}
    fusion = (
        Fusion.build({n: e.dim for n, e in encoders.items()}, {"dim": 8, "width": 16, "heads": 2}) if fused else None
    )
    if fusion:
        params["fusion"] = parameters(fusion, seed)
        parts["fusion"] = {"dim": 8, "width": 16, "heads": 2}
    return Model(encoders=encoders, decoders=decoders, fusion=fusion, params=params, parts=parts, info={})
