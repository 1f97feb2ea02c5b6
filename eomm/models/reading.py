"""What lies beside a record of single pixels or a small field, for an encoder that sees neighbours.

Records of rasters hold their own margin and are left as they are; an encoder without a halo sees no neighbours, so that
a pixel costs a pixel.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from eomm.data.records import PatchShape
from eomm.models.interface import crop

Batch = Mapping[str, Mapping[str, Array]]
PIXELS = ("values", "valid")  # of a batch, [b, t, y, x, …]


def surround(data: Mapping[str, Array], halo: int, reading: str) -> Mapping[str, Array]:
    """A modality's batch with `halo` pixels more on every side, unless its records hold them.

    Args:
        data: of one modality, as records give it.
        halo: of the encoder.
        reading: one of `eomm.data.records.READINGS`: "lone" pixels have invalid ones around them, "homogeneous" ones
            more of the nearest.
    """
    if reading == "crop" or not halo:
        return data
    mode = "edge" if reading == "homogeneous" else "constant"

    def widen(x: Shaped[Array, "b t y x ..."]) -> Array:
        return jnp.pad(x, [(halo, halo) if axis in (2, 3) else (0, 0) for axis in range(x.ndim)], mode=mode)

    return {**data, **{name: widen(jnp.asarray(data[name])) for name in PIXELS}}


def same_pixels(batch: Batch, halos: Mapping[str, int], reading: str) -> Batch:
    """Modalities whose encoders have different halos, cut so that all give features of the same pixels.

    Records of pixels ("lone", "homogeneous") are surrounded by what each encoder needs; of crops the outermost pixels
    go that an encoder of a smaller halo does not need. What is a single pixel for a whole site stays.

    Args:
        batch: by modality, as `surround` gives it.
        halos: of the encoders, by modality; those of a single pixel for a site left out.
        reading: of the records.
    """
    if reading != "crop" or not halos:
        return batch
    widest = max(halos.values())
    cut = {
        name: {**batch[name], **{field: crop(jnp.asarray(batch[name][field]), widest - halo) for field in PIXELS}}
        for name, halo in halos.items()
        if halo < widest
    }
    return {**batch, **cut}


def surrounded(shape: PatchShape, halo: int, reading: str) -> PatchShape:
    """The shape of what `surround` gives."""
    if reading == "crop":
        return shape
    return dataclasses.replace(shape, height=shape.height + 2 * halo, width=shape.width + 2 * halo)
