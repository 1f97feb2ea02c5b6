"""Where the cubes of many sites lie, and which are done or failed. Not how one is made (build.py).

DIR/sites.json          the list that was last asked for
DIR/scenes/SITE         what was fetched for it, where scenes come from catalogues
DIR/cubes/SITE.zarr     a cube; finished or absent
DIR/units               of what each cube was made, and why sites failed: eomm.store.notes
DIR/records             the record set, where one is asked for
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eomm.errors import UsageError
from eomm.store.descriptions import read_described
from eomm.store.fields import Json
from eomm.store.folders import check_store, write_json
from eomm.store.many import format_standing, standing
from eomm.store.notes import Notes

KIND = "sites"
Request = Json  # of what one cube is made


class SiteFolder:
    """The folder of many sites.

    Attributes:
        path: the folder.
        cubes: where its cubes lie.
        records: where its record set lies.
        notes: of what each cube was made, and why others failed.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.cubes, self.records = self.path / "cubes", self.path / "records"
        self.notes = Notes(self.path / "units")

    def begin(self, sites: Sequence[Mapping[str, Any]]) -> None:
        """Note which sites are asked for. Raises UsageError where the folder holds something else."""
        if self.path.exists() and not self.exists and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UsageError(f"{self.path}: holds something else than prepared sites; choose another folder")
        self.cubes.mkdir(parents=True, exist_ok=True)
        self.notes.begin()
        write_json(self.path / "sites.json", {"eomm:kind": KIND, "sites": list(sites)})

    @property
    def exists(self) -> bool:
        """Whether sites were prepared here."""
        return (self.path / "sites.json").is_file()

    @property
    def sites(self) -> list[Json]:
        """The list that was last asked for. Raises DataError where none was."""
        check_store(self.path, "sites.json", "a folder of `eomm prepare sites`")
        return list(read_described(self.path / "sites.json")["sites"])

    def cube(self, name: str) -> Path:
        """Where a site's cube lies."""
        return self.cubes / f"{name}.zarr"

    def made(self, name: str) -> Json | None:
        """What was noted of a finished site, or None."""
        return self.notes.made(name) if self.cube(name).is_dir() else None


def status(path: Path | str) -> Json:
    """How far a folder of sites is: counts, and the reasons of those that failed.

    Raises:
        DataError: there is none.
    """
    folder = SiteFolder(path)
    names = [str(site["name"]) for site in folder.sites]
    made = standing(names, folder.notes, filter(folder.made, names))
    return {**made, "records": (folder.records / "manifest.json").is_file()}


def format_status(found: Json) -> str:
    """A `status` for people."""
    return format_standing(found, more=f"; records {'made' if found['records'] else 'not made'}")
