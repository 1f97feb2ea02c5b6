"""Frames to one GeoParquet file: a row per point or polygon and frame, or per pixel. Not how features are read.

Memory is that of a block of the grid, of the sums of eight frames over all features, and of ROWS rows.
GeoParquet 1.1: https://geoparquet.org/releases/v1.1.0.
"""

import itertools
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyproj
import rasterio.features
from jaxtyping import Bool, Float64, Int
from rasterio import Affine

from eomm.data.grid import Grid
from eomm.embedding.blocks import blocks, touched
from eomm.errors import UsageError
from eomm.export.columns import Column, properties
from eomm.export.features import Feature, shapely
from eomm.export.frames import COUNT, Block, Frame, Frames
from eomm.store.fields import Json
from eomm.store.folders import check_outside, naming_full_disk, new_file
from eomm.store.progress import Progress

ROWS = 50_000  # of a row group, about
DATE = "timestamp"  # pandas makes objects of Parquet's dates


@dataclass(frozen=True)
class Piece:
    """What a block of the grid has of a feature.

    Attributes:
        feature: its place in the list.
        y: rows within the block.
        x: columns within the block.
        mask: which of their pixels it has.
    """

    feature: int
    y: slice
    x: slice
    mask: Bool[np.ndarray, "y x"]


def write_features(
    frames: Frames, path: Path, features: Sequence[Feature], about: Mapping[str, Any], progress: Progress | None = None
) -> Json:
    """Write a row per feature and frame, with means over the feature's pixels that have a vector.

    A point has the pixel it lies in, a polygon those whose centre it holds. Columns, always in this order: `id`, the
    features' properties in the order of the file (columns.py), `frame` (the date, or the composite's period), `date`
    (its first day, a timestamp at midnight, which pandas takes for a date and not for an object), `pixels` with a
    vector, `pixels_total`, the vector `e00`, `e01` and so on, the cube's layers, `geometry` (WKB, longitude and
    latitude as in the file). Where `pixels` is 0, vector and layers are null. Flags are left out: they have no mean.

    Returns:
        `rows`, and `outside`: the ids of features without a pixel, which have no row.

    Raises:
        DataError: the store is damaged.
        UsageError: the position of the cube is unknown, no feature has a pixel, `path` cannot be written.
    """
    grid = frames.grid
    if grid.crs == "LOCAL":
        raise UsageError(f"{frames.path}: its CRS is LOCAL, so nobody knows where points and polygons lie on it")
    pieces = place(features, grid)
    total = np.zeros(len(features), np.int32)
    for piece in itertools.chain(*pieces.values()):
        total[piece.feature] += piece.mask.sum()
    on = np.flatnonzero(total)
    if not len(on):
        raise UsageError(f"{frames.path}: none of {len(features)} features has a pixel of it ({grid.text})")
    inside = [features[i] for i in on.tolist()]
    geometry = shapely().to_wkb([f.geometry for f in inside])
    layers = [name for name in frames.layers if name not in frames.flags]
    ours = {"frame": "string", "date": DATE, "pixels": "int32", "pixels_total": "int32"}
    ours |= dict.fromkeys([*vector_names(frames.length), *layers], "float32")
    told = {"id": Column("string", [f.id for f in inside]), **properties(inside, taken=("id", *ours, "geometry"))}
    schema = {name: column.dtype for name, column in told.items()} | ours
    areas = blocks(grid)
    here = {(areas[number][0].start, areas[number][1].start): some for number, some in pieces.items()}
    types = sorted({f.geometry.geom_type for f in inside})
    with new_table(path, schema, types, geo={}, about=about) as writer:
        some = frames.blocks(progress, [areas[number] for number in pieces])
        for part, group in itertools.groupby(some, key=operator.itemgetter(0)):
            sums = Sums.zeros(part.stop - part.start, len(features), frames.length, layers)
            for _, y, x, block in group:
                sums.add(block, here[y.start, x.start])
            for k, frame in enumerate(frames.frames[part]):
                own = {"pixels": sums.count[k, on], "pixels_total": total[on], **sums.means(k, on)}
                writer.add(frame, {n: c.values for n, c in told.items()} | own, geometry)
    outside = [f.id for f, n in zip(features, total.tolist(), strict=True) if not n]
    return {"rows": writer.rows, "outside": outside}


def write_pixels(
    frames: Frames, path: Path, stride: int, about: Mapping[str, Any], progress: Progress | None = None
) -> Json:
    """Write a row per frame and pixel that has a vector, of every `stride`th row and column.

    Columns, always in this order: `row` and `col` of the cube, `frame` (the date, or the composite's period), `date`
    (its first day), the vector `e00`, `e01` and so on, the cube's layers, `geometry` (WKB: the pixel's centre, in the
    cube's CRS).

    Returns:
        `rows`.

    Raises:
        DataError: the store is damaged.
        UsageError: `path` cannot be written, or `stride` is below 1.
    """
    if stride < 1:
        raise UsageError(f"stride is {stride}; expected at least 1 pixel")
    grid = frames.grid
    kinds = {COUNT: "int32"} | {name: "int32" for name in frames.flags}
    schema = {"row": "int32", "col": "int32", "frame": "string", "date": DATE}
    schema |= {e: "float32" for e in vector_names(frames.length)}
    schema |= {name: kinds.get(name, "float32") for name in frames.layers}
    crs = None if grid.crs == "LOCAL" else pyproj.CRS.from_user_input(grid.crs).to_json_dict()
    with new_table(path, schema, ["Point"], geo={"crs": crs}, about=about) as writer:
        for part, y, x, block in frames.blocks(progress):
            on = np.ix_(np.arange(y.start, y.stop) % stride == 0, np.arange(x.start, x.stop) % stride == 0)
            for k, frame in enumerate(frames.frames[part]):
                chosen = np.zeros_like(block.present[k])
                chosen[on] = block.present[k][on]
                row, col = np.nonzero(chosen)
                points = shapely().points(grid.x[x][col], grid.y[y][row])
                columns = {"row": row + y.start, "col": col + x.start}
                columns |= dict(zip(vector_names(frames.length), block.vectors[k][chosen].T, strict=True))
                columns |= {name: layer[k][chosen] for name, layer in block.layers.items()}
                writer.add(frame, columns, shapely().to_wkb(points))
    return {"rows": writer.rows}


def place(features: Sequence[Feature], grid: Grid) -> dict[int, list[Piece]]:
    """By block of the grid (its place in `blocks`), what it has of the features."""
    areas = blocks(grid)
    found: dict[int, list[Piece]] = {}

    def to_pixels(xy: np.ndarray) -> np.ndarray:
        return np.stack(grid.pixel(*grid.from_degrees(xy[:, 0], xy[:, 1]))[::-1], axis=-1)

    for i, feature in enumerate(features):
        shape = shapely().transform(feature.geometry, to_pixels)
        bounds = np.array(shape.bounds)  # columns and rows, fractional
        if not np.isfinite(bounds).all():
            continue  # on the other side of the Earth, where the cube's CRS has no place for it
        left, top, right, bottom = np.floor(bounds).astype(np.int64).tolist()
        for number in touched(grid, (top, bottom), (left, right)):
            y, x = areas[number]
            y0, y1 = max(y.start, top), min(y.stop, bottom + 1)
            x0, x1 = max(x.start, left), min(x.stop, right + 1)
            if shape.geom_type == "Point":
                mask = np.ones((1, 1), bool)
            else:
                corner = Affine.translation(x0, y0)
                mask = rasterio.features.geometry_mask([shape], (y1 - y0, x1 - x0), corner, invert=True)
            if mask.any():
                within = slice(y0 - y.start, y1 - y.start), slice(x0 - x.start, x1 - x.start)
                found.setdefault(number, []).append(Piece(i, *within, mask))
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Sums:
    """Sums over the pixels of features, by frame and feature."""

    vectors: Float64[np.ndarray, "n feature d"]
    count: Int[np.ndarray, "n feature"]
    layers: dict[str, tuple[Float64[np.ndarray, "n feature"], Int[np.ndarray, "n feature"]]]

    @classmethod
    def zeros(cls, frames: int, features: int, length: int, layers: Sequence[str]) -> Self:
        """Nothing yet."""
        shape = (frames, features)
        pairs = {name: (np.zeros(shape), np.zeros(shape, np.int32)) for name in layers}
        return cls(np.zeros((*shape, length)), np.zeros(shape, np.int32), pairs)

    def add(self, block: Block, pieces: Sequence[Piece]) -> None:
        """Add what a block has."""
        for piece in pieces:
            present = block.present[:, piece.y, piece.x] & piece.mask
            # Vectors are zero where not present, but a block has pixels of several features.
            self.vectors[:, piece.feature] += np.einsum("nyxd,nyx->nd", block.vectors[:, piece.y, piece.x], present)
            self.count[:, piece.feature] += present.sum((1, 2), dtype=np.int32)
            for name, (total, count) in self.layers.items():
                layer = block.layers[name][:, piece.y, piece.x]
                known = present & ~np.isnan(layer)
                total[:, piece.feature] += np.where(known, layer, 0).sum((1, 2))
                count[:, piece.feature] += known.sum((1, 2), dtype=np.int32)

    def means(self, frame: int, on: np.ndarray) -> dict[str, np.ndarray]:
        """Columns of one frame's means over some features, NaN where there is nothing."""
        pairs = {name: (total[frame, on], count[frame, on]) for name, (total, count) in self.layers.items()}
        vectors = self.vectors[frame, on].T
        names = vector_names(len(vectors))
        pairs |= {name: (v, self.count[frame, on]) for name, v in zip(names, vectors, strict=True)}
        return {name: np.where(n > 0, total / np.maximum(n, 1), np.nan) for name, (total, n) in pairs.items()}


@contextmanager
def new_table(
    path: Path, schema: Mapping[str, str], types: Sequence[str], geo: Mapping[str, Any], about: Mapping[str, Any]
) -> Iterator["Writer"]:
    """A writer of rows to a GeoParquet file that appears when the block ends without an error.

    Args:
        path: the file.
        schema: by column, pyarrow's name of its type; the geometry comes last.
        types: of geometry.
        geo: of the geometry column, besides what is always there; without `crs` it is longitude and latitude.
        about: goes into the file's metadata under "eomm", as JSON.
    """
    pa = pyarrow()
    from pyarrow.parquet import ParquetWriter

    column = {"encoding": "WKB", "geometry_types": list(types), **geo}
    metadata = {
        "geo": json.dumps({"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}),
        "eomm": json.dumps(dict(about)),
    }
    fields = [(name, pa.timestamp("ms") if kind == DATE else getattr(pa, kind)()) for name, kind in schema.items()]
    with ExitStack() as stack:
        with refusals(path):
            partial = stack.enter_context(new_file(path))
            known = pa.schema([*fields, ("geometry", pa.binary())], metadata=metadata)
            writer = Writer(path, ParquetWriter(partial, known, compression="zstd"))
        yield writer
        with refusals(path):
            writer.flush()
            writer.file.close()
            stack.close()


class Writer:
    """Writes rows to an open Parquet file.

    Attributes:
        file: of pyarrow.
        rows: written so far.
    """

    def __init__(self, path: Path, file: Any):
        self._pa, self._path, self.file = pyarrow(), path, file
        self._waiting: list[Any] = []
        self.rows = 0

    def add(self, frame: Frame, columns: Mapping[str, Any], geometry: Sequence[bytes]) -> None:
        """Add rows of one frame; NaN becomes null."""
        count = len(geometry)
        if not count:
            return
        day = np.full(count, frame.first, "datetime64[D]").astype("datetime64[ms]")
        own = {"frame": [frame.name] * count, "date": day, "geometry": geometry}
        arrays = [
            self._pa.array(data, field.type, from_pandas=True)
            for field in self.file.schema
            for data in [columns.get(field.name, own.get(field.name))]
        ]
        self._waiting.append(self._pa.Table.from_arrays(arrays, schema=self.file.schema))
        self.rows += count
        if sum(len(t) for t in self._waiting) >= ROWS:
            with refusals(self._path):
                self.flush()

    def flush(self) -> None:
        """Write what waits."""
        if self._waiting:
            self.file.write_table(self._pa.concat_tables(self._waiting))
            self._waiting = []


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise UsageError where `path` exists, unless `overwrite` and it is a Parquet file of ours."""
    check_outside(path)
    if not path.exists():
        return
    if not overwrite:
        raise UsageError(f"{path}: already exists; choose another path, or say --overwrite to replace it")
    if not is_parquet(path):
        raise UsageError(f"{path}: already exists and is no Parquet file, so it is not replaced; choose another path")
    if not is_ours(path):
        raise UsageError(f"{path}: already exists and was not made by eomm, so it is not replaced; choose another path")


def is_ours(path: Path) -> bool:
    """Whether a Parquet file is one of these, by what its schema tells."""
    from pyarrow import parquet

    try:
        return b"eomm" in (parquet.read_schema(path).metadata or {})
    except (OSError, ValueError):  # ArrowInvalid is a ValueError
        return False


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Errors of the disk as ours."""
    try:
        with naming_full_disk(path):
            yield
    except OSError as e:
        raise UsageError(f"{path}: cannot be written ({e})") from e


def vector_names(length: int) -> list[str]:
    """Columns of a vector: e00, e01 and so on, with as many digits as the last needs."""
    digits = max(2, len(str(length - 1)))
    return [f"e{i:0{digits}}" for i in range(length)]


def pyarrow() -> Any:
    """The module. Raises UsageError where it is not installed."""
    try:
        import pyarrow as module
    except ImportError as e:
        raise UsageError(f"{e}; GeoParquet needs two more packages: pip install 'eomm[geo]'") from e
    return module
