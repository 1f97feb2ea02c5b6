"""The command `eomm prepare mapping`: a first mapping from a file's own metadata. See prepare.py."""

import argparse
from pathlib import Path
from typing import Any

from eomm.cli.arguments import command, shared
from eomm.store.fields import Json


def prepare_mapping(a: argparse.Namespace, _: list[str]) -> Json:
    """A file, or a folder of alike files, to a mapping that is to be looked through."""
    from data_prep.readers.propose import propose
    from eomm.store.folders import check_free_file, write_text

    if a.out:
        check_free_file(a.out, overwrite=a.overwrite)
    text = propose(a.source)
    if a.out:
        write_text(a.out, text)
    return {"mapping": text, **({"out": str(a.out)} if a.out else {})}


def format_mapping(result: Json) -> str:
    """For people, or for a file."""
    written = f"# written to {result['out']}\n" if "out" in result else ""
    return f"{written}{result['mapping'].rstrip()}"


def add_mapping(steps: Any) -> None:
    """Add it to the steps of `prepare`."""
    example = """eomm prepare mapping scenes --out mine.toml     # look at every line that ends in CHECK, then
  eomm prepare cube --site mine --source mine.toml=scenes --out mine.zarr"""
    purpose = "a first mapping for a source that eomm does not know, from what its files say of themselves"
    c = command(steps, "mapping", prepare_mapping, purpose, example, formatter="eomm.cli.mapping:format_mapping")
    c.add_argument("source", type=Path, help="a NetCDF, GeoTIFF or Zarr, or a folder of such")
    c.add_argument("--out", type=Path, metavar="TOML", help="write it there (default: print it)")
    shared(c, "overwrite")
