"""What lies beside a record of single pixels or a small field, for an encoder that sees neighbours.

Records of rasters hold their own margin and are left as they are; an encoder without a halo sees no neighbours, so that
a pixel costs a pixel.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Shaped

from eomm.data.records import PatchShape


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

    return {**data, **{name: widen(jnp.asarray(data[name])) for name in ("values", "valid")}}


def surrounded(shape: PatchShape, halo: int, reading: str) -> PatchShape:
    """The shape of what `surround` gives."""
    if reading == "crop":
        return shape
    return dataclasses.replace(shape, height=shape.height + 2 * halo, width=shape.width + 2 * halo)
