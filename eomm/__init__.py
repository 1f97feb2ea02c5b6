"""eomm: an embedding for every 10 m pixel at every clear Sentinel-2 date. The public names, loaded on first use.

Importing `eomm` imports no JAX, so that data preparation runs on machines without it.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

_CHECKOUT = Path(__file__).parent.parent
if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "experiments").is_dir():
    # Installed, experiments/ and benchmarks/ are eomm.experiments and eomm.benchmarks; here they lie beside eomm/.
    __path__.append(str(_CHECKOUT))

_HOME = {
    "Band": "data.modality",
    "Modality": "data.modality",
    "SENTINEL1": "data.modality",
    "SENTINEL1_SIGMA0": "data.modality",
    "SENTINEL2": "data.modality",
    "Cube": "data.cube",
    "Grid": "data.cube",
    "attributes_of": "data.attributes",
    "open_cube": "data.cube",
    "open_embedding": "embedding.run",
    "open_records": "data.records",
    "Model": "models.directory",
    "load_model": "models.directory",
    "embed": "embedding.run",
    "fit": "heads.fit",
    "predict": "heads.predict",
    "Head": "heads.head",
    "load_head": "heads.head",
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
