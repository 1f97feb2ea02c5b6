"""What a set without copies tells of the crops that batches draw from its records. Draws nothing: eomm/data/draw.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from data_prep.records.cut import CropConfig
from data_prep.records.takes import Take
from eomm.data.draw import Draw, longest_runs
from eomm.data.records import PatchShape
from eomm.errors import UsageError


def describe_draws(takes: Sequence[Take], shapes: Mapping[str, PatchShape], config: CropConfig) -> dict[str, Any]:
    """The manifest's "draw" and "drawn"; nothing for sets whose records are used whole.

    Raises:
        UsageError: a modality has a grid of its own of several pixels.
    """
    if not config.margin_px:
        return {}
    lead = shapes[config.reference]
    windows = {n: config.windows.get(n, config.window) for n in shapes if n != config.reference}
    for name, shape in shapes.items():
        if not shape.site_wide and (shape.height, shape.width) != (lead.height, lead.width):
            raise UsageError(
                f"patches: {name} has a grid of its own ({shape.height} x {shape.width} px for {lead.height} x "
                f"{lead.width} of {config.reference}); expected the same grid or a single pixel where records have a "
                "margin. Prepare both on one grid, or cut with margin_px 0"
            )
    lengths: dict[str, int] = {}
    for take in takes:
        for window in take.windows:
            day = {n: take.cube[n].day[window.indices[n]] for n in shapes}
            found = longest_runs(day, windows, config.reference, config.draw_acquisitions)
            lengths = {n: max(lengths.get(n, 1), length) for n, length in found.items()}
    inner = config.draw_px - 2 * config.margin_px
    places = ((config.crop_px - 2 * config.margin_px) / inner) ** 2
    draw = Draw(
        reference=config.reference,
        crop_px=config.draw_px,
        margin_px=config.margin_px,
        acquisitions=config.draw_acquisitions,
        windows=windows,
        lengths=lengths,
        per_record=max(1, round(places * lead.acquisitions / config.draw_acquisitions)),
    )
    drawn = draw.shapes(shapes)
    sizes = {n: {"acquisitions": s.acquisitions, "height": s.height, "width": s.width} for n, s in drawn.items()}
    return {"draw": draw.to_manifest(), "drawn": sizes}
