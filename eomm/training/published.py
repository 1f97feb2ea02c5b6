"""How the published model is trained (arXiv 2511.11706): its sampling, its losses, two stages. Networks: models/.

Beside stages.py, which trains any encoder on hidden targets: here whole windows are encoded and reconstructed,
nothing is hidden. The release averages three radar acquisitions first, which is preparation and not done here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from eomm.data.records import PatchShape, RecordSet
from eomm.errors import ContractError, UsageError
from eomm.models.directory import Model, build_fusion, build_parts
from eomm.models.fusion import nearest_acquisition
from eomm.models.interface import Tree
from eomm.models.losses import SumCount
from eomm.models.published import PublishedDecoder, PublishedEncoder, fill
from eomm.models.published.fusion import PublishedFusion
from eomm.models.published.layers import PLACES, SIDE
from eomm.models.published.loss import MIXTURES, published_loss
from eomm.training.stage import Batch, Loss, Stage, load_encoders, model_of_one, rematerialised

CENTRE, HALO = PLACES // 2, SIDE // 2
ARCHITECTURE = "published (arXiv 2511.11706)"


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Which windows are drawn.

    Attributes:
        samples: windows drawn from each crop.
        consecutive: usable acquisitions among which a window's 11 are drawn.
        span_days: a window's acquisitions span less.
        tries: windows drawn for each that is wanted; the first whose target is valid and whose span is allowed is
            taken, so that few are lost.
    """

    samples: int = 1
    consecutive: int = 20
    span_days: int = 200
    tries: int = 32


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where windows lie within crops.

    Attributes:
        index: acquisitions [b, n, 11], in order of time.
        row: of the target [b, n].
        col: of the target [b, n].
        kept: whether the window may be used [b, n].
    """

    index: Int32[Array, "b n 11"]
    row: Int32[Array, "b n"]
    col: Int32[Array, "b n"]
    kept: Bool[Array, "b n"]


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows of one modality, cut out: b n of them.

    Attributes:
        values: in the model's range, gaps filled.
        valid: what was observed.
        day: of the acquisitions, since 1970-01-01.
    """

    values: Float[Array, "w 11 15 15 c"]
    valid: Bool[Array, "w 11 15 15"]
    day: Int32[Array, "w 11"]

    @property
    def days(self) -> Int32[Array, "w 11"]:
        """Since the first acquisition."""
        return self.day - self.day[:, :1]


def draw_places(rng: Array, data: Mapping[str, Array], sampling: Sampling) -> Places:
    """Windows as published: 11 of some consecutive acquisitions, anywhere in the crop.

    Kept are those with a valid target that span less than `span_days`; where no try gave one, and in series of fewer
    than 11 acquisitions, the window is lost.
    """
    run, which, row_rng, col_rng = jax.random.split(rng, 4)
    batch, _, height, width = data["valid"].shape
    shape = (batch, sampling.samples, sampling.tries)
    count = data["present"].astype(jnp.int32).sum(1)[:, None, None]
    start = jax.random.randint(run, shape, 0, jnp.maximum(count - sampling.consecutive, 0) + 1)[..., None]
    exists = start + jnp.arange(sampling.consecutive) < count[..., None]
    noise = jnp.where(exists, jax.random.uniform(which, exists.shape), -1.0)
    index = jnp.sort(start + jax.lax.top_k(noise, PLACES)[1], axis=-1).astype(jnp.int32)
    row = jax.random.randint(row_rng, shape, HALO, height - HALO)
    col = jax.random.randint(col_rng, shape, HALO, width - HALO)
    inside = jnp.minimum(index, data["day"].shape[1] - 1)
    day = jax.vmap(lambda d, i: d[i])(data["day"], inside)
    seen = jax.vmap(lambda v, i, y, x: v[i, y, x])(data["valid"].astype(bool), inside[..., CENTRE], row, col)
    good = seen & (day[..., -1] - day[..., 0] < sampling.span_days) & (index[..., -1] < count)
    first = jnp.argmax(good, axis=-1)[..., None]
    take = lambda x: jnp.take_along_axis(x, first, axis=-1)[..., 0]  # noqa: E731
    index = jnp.take_along_axis(inside, first[..., None], axis=2)[..., 0, :]
    return Places(index=index, row=take(row), col=take(col), kept=good.any(-1))


def cut_windows(data: Mapping[str, Array], places: Places, encoder: PublishedEncoder) -> Windows:
    """The windows at some places, scaled and with their gaps filled by the window's mean per band."""

    def cut(x: Array, index: Array, row: Array, col: Array) -> Array:
        rows = jax.lax.dynamic_slice_in_dim(x, row - HALO, SIDE, axis=1)
        return jax.lax.dynamic_slice_in_dim(rows, col - HALO, SIDE, axis=2)[index]

    every = jax.vmap(jax.vmap(cut, (None, 0, 0, 0)))
    values, valid = (every(data[k], places.index, places.row, places.col) for k in ("values", "valid"))
    day = jax.vmap(lambda d, i: d[i])(data["day"], places.index)
    values, valid, day = (x.reshape(-1, *x.shape[2:]) for x in (values, valid.astype(bool), day))
    return Windows(values=fill(encoder.scale(values), valid), valid=valid, day=day)


def pretrain(config: Any, records: RecordSet) -> Stage:
    """The autoencoder of one modality, `config.modality`; windows as `config.sampling` says.

    Raises:
        ContractError: the records lack the modality.
        UsageError: the networks are not the published ones, or crops are too small.
    """
    name = config.modality
    if name not in records.shapes:
        raise ContractError(f"{records.path}: holds {', '.join(records.shapes)}, config.modality is {name!r}")
    shape, sampling = records.shapes[name], Sampling(**config.sampling)
    encoder, decoder = check_networks(name, *build_parts(shape.modality, config.encoder, config.decoder))
    check_crop(shape, sampling, str(records.path))
    mixture = MIXTURES["pretrain"][name]

    def init(rng: Array) -> Tree:
        first, second = jax.random.split(rng)
        return {"encoder": encoder.init(first), "decoder": decoder.init(second)}

    def loss(params: Tree, frozen: Tree, batch: Batch, rng: Array, *, dropout: bool) -> Loss:
        where, *keys = jax.random.split(rng, 3)
        coding, decoding = keys if dropout else (None, None)
        places = draw_places(where, batch[name], sampling)
        windows = cut_windows(batch[name], places, encoder)
        encode = rematerialised(encoder.encode, config)
        embedding = encode(params["encoder"], windows.values, windows.days, rng=coding)
        predicted = decoder.reconstruct(params, embedding, windows.days, rng=decoding)
        kept = places.kept.reshape(-1)
        total, terms = published_loss(mixture, predicted, windows.values, windows.valid, kept)
        return total, count_metrics({"loss": total, **terms}, batch[name], places)

    def model(params: Tree) -> Model:
        return model_of_one(name, encoder, decoder, config, params, {"architecture": ARCHITECTURE})

    return Stage(
        name=f"published_pretrain {name}",
        modalities=(name,),
        init=init,
        loss=partial(loss, dropout=True),
        model=model,
        validation_loss=partial(loss, dropout=False),
    )


def fuse(config: Any, records: RecordSet) -> Stage:
    """The fusion of both modalities, over the models in `config.encoders`.

    Every Sentinel-2 acquisition of a window meets the nearest Sentinel-1 acquisition, however far; both windows are
    reconstructed from the 7 numbers. Encoders and decoders are tuned too, as in the release, or frozen, and then
    without dropout, where `config.finetune` is false.

    Raises:
        ContractError: the records are not what the encoders were trained on.
        UsageError: the networks are not the published ones, or crops are too small.
    """
    trained = load_encoders(config, records)
    networks = {n: check_networks(n, encoder, trained.decoders[n]) for n, encoder in trained.encoders.items()}
    encoders = {n: encoder for n, (encoder, _) in networks.items()}
    decoders = {n: decoder for n, (_, decoder) in networks.items()}
    mixtures, sampling, tuned = MIXTURES["fuse"], Sampling(**config.sampling), bool(config.finetune)
    if set(encoders) != set(mixtures):
        raise UsageError(f"config.encoders give {sorted(encoders)}; expected {', '.join(sorted(mixtures))}")
    sizes = {(records.shapes[n].height, records.shapes[n].width) for n in encoders}
    if len(sizes) > 1:
        raise ContractError(f"{records.path}: crops of s1 and s2 have sizes {sorted(sizes)}; prepare both on one grid")
    check_crop(records.shapes["s2"], sampling, str(records.path))
    fusion = build_fusion(encoders, dict(config.fusion))
    if not isinstance(fusion, PublishedFusion):
        raise UsageError(f"config.fusion gives {type(fusion).__name__}; expected code=eomm.models.published")

    def init(rng: Array) -> Tree:
        return {"fusion": fusion.init(rng), **(trained.params if tuned else {})}

    def loss(params: Tree, frozen: Tree, batch: Batch, rng: Array, *, dropout: bool) -> Loss:
        whole = {**frozen, **params}
        where, mixing, *keys = jax.random.split(rng, 2 + 2 * len(encoders))
        drops = dict(zip(encoders, zip(keys[::2], keys[1::2], strict=True), strict=True))
        coding, decoding = ({n: k[i] if dropout and tuned else None for n, k in drops.items()} for i in (0, 1))
        places = {"s2": draw_places(where, batch["s2"], sampling)}
        places["s1"] = pair(places["s2"], batch["s2"]["day"], batch["s1"])
        windows = {n: cut_windows(batch[n], places[n], e) for n, e in encoders.items()}
        embeddings = {
            n: rematerialised(e.encode, config)(whole[n]["encoder"], windows[n].values, windows[n].days, rng=coding[n])
            for n, e in encoders.items()
        }
        apart = windows["s1"].day[:, CENTRE] - windows["s2"].day[:, CENTRE]
        offset_days = {"s1": apart.astype(jnp.float32), "s2": jnp.zeros(apart.shape)}
        present = {"s1": jnp.abs(apart) <= fusion.max_offset_days, "s2": jnp.ones(apart.shape, bool)}
        fused = fusion.fuse(whole["fusion"], embeddings, present, offset_days, rng=mixing if dropout else None)
        projected = fusion.project(whole["fusion"], fused)
        kept = places["s2"].kept.reshape(-1)
        found: dict[str, Array] = {"loss": jnp.zeros(()), "centre_mae": jnp.zeros(())}
        for n, decoder in decoders.items():
            predicted = decoder.reconstruct(whole[n], projected[n], windows[n].days, rng=decoding[n])
            part, terms = published_loss(mixtures[n], predicted, windows[n].values, windows[n].valid, kept)
            found["loss"] += mixtures[n].share * part
            found["centre_mae"] += mixtures[n].share * terms["centre_mae"]
            found |= {f"{n}_{k}": v for k, v in terms.items()}
        metrics = count_metrics({**found, "pair_delta_days": mean_of(jnp.abs(apart), kept)}, batch["s2"], places["s2"])
        return found["loss"], metrics

    def model(params: Tree) -> Model:
        return trained.fused(fusion, config.fusion, params, {"architecture": ARCHITECTURE, "finetuned": tuned})

    return Stage(
        name="published_fuse",
        modalities=tuple(encoders),
        init=init,
        loss=partial(loss, dropout=True),
        model=model,
        frozen=trained.params,
        validation_loss=partial(loss, dropout=False),
    )


def pair(places: Places, day: Int32[Array, "b t"], other: Mapping[str, Array]) -> Places:
    """The same windows in another modality: for every acquisition the nearest in time, so one may serve several."""
    wanted = jax.vmap(lambda d, i: d[i])(day, places.index)
    flat = nearest_acquisition(wanted.reshape(len(day), -1), other["day"], other["present"])
    return Places(index=flat.reshape(places.index.shape), row=places.row, col=places.col, kept=places.kept)


def count_metrics(means: Mapping[str, Array], data: Mapping[str, Array], places: Places) -> dict[str, SumCount]:
    """Means over the kept windows as (sum, count); and `targets`, the number of them, `lost`, the share of others."""
    kept = places.kept.sum().astype(jnp.float32)
    real = jnp.broadcast_to(data["present"].astype(bool).any(1)[:, None], places.kept.shape)
    lost = (real & ~places.kept).sum().astype(jnp.float32)
    metrics = {name: (mean * kept, kept) for name, mean in means.items()}
    return metrics | {"targets": (kept, jnp.ones(())), "lost": (lost, real.sum().astype(jnp.float32))}


def mean_of(x: Array, kept: Array) -> Array:
    """Mean over what is kept, 0 where nothing is."""
    return jnp.sum(x * kept) / jnp.maximum(kept.sum(), 1)


def check_networks(name: str, encoder: Any, decoder: Any) -> tuple[PublishedEncoder, PublishedDecoder]:
    """The networks of a modality. Raises UsageError unless they are the published ones, and its losses known."""
    if name not in MIXTURES["pretrain"]:
        raise UsageError(f"{name}: no published losses; there are those of {', '.join(sorted(MIXTURES['pretrain']))}")
    if not isinstance(encoder, PublishedEncoder) or not isinstance(decoder, PublishedDecoder):
        raise UsageError(
            f"{name}: the networks are {type(encoder).__name__} and {type(decoder).__name__}; this stage trains the "
            "published ones: config.encoder.code and config.decoder.code are eomm.models.published"
        )
    return encoder, decoder


def check_crop(shape: PatchShape, sampling: Sampling, where: str) -> None:
    """Raise UsageError when a crop cannot hold a window, or the sampling cannot draw one."""
    if min(shape.height, shape.width) < SIDE:
        raise UsageError(f"{where}: crops are {shape.height} x {shape.width} px; windows have {SIDE} x {SIDE}")
    if min(shape.acquisitions, sampling.consecutive) < PLACES or min(sampling.samples, sampling.tries) < 1:
        raise UsageError(
            f"{where}: records hold {shape.acquisitions} acquisitions and {sampling}; windows have {PLACES}"
        )
