"""Scenes to one finished cube: joined, on one grid, checked, masked. Streams over time: memory holds a few dates."""

import hashlib
import itertools
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import rasterio

from data_prep.cubes import checks, grid, offset, statements
from data_prep.cubes.options import CubeOptions
from data_prep.cubes.series import SourceSeries
from data_prep.mappings.mapping import Mapping as SourceMapping
from data_prep.mappings.mapping import load_mapping
from data_prep.readers import Found, Scene, find_source, open_scenes
from eomm.data.cube import write_cube
from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError, UsageError
from eomm.store.digest import sha256
from eomm.store.fields import Json
from eomm.store.folders import check_apart, check_free, entered, naming_full_disk
from eomm.store.progress import NamedProgress


@dataclass(frozen=True, kw_only=True)
class Source:
    """One input of a cube.

    Attributes:
        path: a file, or a folder searched for the mapping's file pattern.
        mapping: a mapping, a shipped one's name, or the path of a TOML file.
    """

    path: Path | str
    mapping: SourceMapping | str | Path

    def resolve(self) -> "tuple[Path, SourceMapping]":
        """The path and the loaded mapping."""
        mapping = self.mapping if isinstance(self.mapping, SourceMapping) else load_mapping(self.mapping)
        return Path(self.path), mapping


def build_cube(
    out: Path | str,
    *,
    site: str,
    sources: Sequence[Source],
    options: CubeOptions = CubeOptions(),
    window: Grid | None = None,
    overwrite: bool = False,
    progress: NamedProgress | None = None,
) -> Path:
    """Build a site's cube. Sources of one modality are joined; the optical one's finest grid is the cube's.

    A modality of a single pixel, such as weather, keeps its own grid. A static layer is brought onto the others'.

    Scenes of one overpass become one acquisition; where products overlap, the one whose file name sorts last wins,
    spectrum by spectrum. 20 m bands and coarser radar are resampled.

    Args:
        out: where the cube is written; on any error nothing is left there.
        site: the site's name.
        sources: what to read.
        options: how.
        window: the cube's grid (`data_prep.fetch.place.site_grid`), of scenes that are larger than the site; of sources
            in tiles only what lies there is read. None for all the ground that the scenes cover.
        overwrite: replace an existing cube once the new one is complete.
        progress: told how far each step is.

    Returns:
        The path of the cube.

    Raises:
        ContractError: the data are not what the mapping says, or lie on grids that cannot be joined.
        DataError: files are missing, damaged or incomplete, or nothing overlaps in space or time.
        UsageError: `out` exists, or the disk is full.
    """
    out = entered(out)
    check_apart(out, {f"source {s.path}": s.path for s in sources}, searched=True)
    if not sources:
        raise UsageError(f"{out}: no source given; name at least one folder and its mapping")
    check_free(out, overwrite=overwrite, kind="cube")  # write_cube says so too, but only after the work
    with ExitStack() as keep_open, rasterio.Env():  # or each of thousands of reads and warps makes one, 1 ms
        resolved = [s.resolve() for s in sources]
        sought = [find_source(path, mapping) for path, mapping in resolved]
        check_apart(out, {f"source {f}": f for found in sought for f in found.files if f.is_dir()})
        by_modality: dict[str, list[Scene]] = {}
        for (_, mapping), found in zip(resolved, sought, strict=True):
            scenes = open_scenes(found.files, mapping, keep_open, window)
            by_modality.setdefault(mapping.contract.name, []).extend(scenes)
        _check_joinable(by_modality, options.accept)
        everything = [s for scenes in by_modality.values() for s in scenes]
        _check_local(everything)
        _check_zones(everything, window)
        target = window or _target(by_modality)
        _check_crs(everything, target)
        groups = _series(by_modality, target, options, progress or (lambda what, done, total: None))
        provenance = _provenance(resolved, sought, options.accept, everything)
        out.parent.mkdir(parents=True, exist_ok=True)
        with naming_full_disk(out):
            prepared = [g.prepare(out.parent) for g in groups]
            return write_cube(out, site=site, groups=prepared, provenance=provenance, overwrite=overwrite)


def _series(
    by_modality: Mapping[str, list[Scene]], target: Grid, options: CubeOptions, report: NamedProgress
) -> list[SourceSeries]:
    make = partial(SourceSeries, options=options, report=report)
    return [make(_inside(scenes, target), target=_site_wide(scenes) or target) for scenes in by_modality.values()]


def _check_crs(scenes: Sequence[Scene], target: Grid) -> None:
    for label, g in _grids(scenes):
        grid.check_crs(g, target, label=label)


def _grids(scenes: Sequence[Scene]) -> list[tuple[str, Grid]]:
    """(where it comes from, grid) of every layer of every scene."""
    return [(s.label, g) for s in scenes for g in s.grids.values()]


def _leading(scenes: Sequence[Scene]) -> Sequence[Scene]:
    """The optical scenes, or else all."""
    return [s for s in scenes if s.mapping.unit == "reflectance"] or scenes


def _check_zones(scenes: Sequence[Scene], window: Grid | None) -> None:
    """Raise ContractError, naming the few files that lie in another CRS than most, or than the window that was asked.

    Whichever is met first, a tile of the next zone is what differs, not all the others.
    """
    found = Counter(g.crs for _, g in _grids(_leading(scenes)))
    expected = window.crs if window else found.most_common(1)[0][0]
    others = {label: g.crs for label, g in _grids(scenes) if g.crs != expected}
    if others:
        label, crs = next(iter(others.items()))
        raise ContractError(
            f"{label}: lies in {crs}, expected {expected}, {'which was asked for' if window else 'as most scenes do'} "
            f"({len(others)} of {len(scenes)} do not); warp it onto that grid (gdalwarp -t_srs), or leave it out"
        )


def _check_joinable(by_modality: Mapping[str, list[Scene]], accept: Sequence[str]) -> None:
    """Metadata, one contract and one mask per modality, and overlap in time between modalities."""
    for name, scenes in by_modality.items():
        if not scenes:
            raise DataError(f"modality {name!r}: the sources hold no time step; expected at least one acquisition")
        for scene in scenes:
            checks.check_metadata(scene, accept)
            statements.check_numbers(scene, accept)
            offset.check_statement(scene, accept)
        statements.check_mixture(scenes, accept)
        _check_alike(name, [s.mapping for s in scenes])
    dated = {n: sorted(s, key=lambda s: s.time) for n, s in by_modality.items() if not s[0].mapping.contract.static}
    for (a, first), (b, second) in itertools.permutations(dated.items(), 2):
        if first[-1].time < second[0].time:
            raise DataError(
                f"{first[0].file} ({a}) ends on {first[-1].time:%Y-%m-%d}, before {second[0].file} ({b}) "
                f"begins on {second[0].time:%Y-%m-%d}: no overlap in time; expected one site's series of the same years"
            )


def _check_alike(name: str, mappings: Sequence[SourceMapping]) -> None:
    """Sources of one modality are joined, and so must have one contract, unit and mask."""
    for what in ("modality", "unit", "mask"):
        values = {repr(getattr(m, what)) for m in mappings if what != "mask" or m.mask}
        if len(values) > 1:
            raise UsageError(
                f"modality {name!r}: its sources' mappings differ in {what}: {', '.join(sorted(values))}; "
                "expected one. Build one cube per kind"
            )


def _check_local(scenes: Sequence[Scene]) -> None:
    """Files without a position lie nobody knows where to each other: only one may make a cube."""
    files = sorted({s.file for s in scenes if any(g.crs == "LOCAL" for g in s.grids.values())})
    if len(files) > 1:
        raise ContractError(
            f"{files[0]} and {len(files) - 1} more, such as {files[1]}, have no coordinates (local grid), so nobody "
            "knows how they lie to each other; expected one file per site: name it instead of its folder"
        )


def _target(by_modality: Mapping[str, list[Scene]]) -> Grid:
    """The cube's grid: of the optical scenes where there are any, and of no layer that is a single pixel or static."""
    deciding = [v for v in by_modality.values() if not (_site_wide(v) or v[0].mapping.contract.static)]
    return grid.cube_grid(_grids(_leading([s for v in deciding or by_modality.values() for s in v])))


def _site_wide(scenes: Sequence[Scene]) -> Grid | None:
    """The one pixel in which all scenes of a modality lie, such as weather; it is kept, not spread over the cube."""
    grids = {g for _, g in _grids(scenes)}
    only = next(iter(grids))
    return only if len(grids) == 1 and only.height == only.width == 1 else None


def _inside(scenes: Sequence[Scene], target: Grid) -> list[Scene]:
    """The scenes that share ground with the site. Raises DataError when none does."""
    inside = [s for s in scenes if any(g.overlaps(target) for g in s.grids.values())]
    if not inside:
        found = next(iter(scenes[0].grids.values()))
        raise DataError(
            f"{scenes[0].file}: no overlap in space: its {len(scenes)} scenes lie at (west, south, east, north) "
            f"{found.bounds}, expected ground shared with {target.bounds} in {target.crs}; is it the right folder?"
        )
    return inside


def _provenance(
    resolved: Sequence[tuple[Path, SourceMapping]],
    sought: Sequence[Found],
    accept: Sequence[str],
    scenes: Sequence[Scene],
) -> Json:
    packages = ("eomm", "numpy", "scipy", "rasterio", "xarray", "zarr")
    return {
        "made_by": "data_prep.cubes.build",
        "simulated": any(s.simulated for s in scenes),
        "accepted": sorted(accept),
        "sources": [
            {"mapping": mapping.to_dict(), "files": [_fingerprint(f) for f in found.files]}
            | ({"passed_over": found.passed_over} if found.passed_over else {})
            for (_, mapping), found in zip(resolved, sought, strict=True)
        ],
        "versions": {"python": platform.python_version()} | {p: version(p) for p in packages},
    }


def _fingerprint(file: Path) -> Json:
    if file.is_dir():  # a store: gigabytes, of which a site needs little
        parts = sorted((p.relative_to(file).as_posix(), p.stat().st_size) for p in file.rglob("*") if p.is_file())
        digest = hashlib.sha256(repr(parts).encode()).hexdigest()
        return {"name": file.name, "bytes": sum(size for _, size in parts), "sha256_of_names_and_sizes": digest}
    return {"name": file.name, "bytes": file.stat().st_size, "sha256": sha256(file)}
