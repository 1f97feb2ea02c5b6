"""Stacks: variables [time, y, x] of an open data set, or bands of arrays [time, band, y, x]. Opened by arrays.py."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from data_prep.mappings.mapping import Mapping
from data_prep.readers.arrays import BAND, LABELLED, PART
from data_prep.readers.coordinates import grid_of_coordinates, times_of
from data_prep.readers.scene import Scene, decode
from data_prep.readers.stated import Numbers, is_true, of_attributes
from eomm.errors import ContractError, DataError

STATED = {"processing_level": "level", "calibration": "calibration"}
"""Attribute of a file -> what it states of itself (`Scene.stated`)."""
BLOCK_PIXELS = 1_000_000
"""Time steps of a variable are read in blocks of this size: one HDF5 request each, 3 ms, dominates small sites."""
BLOCK_BYTES = 2**29
"""So much may be read of a store at once to open none of its chunks twice."""


def scenes_of(data: xr.Dataset, file: Path, mapping: Mapping) -> list[Scene]:
    """The scenes of an open stack, one per time step; its variables are read as they are asked for."""
    layers = {layer: variable for layer, variable in mapping.layers.items() if variable in data.data_vars}
    if not layers.keys() & mapping.bands.keys():
        raise ContractError(
            f"{file}: holds {' '.join(map(str, data.data_vars))}, expected some of "
            f"{' '.join(mapping.bands.values())}; correct [bands] of mapping {mapping.name!r}"
        )
    times = times_of(data, file, mapping)
    grid, flip = grid_of_coordinates(data, file, mapping, layers)
    for layer, variable in layers.items():
        _check_variable(data[variable], mapping.time, f"{file}: {variable} ({layer})")
    incidence = _degrees(data, mapping.incidence, mapping)
    angles = {angle: _degrees(data, variable, mapping) for angle, variable in mapping.angles.items()}
    masks = mapping.mask_layers
    numbers = {
        layer: _numbers(data[variable], f"{file}, {variable} ({layer})", mapping.mask_shift if layer in masks else 0)
        for layer, variable in layers.items()
    }
    read = _reader(data, file, mapping, layers, numbers, flip)
    stated = {key: str(data.attrs[attribute]) for attribute, key in STATED.items() if attribute in data.attrs}
    return [
        Scene(
            product=file.stem,
            file=file,
            time=time,
            mapping=mapping,
            grids=dict.fromkeys(layers, grid),
            read=lambda layer, i=i: read(layer, i),  # type: ignore[misc]
            platform=mapping.platform,
            direction=mapping.direction,
            incidence_deg=incidence[i],
            angles={angle: found for angle, degrees in angles.items() if (found := degrees[i]) is not None},
            simulated=is_true(data.attrs.get("simulated")),
            stated=stated,
            numbers=numbers,
        )
        for i, time in enumerate(times)
    ]


def _check_variable(variable: xr.DataArray, time: str, where: str) -> None:
    """Raise ContractError unless it holds numbers over time, y and x."""
    if set(variable.dims) != {time, "y", "x"}:
        raise ContractError(f"{where} has dimensions {variable.dims}, expected {time}, y, x")
    if variable.dtype.kind not in "iufb":
        raise ContractError(f"{where} holds {variable.dtype}, expected numbers")


def block_steps(data: xr.Dataset, variable: str, mapping: Mapping) -> int:
    """How many time steps of a variable are read at once: those of a chunk, where they fit."""
    pixels = data.sizes["y"] * data.sizes["x"]
    chunk = int(data[variable].encoding.get("preferred_chunks", {}).get(mapping.time, 1))
    together = len(mapping.layers) if LABELLED.fullmatch(variable) else 1
    fits = BLOCK_BYTES // (pixels * together * data[variable].dtype.itemsize)
    return max(1, BLOCK_PIXELS // pixels, chunk if chunk <= fits else 1)


def _reader(
    data: xr.Dataset,
    file: Path,
    mapping: Mapping,
    layers: dict[str, str],
    numbers: dict[str, Numbers],
    flip: bool,
) -> Callable[[str, int], np.ndarray]:
    blocks: dict[str, tuple[int, np.ndarray]] = {}

    def load(layer: str, steps: slice) -> None:
        match = LABELLED.fullmatch(layers[layer])
        if match is None:
            block = data[layers[layer]].isel({mapping.time: steps})
            blocks[layer] = (steps.start, block.load().transpose(mapping.time, "y", "x").values)
            return
        # A chunk holds many bands: what is wanted of them is kept, or each would be decompressed once per band.
        wanted = {la: m[2] for la, name in layers.items() if (m := LABELLED.fullmatch(name)) and m[1] == match[1]}
        labels = [str(v) for v in data[BAND].values]
        index = {la: labels.index(label) for la, label in wanted.items()}
        first, last = min(index.values()), max(index.values())
        block = data[match[1]].isel({mapping.time: steps, BAND: slice(first, last + 1)})
        # Loaded before it is transposed and by a slice of bands: else zarr is asked pixel by pixel.
        values = block.load().transpose(BAND, mapping.time, "y", "x").values
        blocks.update({la: (steps.start, values[k - first]) for la, k in index.items()})

    def read(layer: str, i: int) -> np.ndarray:
        variable = data[layers[layer]]
        steps = block_steps(data, layers[layer], mapping)
        start = i - i % steps
        try:
            if blocks.get(layer, (-1,))[0] != start:
                load(layer, slice(start, start + steps))
            raw = blocks[layer][1][i - start]
        except (OSError, RuntimeError, ValueError) as e:
            raise DataError(f"{file}: {layer} at time step {i} cannot be read ({e}); the file is damaged") from e
        raw = raw.view(_dtype(variable))
        raw = raw[::-1] if flip else raw
        if layer in mapping.mask_layers:
            return raw + mapping.mask_shift if mapping.mask_shift else raw
        return decode(raw, mapping, stated=numbers[layer])

    return read


def _numbers(variable: xr.DataArray, where: str, shift: int = 0) -> Numbers:
    """What a variable states. A band out of an array with a dimension of bands has its own of what that lists."""
    part = variable.attrs.get(PART)
    stated = of_attributes(variable.attrs, _dtype(variable), where=where, part=part)
    return dataclasses.replace(stated, fill=tuple(f + shift for f in stated.fill)) if shift else stated


def _dtype(variable: xr.DataArray) -> np.dtype:
    """Of its numbers: openEO writes uint16 as int16 with an attribute."""
    unsigned = str(variable.attrs.get("_Unsigned", "")).lower() == "true" and variable.dtype.kind == "i"
    return np.dtype(variable.dtype.str.replace("i", "u")) if unsigned else variable.dtype


def _degrees(data: xr.Dataset, variable: str | None, mapping: Mapping) -> list[float | None]:
    if variable is None or variable not in data:
        return [None] * data.sizes[mapping.time]
    angles = data[variable].values
    return [round(float(a), 3) if np.isfinite(a) and a > 0 else None for a in angles]
