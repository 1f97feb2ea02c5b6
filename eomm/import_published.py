"""A released checkpoint of the published model -> our parameters. Not the networks (models/published.py).

Keys and layouts are those of the released fused checkpoint: PyTorch's, channel-first. What is there and not
understood, or missing, is an error.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from eomm.errors import DataError
from eomm.modalities import SENTINEL1, SENTINEL2
from eomm.model import flatten, unflatten
from eomm.models.published import build_decoder, build_encoder, build_fusion

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


def import_params(checkpoint: Mapping[str, np.ndarray], source: str) -> dict[str, Any]:
    """Our parameters {"s1", "s2", "fusion"}, float32, from the arrays of a released fused checkpoint.

    Args:
        checkpoint: arrays by PyTorch's keys.
        source: what to call it in messages.

    Raises:
        DataError: keys are missing or left over, an array has another shape or is not finite, or encoder and
            decoder do not share their transformer, as they do in the release.
    """
    wanted = {k: v.shape for k, v in flatten(expected()).items()}
    params: dict[str, np.ndarray] = {}
    left_over = []
    for key, array in sorted(checkpoint.items()):
        path = our_path(key)
        shared = re.sub("^(s.)/decoder/series/", r"\1/encoder/series/", path)
        if shared not in wanted:
            left_over.append(key)
            continue
        ours = our_layout(shared, np.asarray(array, np.float32))
        # The release's 1 x 1 convolutions are our pointwise layers.
        ours = ours.reshape(wanted[shared]) if ours.shape == (1, 1, *wanted[shared]) else ours
        if ours.shape != wanted[shared]:
            raise DataError(
                f"{source}: {key} has shape {array.shape}, as {shared} {ours.shape}; expected {wanted[shared]}"
            )
        if not np.isfinite(ours).all():
            raise DataError(f"{source}: {key} holds NaN or infinity; the file is damaged or the training diverged")
        if shared in params and not np.array_equal(params[shared], ours):
            raise DataError(f"{source}: {key} differs from the encoder's; encoder and decoder share it in the release")
        params[shared] = ours
    missing = sorted(set(wanted) - set(params))
    if missing or left_over:
        raise DataError(
            f"{source}: not the released fused model; missing {len(missing)}: {', '.join(missing) or 'none'}; "
            f"left over {len(left_over)}: {', '.join(left_over) or 'none'}"
        )
    return dict(unflatten(params))


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


def expected() -> dict[str, Any]:
    """Shapes of all parameters of the released model."""
    rng = jax.random.key(0)
    tree: dict[str, Any] = {}
    dims = {}
    for name, modality in {"s1": SENTINEL1, "s2": SENTINEL2}.items():
        encoder = build_encoder(modality, {})
        decoder = build_decoder(modality, encoder.dim, {})
        tree[name] = {"encoder": jax.eval_shape(encoder.init, rng), "decoder": jax.eval_shape(decoder.init, rng)}
        dims[name] = encoder.dim
    return tree | {"fusion": jax.eval_shape(build_fusion(dims, {}).init, rng)}
