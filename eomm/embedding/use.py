"""Which modalities of a cube a model reads and which not, and why: said before anything is computed."""

from collections.abc import Sequence

from eomm.data.cube import Cube
from eomm.models.directory import Model


def explain_use(model: Model, cube: Cube, modalities: Sequence[str] | None = None) -> dict[str, str]:
    """Modality -> "used", or why it is not. Contracts are compared when the embedding is planned.

    Args:
        model: loaded.
        cube: opened.
        modalities: those asked for; all of the model's when None.
    """
    found = {}
    for name in dict.fromkeys([*model.encoders, *cube]):
        if name not in model.encoders:
            found[name] = "not used: the model has no encoder for it"
        elif name not in cube:
            found[name] = "absent: the cube has none; its place in the vector is that of a missing sensor"
        elif modalities is not None and name not in modalities:
            found[name] = "not used: not among the modalities asked for"
        else:
            found[name] = f"used: {int(cube[name].usable.sum())} of {len(cube[name].day)} acquisitions are usable"
    return found
