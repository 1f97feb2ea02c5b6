"""One modality's scenes to what `write_cube` needs: checks, masks, resampling. Not which files, nor the cube itself."""

import dataclasses
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.cubes import checks, clouds, grid, offset
from data_prep.cubes.excursions import BRIGHTER, DARKER, MEANINGS, ExcursionScreen, check_screen, infrared
from data_prep.cubes.haze import HazeScreen
from data_prep.cubes.options import CubeOptions
from data_prep.cubes.passes import Overpass, Product, find_overpasses
from data_prep.mappings.mapping import Mapping as SourceMapping
from data_prep.mappings.mapping import Mask
from data_prep.readers import Scene
from eomm.data.cube import Acquired, GroupSource
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL2, Modality
from eomm.store.fields import Json
from eomm.store.progress import NamedProgress

SAMPLED = 16
"""Acquisitions whose spectra are checked before anything is written."""


class SourceSeries:
    """All acquisitions of one modality at one site, on the way into a cube.

    Raises:
        DataError: an incomplete scene, or overpasses that cannot be told apart.
    """

    def __init__(
        self,
        scenes: list[Scene],
        *,
        target: Grid,
        options: CubeOptions,
        report: NamedProgress,
    ):
        self.flags: list[bytes] = []  # what it found, compressed: a long series of a large site must fit in memory
        self.target, self.options, self.report = target, options, report
        self.overpasses: list[Overpass] = find_overpasses(scenes)
        self.modality: Modality = scenes[0].mapping.contract
        self.name = self.modality.name
        self.mapping: SourceMapping = scenes[0].mapping
        self.mask: Mask | None = next((s.mapping.mask for s in scenes if s.mapping.mask), None)
        self.keep: np.ndarray | None = None  # packed bits [time, y * x / 8] of what the masks leave
        self.unscreened: np.ndarray | None = None  # the same before haze and other screens
        self.darkness: list[offset.Darkness] = []
        self.masked = dict.fromkeys(("no_data", "below_range", "above_range", "clouds", "valid"), 0)
        self.chosen: dict[int, bytes] = {}  # of overpasses with several products: which one each pixel is of
        self.gsd_by_band = {
            b: g.transform[0]
            for s in scenes
            for b, g in s.grids.items()
            if b in s.mapping.bands and g.transform[0] != target.transform[0]
        }

    def prepare(self, scratch: Path) -> GroupSource:
        """Check the series, decide the masks, and say how an acquisition is read."""
        acquisitions = [o.acquisition for o in self.overpasses]
        attributes: Json = {
            "resampling": {
                "method": self.options.resampling,
                "bands": self.gsd_by_band,
                "domain": "linear power" if self.modality.unit == "dB" else self.modality.unit,
                "mask": "nearest",
            }
        }
        if self.mask is not None:
            fractions, attributes["clouds"] = self._mask_series(self.mask, scratch)
            acquisitions = [
                dataclasses.replace(a, cloud_fraction=round(f, 4)) for a, f in zip(acquisitions, fractions, strict=True)
            ]
        screened = self.options.screen != "none" and self.modality.unit == "reflectance"
        if screened:
            attributes["screen"] = self._run_screen(scratch)
        attributes["checks"] = self._check_sample()
        attributes["pixels"] = self.masked  # counted while the cube is written
        return GroupSource(
            modality=self.modality,
            grid=self.target,
            acquisitions=acquisitions,
            read=self._read,
            attributes=attributes,
            screen=self._flagged if screened else None,
            screen_meanings=MEANINGS,
        )

    def _read(self, i: int) -> Acquired:
        overpass = self.overpasses[i]
        physical = self._physical(i, self.modality.band_names)
        checks.check_bands(physical, mapping=self.mapping, label=overpass.label, accept=self.options.accept)
        self.report(f"{self.name}: write", i + 1, len(self.overpasses))
        values, valid = self.modality.encode(physical)
        kept = valid if self.keep is None else valid & self._kept(i)
        self._count(physical, valid, kept)
        values[~kept] = 0
        return values, kept

    def _count(self, physical: np.ndarray, valid: np.ndarray, kept: np.ndarray) -> None:
        """Why pixels are invalid, each counted once."""
        highest = np.array([b.valid_max for b in self.modality.bands])
        missing = np.isnan(physical).any(-1)
        above = ~missing & (physical > highest).any(-1)
        counted = {"no_data": missing, "above_range": above, "below_range": ~(missing | above | valid)}
        counted |= {"clouds": valid & ~kept, "valid": kept}
        for reason, where in counted.items():
            self.masked[reason] += int(where.sum())

    def _kept(self, i: int) -> np.ndarray:
        assert self.keep is not None
        return _unpacked(self.keep[i], self.target)

    def _unscreened(self, i: int) -> np.ndarray | bool:
        """What the masks leave before haze and other screens, which take an offset left in for haze."""
        return True if self.unscreened is None else _unpacked(self.unscreened[i], self.target)

    def _physical(self, i: int, bands: Sequence[str]) -> np.ndarray:
        """Physical values float32 [y, x, band] on the cube's grid, NaN where missing."""
        return self._merge(i, [self._bands(p, bands) for p in self.overpasses[i].products])

    def _states(self, i: int) -> np.ndarray:
        """What the mask makes of each pixel (`clouds.classify`), of the product that its values come from."""
        return self._merge(i, [self._classify(p) for p in self.overpasses[i].products])

    def _merge(self, i: int, planes: Sequence[np.ndarray]) -> np.ndarray:
        """Of each pixel the plane of the product that it belongs to."""
        if len(planes) == 1:
            return planes[0]
        chosen, merged = self._choose(i), planes[0].copy()
        for k, plane in enumerate(planes[1:], 1):
            merged[chosen == k] = plane[chosen == k]
        return merged

    def _choose(self, i: int) -> np.ndarray:
        """The product that gives a pixel's values and class: of those complete there, the last; decided once."""
        shape = (self.target.height, self.target.width)
        if i not in self.chosen:
            chosen = np.zeros(shape, np.uint8)
            for k, product in enumerate(self.overpasses[i].products):
                complete = np.isfinite(self._bands(product, self.modality.band_names)).all(-1)
                if self.mask is not None:
                    complete &= self._classify(product) != clouds.NOT_SEEN
                chosen[complete] = k
            self.chosen[i] = zlib.compress(chosen.tobytes(), 1)  # areas: a long series of tiles must fit in memory
        return np.frombuffer(zlib.decompress(self.chosen[i]), np.uint8).reshape(shape)

    def _bands(self, product: Product, bands: Sequence[str]) -> np.ndarray:
        return np.stack([self._layer(product[b], b) for b in bands], axis=-1)

    def _layer(self, scene: Scene, band: str) -> np.ndarray:
        raw = scene.read(band)
        checks.check_raw(raw, band=band, scene=scene, accept=self.options.accept)
        source, unit = scene.grids[band], scene.mapping.unit
        if self.modality.unit != "dB":
            return grid.to_grid(raw, source, self.target, method=self.options.resampling)
        linear = grid.power(raw) if unit == "dB" else raw * np.abs(raw) if unit == "amplitude" else raw
        positive = np.where(linear > 0, linear, np.float32(np.nan))  # of dB no power is -inf
        return grid.decibel(grid.to_grid(positive, source, self.target, method=self.options.resampling))

    def _classify(self, product: Product) -> np.ndarray:
        assert self.mask is not None
        layers = {}
        for layer in self.mask.layers:
            raw = product[layer].read(layer)
            fill = [*self.mask.fill, *self._declared_fill(product[layer], layer)]
            known = np.where(np.isin(raw, fill), np.float32(np.nan), raw.astype(np.float32))
            layers[layer] = grid.to_grid(known, product[layer].grids[layer], self.target, method="nearest")
        return clouds.classify(self.mask, layers)

    def _declared_fill(self, scene: Scene, layer: str) -> list[float]:
        """Numbers of a mask's layer that its file declares to be no data, but for those that the mask knows.

        Zero percent of cloud, or a class that is kept, is sooner a wrong declaration than no data.
        """
        assert self.mask is not None
        declared = scene.numbers[layer].fill if layer in scene.numbers else ()
        if self.mask.method == "probability":
            return [f for f in declared if not 0 <= f <= 100]
        return [f for f in declared if f not in (*self.mask.clear, *(self.mask.cloud or ()))]

    def _mask_series(self, mask: Mask, scratch: Path) -> tuple[list[float], Json]:
        """Decide `keep`; returns the cloud fraction per acquisition and the summary for the group's attributes."""
        total, size = len(self.overpasses), self.target.height * self.target.width
        gsd_m = self.target.transform[0]
        removed = dict.fromkeys(("no_data", "classes", "dilation", "haze"), 0)
        fractions, kept = [], []
        with HazeScreen((self.target.height, self.target.width), gsd_m, scratch) as screen:
            for i in range(total):
                states = self._states(i)
                seen, clear = states != clouds.NOT_SEEN, states == clouds.CLEAR
                dilated = clear & clouds.away_from(states == clouds.CLOUD, mask.dilation_m, gsd_m)
                removed["no_data"] += int((~seen).sum())
                removed["classes"] += int((seen & ~clear).sum())
                removed["dilation"] += int((clear & ~dilated).sum())
                fractions.append(float((seen & ~clear).sum() / max(int(seen.sum()), 1)))
                kept.append(np.packbits(dilated))
                if self.modality.unit == "reflectance":
                    self._note_darkest(i, clear, dilated, screen if mask.haze else None)
                self.report(f"{self.name}: masks", i + 1, total)
            self.keep = np.stack(kept)
            self.unscreened = self.keep.copy()  # an offset left in looks like haze: its evidence must stay
            for i, hazy in enumerate(screen.hazy() if mask.haze else ()):
                hazy = hazy & self._kept(i)
                removed["haze"] += int(hazy.sum())
                self.keep[i] &= ~np.packbits(hazy)
                self.report(f"{self.name}: haze", i + 1, total)
        return fractions, {
            **clouds.describe(mask),
            "haze": HazeScreen.description if mask.haze else "none",
            "removed_fraction": {k: round(v / (total * size), 4) for k, v in removed.items()},
        }

    def _run_screen(self, scratch: Path) -> Json:
        """Decide `flags`, and in mode "mask" take what is flagged out of `keep`; the summary for the attributes."""
        check_screen(self.name, self.modality.band_names)
        names, total = infrared(self.modality.band_names), len(self.overpasses)
        shape = (self.target.height, self.target.width)
        everything = np.packbits(np.ones(shape, bool))
        keep = np.stack([everything] * total) if self.keep is None else self.keep
        self.keep = keep
        self.unscreened = keep.copy() if self.unscreened is None else self.unscreened
        counts, seen = np.zeros(4, np.int64), 0
        with ExcursionScreen(shape, len(names), scratch) as screen:
            for i, overpass in enumerate(self.overpasses):
                screen.add(overpass.acquisition.day, np.moveaxis(self._physical(i, names), -1, 0))
                self.report(f"{self.name}: screen", i + 1, total)
            for i, found in enumerate(screen.found(self._kept)):
                self.flags.append(zlib.compress(found.tobytes(), 1))
                counts += np.bincount(found[self._kept(i)], minlength=4)
                seen += int(self._kept(i).sum())
        if self.options.screen == "mask":  # after all were judged, by one and the same mask
            for i in range(total):
                found = self._flagged(i)
                keep[i] &= ~np.packbits((found == DARKER) | (found == BRIGHTER))
        shares = zip(MEANINGS.split(), counts, strict=True)
        return {
            "method": ExcursionScreen.description,
            "mode": self.options.screen,
            "fraction_of_clear": {k: round(int(v) / max(seen, 1), 5) for k, v in shares},
        }

    def _flagged(self, i: int) -> np.ndarray:
        shape = (self.target.height, self.target.width)
        return np.frombuffer(zlib.decompress(self.flags[i]), np.uint8).reshape(shape)

    def _note_darkest(self, i: int, clear: np.ndarray, kept: np.ndarray, screen: HazeScreen | None) -> None:
        """Read the visible bands once, for the offset check and, where there is one, the haze screen."""
        names = [b for b in offset.VISIBLE if b in self.modality.band_names]
        planes = dict(zip(names, np.moveaxis(self._physical(i, names), -1, 0), strict=True)) if names else {}
        if screen is not None:
            screen.add(self.overpasses[i].acquisition.day, planes["B02"], planes["B04"], kept)
        if planes:
            darkest = np.min(list(planes.values()), axis=0)[kept]
            self.darkness.append(offset.Darkness.of(i, self.overpasses[i], darkest, clear=float(clear.mean())))

    def _infrared(self, i: int) -> float:
        """1 % quantile of a short-wave infrared band over clear pixels, hazy or not; NaN where there is none."""
        names = [b for b in offset.INFRARED if b in self.modality.band_names][:1]
        plane = self._physical(i, names)[..., 0] if names else np.empty(0)
        found = plane[np.isfinite(plane) & (self._unscreened(i) if names else True)]
        return float(np.quantile(found, 0.01)) if found.size else float("nan")

    def _check_sample(self) -> list[str]:
        """Check acquisitions spread over the series, the clearest near each step, before anything is written."""
        names = self.modality.band_names
        clear = (
            np.ones(len(self.overpasses))
            if self.mask is None or self.keep is None
            else np.array([self._kept(i).mean() for i in range(len(self.overpasses))])
        )
        parts = np.array_split(np.arange(len(self.overpasses)), min(SAMPLED, len(self.overpasses)))
        spectra = []
        for i in (int(p[clear[p].argmax()]) for p in parts):
            overpass = self.overpasses[i]
            physical = self._physical(i, names)
            checks.check_bands(physical, mapping=self.mapping, label=overpass.label, accept=self.options.accept)
            chosen = np.isfinite(physical).all(-1) & (self._kept(i) if self.keep is not None else True)
            if self.mask is None and self.modality.unit == "reflectance":
                before = np.isfinite(physical).all(-1) & self._unscreened(i)
                self._note_darkest(i, before, before, None)
            pixels = physical[chosen]
            spectra.append(pixels[:: max(1, len(pixels) // 5000)])
        if self.modality.unit != "reflectance":
            return ["units, scale and empty bands"]
        found = ["units, scale, empty bands", offset.check_values(self.darkness, self._infrared, self.options.accept)]
        if set(SENTINEL2.band_names) <= set(names):
            first = self.overpasses[0].label
            pixels = np.concatenate(spectra)
            found.append(checks.check_spectra(pixels, names=names, label=first, accept=self.options.accept))
        return found


def _unpacked(bits: np.ndarray, grid: Grid) -> np.ndarray:
    size = grid.height * grid.width
    return np.unpackbits(bits, count=size).astype(bool).reshape(grid.height, grid.width)
