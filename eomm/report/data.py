"""What a report's figures show, read from cube, embedding cube and training logs; thinned to what a screen can show."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eomm.data.cube import Cube, CubeGroup
from eomm.data.grid import to_date
from eomm.data.modality import KNOWN, Modality
from eomm.errors import DataError
from eomm.evaluation.baselines import Pca, fit_pca
from eomm.evaluation.hidden.examples import green
from eomm.page.style import stretch
from eomm.report.figures import Maps, PixelSeries
from eomm.store.folders import read_json
from eomm.store.metrics import read_lines

MAP_DATES = 5
MAP_PX = 400  # at most so many rows and columns of a map
PCA_ROWS = 50_000
LAYER_WORDS = {
    "expected error": "the error to expect of predicting a pixel's date, were it hidden",
    "support": "the number of dates that the state rests on",
    "days to nearest": "days to the nearest other clear date",
    "distance to training": "distance from the states of training, 1 for an ordinary date of it",
}
Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Pixels:
    """Single pixels of one modality's series."""

    def __init__(self, group: CubeGroup):
        self.group = group

    def series(self, row: int, col: int) -> PixelSeries:
        """All valid observations of a pixel."""
        values, valid = self.group.read(None, slice(row, row + 1), slice(col, col + 1))
        keep = valid[:, 0, 0]
        return PixelSeries(day=self.group.day[keep], values=self.group.modality.decode(values[keep, 0, 0]))

    def shown_bands(self) -> list[str]:
        """Two bands of the series figure."""
        names = self.group.modality.band_names
        return ["B04", "B08"] if {"B04", "B08"} <= set(names) else list(names[:2])


class Views:
    """Cube and embedding cube of one site, seen as the figures need them.

    Attributes:
        examples: pixels that an evaluation shows, the last of which changes most; may be empty.
        group: the reference modality's series.
        day: of the embedded dates.
        pixel_m: size of a shown map pixel.
    """

    flag_words = (
        "edge: the window reaches beyond the cube",
        "alone: no other modality with dates was near enough and valid",
        "sparse: fewer than three valid acquisitions in the window",
    )

    def __init__(self, cube: Cube, embedding: Path | str, modality: str, examples: Sequence[Mapping[str, Any]] = ()):
        from eomm.embedding.store import open_embedding

        self.examples = examples
        self.group: CubeGroup = cube[modality]
        self._store = open_embedding(embedding)
        self._step = max(1, -(-max(self.group.grid.height, self.group.grid.width) // MAP_PX))
        self.pixel_m = abs(self.group.grid.transform[0]) * self._step
        time = self._store["time"].values.astype("datetime64[D]")
        self.day: np.ndarray = time.astype(np.int64).astype(np.int32)
        self._valid = self._thin("valid").astype(bool)
        if not self._valid.any():
            raise DataError(f"{embedding}: no pixel is valid at any date; there is nothing to show")
        self._dates = self._choose_dates()
        self.pca, self.explained = self._fit()

    def maps(self) -> Maps:
        """True colour and embedding at a few clear dates."""
        index, step = self._dates, self._step
        names = self.group.modality.band_names
        shown = ("B04", "B03", "B02") if {"B04", "B03", "B02"} <= set(names) else (names[0],) * 3
        at = [self._acquisition(i) for i in index]
        stored, clear = self.group.read(at)
        stored, clear = stored[:, ::step, ::step], clear[:, ::step, ::step]
        colour = self.group.modality.decode(stored)[..., [names.index(b) for b in shown]]
        low, high = (float(q) for q in np.quantile(colour[clear], (0.01, 0.99)))
        unit = self.group.modality.unit
        parts = [self.pca.transform(self._vectors(i)) for i in index]
        valid = self._valid[index]
        seen = np.concatenate([p[v] for p, v in zip(parts, valid, strict=True)])
        ends = np.quantile(seen, (0.02, 0.98), axis=0)
        return Maps(
            dates=[to_date(self.day[i]) for i in index],
            true_colour=stretch(colour, clear, low, high),
            embedding=stretch(np.stack(parts), valid, *ends),
            explained=self.explained,
            stretch=f"{' '.join(shown)}: {low:.2f} to {high:.2f} {unit}",
            pixel_m=self.pixel_m,
        )

    def counts(self) -> dict[str, np.ndarray]:
        """Maps of observation counts by title."""
        maps = {"dates with a valid embedding": self._valid.sum(0).astype(float)}
        for name in sorted(str(n) for n in self._store.data_vars if str(n).startswith("observations_")):
            title = f"{name.removeprefix('observations_')} observations per window, mean"
            maps[title] = self._thin(name).mean(0, dtype=float)
        return maps

    def layers(self) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Maps by title: means over clear dates of the layers that are numbers, and shares of dates by flag."""
        from eomm.embedding.layers import FLAGS, TOLD

        clear = np.maximum(self._valid.sum(0), 1)
        means = {}
        for name in ("expected_error", *TOLD):
            if name not in self._store:
                continue
            values = self._thin(name).astype(np.float32)
            known = self._valid & np.isfinite(values)
            if known.any():
                mean = np.where(known, values, 0).sum(0) / np.maximum(known.sum(0), 1)
                units = str(self._store[name].attrs.get("units", ""))
                unit = {"expected_error": f" ({'reflectance' if units == '1' else units})"}.get(name, "")
                means[f"{name.replace('_', ' ')}: mean{unit}"] = np.where(known.any(0), mean, np.nan)
        shares = {}
        if "flags" in self._store:  # older stores have none
            flags = self._thin("flags")
            # What no vector carries is no map; of clouded pixels there is one already, of observations.
            bits = {n: b for n, b in FLAGS.items() if n != "clouded" and ((flags & b > 0) & self._valid).any()}
            shares = {f"share of dates: {n}": ((flags & b > 0) & self._valid).sum(0) / clear for n, b in bits.items()}
        return means, shares

    def embedding_at_pixel(self) -> dict[str, Any] | None:
        """Arguments of `pixel_figure` at the example that changes most, None where too few dates are valid."""
        examples = self.examples
        row, col = (examples[-1]["row"], examples[-1]["col"]) if examples else self._often_valid()
        keep = self._store["valid"][:, row, col].values.astype(bool)
        if keep.sum() < 3:
            return None
        vectors = self._store["embedding"][:, row, col].values[keep].astype(np.float32)
        pixel = Pixels(self.group).series(row, col)
        names = self.group.modality.band_names
        if {"B04", "B08"} <= set(names):
            stored, _ = self.group.read(None, slice(row, row + 1), slice(col, col + 1))
            index = green(self.group, stored[np.isin(self.group.day, pixel.day), 0, 0])
            label = "NDVI"
        else:
            index, label = pixel.values[:, 0], f"{names[0]} ({self.group.modality.unit})"
        return {
            "title": f"Pixel at row {row}, column {col}",
            "index_name": label,
            "index": PixelSeries(day=pixel.day, values=index[:, None]),
            "day": self.day[keep],
            "components": self.pca.transform(vectors),
            "embedding": vectors,
        }

    def _thin(self, name: str) -> np.ndarray:
        return np.asarray(self._store[name][:, :: self._step, :: self._step].values)

    def _vectors(self, index: int) -> np.ndarray:
        found = np.asarray(self._store["embedding"][index, :: self._step, :: self._step].values, np.float32)
        return np.nan_to_num(found)  # what is not valid is not shown

    def _acquisition(self, index: int) -> int:
        return int(np.flatnonzero(self.group.usable & (self.group.day == self.day[index]))[0])

    def _choose_dates(self) -> list[int]:
        """Clear dates spread over the year or years: the clearest of each of equally long spans."""
        share = self._valid.mean((1, 2))
        clear = np.flatnonzero(share >= min(0.9, float(np.sort(share)[-min(MAP_DATES, len(share))])))
        spans = np.array_split(clear, min(MAP_DATES, len(clear)))
        return [int(s[np.argmax(share[s])]) for s in spans]

    def _fit(self) -> tuple[Pca, list[float]]:
        rows = np.concatenate([self._vectors(i)[self._valid[i]] for i in self._dates])
        rows = rows[:: max(1, len(rows) // PCA_ROWS)]
        pca = fit_pca(rows, 3)
        variance = pca.transform(rows).var(0) / max(float(rows.var(0).sum()), 1e-12)
        return pca, [float(v) for v in variance]

    def _often_valid(self) -> tuple[int, int]:
        flat = int(np.argmax(self._valid.sum(0)))
        row, col = divmod(flat, self._valid.shape[2])
        return row * self._step, col * self._step


def run_simulated(run: Path) -> bool:
    """Whether a run's model says that it was trained on simulated data; false where it has none yet."""
    path = run / "model" / "model.json"
    return bool(read_json(path).get("info", {}).get("simulated")) if path.is_file() else False


def training_panels(runs: Sequence[Path], modalities: Mapping[str, Modality]) -> list[tuple[str, str, Curves]]:
    """Panels of `training_figure`: the loss of every run, and the errors in each modality's unit."""
    panels: list[tuple[str, str, Curves]] = []
    for run in runs:
        series = read_metrics(run / "metrics.jsonl")
        name = run.name
        losses = {k: v for k, v in series.items() if k.split("/")[-1] == "loss"}
        if losses:
            panels.append((f"{name}: loss", "loss", losses))
        errors = {k: v for k, v in series.items() if k.endswith("_mae") and "offset" not in k}
        by_unit: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
        for key, curve in errors.items():
            modality = next((m for m in (*modalities, *KNOWN) if key.split("/")[-1].startswith(f"{m}_")), name)
            by_unit.setdefault(modality, {})[key.replace(f"{modality}_", "")] = curve
        for modality, curves in by_unit.items():
            known = {**KNOWN, **modalities}
            unit = f" ({known[modality].error_unit[0]})" if modality in known else ""
            title = f"{name}: error" if modality == name else f"{name}: error of {modality}"
            panels.append((title, f"absolute error{unit}", curves))
    return panels


def read_metrics(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """{name: (steps, values)} of a metrics.jsonl; lines that are none are left out, and said.

    Raises:
        DataError: the file is missing.
    """
    lines = read_lines(path)
    if lines.unread:
        print(
            f"{path}: left out {len(lines.unread)} lines that are no metrics, first {lines.unread[0]}", file=sys.stderr
        )
    found: dict[str, list[tuple[int, float]]] = {}
    for entry in lines.entries:
        for name, value in entry.items():
            if name != "step":
                found.setdefault(name, []).append((entry["step"], value))
    columns = {name: np.array(pairs, float).T for name, pairs in found.items()}
    return {name: (c[0], c[1]) for name, c in columns.items()}
