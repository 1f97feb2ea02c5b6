"""What lies in a file, or in a folder that is no store: results, series, exports, a simulated site. See info.py."""

import json
from pathlib import Path

import rasterio

from eomm.data.raster import open_raster
from eomm.errors import DataError
from eomm.heads.words import KIND, side_file
from eomm.store.descriptions import AGAIN
from eomm.store.fields import Fields, Json, ListOf, check, fits
from eomm.store.folders import read_json
from eomm.store.kinds import words_of

TABLES = {  # the first columns of tables of ours that have no note beside them
    ("site", "date", "group", "kind", "tested", "measured"): "what `eomm evaluate gpp` predicted, row by row",
    ("mode", "probe", "share", "site", "row", "column"): "what `eomm evaluate probes` predicted, row by row",
    ("group", "id", "date", "v0"): "vectors of `eomm embed-points`",
    ("pick", "row", "col", "x", "y", "pixels", "date"): "series that a page of `eomm view` saved",
}
RESULT = Fields(  # what `eomm evaluate …` writes has at least
    {
        "kind": str,
        "simulated": bool,
        "conclusions": ListOf(of=str),
        "tables": ListOf(of=Fields({"title": str})),
        "figures?": list,
        "commands?": ListOf(of=str),
    }
)
MANIFESTS = {"export": "manifest.json", "portable model": "contract.json", "simulated site": "site.json"}


def describe_file(path: Path) -> Json | None:
    """A file of ours as JSON types; None where it is none."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _json(path)
    if suffix in (".csv", ".parquet"):
        return _table(path)
    return _raster(path) if suffix in (".tif", ".tiff") else None


def describe_folder(path: Path, kind: str) -> Json:
    """A folder of ours whose kind has no describer of its own."""
    files = sorted(p.name for p in path.iterdir() if not p.name.startswith("."))
    manifest: Json = {}
    if kind in MANIFESTS:
        file = path / MANIFESTS[kind]
        manifest = check(read_json(file), Fields({}), str(file), remedy=AGAIN)
    hidden = ("eomm:kind", "files", "parameters")  # of a simulated site
    about = {k.removeprefix("eomm:"): v for k, v in manifest.items() if k not in hidden}
    simulated = about.pop("simulated", about.get("provenance", {}).get("simulated"))
    return {"kind": kind, "complete": True, "simulated": simulated, **about, "files": files}


def inside(path: Path) -> str:
    """Stores that lie in a folder, in words; empty where none does."""
    below = sorted(p for p in path.iterdir() if p.is_dir()) if path.is_dir() else []
    found = [f"{p.name} ({words})" for p in below if (words := words_of(p))]
    return f"; in it lie {', '.join(found)}" if found else ""


def _json(path: Path) -> Json | None:
    content = read_json(path)
    if isinstance(content, dict) and content.get("eomm:kind") == KIND:
        return _series(content)
    if not fits(content, RESULT):
        return None
    named = {"of": content["kind"], **{k: content.get(k) for k in ("dataset", "site", "model")}}
    return {
        "kind": "result of an evaluation",
        "complete": True,
        "simulated": content["simulated"],
        **{k: v for k, v in named.items() if v and isinstance(v, str)},
        "conclusions": content["conclusions"],
        "tables": [table["title"] for table in content["tables"]],
        "figures": len(content.get("figures", ())),
        "commands": content.get("commands", []),
    }


def _series(about: Json) -> Json:
    known = {k: v for k, v in about.items() if k not in ("eomm:kind", "simulated")}
    return {"kind": KIND, "complete": True, "simulated": about["simulated"], **known}


def _table(path: Path) -> Json | None:
    if (note := side_file(path)).is_file():
        return _series(read_json(note))
    if path.suffix.lower() == ".parquet":
        from pyarrow import ArrowInvalid, parquet

        try:
            schema = parquet.read_schema(path)
        except ArrowInvalid as e:
            raise DataError(f"{path}: not a readable Parquet file ({e}); mend or replace it") from e
        if own := (schema.metadata or {}).get(b"eomm"):
            about = json.loads(own)
            simulated = about.pop("simulated", None)
            return {"kind": "export", "complete": True, "simulated": simulated, **about, "columns": schema.names}
        columns = schema.names
    else:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            columns = [name.strip() for name in file.readline().rstrip("\n").split(",")]
    for first, words in TABLES.items():
        if tuple(columns[: len(first)]) == first:
            return {"kind": "table", "complete": True, "simulated": None, "of": words, "columns": columns}
    return None


def _raster(path: Path) -> Json | None:
    try:
        with open_raster(path) as file:
            tags, bands = file.tags(), [b or f"band {i}" for i, b in enumerate(file.descriptions, 1)]
            shape = f"{file.count} band, {file.height} y, {file.width} x, {file.dtypes[0]}"
    except rasterio.errors.RasterioIOError as e:
        raise DataError(f"{path}: cannot be read as a raster ({e}); mend or replace it") from e
    if "model" not in tags:
        return None
    about = {k: v for k, v in tags.items() if k.islower() and k != "simulated" and v}
    simulated = {"true": True, "false": False}.get(tags.get("simulated", ""))
    return {"kind": "map", "complete": True, "simulated": simulated, **about, "shape": shape, "bands": bands}
