"""`eomm.predict`: a head and embeddings to maps or series on disk. The command line calls it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from eomm.data.tables import write_frame
from eomm.errors import UsageError
from eomm.evaluation.gpp.flux_sites import read_towers
from eomm.export.frames import Frames
from eomm.heads.head import Head, load_head
from eomm.heads.maps import NO_VECTOR, OUTSIDE, Part, predicted, write_cogs, write_store
from eomm.heads.series import series
from eomm.heads.words import COLUMNS, KIND, side_file
from eomm.store.fields import Json
from eomm.store.folders import check_apart, check_free_file, entered, new_directory, write_json

TABLES = (".csv", ".parquet")


def predict(
    head: Head | Path | str,
    embedding: Path | str,
    out: Path | str,
    *,
    site_info: Sequence[Path] = (),
    extract: str | None = None,
    dates: tuple[date, date] | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Json:
    """Predict what a head was fitted on, where the vectors are valid and not outside of what the head saw.

    Args:
        head: as `eomm.fit` gives it, or its folder.
        embedding: an embedding cube of the model of the head's vectors; for series, `{site}` stands for the place.
        out: by its ending: `.zarr`, a store of maps (`eomm.heads.maps`); `.csv` or `.parquet`, the series of the
            places of `site_info` (`eomm.heads.series`), with a file `OUT.json` that says what it is; none, a folder of
            Cloud-Optimised GeoTIFFs, one per date.
        site_info: files with places, as `eomm evaluate gpp` reads them; for series.
        extract: which pixels of a place; as the head was fitted when None.
        dates: first and last of maps, both included; all when None.
        overwrite: replace an earlier prediction.
        progress: called with (parts done, parts in all).

    Returns:
        What was written: `out`, `head`, `target`, `unit`, `interval`, `note` and `worth` in words, `limit`, and of all
        pixels and dates, or rows, the shares `predicted`, `without_vector` and `outside`; of series also how many rows
        the head was `fitted` on.

    Raises:
        ContractError: the vectors are of another model, length or composite than the head's.
        DataError: a store is damaged or missing.
        UsageError: an option is wrong, or `out` exists.
    """
    head = head if isinstance(head, Head) else load_head(head)
    out = entered(out)
    if out.suffix.lower() in TABLES:
        return _series(head, str(embedding), out, site_info, extract, overwrite)
    if out.suffix not in ("", ".zarr"):
        raise UsageError(f"{out}: ends in none of .zarr (a store), .csv, .parquet (series), or nothing (GeoTIFFs)")
    if site_info or extract:
        raise UsageError(f"{out}: places are for series; let --out end in .csv or .parquet")
    check_apart(out, {"the embedding": embedding})
    head.check(embedding)
    frames = Frames(embedding, dates=dates, length=head.length)
    about = {"site": frames.attributes.get("site"), "eomm:embedding": Path(embedding).name, **summary(head)}
    about |= {f"eomm:{k}": about.pop(k) for k in ("head", "model")}
    about["provenance"] = {"simulated": about.pop("simulated"), "fitted": dict(head.fitted)}
    tally, is_store = Tally(), out.suffix == ".zarr"
    parts = counted(predicted(head, frames, progress), tally)
    with new_directory(out, kind="prediction" if is_store else "export", overwrite=overwrite) as partial:
        if is_store:
            write_store(head, frames, partial, about, parts)
        else:
            files = write_cogs(head, frames, partial, about, parts)
            write_json(partial / "manifest.json", {"eomm:kind": "export", "to": "cog", "files": files, **about})
    return {"out": str(out), **summary(head), "frames": len(frames.frames), **tally.shares}


def _series(
    head: Head, embedding: str, out: Path, places: Sequence[Path], extract: str | None, overwrite: bool
) -> dict[str, Any]:
    beside = side_file(out)
    for file in (out, beside):
        check_free_file(file, overwrite=overwrite)
    table = series(head, embedding, read_towers(places), extract=extract)
    tally = Tally(len(table), int((~table["clear"]).sum()), int(table["outside"].sum()))
    about = {**summary(head), "sites": table["site"].nunique(), "rows": len(table), **tally.shares}
    about |= {"fitted": int(table["fitted"].sum())} if "fitted" in table else {}
    beside.unlink(missing_ok=True)  # that of an earlier table must not lie beside this one
    write_frame(table, out)
    write_json(beside, {"eomm:kind": KIND, **about, "columns": {name: COLUMNS[name] for name in table}})
    return {"out": str(out), **about}


def summary(head: Head) -> Json:
    """What whoever looks at a prediction must know of its head; JSON types."""
    return {
        "head": head.hash,
        "model": head.contract["model"],
        "target": head.target,
        "unit": head.unit,
        "interval": head.interval_words,
        "limit": head.seen.limit,
        "note": head.note,
        "worth": head.worth,
        "simulated": bool(head.contract["simulated"]),
    }


@dataclass
class Tally:
    """Pixels and dates by why they have a prediction or none."""

    total: int = 0
    without: int = 0
    outside: int = 0

    @property
    def shares(self) -> dict[str, float]:
        """Of all."""
        parts = {"without_vector": self.without, "outside": self.outside}
        parts["predicted"] = self.total - self.without - self.outside
        return {name: part / max(self.total, 1) for name, part in parts.items()}


def counted(parts: Iterator[Part], tally: Tally) -> Iterator[Part]:
    """The same parts, counted as they pass."""
    for part in parts:
        flags = part[-1]["flags"]
        tally.total += flags.size
        tally.without += int((flags == NO_VECTOR).sum())
        tally.outside += int((flags == OUTSIDE).sum())
        yield part
