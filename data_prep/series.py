"""One modality's scenes to what `write_cube` needs: checks, masks, resampling. Not which files, nor the cube itself."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import checks, clouds, grid
from data_prep.mapping import MASK, Mask
from data_prep.mapping import Mapping as SourceMapping
from data_prep.passes import Overpass, Product, find_overpasses
from data_prep.readers import Scene
from eomm.cube import Acquired, Grid, GroupSource
from eomm.modalities import SENTINEL2, Modality

SAMPLED = 16
"""Acquisitions whose spectra are checked before anything is written."""

Progress = Callable[[str, int, int], None]
"""Called with (what is done, how many are done, how many there are)."""


class Series:
    """All acquisitions of one modality at one site, on the way into a cube.

    Raises:
        DataError: an incomplete scene, or overpasses that cannot be told apart.
    """

    def __init__(self, scenes: list[Scene], *, target: Grid, method: str, accept: Sequence[str], report: Progress):
        self.target, self.method, self.accept, self.report = target, method, accept, report
        self.overpasses: list[Overpass] = find_overpasses(scenes)
        self.modality: Modality = scenes[0].mapping.contract
        self.name = self.modality.name
        self.mapping: SourceMapping = scenes[0].mapping
        self.mask: Mask | None = next((s.mapping.mask for s in scenes if s.mapping.mask), None)
        self.keep: np.ndarray | None = None  # packed bits [time, y * x / 8] of what the masks leave
        self.gsd_by_band = {
            b: g.transform[0]
            for s in scenes
            for b, g in s.grids.items()
            if b != MASK and g.transform[0] != target.transform[0]
        }

    def prepare(self, scratch: Path) -> GroupSource:
        """Check the series, decide the masks, and say how an acquisition is read."""
        acquisitions = [o.acquisition for o in self.overpasses]
        attributes: dict[str, Any] = {
            "resampling": {
                "method": self.method,
                "bands": self.gsd_by_band,
                "domain": "linear power" if self.modality.unit == "dB" else self.modality.unit,
                "mask": "nearest",
            }
        }
        if self.mask is not None:
            fractions, attributes["clouds"] = self._mask_series(scratch)
            acquisitions = [
                dataclasses.replace(a, cloud_fraction=round(f, 4)) for a, f in zip(acquisitions, fractions, strict=True)
            ]
        attributes["checks"] = self._check_sample()
        return GroupSource(
            modality=self.modality,
            grid=self.target,
            acquisitions=acquisitions,
            read=self._read,
            attributes=attributes,
        )

    def _read(self, i: int) -> Acquired:
        overpass = self.overpasses[i]
        physical = self._physical(overpass, self.modality.band_names)
        checks.check_bands(physical, mapping=self.mapping, label=overpass.label, accept=self.accept)
        self.report(f"{self.name}: write", i + 1, len(self.overpasses))
        values, valid = self.modality.encode(physical)
        if self.keep is not None:
            valid &= self._kept(i)
            values[~valid] = 0
        return values, valid

    def _kept(self, i: int) -> np.ndarray:
        assert self.keep is not None
        size = self.target.height * self.target.width
        return np.unpackbits(self.keep[i], count=size).astype(bool).reshape(self.target.height, self.target.width)

    def _physical(self, overpass: Overpass, bands: Sequence[str]) -> np.ndarray:
        """Physical values float32 [y, x, band] on the cube's grid, NaN where missing."""
        out = np.full((self.target.height, self.target.width, len(bands)), np.nan, np.float32)
        for product in overpass.products:
            values = np.stack([self._layer(product[b], b) for b in bands], axis=-1)
            later = np.isfinite(values).all(-1, keepdims=True)
            out = np.where(later | ~np.isfinite(out), values, out)
        return out

    def _layer(self, scene: Scene, band: str) -> np.ndarray:
        raw = scene.read(band)
        checks.check_raw(raw, band=band, scene=scene, accept=self.accept)
        source = scene.grids[band]
        if self.modality.unit != "dB":
            return grid.to_grid(raw, source, self.target, method=self.method)
        linear = grid.power(raw) if scene.mapping.unit == "dB" else np.where(raw > 0, raw, np.float32(np.nan))
        return grid.decibel(grid.to_grid(linear, source, self.target, method=self.method))

    def _clear(self, overpass: Overpass) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(seen at all, clear, cloud) as the provider's classes say, bool [y, x]."""
        assert self.mask is not None
        seen = np.zeros((self.target.height, self.target.width), bool)
        clear, cloud = seen.copy(), seen.copy()
        clouds_are = self.mask.cloud
        for product in overpass.products:
            classes = self._classes(product)
            seen |= classes > 0
            kept = clouds.in_classes(classes, self.mask.clear)
            clear = np.where(classes > 0, kept, clear)
            cloudy = ~kept if clouds_are is None else clouds.in_classes(classes, clouds_are)
            cloud = np.where(classes > 0, cloudy, cloud)
        return seen, clear, cloud

    def _classes(self, product: Product) -> np.ndarray:
        scene = product[MASK]
        return grid.classes_to_grid(scene.read(MASK), scene.grids[MASK], self.target)

    def _mask_series(self, scratch: Path) -> tuple[list[float], dict[str, Any]]:
        """Decide `keep`; returns the cloud fraction per acquisition and the summary for the group's attributes."""
        assert self.mask is not None
        total, size = len(self.overpasses), self.target.height * self.target.width
        gsd_m, coloured = self.target.transform[0], {"B02", "B04"} <= set(self.modality.band_names)
        removed = dict.fromkeys(("no_data", "classes", "dilation", "haze"), 0)
        fractions, darkest, kept = [], [], []
        with clouds.HazeScreen((self.target.height, self.target.width), gsd_m, scratch) as screen:
            for i, overpass in enumerate(self.overpasses):
                seen, clear, cloud = self._clear(overpass)
                dilated = clear & clouds.away_from(cloud, self.mask.dilation_m, gsd_m)
                if coloured:
                    blue, red = np.moveaxis(self._physical(overpass, ("B02", "B04")), -1, 0)
                    dark = np.fmin(blue, red)[dilated]
                    dark = dark[np.isfinite(dark)]
                    darkest.append(
                        (overpass.label, float(clear.mean()), float(np.quantile(dark, 0.01)) if dark.size else 9)
                    )
                removed["no_data"] += int((~seen).sum())
                removed["classes"] += int((seen & ~clear).sum())
                removed["dilation"] += int((clear & ~dilated).sum())
                fractions.append(float((seen & ~clear).sum() / max(int(seen.sum()), 1)))
                kept.append(np.packbits(dilated))
                if self.mask.haze:
                    screen.add(overpass.acquisition.day, blue, red, dilated)
                self.report(f"{self.name}: masks", i + 1, total)
            self.keep = np.stack(kept)
            for i, hazy in enumerate(screen.hazy() if self.mask.haze else ()):
                hazy = hazy & self._kept(i)
                removed["haze"] += int(hazy.sum())
                self.keep[i] &= ~np.packbits(hazy)
                self.report(f"{self.name}: haze", i + 1, total)
        checks.check_offset(darkest, self.accept)
        return fractions, {
            "classes_from": self.mask.variable,
            "kept_classes": list(self.mask.clear),
            "dilated_classes": "all not kept" if self.mask.cloud is None else list(self.mask.cloud),
            "dilation_m": self.mask.dilation_m,
            "haze": clouds.HazeScreen.description if self.mask.haze else "none",
            "removed_fraction": {k: round(v / (total * size), 4) for k, v in removed.items()},
        }

    def _check_sample(self) -> list[str]:
        """Check acquisitions spread over the series, the clearest near each step, before anything is written."""
        names = self.modality.band_names
        clear = (
            np.ones(len(self.overpasses))
            if self.keep is None
            else np.array([self._kept(i).mean() for i in range(len(self.overpasses))])
        )
        parts = np.array_split(np.arange(len(self.overpasses)), min(SAMPLED, len(self.overpasses)))
        spectra = []
        for i in (int(p[clear[p].argmax()]) for p in parts):
            overpass = self.overpasses[i]
            physical = self._physical(overpass, names)
            checks.check_bands(physical, mapping=self.mapping, label=overpass.label, accept=self.accept)
            chosen = np.isfinite(physical).all(-1) & (self._kept(i) if self.keep is not None else True)
            pixels = physical[chosen]
            spectra.append(pixels[:: max(1, len(pixels) // 5000)])
        if self.modality.unit != "reflectance" or not set(SENTINEL2.band_names) <= set(names):
            return ["units, scale and empty bands"]
        first = self.overpasses[0].label
        order = checks.check_spectra(np.concatenate(spectra), names=names, label=first, accept=self.accept)
        return ["units, scale, empty bands, offset", order]
