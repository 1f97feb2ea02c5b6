"""What lies at a path: a cube, record set, model, embedding cube, head, prediction or run. Reads, never changes.

Unfinished stores are described as far as they go, and say that they are unfinished. No JAX in here. Files, and folders
that are no stores, are in info_results.py; the text for people is in info_words.py.
"""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from safetensors import SafetensorError, safe_open

from eomm.cli.info_results import describe_file, describe_folder, inside
from eomm.data.arrays import DIGEST
from eomm.data.attributes import attributes_of
from eomm.data.coverage import describe_coverage
from eomm.data.cube import Acquisition, CubeGroup, open_cube
from eomm.data.grid import Grid, to_date
from eomm.data.modality import Modality
from eomm.errors import ContractError, DataError
from eomm.heads.interval import Interval
from eomm.store.descriptions import AGAIN, read_described
from eomm.store.fields import COUNT, DAY, Fields, Json, ListOf, Maybe, check
from eomm.store.folders import entered, read_json, recover
from eomm.store.kinds import kind_of
from eomm.store.metrics import read_lines
from eomm.store.shards import ATTRIBUTE
from eomm.store.zarr_errors import damaged_zarr

EXPECTED = "a cube, record set, model, embedding cube, head, prediction, run, export, result, map or table of eomm"
DESCRIBED = ("cube", "embedding", "composite", "records", "model", "head", "prediction")

ROOT_KEYS = ("eomm:kind", "eomm:version", "eomm:complete", "site", "provenance")
PUBLISHED_MACS = 6_900_000_000  # per pixel-date, both encoders


def describe(path: Path | str) -> Json:
    """A store as JSON types: kind, complete, simulated, contracts, shapes, dates, coverage, provenance.

    Raises:
        DataError: nothing there, nothing of ours, or damaged beyond description.
    """
    path = entered(path)
    recover(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist; expected {EXPECTED}")
    if path.is_file():
        if (known := describe_file(path)) is None:
            raise DataError(f"{path}: nothing in it or beside it says that eomm wrote it; expected {EXPECTED}")
        return {"path": str(path), "bytes": path.stat().st_size, **known}
    describers: dict[str, Callable[[Path], Json]] = {
        "zarr.json": _zarr_store,
        "manifest.json": _records,
        "model.json": _model,
        "head.json": _head,
        "metrics.jsonl": _run,
        "config.json": _run,
        "sites.json": _sites,
        "site.json": lambda folder: describe_folder(folder, "simulated site"),
    }
    if (kind := kind_of(path)) and kind not in DESCRIBED:
        return {"path": str(path), "bytes": _size(path), **describe_folder(path, kind)}
    for file, describer in describers.items():
        if (path / file).is_file():
            found = describer(path)
            return {"path": str(path), "bytes": _size(path), **found}
    if any(path.glob("*.array_record*")) or (path / ".spool").is_dir():
        shards = sorted(f.name for f in path.glob("*.array_record*"))
        return {"path": str(path), "bytes": _size(path), "kind": "records", "complete": False, "files": shards}
    raise DataError(f"{path}: none of eomm's stores{inside(path)}; expected {EXPECTED}")


def _zarr_store(path: Path) -> Json:
    attributes = _attributes(path)
    kind = attributes.get("eomm:kind")
    check(attributes, Fields({"provenance?": Maybe(Fields({}))}), str(path / "zarr.json"), remedy=AGAIN)
    if kind not in ("cube", "embedding", "prediction"):
        raise DataError(
            f"{path}: a Zarr store, but eomm:kind is {kind!r}; expected a cube, an embedding cube or a prediction"
        )
    complete = bool(attributes.get("eomm:complete"))
    provenance = attributes.get("provenance") or {}
    info: Json = {"kind": kind, "complete": complete, "site": attributes.get("site")}
    info["simulated"] = _flag(attributes.get("simulated", provenance.get("simulated")))
    if kind == "cube":
        info["modalities"] = _modalities(path, complete=complete)
    else:
        hidden = (*ROOT_KEYS, "eomm:windows", "zarr_conventions", "coordinates", ATTRIBUTE, DIGEST)
        info |= {k.removeprefix("eomm:"): v for k, v in attributes.items() if k not in hidden}
        info |= _embedding(path)
    return info | {"provenance": provenance}


def _modalities(path: Path, *, complete: bool) -> Json:
    if complete:
        return {name: _group(group) for name, group in open_cube(path).groups.items()}
    return {f.parent.name: _unfinished_group(f.parent) for f in sorted(path.glob("*/zarr.json"))}


def _group(group: CubeGroup) -> Json:
    valid = group.valid_fraction()
    months: Json = {}
    keyed = itertools.groupby(range(len(group)), key=lambda i: str(to_date(int(group.day[i])))[:7])
    for month, members in keyed:
        at = list(members)
        months[month] = {
            "acquisitions": len(at),
            "usable": int(group.usable[at].sum()),
            "valid_fraction": round(float(valid[at].mean()), 3),
        }
    return {
        "contract": _contract(group.modality.to_dict()),
        "shape": f"{len(group)} time, {group.grid.height} y, {group.grid.width} x, {len(group.modality.bands)} band",
        "grid": _grid(group.grid),
        "dates": group.dates,
        "acquisitions": len(group),
        "usable": int(group.usable.sum()),
        "valid_fraction": round(float(valid.mean()), 4),
        "platforms": sorted({a.platform or "unknown" for a in group.acquisitions}),
        "orbits": sorted({_orbit(a) for a in group.acquisitions}),
        "months": {} if group.modality.static else months,
        "attributes": {k: v for k, v in group.attributes.items() if not k.startswith("proj:")},
    }


def _orbit(a: Acquisition) -> str:
    label = a.orbit or "unknown"
    return label if not a.direction or a.direction in label else f"{label} {a.direction}"


def _unfinished_group(path: Path) -> Json:
    """Only what the writer stated at the start; the arrays may hold anything."""
    known = {"acquisitions?": ListOf(of=Fields({"day": DAY})), "eomm:contract?": dict}
    attributes = check(_attributes(path), Fields(known), str(path / "zarr.json"), remedy=AGAIN)
    days = [a["day"] for a in attributes.get("acquisitions", [])]
    found: Json = {"acquisitions": len(days)}
    if days and not attributes.get("eomm:contract", {}).get("static"):
        found["dates"] = [str(to_date(days[0])), str(to_date(days[-1]))]
    if "eomm:contract" in attributes:
        found["contract"] = _contract(attributes["eomm:contract"])
    return found


def _embedding(path: Path) -> Json:
    """Arrays, dates and validity, whatever else the writer keeps beside them."""
    info: Json = {"arrays": {}}
    arrays: dict[str, zarr.Array] = {}
    for file in sorted(path.glob("*/zarr.json")):
        if check(read_json(file), Fields({"node_type": str}), str(file), remedy=AGAIN)["node_type"] == "array":
            name = file.parent.name
            with damaged_zarr(file.parent):
                arrays[name] = array = zarr.open_array(file.parent, mode="r")
            dims = array.metadata.dimension_names or [""] * array.ndim  # type: ignore[union-attr]
            shape = ", ".join(f"{n} {d or ''}".strip() for n, d in zip(array.shape, dims, strict=True))
            info["arrays"][name] = f"{array.dtype} [{shape}]"
    with damaged_zarr(path):
        days = np.asarray(arrays["time"][:]) if "time" in arrays else np.zeros(0)
        if days.size:
            info["dates"] = [str(to_date(int(days.min()))), str(to_date(int(days.max())))]
    if "valid" in arrays and arrays["valid"].ndim == 3 and arrays["valid"].size:
        with damaged_zarr(path / "valid"):
            info["valid_fraction"] = round(_share(arrays["valid"]), 4)
    return info


def _share(mask: zarr.Array) -> float:
    """Of an array that is not zero, read a chunk of dates at a time."""
    starts, step = range(0, mask.shape[0], mask.chunks[0]), mask.chunks[0]
    return sum(int(np.count_nonzero(np.asarray(mask[t : t + step]))) for t in starts) / mask.size


def _records(path: Path) -> Json:
    manifest = read_described(path / "manifest.json")
    shapes = {
        name: {
            "contract": _contract(s["modality"]),
            "shape": f"{s['acquisitions']} time, {s['height']} y, {s['width']} x, {len(s['modality']['bands'])} band",
        }
        for name, s in manifest.get("shapes", {}).items()
    }
    files = manifest.get("files", [])
    counts = {s: sum(f["records"] for f in files if f["split"] == s) for s in sorted({f["split"] for f in files})}
    wrong = [f["name"] for f in files if _bytes(path / f["name"]) != f["bytes"]]
    described = ("eomm:kind", "eomm:complete", "shapes", "files", "simulated", "version")
    return {
        "kind": "records",
        "complete": bool(manifest.get("eomm:complete")),
        "simulated": _flag(manifest.get("simulated")),
        **({"damaged": wrong} if wrong else {}),
        "records": counts,
        "shards": len(files),
        "coverage": describe_coverage(manifest),
        "modalities": shapes,
        **{k: v for k, v in manifest.items() if k not in described},
    }


def _model(path: Path) -> Json:
    head = read_described(path / "model.json")
    info = head.get("info") or {}
    described: Json = {"kind": "model", "complete": False, "simulated": _flag(info.get("simulated"))}
    try:
        with safe_open(path / "params.safetensors", framework="numpy") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]
        described |= {"complete": True, "parameters": int(sum(np.prod(s, dtype=np.int64) for s in shapes))}
    except (OSError, SafetensorError) as e:
        described["damaged"] = f"params.safetensors: {e}"
    return {
        **described,
        "hash": head.get("hash"),
        "multiply_adds_per_pixel_date": _multiply_adds(head.get("macs") or {}),
        "modalities": {n: {"contract": _contract(c)} for n, c in head.get("contracts", {}).items()},
        "parts": head.get("parts", {}),
        "info": info,
    }


def _head(path: Path) -> Json:
    head = read_described(path / "head.json")
    shown = ("target", "unit", "form", "classes", "contract", "interval", "fitted", "scores")
    complete = (path / "arrays.safetensors").is_file()
    simulated = _flag(head["contract"]["simulated"])
    named = {k: head[k] for k in shown}
    unit = None if head["classes"] else head["unit"]
    named["interval_in_words"] = Interval(**head["interval"]).words(head["fitted"]["held_out"], unit)
    return {"kind": "head", "complete": complete, "simulated": simulated, "hash": head["hash"], **named}


def _multiply_adds(macs: Mapping[str, int]) -> Json:
    """In dense embedding, by part, beside the published model (arXiv 2511.11706: both encoders, one by one)."""
    total = sum(macs.values())
    if not total:
        return {}
    return {**macs, "total": total, "published_model": PUBLISHED_MACS, "share": float(f"{total / PUBLISHED_MACS:.1g}")}


def _run(path: Path) -> Json:
    """A training run: how far it got, by its own metrics."""
    config = read_json(path / "config.json") if (path / "config.json").exists() else {}
    check(config, Fields({"steps?": COUNT}), str(path / "config.json"), remedy="choose a training's workdir")
    latest: Json = {}
    for entry in read_lines(path / "metrics.jsonl").entries if (path / "metrics.jsonl").exists() else ():
        latest |= entry
    numbers = [int(d.name) for d in (path / "checkpoints").glob("*") if d.name.isdigit()]
    saved = max(numbers, default=0)
    wanted, step = config.get("steps"), max(latest.get("step", 0), saved)  # a step saved need not be one logged
    complete = wanted is not None and saved >= wanted
    state = {"step": step, "steps": wanted, "checkpoints": sorted(numbers)}
    return {"kind": "run", "complete": complete, **state, "latest": latest, "config": config}


def _sites(path: Path) -> Json:
    """Many sites: how far they are, as `eomm prepare status` says it."""
    from data_prep.sites.units import status

    found = status(path)
    return {"kind": "sites", "complete": found["done"] == found["sites"], "simulated": None, **found}


def _contract(fields: Mapping[str, Any]) -> Json:
    try:
        modality = Modality.from_dict(fields)
    except ContractError as e:
        return {"damaged": str(e)}
    named = {k: getattr(modality, k) for k in ("unit", "level", "calibration", "speckle_filter")}
    units = {} if len(set(modality.units.values())) == 1 else {"units": modality.units}
    static = {"static": True} if modality.static else {}
    return {"hash": modality.contract_hash, "bands": " ".join(modality.band_names), **named, **units, **static}


def _grid(grid: Grid) -> Json:
    return {"crs": grid.crs, "gsd_m": grid.gsd_m, "west_south_east_north": list(grid.bounds)}


def _attributes(path: Path) -> Json:
    with damaged_zarr(path):
        return attributes_of(zarr.open_group(path, mode="r"))


def _flag(value: Any) -> bool | None:
    return None if value is None else bool(value)


def _bytes(file: Path) -> int | None:
    return file.stat().st_size if file.exists() else None


def _size(path: Path) -> int:
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
