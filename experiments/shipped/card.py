"""The card of a shipped model, written from what its directory says and from the bench."""

import json
from pathlib import Path

from eomm.store.folders import write_text

CARD = """# {name}

{about}.

| | |
|---|---|
| hash | `{hash}` |
| licence | {licence} |
| input | Sentinel-2 L2A surface reflectance, ten bands (no B01, B09, B10), clear dates, no +1000 offset |
| output | {dim} numbers: {blocks} |
| window | {before} clear dates before the target, {after} after it, one pixel |
| made by | `python -m experiments.shipped.make`, seed {seed}, {steps} steps |

## What it learned from

{places}

Swiss fields (26), ICOS forest towers (3), forest plots (5), points in Berlin, wheat and barley fields of Bavaria (14),
Korean parcels (nh, half of us), columns and dates of a Flemish site; series of single pixels and parcel means, October
2017 to 2023. Contains modified Copernicus Sentinel data 2017-2023. Sources: EOA-team/AgriSatPy, kenoz/SITS_utils,
gastruc/AnySat and IGNF/MAESTRO (TreeSatAI-TS), LUP-LuftbildUmweltPlanung/SITS_classification, aliFrancis/WorldCrops,
massijjeong/Parcel-Level-SITS-Crop-Classification, WorldCereal. Labels were seen of one kind: crops of the Korean
parcels named above, by a head that does not ship.

## What it was never shown

Snow, and little winter; any place outside Europe and Korea; water, deserts, tropical forest. Elsewhere the state
holds where its noise does, and the learned part is unverified. No radar. Slovak plots and polygons were
used for evaluation alone.

## What it is worth

{bench}

## Noise of one date, by set

{noise}

## How to cite

This software (CITATION.cff) and arXiv 2511.11706, whose two-stage design it follows.
"""


LEARNED = ", learned (31-64); prefixes 10, 30"


def write_card(model: Path, bench: str = 'See experiments/RESULTS.md, "The shipped model".') -> None:
    """Write `CARD.md` into a model directory."""
    head = json.loads((model / "model.json").read_text(encoding="utf-8"))
    info, encoder = head["info"], head["parts"]["s2"]["encoder"]
    before, after = encoder.get("inner", encoder)["frames"]
    rows = [
        f"| {name} | {one['pairs']} | {'too few' if one['noise'] is None else format(one['noise'], '.2f')} |"
        for name, one in info.get("noise", {}).items()
    ]
    table = ["| set | pairs of dates at most 4 days apart | noise over that of all |", "|---|---|---|", *rows]
    text = CARD.format(
        **{k: info[k] for k in ("name", "about", "licence", "steps")},
        hash=head["hash"],
        dim=int(encoder["dim"]),
        blocks="state (1-10), one-sided means (11-30)" + (LEARNED if "inner" in encoder else "; prefix 10"),
        before=before,
        after=after,
        seed=info.get("seed", 0),
        places=", ".join(info["places"]),
        bench=bench,
        noise="\n".join(table) if rows else "not reported",
    )
    write_text(model / "CARD.md", text)
