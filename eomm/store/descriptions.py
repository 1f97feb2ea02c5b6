"""What each kind of our own JSON must hold: one description per kind, by which all its readers check it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from eomm.store.fields import COUNT, DAY, SIZE, Fields, Json, ListOf, Maybe, Number, TableOf, check
from eomm.store.folders import read_json

AGAIN = "the store is damaged or of another version, make it again"
_NUMBER = Number(low=-1e300, high=1e300)
PAIR = Fields({"encoder": dict, "decoder": dict})
MODEL = Fields(
    {
        "eomm:kind": Literal["model"],
        "version": int,
        "hash": str,
        "contracts": TableOf(dict),
        "parts": TableOf(dict),
        "info": dict,
        "macs?": TableOf(Number(low=0)),
    }
)
HEAD = Fields(
    {
        "eomm:kind": Literal["head"],
        "version": int,
        "hash": str,
        "form": str,
        "target": str,
        "unit": str,
        "classes": ListOf(of=str),
        "contract": Fields({"model": str, "length": SIZE, "simulated": bool}),
        "interval": Fields({**dict.fromkeys(("asked", "level", "score", "coverage", "rows"), _NUMBER), "groups": SIZE}),
        "fitted": Fields(
            {"on": Literal["labels", "fluxes"], "held_out": str, "days_by_site?": TableOf(ListOf(of=str))}
        ),
        "scores": dict,
    }
)
_CONTRACT = Fields({"bands": ListOf(of=dict)})
_PLACE = Fields({"lon": _NUMBER, "lat": _NUMBER, "radius_m": _NUMBER})
RECORDS = Fields(
    {
        "eomm:kind": Literal["records"],
        "eomm:complete": bool,
        "shapes": TableOf(Fields({"modality": _CONTRACT, "acquisitions": SIZE, "height": SIZE, "width": SIZE})),
        "files": ListOf(of=Fields({"name": str, "split": str, "records": COUNT, "bytes": COUNT, "sha256": str})),
        "simulated?": bool,
        "reading?": str,
        "draw?": Fields(
            {
                "reference": str,
                **dict.fromkeys(("crop_px", "margin_px", "acquisitions", "per_record"), COUNT),
                "windows": TableOf(ListOf(of=COUNT, count=2)),
                "lengths": TableOf(SIZE),
            }
        ),
        "drawn?": TableOf(Fields(dict.fromkeys(("acquisitions", "height", "width"), SIZE))),
        "split?": Fields(
            {
                "sites?": TableOf(ListOf(of=str)),
                "site_buffer_m?": _NUMBER,
                "least_distance_m?": float | None,
                "warning?": str | None,
            }
        ),
        "sources?": ListOf(of=Fields({"site": str, "place?": Maybe(_PLACE)})),
        "statistics?": TableOf(Fields({})),
        "balance?": dict,
    }
)
GRID = {
    "proj:code": str,
    "proj:transform": ListOf(of=_NUMBER, count=6),
    "proj:shape": ListOf(of=SIZE, count=2),
}
CUBE = Fields({"site": str, "provenance": dict})
GROUP = Fields(
    {"eomm:contract": dict, "acquisitions": ListOf(of=Fields({"day": DAY})), "digests?": ListOf(of=str), **GRID}
)
EMBEDDING = Fields({"provenance": dict, "eomm:request?": Fields({"units": COUNT}), **GRID})
SITES = Fields({"eomm:kind": Literal["sites"], "sites": ListOf(of=Fields({"name": str}))})
FETCHED = Fields(
    {
        "state": Literal["complete", "empty", "failed"],
        "files?": ListOf(of=Fields({"name": str, "bytes": COUNT, "sha256": str})),
    }
)
EVERYTHING: Mapping[str, Any] = {"model.json": MODEL, "head.json": HEAD, "manifest.json": RECORDS, "sites.json": SITES}


def read_described(path: Path) -> Json:
    """One of our files by its name, as its kind's description says. Raises DataError where it is not."""
    content: dict[str, Any] = check(read_json(path), EVERYTHING[path.name], str(path), remedy=AGAIN)
    return content
