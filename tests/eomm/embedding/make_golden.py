"""Make the golden data anew, when an architecture or contract changes: `python -m tests.eomm.embedding.make_golden`.

What it writes into eomm/embedding/golden: `model/` (random parameters, all of them away from zero so that each of them
counts), `cube.npz` (fields that drift and wave, noise, clouds; SIMULATED) and `expected.npz`, embedded on this machine.
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from eomm.data.cube import Acquisition
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL1, SENTINEL2, Modality
from eomm.embedding import golden
from eomm.embedding.run import embed, open_embedding
from eomm.embedding.verify import STEP, golden_cube, versions
from eomm.models.directory import Model, build_fusion, build_parts, save_model
from eomm.store.fields import Json

SIZE = 24  # px; more than the 15 x 15 that a vector sees
OPTIONS = {"size": "tiny", "frames": [3, 3]}


def main(folder: Path = Path(golden.__file__).parent) -> None:
    """Write everything."""
    model = make_model()
    save_model(model, folder / "model", overwrite=True)
    rng = np.random.default_rng(20180501)
    s2_days = 17600 + np.cumsum(rng.integers(3, 9, 10))
    s1_days = np.concatenate([s2_days[0] - 4 + np.arange(0, 36, 4), s2_days[-1:] + 9])  # none near some dates
    arrays: dict[str, np.ndarray] = {}
    about: dict[str, Any] = {}
    for modality, days in ((SENTINEL2, s2_days), (SENTINEL1, s1_days)):
        arrays |= fields(rng, modality, days)
        about[modality.name] = {"contract": modality.to_dict(), "acquisitions": acquisitions(modality, days)}
    grid = Grid(crs="LOCAL", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), height=SIZE, width=SIZE)
    about["grid"] = grid.attributes()
    arrays["about"] = np.array(json.dumps(about))
    np.savez_compressed(folder / "cube.npz", allow_pickle=False, **arrays)
    with tempfile.TemporaryDirectory() as work:
        cube = golden_cube(folder, Path(work) / "cube.zarr")
        with open_embedding(embed(model, cube, Path(work) / "embedding.zarr", dtype="float32")) as ds:
            vectors, valid = ds["embedding"].values[:, ::STEP, ::STEP], ds["valid"].values[:, ::STEP, ::STEP]
    made = json.dumps({"versions": versions(), "device": jax.devices()[0].device_kind})
    np.savez_compressed(folder / "expected.npz", embedding=vectors, valid=valid, made=np.array(made))


def make_model(seed: int = 7) -> Model:
    """Both encoders and a fusion head, tiny, with random parameters."""
    encoders, decoders, params, parts = {}, {}, {}, {}
    for number, modality in enumerate((SENTINEL2, SENTINEL1)):
        options: dict[str, Any] = {"encoder": {**OPTIONS, "use_orbit": modality.name == "s1"}, "decoder": {"width": 16}}
        encoder, decoder = build_parts(modality, **options)
        keys = jax.random.split(jax.random.key(seed + number))
        encoders[modality.name], decoders[modality.name], parts[modality.name] = encoder, decoder, options
        params[modality.name] = {"encoder": encoder.init(keys[0]), "decoder": decoder.init(keys[1])}
    parts["fusion"] = {"dim": 16, "width": 16, "heads": 2}
    fusion = build_fusion(encoders, parts["fusion"])
    params["fusion"] = fusion.init(jax.random.key(seed + 9))
    rng = np.random.default_rng(seed)
    moved = jax.tree.map(lambda x: np.asarray(x) + rng.normal(0, 0.1, x.shape).astype(np.float32), params)
    info = {"simulated": True, "about": "random parameters, for eomm verify"}
    return Model(encoders=encoders, decoders=decoders, fusion=fusion, params=moved, parts=parts, info=info)


def fields(rng: np.random.Generator, modality: Modality, days: np.ndarray) -> dict[str, np.ndarray]:
    """Stored values and validity: waves over the site that drift with the days, noise, and round clouds."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    t = (days - days[0])[:, None, None, None] / 60
    band = np.arange(len(modality.bands))
    wave = np.sin(2 * np.pi * (y[..., None] + 0.3 * band + t)) * np.cos(2 * np.pi * x[..., None] - t)
    noise = rng.normal(0, 0.1, (*wave.shape[:1], SIZE, SIZE, len(band)))
    # Rounded to 10: smaller once compressed.
    stored = np.rint((modality.centres + 0.6 * modality.spreads * (wave + noise)) / modality.bands[0].scale / 10) * 10
    valid = np.ones(stored.shape[:3], bool)
    for i in range(len(days)):
        if modality.name == "s2":
            row, col, radius = rng.uniform(0, 1, 3) * (1, 1, 0.7)
            valid[i] = np.hypot(y - row, x - col) > radius
    if modality.name == "s2":
        valid[4] = False  # not usable
    values = np.where(valid[..., None], np.clip(stored, -32000, 32000), 0).astype(np.int16)
    return {f"{modality.name}_values": values, f"{modality.name}_valid": valid}


def acquisitions(modality: Modality, days: np.ndarray) -> list[Json]:
    """Radar comes in two orbits, of one of which the angle is unknown."""
    found = [Acquisition(day=int(d)) for d in days]
    if modality.name == "s1":
        orbits = (("R008", "descending", 36.5), ("R110", "ascending", None))
        found = [
            Acquisition(day=a.day, orbit=orbits[i % 2][0], direction=orbits[i % 2][1], incidence_deg=orbits[i % 2][2])
            for i, a in enumerate(found)
        ]
    return [asdict(a) for a in found]


if __name__ == "__main__":
    main()
