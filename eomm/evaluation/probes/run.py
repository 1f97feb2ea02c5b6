"""`eomm evaluate probes`: labels and stored embeddings to a result, and the baselines beside them. No model."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eomm.data.attributes import attributes_of
from eomm.data.cube import Cube, open_cube
from eomm.data.records import open_records
from eomm.embedding.store import open_embedding
from eomm.errors import UsageError
from eomm.evaluation import features_raw
from eomm.evaluation.adapters import provider
from eomm.evaluation.features import Dates, Features
from eomm.evaluation.features_model import stored
from eomm.evaluation.labels import read_labels
from eomm.evaluation.probes.figures import figures_of
from eomm.evaluation.probes.fit import PROBES
from eomm.evaluation.probes.plan import MAIN, LabelledSite, Method, ProbePlan
from eomm.evaluation.probes.tables import Outcome, probe
from eomm.evaluation.probes.words import conclude, judge, tables
from eomm.evaluation.result import Result

Frames = Mapping[str, tuple[int, int]]  # by modality, acquisitions before and after a target in a window
FRAMES: Frames = {"s2": (8, 8)}  # of the raw window where no model says
ABOUT = {
    MAIN: "embedding of the trained model {model}",
    "random": "the same networks with random parameters (seed {seed})",
}


def evaluate_probes(
    sites: Sequence[LabelledSite],
    methods: Mapping[str, Method],
    plan: ProbePlan,
    *,
    dataset: str,
    seen: Mapping[str, bool | None] | None = None,
    progress: bool = False,
) -> tuple[Result, Outcome]:
    """Probe stored embeddings, baselines and peers on labels of one site or several.

    Args:
        sites: with labels; all of them simulated, or none.
        methods: what is compared, by name.
        plan: modes, folds, shares, seeds, the main method.
        dataset: what the labels are called.
        seen: by site, whether pre-training saw its images; None where nobody knows.
        progress: show bars.

    Raises:
        EommError: as its parts do, naming the file.
    """
    if plan.main not in (MAIN, *methods):
        raise UsageError(f"no features {plan.main!r} to compare with the others; there are {', '.join(methods)}")
    main = plan.main if plan.main in methods else None
    outcome = probe(sites, methods, plan, progress=progress)
    numbers: dict[str, Any] = {
        "dataset": dataset,
        "classes": list(outcome.classes),
        "groups": plan.groups,
        "buffer_px": plan.buffer_px,
        "main": main,
        "methods": {n: m.about for n, m in methods.items()},
        "probes": {p: PROBES[p] for p in plan.probes},
        "seen_in_pretraining": dict(seen or {s.cube.site: None for s in sites}),
        "left_out": [f"{s.cube.site}: {text}" for s in sites for text in s.labels.left_out],
        "facts": outcome.facts,
        "scores": outcome.scores,
        "differences": outcome.differences,
    }
    result = Result(
        kind="probes",
        dataset=dataset,
        simulated=outcome.facts["simulated"],
        conclusions=conclude(numbers),
        verdicts=judge(outcome, plan) if main else (),
        tables=tables(numbers),
        figures=figures_of(numbers, outcome, sites),
        protocol=numbers["methods"],
        numbers=numbers,
    )
    return result, outcome


def read_sites(cubes: Sequence[Path], labels: Sequence[Path], **options: Any) -> list[LabelledSite]:
    """Cubes with their labels, as `labels.read_labels` reads them with these options. Raises UsageError: no pairs."""
    if len(cubes) != len(labels):
        raise UsageError(f"{len(cubes)} cubes and {len(labels)} files of labels; expected a file for each cube")
    opened = [open_cube(path) for path in cubes]
    if len({c.site for c in opened}) < len(opened):
        raise UsageError("two cubes are of one site; expected each site once")
    return [LabelledSite(c, read_labels(f, c.grid, **options)) for c, f in zip(opened, labels, strict=True)]


def embeddings(
    sites: Sequence[LabelledSite], stores: Mapping[str, Sequence[Path]], length: int | None
) -> dict[str, Method]:
    """Stored embeddings by name, a store for each site; `length` leading numbers of each vector."""
    found = {}
    for name, paths in stores.items():
        by_cube = dict(zip((s.cube.path for s in sites), paths, strict=True))
        first = open_embedding(paths[0])
        made_by = attributes_of(first)["provenance"]
        about = ABOUT.get(name, "embedding of model {model}").format(
            model=made_by["model"], seed=made_by["model_info"].get("untrained")
        )
        words = f"{about}, {length or first.sizes['feature']} numbers"
        found[name] = Method(name, words, partial(_stored, by_cube, length, name))
    return found


def one_each(paths: Sequence[Path], sites: Sequence[LabelledSite]) -> Sequence[Path]:
    """Stores of these sites, as they are. Raises UsageError unless there is one for each."""
    if len(paths) != len(sites):
        raise UsageError(f"{len(paths)} embeddings for {len(sites)} cubes; expected one for each")
    return paths


def _stored(by_cube: Mapping[Path, Path], length: int | None, name: str, cube: Cube, dates: Dates) -> Features:
    found = stored(by_cube[cube.path], cube, dates, name=name)
    return dataclasses.replace(found, values=found.values[..., :length])


def baselines(sites: Sequence[LabelledSite], frames: Frames, length: int) -> dict[str, Method]:
    """Raw bands, the raw window that an encoder sees, PCA of both, and of Sentinel-2 spectral indices.

    Args:
        sites: whose cubes they are of.
        frames: of the windows, by modality; those that every cube has are used.
        length: of an embedding, as many numbers as PCA gives.
    """
    names = [n for n in frames if all(n in s.cube.groups for s in sites)]
    names = sorted(names, key=lambda n: (n != "s2", sites[0].cube[n].modality.static))
    if not names:
        raise UsageError(f"no modality that every cube has; {sites[0].cube.path} has {', '.join(sites[0].cube)}")
    bands = partial(features_raw.bands, names=names)
    window = partial(bands, frames={n: frames[n] for n in names})
    both, count = " and ".join(names), sum(len(sites[0].cube[n].modality.bands) for n in names)
    methods = {
        "bands": Method("bands", f"{both} bands of the date", bands),
        "window": Method("window", f"raw {both} series of the window that the encoder sees", window),
        "pca_bands": Method("bands", "PCA of the bands", bands, min(length, count - 1)),
        "pca_window": Method("window", "PCA of the raw window, as many numbers as the embedding", window, length),
    }
    if names[0] == "s2":
        methods["indices"] = Method("indices", ", ".join(features_raw.INDICES), features_raw.indices)
    return methods


def peers(specs: Sequence[str], methods: dict[str, Method], *, work: Path | None) -> dict[str, Method]:
    """Others' features, as `adapters.provider` reads them, beside what there is. Raises UsageError: a name is taken."""
    for spec in specs:
        name, source = provider(spec, work=work)
        if name in methods:
            raise UsageError(f"features {spec!r}: the name {name!r} is taken; choose another")
        methods = {**methods, name: Method(name, spec.partition("=")[2], source)}
    return methods


def chosen(methods: Mapping[str, Method], names: Sequence[str]) -> dict[str, Method]:
    """Some methods; all where no name is given. Raises UsageError for an unknown one."""
    if lost := set(names) - set(methods):
        raise UsageError(f"no features {', '.join(sorted(lost))}; there are {', '.join(methods)}")
    return {n: m for n, m in methods.items() if not names or n in names}


def seen_by(records: Path | None, sites: Sequence[LabelledSite]) -> dict[str, bool | None]:
    """Whether pre-training saw images of each site, as the record set's manifest says; None where none is given."""
    if records is None:
        return {s.cube.site: None for s in sites}
    split = open_records(records).manifest.get("split", {}).get("sites", {})
    trained = {site for part in ("train", "validation") for site in split.get(part, ())}
    return {s.cube.site: s.cube.site in trained for s in sites}
