"""HDF5 stacks [time, channel, y, x] whose dates and orbits stand in ESA product names; no coordinates, a local grid."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np

from data_prep.mappings.mapping import Mapping
from data_prep.readers.esa_names import ProductName, parse
from data_prep.readers.scene import Scene, decode
from data_prep.readers.stated import of_attributes
from eomm.data.grid import Grid
from eomm.data.raster import check_self_contained
from eomm.errors import ContractError, DataError


def open_file(file: Path, mapping: Mapping, keep_open: ExitStack) -> list[Scene]:
    """The scenes of one stack, one per product. Raises DataError or ContractError as `open_scenes` says."""
    check_self_contained(file)
    try:
        data = keep_open.enter_context(h5py.File(file))
    except OSError as e:
        raise DataError(f"{file}: not a readable HDF5 file ({e}); it is empty, truncated or of another kind") from e
    layers = {layer: _locate(data, file, variable, mapping) for layer, variable in mapping.layers.items()}
    products = _products(data, file, mapping)
    grid = _grid(file, [dataset for dataset, _ in layers.values()], len(products), mapping)
    numbers = {
        layer: of_attributes(dict(d.attrs), d.dtype, where=f"{file}, {d.name}/{channel}", part=channel)
        for layer, (d, channel) in layers.items()
    }

    def read(layer: str, i: int) -> np.ndarray:
        dataset, channel = layers[layer]
        try:
            raw = np.asarray(dataset[i, channel])
        except OSError as e:
            raise DataError(f"{file}: {layer} of {products[i]} cannot be read ({e}); the file is damaged") from e
        return raw if layer in mapping.mask_layers else decode(raw, mapping, stated=numbers[layer])

    names = [parse(product) for product in products]
    return [
        Scene(
            product=product,
            file=file,
            time=name.time,
            mapping=mapping,
            grids=dict.fromkeys(layers, grid),
            read=lambda layer, i=i: read(layer, i),  # type: ignore[misc]
            platform=name.platform,
            orbit=_orbit(name, mapping),
            direction=mapping.direction,
            named=True,
            stated={"level": name.level} | ({"baseline": name.baseline} if name.baseline else {}),
            numbers=numbers,
        )
        for i, (product, name) in enumerate(zip(products, names, strict=True))
    ]


def _grid(file: Path, datasets: Sequence[h5py.Dataset], steps: int, mapping: Mapping) -> Grid:
    """The local grid that all data sets have; raises ContractError where they have several, or other time steps."""
    shapes = {d.shape for d in datasets}
    if {s[0] for s in shapes} != {steps} or len({s[2:] for s in shapes}) != 1:
        found = ", ".join(f"{d.name} {d.shape}" for d in datasets)
        raise ContractError(f"{file}: {found} and {steps} products; expected as many time steps, and one grid")
    height, width = next(iter(shapes))[2:]
    assert mapping.gsd_m  # the mapping sees to it
    gsd = float(mapping.gsd_m)
    return Grid(crs="LOCAL", transform=(gsd, 0.0, 0.0, 0.0, -gsd, gsd * height), height=height, width=width)


def _locate(data: h5py.File, file: Path, variable: str, mapping: Mapping) -> tuple[h5py.Dataset, int]:
    """The data set and the channel of "name/channel"."""
    name, _, channel = variable.rpartition("/")
    dataset = data.get(name)
    if not channel.isdigit() or not isinstance(dataset, h5py.Dataset) or dataset.ndim != 4:
        raise ContractError(
            f"{file}: {variable!r} is not there; expected NAME/CHANNEL, of a data set [time, channel, y, x] among "
            f"{', '.join(data)}; correct mapping {mapping.name!r}"
        )
    if int(channel) >= dataset.shape[1]:
        raise ContractError(f"{file}: {name} has {dataset.shape[1]} channels, mapping {mapping.name!r} asks {variable}")
    return dataset, int(channel)


def _products(data: h5py.File, file: Path, mapping: Mapping) -> list[str]:
    found = data.get(mapping.products or "")
    if not isinstance(found, h5py.Dataset) or found.ndim != 1:
        raise ContractError(
            f"{file}: no list of product names {mapping.products!r} among {', '.join(data)}; correct `products` of "
            f"mapping {mapping.name!r}"
        )
    return [p.decode() if isinstance(p, bytes) else str(p) for p in found[()]]


def _orbit(name: ProductName, mapping: Mapping) -> str | None:
    if name.relative_orbit is None:
        return None
    first = (mapping.direction or "R")[0].upper() if mapping.contract.unit == "dB" else "R"
    return f"{first}{name.relative_orbit:03d}"
