"""The stores that `evaluate coherence` reads beside the one it is of, made by the model. No other file knows one.

A random encoder's, the same dates in small blocks and whole, and radar of some blocks at every acquisition.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from eomm.data.cube import Cube
from eomm.data.grid import to_date
from eomm.embedding.run import embed
from eomm.evaluation.features import Features, masked
from eomm.evaluation.features_model import check_made_by, randomised, stored
from eomm.evaluation.representations import BOX_PX, OURS, RANDOM, smooth_box, smooth_time
from eomm.models.directory import Model, reference_of
from eomm.models.predict import Predictor, read_batch

SEAM_DATES = 3
SEAM_BLOCK_PX, WHOLE_PX = 16, 256
RADAR_PIXELS, RADAR_BLOCK_PX = 4096, 32
SMOOTH_DAYS = 12.0


@dataclass(frozen=True, kw_only=True)
class Stores:
    """Embeddings of one site.

    Attributes:
        embedding: what is measured.
        random: by the same networks with random parameters.
        seam: some dates embedded in blocks of 16 px, and whole.
        radar: a radar modality's name and its features at every acquisition; None where there is none.
    """

    embedding: Path
    random: Path
    seam: tuple[Path, Path]
    radar: tuple[str, Mapping[str, Features]] | None = None


def make_stores(model: Model, cube: Cube, embedding: Path, folder: Path, *, radar: str = "s1", seed: int = 0) -> Stores:
    """Embed what stands beside an embedding into a folder.

    Args:
        model: that made it.
        cube: that it was made of.
        embedding: its store.
        folder: that exists, for the others.
        radar: modality whose orbits are compared; left out where model or cube have none.
        seed: of random parameters and of the radar's blocks.

    Raises:
        ContractError: the embedding is another model's.
    """
    check_made_by(model, embedding)
    lead = reference_of(model, None)
    own = stored(embedding, cube, None, name=OURS)
    options = {"length": own.values.shape[-1], "dtype": "float32"}
    random = embed(randomised(model, seed + 1), cube, folder / "random.zarr", **options)
    best = int(np.argsort(-own.valid.mean((1, 2)), kind="stable")[0])
    days = own.days[max(0, best - SEAM_DATES // 2) : best + SEAM_DATES // 2 + 1]
    dates = to_date(int(days[0])), to_date(int(days[-1]))
    small, whole = (
        embed(model, cube, folder / f"{px}.zarr", block=px, dates=dates, **options) for px in (SEAM_BLOCK_PX, WHOLE_PX)
    )
    has_radar = radar in model.encoders and radar in cube.groups and radar != lead
    features = (radar, radar_features(model, cube, radar, seed=seed)) if has_radar else None
    return Stores(embedding=embedding, random=random, seam=(small, whole), radar=features)


def radar_features(model: Model, cube: Cube, name: str, *, seed: int) -> Mapping[str, Features]:
    """Embeddings of every acquisition by the trained and by a random encoder, and raw dB with its smoothed forms.

    Of 4,096 pixels in blocks that stand side by side along x; smoothing by a box does not cross them.
    """
    grid, px = cube[name].grid, RADAR_BLOCK_PX
    corners = [(r, c) for r in range(0, grid.height, px) for c in range(0, grid.width, px)]
    order = np.random.default_rng(seed).permutation(len(corners))
    parts: dict[str, list[np.ndarray]] = {}
    masks: list[Bool[np.ndarray, "t y x"]] = []
    predictors = {OURS: Predictor(model, name), RANDOM: Predictor(randomised(model, seed), name)}
    halo = model.encoders[name].halo
    inner = slice(halo, halo + px)
    day = np.zeros(0, np.int32)
    for i in order[: max(1, RADAR_PIXELS // px**2)]:
        batch = read_batch(cube, name, row=corners[i][0], col=corners[i][1], size=px, halo=halo)
        valid, day = batch["valid"][0, :, inner, inner].astype(bool), batch["day"][0]
        nothing = np.zeros((len(day), len(day)), bool)
        forms = {
            label: np.asarray(p.embed(p.see(name, batch), np.arange(len(day)), nothing))[0]
            for label, p in predictors.items()
        }
        raw = Features.masked(cube[name].modality.decode(batch["values"][0, :, inner, inner]), valid, day)
        forms["raw dB"] = raw.values
        forms[f"dB, box mean ({BOX_PX} px)"] = smooth_box(raw, BOX_PX).values
        forms[f"dB, time mean ({SMOOTH_DAYS:g} days)"] = smooth_time(raw, SMOOTH_DAYS).values
        for label, values in forms.items():
            parts.setdefault(label, []).append(masked(values, valid))
        masks.append(valid)
    valid = np.concatenate(masks, axis=2)
    return {label: Features(np.concatenate(of, axis=2), valid, day) for label, of in parts.items()}
