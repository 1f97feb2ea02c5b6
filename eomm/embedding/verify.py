"""Whether this machine and these versions give the published numbers, and by how much they differ.

The golden data in eomm/golden go the whole way: model directory, cube on disk, embedding, store. Any model, cube and
earlier embedding of it can take their place.
"""

import dataclasses
import importlib.metadata
import json
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float32

from eomm.data.attributes import attributes_of
from eomm.data.cube import Acquisition, GroupSource, write_cube
from eomm.data.grid import Grid, to_date
from eomm.data.modality import Modality
from eomm.embedding.blocks import TOGETHER, blocks, days_of
from eomm.embedding.run import embed, open_embedding
from eomm.errors import DataError, UsageError
from eomm.models.directory import Model, build_fusion, build_parts, load_model
from eomm.store.fields import Json

STEP = 2  # of the golden cube every other row and column is expected, which keeps the package small
# Largest error of a number, in root mean squares of the vectors where those exceed 1. Accelerators multiply float32 in
# shorter formats (TF32, bfloat16 passes) unless told otherwise. Measured on a CPU with bfloat16: 0.10, cosine 0.0011.
TOLERANCE = {("cpu", "float32"): 1e-5, ("accelerator", "float32"): 1e-3, ("any", "bfloat16"): 0.25}


@dataclass
class Difference:
    """What differs, over all blocks seen.

    Attributes:
        vectors: how many were compared.
        squares: sum of the expected numbers' squares.
        numbers: how many numbers that is over.
        max_abs_error: largest error of a number.
        max_excess: the same beyond what the store of the expected vectors rounds away.
        max_cosine_error: largest 1 - cosine of two vectors.
        valid_differs: pixels that are valid in one only.
    """

    vectors: int = 0
    squares: float = 0.0
    numbers: int = 0
    max_abs_error: float = 0.0
    max_excess: float = 0.0
    max_cosine_error: float = 0.0
    valid_differs: int = 0

    def add(
        self,
        found: Float32[np.ndarray, "n d"],
        expected: Float32[np.ndarray, "n d"],
        rounding: Float32[np.ndarray, "n d"] | float = 0.0,
    ) -> None:
        """Compare vectors."""
        if not found.size:
            return
        a, b = found.astype(np.float64), expected.astype(np.float64)
        error = np.abs(a - b)
        size = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
        cosine = np.where(size == 0, 1, (a * b).sum(-1) / np.where(size == 0, 1, size))  # a store may round to zero
        self.vectors += len(found)
        self.squares += float((b * b).sum())
        self.numbers += b.size
        # np.maximum and not max, which loses NaN
        self.max_abs_error = float(np.maximum(self.max_abs_error, error.max()))
        self.max_excess = float(np.maximum(self.max_excess, (error - rounding).max()))
        self.max_cosine_error = float(np.maximum(self.max_cosine_error, (1 - cosine).max()))

    def result(self, tolerance: float) -> Json:
        """As JSON types, with the verdict."""
        rms = (self.squares / max(self.numbers, 1)) ** 0.5
        equal = self.max_excess <= tolerance * max(1.0, rms) and not self.valid_differs
        return {
            "equal": bool(equal and self.vectors > 0 and np.isfinite(self.max_excess)),
            "max_abs_error": self.max_abs_error,
            "max_cosine_error": self.max_cosine_error,
            "tolerance": tolerance * max(1.0, rms),
            "rms": rms,
            "vectors": self.vectors,
            "valid_differs": self.valid_differs,
        }


def verify(*, dtype: str | None = None) -> Json:
    """Embed the golden cube with the golden model here, and compare with the vectors that are shipped.

    Args:
        dtype: that networks compute in, "float32" or "bfloat16"; the golden vectors are of float32.

    Returns:
        `equal`, `max_abs_error`, `max_cosine_error`, `tolerance`, `device`, `versions` and those of `made`.

    Raises:
        DataError: the golden data are damaged.
    """
    with golden() as folder, tempfile.TemporaryDirectory() as work:
        model = load_model(folder / "model")
        cube = golden_cube(folder, Path(work) / "cube.zarr")
        with np.load(folder / "expected.npz", allow_pickle=False) as file:
            expected, valid, made = file["embedding"], file["valid"], json.loads(str(file["made"]))
        path = embed(with_dtype(model, dtype), cube, Path(work) / "embedding.zarr", dtype="float32")
        with open_embedding(path) as ds:
            found, here = ds["embedding"].values[:, ::STEP, ::STEP], ds["valid"].values[:, ::STEP, ::STEP].astype(bool)
    difference = Difference(valid_differs=int((here != valid).sum()))
    difference.add(found[here & valid], expected[here & valid])
    return describe(difference, model=model.hash, dtype=dtype or "float32") | {"made": made}


def verify_store(
    model: Path | str, cube: Path | str, expected: Path | str, *, dtype: str | None = None, code: Sequence[str] = ()
) -> Json:
    """Embed a cube again as an earlier embedding of it was made, and compare: its dates, modalities and length.

    What int8 and float16 round away, and int8 clips, is allowed for. The new embedding is written to the directory
    for temporary files (TMPDIR), and is as large as float32 makes it.

    Args:
        model: a model's directory.
        cube: a cube.
        expected: an embedding cube.
        dtype: that networks compute in; as the model says when None.
        code: see `eomm.models.directory.load_model`.

    Returns:
        As of `verify`; `same_model` says whether `expected` was made by a model of the same hash.

    Raises:
        ContractError, DataError, UsageError: as in `embed`; or the two embeddings are not on the same grid and dates.
    """
    with open_embedding(expected, masked=False) as ds, tempfile.TemporaryDirectory() as work:
        loaded = with_dtype(load_model(model, code=code), dtype)
        made = attributes_of(ds).get("provenance", {})
        days = days_of(ds)
        path = embed(
            loaded,
            cube,
            Path(work) / "embedding.zarr",
            modalities=made.get("modalities"),
            dates=(to_date(days.min()), to_date(days.max())),
            length=ds.sizes["feature"],
            dtype="float32",
            clear_only=made.get("clear_only", True),
            average_days=made.get("average_days", 0),
        )
        with open_embedding(path, masked=False) as found:
            difference = compare(found, ds, Path(expected))
    described = describe(difference, model=loaded.hash, dtype=dtype or "as the model says")
    return described | {"same_model": ds.attrs.get("eomm:model") == loaded.hash, "made": made.get("versions", {})}


def compare(found: xr.Dataset, expected: xr.Dataset, path: Path) -> Difference:
    """Compare two embeddings, block by block. Raises DataError where dates or grid differ."""
    grids = [Grid.from_attributes(d.attrs) for d in (found, expected)]
    if grids[0] != grids[1]:
        raise DataError(f"{path}: lies on {grids[1].text}; the cube on {grids[0].text}")
    days, wanted = days_of(found), days_of(expected)
    if days.tolist() != wanted.tolist():
        missing = sorted(set(wanted.tolist()) ^ set(days.tolist()))
        raise DataError(
            f"{path}: has {len(wanted)} dates where the cube gives {len(days)}; they differ in "
            f"{', '.join(str(to_date(d)) for d in missing[:5]) or 'how often a day comes'}"
        )
    difference, clear_only = Difference(), attributes_of(expected).get("provenance", {}).get("clear_only", True)
    raw = open_embedding(path, decode=False)
    stored, scale = raw["embedding"].dtype, raw["embedding_scale"].values if "embedding_scale" in raw else None
    for start in range(0, len(days), TOGETHER):
        for y, x in blocks(grids[0]):
            a, b = (d.isel(time=slice(start, start + TOGETHER), y=y, x=x) for d in (found, expected))
            valid = [d["valid"].values.astype(bool) for d in (a, b)]
            both = a["embedding"].values, b["embedding"].values.astype(np.float32, copy=False)
            difference.valid_differs += int((valid[0] != valid[1]).sum())
            on = valid[0] & valid[1] if clear_only else np.ones_like(valid[0])
            difference.add(both[0][on], both[1][on], rounding(both[1][on], stored, scale))
    return difference


def rounding(
    vectors: Float32[np.ndarray, "n d"], stored: np.dtype, scale: Float32[np.ndarray, " d"] | None
) -> Float32[np.ndarray, "n d"]:
    """By how much a store may have rounded each number away; anything where int8 was clipped."""
    if scale is not None:
        clipped = np.abs(vectors) >= 126.5 * scale
        return np.where(clipped, np.inf, 0.5 * scale).astype(np.float32)
    return np.abs(vectors) * (2.0**-11 if stored == np.float16 else 0)


def describe(difference: Difference, *, model: str, dtype: str) -> Json:
    """The result with what it was measured on."""
    device = jax.devices()[0]
    kind = "cpu" if device.platform == "cpu" else "accelerator"
    tolerance = TOLERANCE[("any", "bfloat16") if dtype == "bfloat16" else (kind, "float32")]
    return {
        **difference.result(tolerance),
        "model": model,
        "dtype": dtype,
        "device": f"{device.platform}: {device.device_kind}",
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of what decides the numbers."""
    return {name: importlib.metadata.version(name) for name in ("eomm", "jax", "jaxlib", "flax", "numpy")}


def format_verdict(result: Json) -> str:
    """For people."""
    verdict = "the same numbers" if result["equal"] else "OTHER NUMBERS"
    if result["valid_differs"]:
        verdict += f" ({result['valid_differs']} pixels are valid in one of the two only)"
    made = ", ".join(f"{k} {v}" for k, v in result["made"].get("versions", result["made"]).items())
    here = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    return "\n".join(
        [
            f"{verdict}: model {result['model']}, {result['dtype']}, {result['device']}",
            f"  largest error of a number {result['max_abs_error']:.2g}, tolerance {result['tolerance']:.2g}; "
            f"of a cosine {result['max_cosine_error']:.2g}; root mean square {result['rms']:.2g}",
            f"  over {result['vectors']:,} vectors; here {here}; made with {made or 'unknown versions'}",
        ]
    )


def golden() -> AbstractContextManager[Path]:
    """The folder of the golden data."""
    return as_file(files("eomm.embedding.golden"))


def golden_cube(folder: Path, out: Path) -> Path:
    """The golden cube as a store."""
    with np.load(folder / "cube.npz", allow_pickle=False) as file:
        about, arrays = json.loads(str(file["about"])), {name: file[name] for name in file.files if name != "about"}
    grid = Grid.from_attributes(about.pop("grid"))

    def source(name: str) -> GroupSource:
        values, valid = arrays[f"{name}_values"], arrays[f"{name}_valid"]
        acquisitions = [Acquisition(**a) for a in about[name]["acquisitions"]]
        modality = Modality.from_dict(about[name]["contract"])
        return GroupSource(
            modality=modality, grid=grid, acquisitions=acquisitions, read=lambda i: (values[i], valid[i])
        )

    return write_cube(out, site="golden", groups=[source(n) for n in about], provenance={"simulated": True})


def with_dtype(model: Model, dtype: str | None) -> Model:
    """The model with networks that compute in another dtype, its parameters as they are.

    Raises:
        UsageError: there is no such dtype, or a network has no choice.
    """
    if dtype is None:
        return model
    if dtype not in ("float32", "bfloat16"):
        raise UsageError(f"dtype {dtype!r}: networks compute in float32 or bfloat16")
    encoders = {
        name: build_parts(contract, {**model.parts[name]["encoder"], "dtype": dtype}, model.parts[name]["decoder"])[0]
        for name, contract in model.modalities.items()
    }
    fusion = build_fusion(encoders, {**model.parts["fusion"], "dtype": dtype}) if model.fusion else None
    return dataclasses.replace(model, encoders=encoders, fusion=fusion)
