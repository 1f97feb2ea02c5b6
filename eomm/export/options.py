"""What is exported, and in which form: the options of `eomm export`."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from eomm.errors import UsageError

FORMS = ("cog", "parquet", "zarr")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What may be chosen. Raises UsageError where choices do not go together.

    Attributes:
        to: "cog", a folder with a Cloud-Optimised GeoTIFF per date (`eomm.export.cog`); "parquet", a GeoParquet file
            (`eomm.export.parquet`); "zarr", with a composite, an embedding cube (`eomm.export.zarr`).
        composite: "month", "season" (December to February, …) or "year": in the place of dates the means over those
            of each period, pixel by pixel over those where it has a vector.
        dates: first and last date, both included; all when None.
        length: keep so many leading numbers of each vector.
        dtype: of GeoTIFFs "float32", or where the cube holds int8 "int16" (the default there) or "int8", which GDAL
            before 3.7 misreads: with a warning; of Zarr "float32", or "int8" where the cube holds it (the default
            there). Parquet is always float32.
        cloudy: also the vectors of clouded pixels, where the cube has them.
        compress: of COGs, "deflate" or "zstd".
        points: for parquet, a GeoJSON or CSV file (`eomm.export.features`): a row per point and date.
        polygons: for parquet, a GeoJSON file: a row per polygon and date, the mean over its pixels.
        stride: for parquet without points or polygons, a row per date and pixel of every `stride`th row and column.
    """

    to: str
    composite: str | None = None
    dates: tuple[date, date] | None = None
    length: int | None = None
    dtype: str | None = None
    cloudy: bool = False
    compress: str = "deflate"
    points: Path | str | None = None
    polygons: Path | str | None = None
    stride: int = 1

    def __post_init__(self) -> None:
        if self.to not in FORMS:
            raise UsageError(f"to {self.to!r}: expected one of {', '.join(FORMS)}")
        if self.to == "zarr" and not self.composite:
            raise UsageError("to 'zarr': an embedding is that already; say which means to make (composite)")
        if self.to != "parquet" and (self.points or self.polygons or self.stride != 1):
            raise UsageError(f"to {self.to!r}: points, polygons and stride are for parquet")
        if (self.points is not None) + (self.polygons is not None) + (self.stride != 1) > 1:
            raise UsageError("points, polygons and stride: choose one of them")
