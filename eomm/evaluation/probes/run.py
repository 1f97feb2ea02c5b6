"""`eomm evaluate probes`: from files to a result with its figures, and which baselines stand beside a model."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eomm.data.cube import Cube, open_cube
from eomm.data.grid import EPOCH
from eomm.data.records import open_records
from eomm.data.tables import write_frame
from eomm.embedding.store import open_embedding
from eomm.errors import ContractError, UsageError
from eomm.evaluation import features_raw
from eomm.evaluation.adapters import provider
from eomm.evaluation.bootstrap import RESAMPLES
from eomm.evaluation.features import Dates, Features, Provider
from eomm.evaluation.features_model import embedded, randomised, stored
from eomm.evaluation.labels import read_labels
from eomm.evaluation.probes.figures import save_figures
from eomm.evaluation.probes.plan import LabelledSite, Method, ProbePlan
from eomm.evaluation.probes.predictions import prediction_rows
from eomm.evaluation.probes.tables import probe
from eomm.evaluation.probes.words import leaderboard, to_result
from eomm.models.directory import Model
from eomm.store.folders import check_free_file, write_json, write_text

FRAMES = (8, 8)  # of the raw window where no model says
MAIN = "model"


def evaluate_probes(
    cubes: Sequence[Path],
    labels: Sequence[Path],
    plan: ProbePlan,
    *,
    dataset: str | None = None,
    column: str | None = None,
    regression: bool = False,
    ignore: Sequence[str] = (),
    classes: Mapping[str, str] | None = None,
    min_pixels: int = 1,
    date: Any = None,
    model: Model | None = None,
    embeddings: Sequence[Path] = (),
    features: Sequence[str] = (),
    records: Path | None = None,
    length: int | None = None,
    only: Sequence[str] = (),
    main: str = MAIN,
    work: Path | None = None,
    seed: int = 0,
    out: Path | None = None,
    figures: Path | None = None,
    board: Path | None = None,
    predicted: Path | None = None,
    overwrite: bool = False,
    commands: Sequence[str] = (),
    progress: bool = False,
) -> dict[str, Any]:
    """Probe a model, its baselines and peers on labels of one cube or several.

    Args:
        cubes: of the sites.
        labels: a file for each cube, as `labels.read_labels` reads it with `column`, `regression`, `ignore`,
            `classes` and `min_pixels`.
        plan: what is asked; `days` is filled from `date`.
        dataset: what the labels are called; the first file's name when None.
        column: see `read_labels`.
        regression: see `read_labels`.
        ignore: see `read_labels`.
        classes: see `read_labels`.
        min_pixels: see `read_labels`.
        date: of mode "date", for every site; the clearest of each when None.
        model: whose embeddings are `model`, beside the same networks with random parameters as `random`.
        embeddings: stores of that model for the cubes, used in the place of embedding them.
        features: peers, as `adapters.provider` reads them.
        records: the training's record set, which says what pre-training has seen.
        length: leading numbers of the model's vectors.
        only: names of methods to run, of all there are; all when empty.
        main: the method that is compared with each of the others, if it is among them.
        work: keep embeddings made on the way there.
        seed: of folds, intervals and random parameters.
        out: write the result there as JSON.
        figures: a folder for figures; beside `out` they are named in the result.
        board: write a CSV for leaderboards there.
        predicted: write what every probe said of every pixel there (`predictions.py`), as CSV or Parquet.
        overwrite: replace files that exist.
        commands: what the result says repeats it.
        progress: show bars.

    Raises:
        EommError: as its parts do, naming the file.
    """
    for path in filter(None, (out, board, predicted)):
        check_free_file(path, overwrite=overwrite)
    if len(cubes) != len(labels):
        raise UsageError(f"{len(cubes)} cubes and {len(labels)} files of labels; expected a file for each cube")
    if embeddings and len(embeddings) != len(cubes):
        raise UsageError(f"{len(embeddings)} embeddings for {len(cubes)} cubes; expected one for each")
    sites = []
    for path, file in zip(cubes, labels, strict=True):
        cube = open_cube(path)
        found = read_labels(
            file,
            cube.grid,
            column=column,
            regression=regression,
            ignore=ignore,
            classes=classes,
            min_pixels=min_pixels,
        )
        sites.append(LabelledSite(cube, found))
    if len({s.cube.site for s in sites}) < len(sites):
        raise UsageError("two cubes are of one site; expected each site once")
    if date is not None:
        plan = dataclasses.replace(plan, days={s.cube.site: (date - EPOCH).days for s in sites})
    sources, methods = choose(sites, model, embeddings, features, length=length, work=work, seed=seed)
    if only:
        if lost := set(only) - set(methods):
            raise UsageError(f"no features {', '.join(sorted(lost))}; there are {', '.join(methods)}")
        methods = {n: m for n, m in methods.items() if n in only}
    if main != MAIN and main not in methods:
        raise UsageError(f"no features {main!r} to compare with the others; there are {', '.join(methods)}")
    first = main if main in methods else None
    outcome = probe(sites, sources, methods, plan, main=first, seed=seed, progress=progress)
    result = to_result(
        outcome,
        plan,
        methods,
        dataset=dataset or f"{labels[0].stem}{f' {column}' if column else ''}",
        main=first,
        seen=seen_by(records, sites),
        left_out=[f"{s.cube.site}: {text}" for s in sites for text in s.labels.left_out],
    )
    result["commands"] = list(commands)
    if figures:
        base = out.parent if out else None
        result["figures"] = save_figures(result, outcome, sites, figures, relative_to=base, overwrite=overwrite)
    if out:
        write_json(out, result)
    if board:
        write_text(board, leaderboard(result, RESAMPLES))
    if predicted:
        write_frame(prediction_rows(outcome, sites, methods), predicted)
    return result


def choose(
    sites: Sequence[LabelledSite],
    model: Model | None,
    embeddings: Sequence[Path],
    features: Sequence[str],
    *,
    length: int | None,
    work: Path | None,
    seed: int,
) -> tuple[dict[str, Provider], dict[str, Method]]:
    """Sources and methods: the model and a random one, raw bands and windows and their PCA, indices, peers.

    The raw features are of the modalities that the model reads, or else of Sentinel-2.
    """
    names = [n for n in (model.encoders if model else ("s2",)) if all(n in s.cube.groups for s in sites)]
    names = sorted(names, key=lambda n: (n != "s2", sites[0].cube[n].modality.static))
    if not names:
        raise UsageError(f"no modality that every cube has; {sites[0].cube.path} has {', '.join(sites[0].cube)}")
    frames = {n: (model.encoders[n].frames if model else FRAMES) for n in names}
    lead, dim = names[0], length or (model.dim if model else 16)
    sources: dict[str, Provider] = {}
    methods: dict[str, Method] = {}
    if model:
        model.check_length(length)
        stores = {s.cube.path: path for s, path in zip(sites, embeddings, strict=False)}
        random = randomised(model, seed + 1)
        sources[MAIN] = partial(_model_features, model, stores, length, work)
        sources["random"] = lambda cube, dates: embedded(random, cube, dates, length=length, work=work, name="random")
        methods[MAIN] = Method(MAIN, f"embedding of the trained model {model.hash}, {dim} numbers")
        methods["random"] = Method(
            "random", f"the same networks with random parameters (seed {seed + 1}), {dim} numbers"
        )
    sources["bands"] = partial(features_raw.bands, names=names)
    sources["window"] = partial(features_raw.window, names=names, frames=frames)
    count = sum(len(sites[0].cube[n].modality.bands) for n in names)
    both = " and ".join(names)
    methods["bands"] = Method("bands", f"{both} bands of the date")
    methods["window"] = Method("window", f"raw {both} series of the window that the encoder sees")
    methods["pca_bands"] = Method("bands", "PCA of the bands", min(dim, count - 1))
    methods["pca_window"] = Method("window", "PCA of the raw window, as many numbers as the embedding", dim)
    if lead == "s2":
        sources["indices"] = features_raw.indices
        methods["indices"] = Method("indices", ", ".join(features_raw.INDICES))
    for spec in features:
        name, source = provider(spec, work=work)
        if name in methods:
            raise UsageError(f"features {spec!r}: the name {name!r} is taken; choose another")
        sources[name], methods[name] = source, Method(name, spec.partition("=")[2])
    return sources, methods


def _model_features(
    model: Model, stores: Mapping[Path, Path], length: int | None, work: Path | None, cube: Cube, dates: Dates
) -> Features:
    path = stores.get(cube.path)
    if path is None:
        return embedded(model, cube, dates, length=length, work=work)
    made_by = open_embedding(path).attrs.get("eomm:model")
    if made_by != model.hash:
        raise ContractError(f"{path}: was made by model {made_by}, expected {model.hash}; name the model that made it")
    found = stored(path, cube, dates, name=MAIN)
    return dataclasses.replace(found, values=found.values[..., :length])


def seen_by(records: Path | None, sites: Sequence[LabelledSite]) -> dict[str, bool | None]:
    """Whether pre-training saw images of each site, as the record set's manifest says; None where none is given."""
    if records is None:
        return {s.cube.site: None for s in sites}
    split = open_records(records).manifest.get("split", {}).get("sites", {})
    trained = {site for part in ("train", "validation") for site in split.get(part, ())}
    return {s.cube.site: s.cube.site in trained for s in sites}
