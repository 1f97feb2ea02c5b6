"""The command `eomm prepare points`: a table of dated values, or chips, to a record set. See prepare.py."""

import argparse
from pathlib import Path
from typing import Any

from eomm.cli.arguments import command, options_of, shared
from eomm.store.fields import Json

MAPPING = """What the mapping looks like:
  modality = "s2"          # or a table [modality] with a contract of your own
  id = "parcel"            # columns of the table; of chips variables [chip]
  date = "date"            # of chips [time] or [chip, time]
  valid = "SCL"            # optional: which column says what is clear, and by which values
  valid_values = [4, 5, 6]
  group = "farm"           # optional: what no two splits may share
  split = "split"          # optional: train, validation or test; also stratum, label, lon, lat
  scale = 1e-4             # physical value = number * scale + offset
  offset = 0.0             # -0.1 where the +1000 of Sentinel-2 is left in
  fill = [0]
  lacks = []               # bands that the table has not; `eomm embed-points` estimates them
  [bands]
  B02 = "blue"             # every band of the modality, but for those in `lacks`; of chips [chip, time, y, x],
                           # or "s2[B02]" of an array with a dimension `band`"""


def prepare_points(a: argparse.Namespace, _: list[str]) -> Json:
    """A table of dated values, or chips, to a record set."""
    from data_prep.records.chips import ENDINGS, read_chips
    from data_prep.records.points import PointOptions, build_point_records
    from eomm.cli.info import describe
    from eomm.cli.prepare import fractions_of
    from eomm.data.points import load_point_mapping, read_points

    mapping = load_point_mapping(a.mapping)
    if a.table.suffix.lower() in ENDINGS:
        series = read_chips(a.table, mapping, accept=a.accept)
    else:
        series = read_points(a.table, mapping)
    options = options_of(PointOptions, a, modality=mapping.contract, fractions=fractions_of(a), source=a.table.name)
    return describe(build_point_records(a.out, series, options, overwrite=a.overwrite))


def add_points(steps: Any) -> None:
    """Add it to the steps of `prepare`."""
    example = (
        """eomm prepare points parcels.parquet --mapping parcels.toml --out records
  eomm prepare points chips.nc --mapping chips.toml --out records     # pixels of small fields by date

"""
        + MAPPING
    )
    purpose = "dated values of pixels or parcels (CSV, Parquet), or chips (NetCDF, Zarr), to records, without cubes"
    c = command(steps, "points", prepare_points, purpose, example, formatter="eomm.cli.info_words:format_info")
    c.add_argument("table", type=Path, help="a row for each series and date; or chips [chip, time, y, x]")
    c.add_argument("--mapping", type=Path, required=True, metavar="TOML", help="what its columns mean; see below")
    c.add_argument("--out", type=Path, required=True, metavar="RECORDS", help="folder to make")
    reading_help = (
        "what an encoder that sees neighbours takes for them: nothing (lone), or more of the same (homogeneous, as "
        "inside a parcel); recorded, and no matter to encoders of single pixels (default: %(default)s)"
    )
    c.add_argument("--reading", choices=["lone", "homogeneous"], default="lone", help=reading_help)
    length_help = "dates of a record; longer series become several (default: the longest series')"
    c.add_argument("--acquisitions", type=int, metavar="N", help=length_help)
    c.add_argument("--min-dates", type=int, default=4, metavar="N", help="series with fewer are left out (default: 4)")
    c.add_argument("--test-fraction", type=float, metavar="SHARE", help="of the groups, drawn for test")
    c.add_argument("--validation-fraction", type=float, metavar="SHARE", help="of the groups, drawn for validation")
    c.add_argument("--accept", action="append", default=[], metavar="CHECK", help="overrule a failing check; recorded")
    shared(c, "overwrite", seed="of what is drawn")
