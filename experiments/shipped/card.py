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

{sources}

Series of single pixels and parcel means at their clear dates; each set as often as the root of its groups, at most 200,
is large. Contains modified Copernicus Sentinel data 2017-2023. {labels}

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


ANYSAT = "gastruc/AnySat, MIT; IGNF/MAESTRO, Apache-2.0; data CC-BY-4.0"
SOURCES = {
    "swiss": ("fields, 46.2-46.9N 6.0-7.0E", "2019-2020", 1560, 26, 56353, "EOA-team/AgriSatPy, no licence file"),
    "towers": ("forest towers BE-Lcr, CZ-Lnz, DE-Hai", "2023", 180, 3, 5128, "kenoz/SITS_utils, GPL-3.0"),
    "forest": ("plots of TreeSatAI-TS, Germany", "2017-2020", 180, 5, 7276, ANYSAT),
    "berlin": ("points", "2021-2023", 573, 573, 17430, "LUP-LuftbildUmweltPlanung/SITS_classification, GPL-3.0"),
    "bavaria": ("wheat and barley near Freising", "2018", 829, 14, 8105, "aliFrancis/WorldCrops, MIT"),
    "korea": (
        "parcels of nh, half of us",
        *("2021-2023", 300, 300, 28432),
        "massijjeong/Parcel-Level-SITS-Crop-Classification, MIT",
    ),
    "flanders": (
        "columns and dates of 3.02E 50.82N",
        *("2017-2018", 672, 23, 19564),
        "WorldCereal/worldcereal-classification, MIT",
    ),
}
"""Of every set that trains: places, years, series, their groups, clear dates, source with its licence."""


LEARNED = ", learned (31-64); prefixes 10, 30"
LABELS = """Labels were seen of one kind: crops of the Korean
parcels named above, by a head that does not ship."""


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
        labels=LABELS if "inner" in encoder else "No label was seen.",
        before=before,
        after=after,
        seed=info.get("seed", 0),
        places=", ".join(info["places"]),
        sources="\n".join(
            [
                "| set | places | years | series | groups | dates | source, its licence |",
                "|---" * 7 + "|",
                *(f"| {name} | " + " | ".join(map(str, row)) + " |" for name, row in SOURCES.items()),
            ]
        ),
        bench=bench,
        noise="\n".join(table) if rows else "not reported",
    )
    write_text(model / "CARD.md", text)
