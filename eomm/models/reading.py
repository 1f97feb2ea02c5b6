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


def trim(batch: Mapping[str, Mapping[str, Array]], halos: Mapping[str, int]) -> dict[str, Mapping[str, Array]]:
    """Batches of several modalities, cropped so that encoders of unlike halos embed the same pixels.

    Args:
        batch: of each modality, crops with one centre; those of a single pixel are left as they are.
        halos: of the encoders.
    """
    inner = {n: one["valid"].shape[2] - 2 * halos[n] for n, one in batch.items() if one["valid"].shape[2:] != (1, 1)}

    def cut(name: str, x: Shaped[Array, "b t y x ..."]) -> Array:
        edge = (inner[name] - min(inner.values())) // 2 if name in inner else 0
        return x[:, :, edge : x.shape[2] - edge, edge : x.shape[3] - edge]

    return {n: {**one, "values": cut(n, one["values"]), "valid": cut(n, one["valid"])} for n, one in batch.items()}


def surrounded(shape: PatchShape, halo: int, reading: str) -> PatchShape:
    """The shape of what `surround` gives."""
    if reading == "crop":
        return shape
    return dataclasses.replace(shape, height=shape.height + 2 * halo, width=shape.width + 2 * halo)
