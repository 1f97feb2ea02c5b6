"""What is trained: `pretrain` one modality's encoder, then `fuse` frozen encoders. Each is a few pure functions.

The training loop (loop.py) knows a stage only by `Stage` (stage.py).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from eomm.data.modality import Modality
from eomm.data.records import RecordSet, reading_of
from eomm.errors import ContractError, UsageError
from eomm.models import forward, interface
from eomm.models.directory import Model, build_parts
from eomm.models.fusion import Fusion
from eomm.models.interface import Tree
from eomm.models.losses import SumCount, ratio
from eomm.models.reading import surround, surrounded, trim
from eomm.store.fields import Json
from eomm.training import cuts, labels, published
from eomm.training.agreement import Window, embedding_terms, split_window
from eomm.training.hiding import draw_hidden_queries, hide_bands, hide_others
from eomm.training.labels import class_in, classes_of
from eomm.training.objective import (
    Decoded,
    Objective,
    borrow_clouds,
    cut_edges,
    cut_prefix,
    draw_crop,
    draw_queries,
    draw_series,
    draw_targets,
    hide,
    modality_physical,
    observed,
    score,
    series_around,
    turn,
)
from eomm.training.stage import Batch, Loss, Stage, load_encoders, model_of_one, rematerialised
from eomm.training.start import load_start, started_from


def build_stage(config: Any, records: RecordSet) -> Stage:
    """The stage that a configuration describes. Raises UsageError for an unknown one."""
    stages = {
        "pretrain": pretrain,
        "fuse": fuse,
        "published_pretrain": published.pretrain,
        "published_fuse": published.fuse,
    }
    if config.stage not in stages:
        raise UsageError(f"config.stage is {config.stage!r}; known stages are {', '.join(stages)}")
    if config.get("init") and config.stage != "pretrain":
        raise UsageError(
            f"config.init is {config.init!r}, which only stage pretrain starts from; a fusion takes its encoders from "
            "config.encoders"
        )
    return stages[config.stage](config, records)


def make_objective(options: Mapping[str, Any]) -> Objective:
    """An objective from a configuration's plain values. Raises UsageError for an unknown name."""
    options = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in dict(options).items()}
    interface.check_options(Objective, options, "config.objective", given=())
    return Objective(**options)


def pretrain(config: Any, records: RecordSet) -> Stage:
    """One modality alone: its encoder and decoder learn from hidden targets and from context."""
    name, reading = config.modality, reading_of(records.manifest)
    if name not in records.shapes:
        raise ContractError(f"{records.path}: holds {', '.join(records.shapes)}, config.modality is {name!r}")
    shape = records.shapes[name]
    encoder, decoder = build_parts(shape.modality, config.encoder, config.decoder)
    compute_features = rematerialised(encoder.features, config)
    objective = make_objective(config.objective)
    check_static(shape.modality, objective)
    check_crop(encoder, surrounded(shape, encoder.halo, reading), objective, str(records.path))
    check_bands(encoder, objective, name)
    if objective.cuts:
        cuts.check_cuts(shape.modality)
    deviation = jnp.asarray(records.manifest["statistics"][name]["std"], jnp.float32)
    start = load_start(config, shape.modality, encoder, decoder) if config.get("init") else None
    prefixes = interface.prefixes_of(encoder) if objective.prefixes else ()

    nothing = (np.zeros(0, np.float32), np.zeros(0, np.int32))
    weights, own = classes_of(records.manifest, str(records.path)) if objective.labels else nothing

    def init(rng: Array) -> Tree:
        head = {"cuts": cuts.init_head(jax.random.fold_in(rng, 1), encoder.dim)} if objective.cuts else {}
        if objective.labels:
            head["labels"] = labels.init_head(jax.random.fold_in(rng, 2), encoder.dim, len(weights))
        if start:
            return jax.tree.map(jnp.array, start.params[name]) | head  # a copy: the step gives its state away
        first, second = jax.random.split(rng)
        return {"encoder": encoder.init(first), "decoder": decoder.init(second), **head}

    def loss(params: Tree, frozen: Tree, batch: Batch, rng: Array) -> Loss:
        clouds, where, what, which, prefix, when, how, sides = jax.random.split(rng, 8)
        data = surround(batch[name], encoder.halo, reading)
        data = draw_series(when, data, objective.series)
        data = draw_crop(jax.random.fold_in(when, 1), data, objective.crop_px)
        data = turn(how, data) if objective.turns else data
        seen = borrow_clouds(clouds, data["valid"], objective.borrowed_clouds)
        seen = cut_edges(sides, seen, encoder.halo, objective.edges)
        inside = interface.crop(seen, encoder.halo)
        meta = {k: data[k] for k in interface.META}
        cut = None
        if objective.cuts:
            cut = cuts.simulate_cuts(jax.random.fold_in(rng, 11), data, shape.modality, objective.cut_share)
            data = {**data, "values": cut.values}
        shown = data["values"]
        if objective.hidden_bands:
            shown = hide_bands(jax.random.fold_in(rng, 8), shown, objective.hidden_bands)
        features = compute_features(params["encoder"], shown, seen, meta)
        targets = draw_targets(where, interface.crop(data["valid"], encoder.halo), objective.targets)
        targets = jnp.repeat(targets, objective.hidings, axis=1)
        gap = hide(what, data["day"], targets, objective)
        hidden = hide_others(jax.random.fold_in(rng, 9), data["day"], targets, gap, objective)

        def embed(hidden: Array) -> Array:
            return encoder.embed(params["encoder"], features, inside, data["day"], targets, hidden)

        whole = embed(hidden)
        embedding = cut_prefix(prefix, whole, prefixes or objective.prefixes)
        draw = draw_hidden_queries if objective.only_hidden else draw_queries
        index, queries, exists = draw(which, data, targets, hidden, objective)
        if cut is not None:
            exists &= ~cut.made[:, None, None]
        predicted = decoder.decode(params["decoder"], embedding, queries)
        values, mask = observed(data["values"], data["valid"], index, queries, encoder.halo)
        weight = (mask & exists[..., None, None]).astype(jnp.float32)
        target_hidden = jnp.take_along_axis(hidden, targets[..., None], axis=-1)[..., 0]
        total, metrics = score(shape.modality, objective, deviation, Decoded(predicted, values, weight), target_hidden)
        target_day = jnp.take_along_axis(data["day"], targets, axis=1)
        if cut is not None:
            cut = dataclasses.replace(cut, seen=interface.crop(cut.seen[:, None], encoder.halo)[:, 0])
            metrics["cuts"] = cuts.tell_cuts(params["cuts"], whole, target_day, cut)
            total += objective.cuts * ratio(metrics["cuts"])
        if objective.labels:
            label = class_in(data.get("label"), own, len(targets))
            known = jnp.einsum("bnt,btyx->bnyx", ~hidden * 1.0, inside * 1.0) > 0
            metrics["labels"] = labels.tell_labels(params["labels"], whole, target_day, label, known, weights)
            total += objective.labels * ratio(metrics["labels"])
        if objective.agreement or objective.decorrelation:
            scaled = modality_physical(shape.modality, interface.crop(data["values"], encoder.halo)) / deviation
            window = Window(values=scaled, valid=inside.astype(bool), day=data["day"], targets=targets)
            halves = split_window(jax.random.fold_in(rng, 10), gap)
            learned, progress = interface.learned_part(encoder), frozen.get("progress", 1.0)
            more, found = embedding_terms(objective, window, whole, hidden, halves, embed, learned, progress)
            total, metrics = total + more, metrics | found
        metrics["loss"] = (total * metrics["loss"][1], metrics["loss"][1])
        return total, metrics

    def model(params: Tree) -> Model:
        info = {"objectives": {name: dict(config.objective)}, **({"init": started_from(start)} if start else {})}
        return model_of_one(name, encoder, decoder, config, params, info)

    scheduled = bool(objective.agreement)
    return Stage(name=f"pretrain {name}", modalities=(name,), init=init, loss=loss, model=model, scheduled=scheduled)


def check_static(modality: Modality, objective: Objective) -> None:
    """Raise UsageError where what a static layer's one acquisition lacks in time is asked of it."""
    asked = {k: getattr(objective, k) for k in ("hidden", "hidden_others", "next_same_orbit", "agreement")}
    wrong = {k: v for k, v in asked.items() if np.any(v)}
    if modality.static and wrong:
        raise UsageError(
            f"config.objective: {', '.join(f'{k} is {v}' for k, v in wrong.items())}, but {modality.name} is static: "
            "no other date tells what is hidden, or could be compared. Set them to 0, as experiments/static.py does"
        )


def check_bands(encoder: interface.Encoder, objective: Objective, name: str) -> None:
    """Raise UsageError where bands are to be hidden from an encoder that would take them for values."""
    if objective.hidden_bands and not getattr(encoder, "band_flags", False):
        raise UsageError(
            f"config.objective.hidden_bands is {objective.hidden_bands}, but the {name} encoder does not read missing "
            "bands; set config.encoder.band_flags to true, or hidden_bands to 0"
        )


def check_crop(encoder: interface.Encoder, shape: Any, objective: Objective, where: str) -> None:
    """Raise UsageError when a record cannot hold one window of the encoder or the objective's targets."""
    least = 2 * encoder.halo + 1
    if min(shape.height, shape.width) < least:
        raise UsageError(f"{where}: crops are {shape.height} x {shape.width} px; the encoder needs {least} or more")
    if objective.crop_px and not least <= objective.crop_px <= min(shape.height, shape.width):
        raise UsageError(
            f"config.objective.crop_px is {objective.crop_px}; expected 0, or {least} (the encoder's window) to "
            f"{min(shape.height, shape.width)} (the crops of {where})"
        )
    acquisitions = min(objective.series or shape.acquisitions, shape.acquisitions)
    if acquisitions < objective.targets:
        raise UsageError(
            f"{where}: records hold {acquisitions} acquisitions, fewer than the {objective.targets} targets drawn"
        )
    if objective.reach_px > encoder.halo:
        raise UsageError(
            f"{where}: config.objective.reach_px is {objective.reach_px}, and the encoder's margin, beyond which "
            f"nothing can be decoded, {encoder.halo}; say --config.objective.reach_px={encoder.halo} (of fusion: "
            f"--config.objective.NAME.reach_px={encoder.halo})"
        )


def check_pixels(encoders: Mapping[str, interface.Encoder], records: RecordSet, reference: str) -> None:
    """Raise unless every modality's crop lies on the reference's pixels or is a single one, which serves them all."""
    lead = records.shapes[reference]
    for name in encoders:
        shape = records.shapes[name]
        if shape.site_wide:
            continue
        if (shape.height, shape.width) != (lead.height, lead.width):
            raise ContractError(
                f"{records.path}: {name} has crops of {shape.height} x {shape.width} px, {reference} of "
                f"{lead.height} x {lead.width}; expected the same, or a single pixel. Prepare both on one grid"
            )


def fuse(config: Any, records: RecordSet) -> Stage:
    """Over frozen encoders: any subset of modalities -> one embedding, from which every modality is decoded.

    The reference modality (`config.reference`) gives the targets; of the others the acquisition nearest in time is
    used; one of a single pixel serves every pixel. Whole modalities are dropped at random, so that any subset gives a
    useful embedding. A modality's objective is what `config.objective` says, or else its encoder's own. With
    `config.finetune` encoders and decoders are optimised too, as in the published release.
    """
    trained = load_encoders(config, records)
    encoders, decoders, frozen = trained.encoders, trained.decoders, trained.params
    reference, reading = config.reference, reading_of(records.manifest)
    if reference not in encoders or len(encoders) < 2:
        raise UsageError(f"config.encoders give {sorted(encoders)}; needed are {reference!r} and at least one other")
    others = [n for n in encoders if n != reference]
    if decoders[reference].modality.static:
        raise UsageError(
            f"config.reference is {reference!r}, which is static and has no date at which an embedding could stand; "
            f"name one of {', '.join(n for n in others if not decoders[n].modality.static) or 'a modality with dates'}"
        )
    options = fusion_options(config, {n: encoders[n] for n in (reference, *others)})
    fusion = Fusion.build({n: e.dim for n, e in encoders.items()}, options)
    asked = {**trained.objectives, **dict(config.objective)}
    objectives = make_objectives(encoders, asked, records)
    o = objectives[reference]
    check_pixels(encoders, records, reference)
    halos = {n: e.halo for n, e in encoders.items()}
    deviation = {n: jnp.asarray(records.manifest["statistics"][n]["std"], jnp.float32) for n in encoders}
    finetune = bool(config.get("finetune", False))

    def encode(whole: Tree, name: str, *what: Any) -> tuple[Array, Array]:
        compute_features = rematerialised(encoders[name].features, config)
        return forward.encode(encoders[name], whole[name]["encoder"], *what, compute_features=compute_features)

    def init(rng: Array) -> Tree:
        return {"fusion": fusion.init(rng), **(frozen if finetune else {})}

    def loss(params: Tree, frozen: Tree, batch: Batch, rng: Array) -> Loss:
        whole = {**frozen, **params}  # what is tuned stands before where it started
        batch = {**batch, **{n: surround(batch[n], halo, reading) for n, halo in halos.items()}}
        where, what, drop, prefix, *which = jax.random.split(rng, 4 + len(encoders))
        same = jax.random.fold_in(where, 1)  # one key: every modality's crop is cut at the same place
        cut = {n: batch[n] if records.shapes[n].site_wide else draw_crop(same, batch[n], o.crop_px) for n in encoders}
        batch = {**batch, **trim(cut, halos)}
        main = batch[reference]
        middle = draw_targets(jax.random.fold_in(where, 2), interface.crop(main["valid"], encoders[reference].halo), 1)
        day = jnp.take_along_axis(main["day"], middle, axis=1)
        seen = jnp.ones(main["day"].shape, bool)
        for name in others:
            length, frames = objectives[name].series, encoders[name].frames
            batch[name], first, last = series_around(day[:, 0], batch[name], length, frames)
            seen &= (main["day"] >= first[:, None]) & (main["day"] <= last[:, None])
        clear = interface.crop(main["valid"], encoders[reference].halo).astype(bool)
        targets = {reference: draw_targets(where, clear & seen[..., None, None], o.targets)}
        target_day = jnp.take_along_axis(main["day"], targets[reference], axis=1)
        gap = hide(what, main["day"], targets[reference], o)
        hidden = {reference: hide_others(jax.random.fold_in(what, 1), main["day"], targets[reference], gap, o)}
        dropped = draw_dropped(drop, targets[reference].shape, reference, others, config.drop)
        own, _ = encode(whole, reference, main, targets[reference], hidden[reference])
        parts, near = {reference: forward.lead(own, dropped[reference])}, {}
        for name in others:
            data = batch[name]
            reach = forward.reach(decoders[name].modality, fusion)
            pairs = forward.pair(target_day, data["day"], data["present"], reach)
            parts[name] = forward.follow(*encode(whole, name, data, pairs.at), pairs, dropped[name])
            targets[name], near[name] = pairs.at, pairs.near
            # A dropped modality's target counts as hidden: then it is decoded itself, not its successor.
            index = jnp.arange(data["day"].shape[1])
            hidden[name] = dropped[name][..., None] & (index == targets[name][..., None])
        fused = cut_prefix(prefix, forward.fuse(fusion, whole["fusion"], parts), o.prefixes)
        projected = fusion.project(whole["fusion"], fused)
        total: Array = jnp.zeros(())
        metrics: dict[str, SumCount] = {}
        for name, key in zip(encoders, which, strict=True):
            data, decoder = batch[name], decoders[name]
            draw = draw_hidden_queries if objectives[name].only_hidden else draw_queries
            index, queries, exists = draw(key, data, targets[name], hidden[name], objectives[name])
            exists &= near.get(name, jnp.ones(exists.shape[:2], bool))[..., None]
            predicted = decoder.decode(whole[name]["decoder"], projected[name], queries)
            values, mask = observed(data["values"], data["valid"], index, queries, encoders[name].halo)
            weight = (mask & exists[..., None, None]).astype(jnp.float32)
            weight = jnp.broadcast_to(weight, predicted.shape[:-1])  # a single pixel's values are every pixel's
            itself = jnp.take_along_axis(hidden[name], targets[name][..., None], axis=-1)[..., 0] | dropped[name]
            decoded = Decoded(predicted, values, weight)
            part, found = score(decoder.modality, objectives[name], deviation[name], decoded, itself)
            total += part / len(encoders)
            metrics |= {f"{name}_{k}": v for k, v in found.items() if k != "targets"}
            if name == reference:
                metrics |= {"loss": found["loss"], "targets": found["targets"]}
        metrics["loss"] = (total * metrics["loss"][1], metrics["loss"][1])
        return total, metrics

    def model(params: Tree) -> Model:
        info = {"objectives": {n: dict(asked[n]) for n in encoders}, "finetuned": finetune}
        return trained.fused(fusion, options, params, info)

    names = tuple(encoders)
    return Stage(name="fuse", modalities=names, init=init, loss=loss, model=model, frozen=frozen)


def make_objectives(
    encoders: Mapping[str, interface.Encoder], asked: Mapping[str, Any], records: RecordSet
) -> dict[str, Objective]:
    """The objective of every modality of a fusion. Raises UsageError where one is missing or does not fit."""
    if unknown := [n for n in encoders if n not in asked]:
        raise UsageError(f"config.objective lacks {', '.join(unknown)}, and the encoder does not tell its own; add it")
    found = {n: make_objective(asked[n]) for n in encoders}
    for name, encoder in encoders.items():
        shape = surrounded(records.shapes[name], encoder.halo, reading_of(records.manifest))
        check_crop(encoder, shape, found[name], str(records.path))
    return found


def fusion_options(config: Any, encoders: Mapping[str, interface.Encoder]) -> Json:
    """Options of the fusion head: the configuration's, and what each encoder says is a closed form, in their order."""
    closed = [(n, count) for n, e in encoders.items() if (count := interface.closed_part(e))]
    return {**({"leading": closed} if closed else {}), **dict(config.fusion)}


def draw_dropped(
    rng: Array, shape: tuple[int, ...], reference: str, others: list[str], share: float
) -> dict[str, Array]:
    """Which modalities each target loses; never all of them: the reference goes only where another stays."""
    first, *rest = jax.random.split(rng, 1 + len(others))
    dropped = {n: jax.random.bernoulli(r, share, shape) for n, r in zip(others, rest, strict=True)}
    another = ~jnp.all(jnp.stack(list(dropped.values())), axis=0)
    return {reference: jax.random.bernoulli(first, share, shape) & another, **dropped}
