"""eomm: an embedding for every 10 m pixel at every clear Sentinel-2 date. The public names, loaded on first use.

Scenes in hand, `open_cube` and `open_records` give what is prepared; `train` a model, `load_model` one that was trained
or that comes with eomm; `embed` and `open_embedding` vectors; `evaluate` what they are worth; `fit` a head on them and
`predict` its maps. The command `eomm` calls the same functions.

Importing `eomm` imports no JAX, so that data preparation runs on machines without it.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eomm.data.attributes import attributes_of as attributes_of
    from eomm.data.batches import batches as batches
    from eomm.data.cube import Cube as Cube
    from eomm.data.cube import open_cube as open_cube
    from eomm.data.grid import Grid as Grid
    from eomm.data.modality import SENTINEL1 as SENTINEL1
    from eomm.data.modality import SENTINEL1_SIGMA0 as SENTINEL1_SIGMA0
    from eomm.data.modality import SENTINEL2 as SENTINEL2
    from eomm.data.modality import Band as Band
    from eomm.data.modality import Modality as Modality
    from eomm.data.records import open_records as open_records
    from eomm.embedding.calibrate import calibrate as calibrate
    from eomm.embedding.run import embed as embed
    from eomm.embedding.run import open_embedding as open_embedding
    from eomm.errors import ContractError as ContractError
    from eomm.errors import DataError as DataError
    from eomm.errors import EommError as EommError
    from eomm.errors import UsageError as UsageError
    from eomm.evaluation.hidden.reconstruction import evaluate_records
    from eomm.heads.fit import fit as fit
    from eomm.heads.head import Head as Head
    from eomm.heads.head import load_head as load_head
    from eomm.heads.options import FluxOptions as FluxOptions
    from eomm.heads.options import LabelOptions as LabelOptions
    from eomm.heads.predict import predict as predict
    from eomm.models.directory import Model as Model
    from eomm.models.directory import load_model as load_model
    from eomm.models.directory import save_model as save_model
    from eomm.training.config import load_config as load_config
    from eomm.training.run import train as train
    from eomm.training.stages import build_stage as build_stage

    evaluate = evaluate_records
    __version__: str

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
    "Grid": "data.grid",
    "attributes_of": "data.attributes",
    "open_cube": "data.cube",
    "open_embedding": "embedding.run",
    "open_records": "data.records",
    "Model": "models.directory",
    "load_model": "models.directory",
    "save_model": "models.directory",
    "load_config": "training.config",
    "build_stage": "training.stages",
    "batches": "data.batches",
    "calibrate": "embedding.calibrate",
    "train": "training.run",
    "embed": "embedding.run",
    "evaluate": "evaluation.hidden.reconstruction",
    "fit": "heads.fit",
    "predict": "heads.predict",
    "Head": "heads.head",
    "load_head": "heads.head",
    "FluxOptions": "heads.options",
    "LabelOptions": "heads.options",
    "ContractError": "errors",
    "DataError": "errors",
    "EommError": "errors",
    "UsageError": "errors",
}
_CALLED = {"evaluate": "evaluate_records"}  # at home, where that is another name
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("eomm")
    if name not in _HOME:
        raise AttributeError(f"module 'eomm' has no attribute {name!r}")
    return getattr(import_module(f"eomm.{_HOME[name]}"), _CALLED.get(name, name))


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
