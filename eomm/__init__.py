"""eomm: an embedding for every 10 m pixel at every clear Sentinel-2 date. The public names, loaded on first use.

Importing `eomm` imports no JAX, so that data preparation runs on machines without it.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "Band": "modalities",
    "Modality": "modalities",
    "SENTINEL1": "modalities",
    "SENTINEL1_SIGMA0": "modalities",
    "SENTINEL2": "modalities",
    "Cube": "cube",
    "Grid": "cube",
    "open_cube": "cube",
    "open_embedding": "embedding",
    "open_records": "patches",
    "Model": "model",
    "load_model": "model",
    "embed": "embedding",
    "ContractError": "errors",
    "DataError": "errors",
    "EommError": "errors",
    "UsageError": "errors",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'eomm' has no attribute {name!r}")
    return getattr(import_module(f"eomm.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
