"""What a report's figures show, read from cube, embedding cube and training logs; thinned to what a screen can show."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from eomm.data.attributes import attributes_of
from eomm.data.cube import Cube, CubeGroup
from eomm.data.grid import to_date
from eomm.data.modality import KNOWN, Modality, in_order
from eomm.errors import DataError
from eomm.evaluation.hidden.examples import greenness
from eomm.evaluation.pictures import clearest_dates, components, true_colour
from eomm.report.figures import Maps, Pixel
from eomm.store.folders import read_json
from eomm.store.metrics import read_lines

MAP_DATES = 5
MAP_PX = 400  # at most so many rows and columns of a map
LAYER_WORDS = {
    "expected error": "the error to expect of predicting a pixel's date, were it hidden",
    "support": "the number of dates that the state rests on",
    "days to nearest": "days to the nearest other clear date",
    "distance to training": "distance from the states of training, 1 for an ordinary date of it",
}
Curves = Mapping[str, tuple[np.ndarray, np.ndarray]]


class Views:
    """Cube and embedding cube of one site, seen as the figures need them.

    Attributes:
        group: the reference modality's series.
        day: of the embedded dates.
        pixel_m: size of a shown map pixel.
    """

    flag_words = (
        "edge: the window reaches beyond the cube",
        "alone: no other modality with dates was near enough and valid",
        "sparse: fewer than three valid acquisitions in the window",
    )

    def __init__(self, cube: Cube, embedding: Path | str):
        from eomm.embedding.store import open_embedding

        self._store = open_embedding(embedding)
        reference = attributes_of(self._store).get("provenance", {}).get("reference")
        first = in_order({n: g.modality for n, g in cube.groups.items()})[0]
        self.group: CubeGroup = cube[reference if reference in cube.groups else first]
        self._step = max(1, -(-max(self.group.grid.height, self.group.grid.width) // MAP_PX))
        self.pixel_m = self.group.grid.gsd_m * self._step
        time = self._store["time"].values.astype("datetime64[D]")
        self.day: np.ndarray = time.astype(np.int64).astype(np.int32)
        self._valid = self._thin("valid").astype(bool)
        if not self._valid.any():
            raise DataError(f"{embedding}: no pixel is valid at any date; there is nothing to show")
        self._dates = clearest_dates(self._valid, MAP_DATES)
        self._vectors = np.stack([self._read(i) for i in self._dates])
        self._pictures, self.pca, self.explained = components(self._vectors, self._valid[self._dates])

    def maps(self) -> Maps:
        """True colour and embedding at a few clear dates."""
        colour, words = true_colour(self.group, self.day[self._dates], self._step)
        return Maps(
            dates=[to_date(d) for d in self.day[self._dates]],
            true_colour=colour,
            embedding=self._pictures,
            explained=self.explained,
            stretch=words,
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

    def embedding_at_pixel(self) -> Pixel | None:
        """The pixel that changes most, None where too few dates are valid."""
        row, col = self._changing()
        keep = self._store["valid"][:, row, col].values.astype(bool)
        if keep.sum() < 3:
            return None
        vectors = self._store["embedding"][:, row, col].values[keep].astype(np.float32)
        stored, seen = self.group.read(None, slice(row, row + 1), slice(col, col + 1))
        names, seen = self.group.modality.band_names, seen[:, 0, 0]
        label = "NDVI" if {"B04", "B08"} <= set(names) else f"{names[0]} ({self.group.modality.unit})"
        index = greenness(self.group, stored[seen, 0, 0])
        return Pixel(
            title=f"Pixel at row {row}, column {col}",
            index_name=label,
            index=(self.group.day[seen], index),
            day=self.day[keep],
            components=self.pca.transform(vectors),
            embedding=vectors,
        )

    def _thin(self, name: str) -> np.ndarray:
        return np.asarray(self._store[name][:, :: self._step, :: self._step].values)

    def _read(self, index: int) -> np.ndarray:
        found = np.asarray(self._store["embedding"][index, :: self._step, :: self._step].values, np.float32)
        return np.nan_to_num(found)  # what is not valid is not shown

    def _changing(self) -> tuple[int, int]:
        """The pixel whose vectors at the maps' dates differ most, of those valid at all of them where there are any."""
        clear = self._valid[self._dates].sum(0)
        spread = self._vectors.std(0).sum(-1)
        flat = int(np.argmax(np.where(clear == clear.max(), spread, -1)))
        row, col = divmod(flat, self._valid.shape[2])
        return row * self._step, col * self._step


def run_simulated(run: Path) -> bool:
    """Whether a run's model says that it was trained on simulated data; false where it has none yet."""
    path = run / "model" / "model.json"
    return bool(read_json(path).get("info", {}).get("simulated")) if path.is_file() else False


def training_panels(runs: Sequence[Path], modalities: Mapping[str, Modality]) -> list[tuple[str, str, Curves]]:
    """Panels of `training_figure`: the loss of every run, and the errors in each modality's unit."""
    panels: list[tuple[str, str, Curves]] = []
    known = {**KNOWN, **modalities}
    for run in runs:
        series, name = read_metrics(run / "metrics.jsonl"), run.name
        if losses := {k: v for k, v in series.items() if k.split("/")[-1] == "loss"}:
            panels.append((f"{name}: loss", "loss", losses))
        for modality, curves in _errors(series, [*modalities, *KNOWN]).items():
            unit = f" ({known[modality].error_unit[0]})" if modality else ""
            panels.append((f"{name}: error{f' of {modality}' if modality else ''}", f"absolute error{unit}", curves))
    return panels


def _errors(series: Curves, modalities: Sequence[str]) -> Mapping[str, Curves]:
    """Curves of errors by the modality that their names begin with, "" for none, the rest of their names kept."""
    found: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for key, curve in series.items():
        if key.endswith("_mae") and "offset" not in key:
            modality = next((m for m in modalities if key.split("/")[-1].startswith(f"{m}_")), "")
            found.setdefault(modality, {})[key.replace(f"{modality}_", "") if modality else key] = curve
    return found


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
