"""A released checkpoint of the published model -> a model directory. Not the networks (model.py).

Keys and layouts are those of the released fused checkpoint: PyTorch's, channel-first. What is there and not
understood, or missing, is an error.
"""

import pickle
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from eomm.data.modality import SENTINEL1, SENTINEL2, Modality
from eomm.errors import DataError, UsageError
from eomm.models.directory import Model, build_fusion, build_parts, expected_params, save_model, unflatten
from eomm.models.interface import Tree
from eomm.store.digest import sha256
from eomm.store.folders import check_apart, check_free, entered

CODE = "eomm.models.published"
RELEASED = {"s1": SENTINEL1, "s2": SENTINEL2}
ASSUMES = {
    "s1": "RTC gamma0 in dB; the release averaged three acquisitions in linear power first, eomm does not",
    "s2": "L2A surface reflectance",
}

# Parts of PyTorch's keys and of our paths, replaced in this order.
NAMES = (
    (r"^enc_(s\d)\.", r"\1/encoder/"),
    (r"^dec_(s\d)\.", r"\1/decoder/"),
    (r"^(?!s\d/)", r"fusion/"),
    # encoder and decoder
    (r"transformer_(enc|dec)\.layers\.(\d)\.", r"series/layer_\2/"),
    (r"positional_embedding_shared\.position_embeddings\.weight", r"series/positions"),
    (r"dim_reducer\.conv0\.0\.", r"date/bands/"),
    (r"dim_reducer\.conv([12])\.0\.", r"date/down_\1/"),
    (r"upscaler\.conv1\.0\.", r"date/up_1/"),
    (r"upscaler\.upsample2\.", r"date/up_2/"),
    (r"upscaler\.final_refinement\.0\.", r"date/refine/"),
    (r"upscaler\.final_refinement\.2\.", r"date/values/"),
    (r"(dim_reducer|upscaler)\.block(\d)\.", r"date/block_\2/"),
    (r"attention\.ca\.se\.0\.", r"gates/squeeze/"),
    (r"attention\.ca\.se\.2\.", r"gates/excite/"),
    (r"attention\.sa\.conv\.", r"gates/spatial/"),
    (r"convs\.0\.0\.", r"conv_3/"),
    (r"convs\.1\.0\.", r"conv_7/"),
    (r"(?<=/)fusion\.0\.", r"join/"),
    (r"(?<=/)conv\.0\.", r"conv/"),
    (r"encoder_linear\.0\.", r"latent/features/"),
    (r"token_reducer\.0\.", r"latent/tokens/"),
    (r"encoder/bottleneck_reducer\.0\.", r"encoder/latent/embedding/"),
    (r"decoder/bottleneck_expander\.0\.", r"decoder/expand/embedding/"),
    (r"token_upsampler\.0\.", r"expand/tokens/"),
    (r"decoder_linear\.0\.", r"expand/features/"),
    # fusion
    (r"fuser\.layers\.(\d)\.", r"layer_\1/"),
    (r"proj_(s\d)\.", r"in_\1/"),
    (r"head_(s\d)\.", r"out_\1/"),
    (r"type_embed\.weight", r"types"),
    (r"pair_pos_emb\.position_embeddings\.weight", r"days"),
    (r"norm_out\.", r"norm/"),
    (r"fusion/bottleneck_reducer\.0\.", r"fusion/fused/"),
    (r"fusion/bottleneck_expander\.0\.", r"fusion/unused/"),
    # layers of both transformers
    (r"self_attn\.in_proj_", r"qkv/"),
    (r"self_attn\.out_proj\.", r"out/"),
    (r"linear1\.", r"widen/"),
    (r"linear2\.", r"narrow/"),
    (r"norm(\d)\.", r"norm_\1/"),
    (r"(norm|norm_\d)/weight$", r"\1/scale"),
    (r"/weight$", r"/kernel"),
)


def import_published(
    checkpoint: Path | str,
    out: Path | str,
    *,
    modalities: Sequence[str] = ("s1", "s2"),
    contracts: Sequence[Modality] = (),
    overwrite: bool = False,
) -> Path:
    """Write a model directory from a released fused checkpoint.

    Attention runs over time, as it should; the release's ran over the batch, so that its embeddings depended on what
    they were computed with. Inputs are scaled from stored values: reflectance clipped to [0, 1]; dB clipped to
    [-30, 5], then (dB + 30) / 35. The release averaged three radar acquisitions first, which is preparation and is
    not done here.

    Args:
        checkpoint: `.safetensors`, or PyTorch Lightning's `.ckpt`.
        out: the model directory.
        modalities: "s1", "s2" or both; one alone has no fusion.
        contracts: of the cubes it is for, where they are not RTC gamma0 and L2A; recorded in the model.
        overwrite: replace an existing model.

    Raises:
        DataError: the file is missing, damaged, or holds another model.
        UsageError: `out` exists, PyTorch is needed and missing, or an option is wrong.
    """
    checkpoint = Path(checkpoint)
    check_apart(out, {"the checkpoint": checkpoint})
    check_free(entered(out), overwrite=overwrite, kind="model")  # before the work, not after it
    accepted = RELEASED | {m.name: m for m in contracts}
    chosen = tuple(dict.fromkeys(modalities))
    if not chosen or set(chosen) - set(RELEASED) or set(accepted) - set(RELEASED):
        raise UsageError(f"modalities {', '.join(modalities)}, contracts {', '.join(accepted)}: expected s1 and s2")
    for name, modality in accepted.items():
        if (modality.band_names, modality.unit) != (RELEASED[name].band_names, RELEASED[name].unit):
            raise UsageError(
                f"contract of {name}: bands {modality.band_names} in {modality.unit} are not the release's"
            )
    params = import_params(read_checkpoint(checkpoint), str(checkpoint))
    model = make_model({n: accepted[n] for n in chosen}, params)
    info = {
        "imported": {"file": checkpoint.name, "sha256": sha256(checkpoint)},
        "architecture": "published (arXiv 2511.11706)",
        "assumes": {n: ASSUMES[n] for n in chosen},
        "other_contracts": [n for n in chosen if accepted[n] != RELEASED[n]],
    }
    return save_model(Model(**{**vars(model), "info": info}), out, overwrite=overwrite)


def make_model(contracts: Mapping[str, Modality], params: Mapping[str, Any]) -> Model:
    """The published model of one or both modalities with those of the parameters {"s1", "s2", "fusion"} it has."""
    parts: dict[str, Any] = {n: {"encoder": {"code": CODE}, "decoder": {"code": CODE}} for n in contracts}
    networks = {n: build_parts(m, **parts[n]) for n, m in contracts.items()}
    encoders = {n: encoder for n, (encoder, _) in networks.items()}
    fusion = None
    if len(contracts) > 1:
        parts["fusion"] = {"code": CODE}
        fusion = build_fusion(encoders, parts["fusion"])
    return Model(
        encoders=encoders,
        decoders={n: decoder for n, (_, decoder) in networks.items()},
        fusion=fusion,
        params={n: params[n] for n in parts if n in params},
        parts=parts,
        info={},
    )


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Arrays by PyTorch's keys, less a prefix that all have, such as "model.".

    Raises:
        DataError: the file is missing, damaged, or holds more than weights.
        UsageError: of another kind; or a `.ckpt`, and PyTorch is not installed.
    """
    if not path.is_file():
        raise DataError(f"{path}: does not exist; expected a released checkpoint, .safetensors or .ckpt")
    if path.suffix not in (".safetensors", ".ckpt"):
        raise UsageError(f"{path}: expected .safetensors, or .ckpt of PyTorch Lightning")
    arrays = read_lightning(path) if path.suffix == ".ckpt" else read_safetensors(path)
    common = posixpath.commonpath([key.replace(".", "/") for key in arrays] or [""])
    return {key[len(common) + 1 if common else 0 :]: array for key, array in arrays.items()}


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file. Raises DataError when it is damaged."""
    try:
        return dict(load_file(path))
    except SafetensorError as e:
        raise DataError(f"{path}: cannot be read ({e}); fetch it again") from e


def read_lightning(path: Path) -> dict[str, np.ndarray]:
    """Weights of a PyTorch Lightning checkpoint, without running anything that it holds. Errors: `read_checkpoint`."""
    try:
        import torch
    except ImportError as e:
        raise UsageError(
            f"{path}: a .ckpt is read by PyTorch; pip install 'eomm[torch]', or convert its state_dict to .safetensors"
        ) from e
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as e:
        raise DataError(
            f"{path}: not weights alone, or damaged ({str(e).splitlines()[0]}); convert its state_dict to .safetensors "
            "where you trust it"
        ) from e
    weights = state.get("state_dict") if isinstance(state, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(w, torch.Tensor) for w in weights.values()):
        raise DataError(f"{path}: has no state_dict of arrays; expected a PyTorch Lightning checkpoint")
    return {key: tensor.float().numpy() for key, tensor in weights.items()}


def import_params(checkpoint: Mapping[str, np.ndarray], source: str) -> Tree:
    """Our parameters {"s1", "s2", "fusion"}, float32, from the arrays of a released fused checkpoint.

    Args:
        checkpoint: arrays by PyTorch's keys.
        source: what to call it in messages.

    Raises:
        DataError: keys are missing or left over, an array has another shape or is not finite, or encoder and
            decoder do not share their transformer, as they do in the release.
    """
    shapes = {path: x.shape for path, x in expected_params(make_model(RELEASED, {})).items()}
    shared = {path.replace("/encoder/", "/decoder/"): path for path in shapes if "/encoder/series/" in path}
    by_path = keys_by_path(checkpoint, {*shapes, *shared}, source)
    params: dict[str, np.ndarray] = {}
    for path, key in by_path.items():
        array = our_layout(path, np.asarray(checkpoint[key], np.float32))
        shape = shapes[shared.get(path, path)]
        # The release's 1 x 1 convolutions are our pointwise layers.
        params[path] = array.reshape(shape) if array.shape == (1, 1, *shape) else array
        if params[path].shape != shape:
            raise DataError(f"{source}: {key}, our {path}, has shape {array.shape}; expected {shape}")
        if not np.isfinite(array).all():
            raise DataError(f"{source}: {key} holds NaN or infinity; the file is damaged or the training diverged")
    for copy, original in shared.items():
        if not np.array_equal(params.pop(copy), params[original]):
            raise DataError(f"{source}: {by_path[copy]} differs from the encoder's; the release shares them")
    return dict(unflatten(params))


def keys_by_path(keys: Iterable[str], expected: set[str], source: str) -> dict[str, str]:
    """PyTorch's keys by our paths. Raises DataError where some are missing or left over."""
    by_path = {our_path(key): key for key in sorted(keys)}
    missing = sorted(expected - set(by_path))
    left_over = sorted(set(keys) - {by_path[path] for path in expected & set(by_path)})
    if missing or left_over:
        raise DataError(
            f"{source}: not the released fused model; missing (by our names): {', '.join(missing) or 'none'}; "
            f"left over: {', '.join(left_over) or 'none'}"
        )
    return by_path


def our_path(key: str) -> str:
    """The path of a parameter of ours from PyTorch's key; nonsense for keys that the release does not have."""
    for regex, to in NAMES:
        key = re.sub(regex, to, key)
    return key


def our_layout(path: str, array: np.ndarray) -> np.ndarray:
    """PyTorch's axes to ours: [out, in, y, x] and [out, in] to [y, x, in, out] and [in, out]."""
    if not path.endswith("/kernel"):
        return array
    if array.ndim == 2:
        return array.T
    transposed = re.search(r"/up_\d/", path)  # [in, out, y, x]
    return array.transpose((2, 3, 0, 1) if transposed else (2, 3, 1, 0))
