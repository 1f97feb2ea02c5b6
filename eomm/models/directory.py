"""The model directory: contracts, configuration and parameters of encoders, decoders and fusion head, in one place.

`model.json` + `params.safetensors`: no pickle. A network's code is looked up in `eomm.models` or in a module that
the user names (`code`), never taken from the directory.
"""

import dataclasses
import functools
import importlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from eomm.data.modality import Modality, in_order
from eomm.errors import DataError, UsageError
from eomm.models.interface import Encoder, FusionHead, path_name
from eomm.models.shipped import find_model
from eomm.page.shown import Shown
from eomm.store.descriptions import AGAIN, PAIR, read_described
from eomm.store.digest import digest
from eomm.store.fields import Fields, Json, ListOf, Number, check
from eomm.store.folders import check_store, entered, new_directory, write_json

VERSION = 2  # of model.json; 1 is read, its hash knows nothing of the calibration
DEEPEST = 32  # folders in the path of a parameter
DEFAULT_CODE = {"encoder": "eomm.models.context", "decoder": "eomm.models.decoder", "fusion": "eomm.models.fusion"}


Leaves = dict[str, Any]
"""Of a tree, by path such as "a/b/c": arrays, or their shapes."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Model(Shown):
    """A trained model: encoders and decoders by modality, a fusion head or None, and all parameters.

    Attributes:
        encoders: by modality name; each holds its contract.
        decoders: by modality name; `Decoder`, or what the module named by the part's `code` builds in its place.
        fusion: None for a single modality.
        params: {modality: {"encoder", "decoder"}, "fusion": …}, float32.
        parts: {modality: {"encoder": options, "decoder": options}, "fusion": options}: plain values from which the
            networks are built again (`build_part`).
        info: what is known of the training: data, steps, scores, quantisation scales, whether simulated.
        version: of `model.json`, which says what the hash covers: a model that was read keeps its own.
    """

    encoders: Mapping[str, Encoder]
    decoders: Mapping[str, Any]
    fusion: FusionHead | None
    params: Any
    parts: Mapping[str, Any]
    info: Mapping[str, Any]
    version: int = VERSION

    @property
    def modalities(self) -> dict[str, Modality]:
        """Contracts by name."""
        return {name: decoder.modality for name, decoder in self.decoders.items()}

    @property
    def dim(self) -> int:
        """Length of the embedding that the model gives."""
        return self.fusion.dim if self.fusion else next(iter(self.encoders.values())).dim

    def facts(self) -> Mapping[str, object]:
        """As of `Shown`."""
        count = sum(int(np.size(x)) for x in jax.tree.leaves(self.params))
        known = {n: self.info[n] for n in ("steps", "stage") if n in self.info}
        simulated = {"trained on": "SIMULATED data"} if self.info.get("simulated") else {}
        return {
            "model": self.hash,
            "modalities": " and ".join(self.encoders) + (", fused" if self.fusion else ""),
            "embedding": f"{self.dim} numbers",
            "parameters": f"{count:,}",
            **known,
            **simulated,
        }

    def check_length(self, length: int | None) -> None:
        """Raise UsageError unless the embedding has `length` leading numbers."""
        if length is not None and not 1 <= length <= self.dim:
            raise UsageError(f"length is {length}; the model's vectors have {self.dim} numbers")

    def macs(self) -> dict[str, int]:
        """Multiply-adds per pixel-date of every part that can count them."""
        parts = {**self.encoders, **({"fusion": self.fusion} if self.fusion else {})}
        return {name: int(part.macs()) for name, part in parts.items() if hasattr(part, "macs")}

    @property
    def hash(self) -> str:
        """16 hex digits that stand for all that changes what is stored.

        Contracts, options and parameters; from version 2 on the scales of int8 and the expected error too.
        """
        described = self._description() | ({} if self.version == 1 else {"calibration": self._calibration()})
        return digest(described, sorted(flatten(self.params).items()))

    def _description(self) -> dict[str, Any]:
        contracts = {name: modality.to_dict() for name, modality in self.modalities.items()}
        return {"version": self.version, "contracts": contracts, "parts": plain(self.parts)}

    def _calibration(self) -> dict[str, Any]:
        found = self.info.get("calibration", {})
        return {name: plain(found[name]) for name in ("scale", "error") if name in found}


def build_part(kind: str, options: Mapping[str, Any], *args: Any) -> Any:
    """A network from plain values.

    Args:
        kind: "encoder", "decoder" or "fusion".
        options: `code` names the module whose `build_<kind>` makes it, by default ours; everything else goes to it.
        args: what goes to it before the options: the contract; the contract and the length of the embedding; the
            lengths of the embeddings by modality.

    Raises:
        UsageError: the module is missing or has no such function.
    """
    options = dict(options)
    name = options.pop("code", DEFAULT_CODE[kind])
    try:
        build = getattr(importlib.import_module(name), f"build_{kind}")
    except (ImportError, AttributeError, ValueError, TypeError) as e:  # the latter two: not a module's name at all
        raise UsageError(f"{kind} code {name!r}: {e}; it must be an installed module with build_{kind}") from e
    return build(*args, options)


def build_parts(modality: Modality, encoder: Mapping[str, Any], decoder: Mapping[str, Any]) -> tuple[Encoder, Any]:
    """Encoder and decoder of one modality from plain values. Errors as in `build_part`."""
    network: Encoder = build_part("encoder", encoder, modality)
    return network, build_part("decoder", decoder, modality, network.dim)


def build_fusion(encoders: Mapping[str, Encoder], options: Mapping[str, Any]) -> FusionHead:
    """The fusion head over some encoders from plain values. Errors as in `build_part`."""
    head: FusionHead = build_part("fusion", options, {name: encoder.dim for name, encoder in encoders.items()})
    return head


def save_model(model: Model, path: Path | str, *, overwrite: bool = False) -> Path:
    """Write a model directory, whole or not at all. Raises UsageError when `path` exists."""
    path = entered(path)
    with new_directory(path, kind="model", overwrite=overwrite) as partial:
        save_file(flatten(model.params), partial / "params.safetensors")
        head = {"eomm:kind": "model", "hash": model.hash, "macs": model.macs()}
        write_json(partial / "model.json", {**head, **model._description(), "info": plain(model.info)})
        shutil.copymode(partial / "model.json", partial / "params.safetensors")  # which safetensors makes 0600
    return path


def load_model(path: Model | Path | str, *, code: Sequence[str] = ()) -> Model:
    """Read a model directory.

    Args:
        path: the directory, or the name of a shipped model (`eomm.models.shipped`); a model is given back as it is.
        code: modules outside `eomm.models` whose networks may be used; they are imported.

    Raises:
        DataError: missing, damaged, parameters that do not fit the networks or are not finite, or scales of int8
            vectors that are not above zero.
        UsageError: the model names code that `code` does not allow.
    """
    if isinstance(path, Model):
        return path
    path = find_model(path)
    check_store(path, "model.json", "a model directory, such as runs/fusion/model")
    head = read_described(path / "model.json")
    version = head["version"]
    if version not in range(1, VERSION + 1):
        raise DataError(
            f"{path / 'model.json'}: 'model' of version {version!r}; expected a model of a version up to {VERSION}. A "
            "newer one needs a newer eomm"
        )
    _check_parts(path, head, code)
    with _buildable(path):
        encoders, decoders, fusion = _networks(head, str(path / "model.json"))
    try:
        params = unflatten(load_file(path / "params.safetensors"))
    except (OSError, SafetensorError, ValueError) as e:
        raise DataError(f"{path / 'params.safetensors'}: cannot be read ({e}); copy the model again") from e
    for name in encoders:  # a closed form has none
        params.setdefault(name, {}).setdefault("encoder", {})
    model = Model(
        encoders=encoders,
        decoders=decoders,
        fusion=fusion,
        params=params,
        parts=head["parts"],
        info=head["info"],
        version=version,
    )
    with _buildable(path):
        check_params(model, path)
    check_scales(model, path)
    if model.hash != head["hash"]:
        raise DataError(f"{path}: content hash {model.hash}, model.json says {head['hash']}; copy the model again")
    return model


def _check_parts(path: Path, head: Json, code: Sequence[str]) -> None:
    for name in head["contracts"]:
        pair = check(head["parts"].get(name), PAIR, f"{path / 'model.json'}, parts/{name}", remedy=AGAIN)
        for kind, options in pair.items():
            check_trusted(options, code, f"{path}: its {name} {kind}")
    if "fusion" in head["parts"]:
        check_trusted(head["parts"]["fusion"], code, f"{path}: its fusion head")


def _networks(head: Mapping[str, Any], where: str) -> tuple[dict[str, Encoder], dict[str, Any], FusionHead | None]:
    """Encoders, decoders and fusion head of a model.json."""
    encoders: dict[str, Encoder] = {}
    decoders: dict[str, Any] = {}
    for name, contract in head["contracts"].items():
        part = head["parts"][name]
        encoders[name], decoders[name] = build_parts(
            Modality.from_dict(contract, where), part["encoder"], part["decoder"]
        )
    fusion = build_fusion(encoders, head["parts"]["fusion"]) if "fusion" in head["parts"] else None
    return encoders, decoders, fusion


@contextmanager
def _buildable(path: Path) -> Iterator[None]:
    """Errors of options that no network can have, such as a width of "x" or 0, as ours."""
    try:
        yield
    except UsageError as e:
        raise UsageError(f"{path / 'model.json'}: {e}") from e
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as e:
        raise DataError(f"{path / 'model.json'}: its networks cannot be built ({str(e)[:200]}); {AGAIN}") from e


def check_trusted(options: Mapping[str, Any], code: Sequence[str], what: str) -> None:
    """Raise UsageError when a part, or one inside it, is code outside `eomm.models` that `code` does not name."""
    if options.get("inner"):
        check_trusted(options["inner"], code, f"{what} inside the state")
    wanted = options.get("code", "eomm.models.")
    if not isinstance(wanted, str):
        raise DataError(f"{what} has code {wanted!r}, expected the name of a module; {AGAIN}")
    if not wanted.startswith("eomm.models.") and wanted not in code:
        raise UsageError(
            f"{what} is code in {wanted!r}; if you trust it, say --code {wanted} (in a configuration: config.code)"
        )


def check_params(model: Model, path: Path) -> None:
    """Raise DataError unless the parameters are those of the networks, in names and shapes, and finite."""
    want, have = expected_params(model), flatten(model.params)
    if set(want) != set(have):
        raise DataError(
            f"{path}: parameters missing {sorted(set(want) - set(have))[:5]}, left over "
            f"{sorted(set(have) - set(want))[:5]}; the model was made by another version or architecture"
        )
    for name, array in have.items():
        if array.shape != want[name].shape:
            raise DataError(f"{path}: parameter {name} has shape {array.shape}, expected {want[name].shape}")
        if not np.isfinite(array).all():
            raise DataError(f"{path}: parameter {name} holds NaN or infinity; the training diverged or the file is bad")


def check_scales(model: Model, path: Path) -> None:
    """Raise DataError unless the scales of int8 vectors, where the model has them, are as many and above zero."""
    calibration = model.info.get("calibration")
    if calibration is not None:
        above = ListOf(of=Number(low=float(np.finfo(np.float32).tiny), high=1e300), count=model.dim)
        where, remedy = f"{path / 'model.json'}, info/calibration", "calibrate the model again"
        check(calibration, Fields({"scale": above}), where, remedy=remedy)


def expected_params(model: Model) -> dict[str, jax.ShapeDtypeStruct]:
    """By path, what the parameters of a model's networks must be; `model.params` is not looked at."""
    networks: dict[str, Any] = {
        name: {"encoder": encoder, "decoder": model.decoders[name]} for name, encoder in model.encoders.items()
    }
    if model.fusion:
        networks["fusion"] = model.fusion
    return flatten(jax.tree.map(_drawn_by, networks))


@functools.lru_cache(maxsize=64)
def _drawn_by(network: Any) -> Any:
    return jax.eval_shape(network.init, jax.random.key(0))  # tracing takes 0.1 s, of a model that is loaded many times


def flatten(tree: Any) -> Leaves:
    """A tree of nested dicts -> {"a/b/c": array}; host arrays where the leaves are arrays."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {path_name(p): x if isinstance(x, jax.ShapeDtypeStruct) else np.asarray(x) for p, x in leaves}


def unflatten(flat: Mapping[str, np.ndarray]) -> Any:
    """Inverse of `flatten`; leaves on the default device. Raises ValueError where paths are of no tree of ours."""
    tree: dict[str, Any] = {}
    for path, array in flat.items():
        *parents, leaf = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {}) if isinstance(node, dict) else node
        if len(parents) > DEEPEST or not isinstance(node, dict) or leaf in node:
            raise ValueError(f"{path[:60]!r} is no path of a network's parameters")
        node[leaf] = array
    return jax.device_put(tree)  # one by one every shape of them is compiled


def plain(tree: Any) -> Any:
    """Configurations, tuples and numpy scalars as plain JSON types."""
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return plain(dataclasses.asdict(tree))
    if isinstance(tree, Mapping) or hasattr(tree, "items"):
        return {str(k): plain(v) for k, v in tree.items()}
    if isinstance(tree, list | tuple | set):
        return [plain(v) for v in tree]
    return tree.item() if isinstance(tree, np.generic) else tree


def reference_of(model: Model, asked: str | None) -> str:
    """The modality at whose dates targets stand: the one asked for, else s2, else the model's first with dates."""
    return asked or in_order(model.modalities)[0]
