"""One self-contained HTML page, and its figures as PNG: what a model learned, made and scored.

Gathers training, cube, embedding and evaluations, draws (figures.py) and writes (page/html.py), the verdict first, then
what answers (eomm.view). Computes no score.
Simulated and real results may stand on one page, never in one table or figure.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from eomm.data.attributes import open_attributes
from eomm.data.cube import Cube, open_cube
from eomm.data.modality import in_order
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.hidden.reconstruction_words import plainly
from eomm.models.directory import Model, load_model
from eomm.page.html import Live, Section, card, conclusions, image, page, text
from eomm.page.style import STYLE
from eomm.report import figures
from eomm.report.data import LAYER_WORDS, Views, run_simulated, training_panels
from eomm.report.evaluations import evaluation_sections
from eomm.report.gather import Evaluation, Found, gather, in_shared_form, one, read_evaluation
from eomm.store.folders import check_apart, check_free, check_free_file, entered, new_directory, read_json, write_text
from eomm.view.layers import Layers
from eomm.view.run import live_view

LIVE_BYTES = 20_000_000  # of what answers; pictures take the rest of the 25 MB of a page


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a page is made of; what there is not is None or empty."""

    cube: Cube | None
    embedding: Path | None
    model: Model | None
    model_path: Path | None
    evaluations: tuple[Evaluation, ...]
    runs: tuple[Path, ...]
    unread: tuple[Path, ...] = ()

    @property
    def modality(self) -> str:
        """The reference modality."""
        named = next((str(e.result["modality"]) for e in self.evaluations if "modality" in e.result), "s2")
        groups = self.cube.groups if self.cube else {}
        return named if not groups or named in groups else in_order({n: g.modality for n, g in groups.items()})[0]


def build(
    out: Path | str,
    *,
    folders: Sequence[Path | str] = (),
    cube: Cube | Path | str | None = None,
    embedding: Path | str | None = None,
    model: Model | Path | str | None = None,
    evaluations: Sequence[Mapping[str, Any] | Path | str] = (),
    runs: Sequence[Path | str] = (),
    code: Sequence[str] = (),
    title: str | None = None,
    commands: Sequence[str] = (),
    overwrite: bool = False,
) -> Path:
    """Write the page, and its figures into a folder named after it.

    Args:
        out: the HTML file. Figures go to the folder of its name with "_figures".
        folders: runs, stores, or folders of them, in which everything not named here is looked for.
        cube: that the embedding was made of.
        embedding: embedding cube.
        model: that made it.
        evaluations: results of `eomm evaluate …`, or their files.
        runs: workdirs of trainings, for their curves.
        code: modules whose encoders are trusted.
        title: of the page.
        commands: to repeat everything; made up from the arguments when empty.
        overwrite: replace `out` and its figures where they exist.

    Raises:
        DataError: a store is missing or damaged, or there is nothing to show.
        UsageError: `out` exists, or folders hold several stores of a kind and none is named.
        ContractError: cube and embedding are of different sites.
    """
    out = entered(out)
    folder = out.with_name(out.stem + "_figures")
    check_free_file(out, overwrite=overwrite)  # before the work, not after it
    check_free(folder, overwrite=overwrite, kind="figures")
    named = {"the cube": cube, "the embedding": embedding, "the model": model}
    check_apart(out, {name: path for name, path in named.items() if isinstance(path, Path | str)})
    for place in (out, folder):
        check_apart(place, {f"evaluation {e}": e for e in evaluations if isinstance(e, Path | str)})
    parts = collect(gather(folders), cube, embedding, model, evaluations, runs, code)
    flags = [e.simulated for e in parts.evaluations]
    flags += [bool(parts.cube.provenance.get("simulated"))] if parts.cube else []
    everything = all(flags) and bool(flags)
    tag = any(flags) and not everything
    live = answers(parts)
    with new_directory(folder, kind="figures", overwrite=overwrite) as partial, matplotlib.rc_context(STYLE):
        sections = compose(parts, partial, tag=tag)
        if live:
            simulated = tag and bool(parts.cube and parts.cube.provenance.get("simulated"))
            sections.insert(0, Section(title="Ask the embedding", body=live.body, simulated=simulated))
        sections.append(Section(title="To repeat this", body=repeat([*(commands or guess_commands(parts, out))])))
    site = parts.cube.site if parts.cube else None
    html = page(
        title=title or ("eomm: embeddings of " + site if site else "eomm: evaluation"),
        subtitle=subtitle(parts),
        simulated=everything,
        sections=sections,
        verdict=verdict(parts),
        live=live,
    )
    write_text(out, html)
    return out


def verdict(parts: Parts) -> str:
    """What it came to, in one sentence: of hidden targets where they were scored, else the first finding."""
    scored = [e for e in parts.evaluations if e.kind == "reconstruction"]
    if scored:
        return plainly(scored[0].result)
    return next((str(line) for e in parts.evaluations for line in e.result["conclusions"]), "")


def answers(parts: Parts) -> Live | None:
    """Maps and charts of the embedding that answer; None without one."""
    if not parts.embedding:
        return None
    return live_view(Layers(parts.embedding, parts.cube), limit=LIVE_BYTES)[0]


def collect(
    found: Found,
    cube: Cube | Path | str | None,
    embedding: Path | str | None,
    model: Model | Path | str | None,
    evaluations: Sequence[Mapping[str, Any] | Path | str],
    runs: Sequence[Path | str],
    code: Sequence[str],
) -> Parts:
    """What is named, and for the rest what was found: the embedding, the model and the cube that it says it is of."""
    read = [
        read_evaluation(e) if isinstance(e, Path | str) else Evaluation(in_shared_form(dict(e), f"evaluation {number}"))
        for number, e in enumerate(evaluations, 1)
    ]
    known = {e.source.resolve() for e in read if e.source}
    read += [e for e in found.evaluations if e.source is None or e.source.resolve() not in known]
    embedding = Path(embedding) if embedding else one(found.embeddings, "embedding", "--embedding")
    about = open_attributes(entered(embedding), kind="embedding") if embedding else {}
    models = [e.result["model"] for e in read if isinstance(e.result.get("model"), str)]
    if model is None:
        model = _match(found.models, "model.json", "hash", about.get("eomm:model") or (models or [None])[0])
        model = model or one(found.models if embedding else found.models[: len(found.models) == 1], "model", "--model")
    if cube is None:
        sites = [about["site"]] if "site" in about else [e.result["site"] for e in read if "site" in e.result]
        same = [p for p in found.cubes if read_json(p / "zarr.json").get("attributes", {}).get("site") in sites]
        cube = one(same, "cube", "--cube")
    opened = cube if cube is None or isinstance(cube, Cube) else open_cube(cube)
    if embedding and opened is None:
        raise UsageError(f"{embedding}: its cube was not found; name it by --cube")
    if opened and about.get("site", opened.site) != opened.site:
        raise ContractError(f"{embedding}: is of site {about['site']!r}, the cube of {opened.site!r}; name its own")
    parts = Parts(
        cube=opened,
        embedding=embedding,
        model=model if model is None or isinstance(model, Model) else load_model(model, code=code),
        model_path=None if isinstance(model, Model) or model is None else Path(model),
        evaluations=tuple(read),
        runs=tuple(dict.fromkeys([*map(Path, runs), *found.runs])),
        unread=tuple(found.unread),
    )
    if not (parts.evaluations or parts.embedding or parts.runs):
        raise DataError("nothing to report: no evaluation, embedding or run was named or found")
    return parts


def _match(paths: Sequence[Path], file: str, key: str, value: str | None) -> Path | None:
    return next((p for p in paths if value is not None and read_json(p / file).get(key) == value), None)


def compose(parts: Parts, folder: Path, *, tag: bool) -> list[Section]:
    """Every section but the last; those of simulated data are marked where `tag`."""
    here = bool(tag and parts.cube and parts.cube.provenance.get("simulated"))
    views = None
    if parts.embedding and parts.cube:
        views = Views(parts.cube, parts.embedding, parts.modality, examples_of(parts))
    body = "".join(
        conclusions(e.result["conclusions"], head=e.about, simulated=tag and e.simulated) for e in parts.evaluations
    )
    sections = [Section(title="Conclusions", body=body)] if body else []
    if views:
        words = (
            "True colour above, the embedding's first three principal components below. One PCA and one stretch serve "
            "all dates, so that colours compare between maps."
        )
        sections.append(_figure(figures.map_figure(views.maps()), folder / "maps.png", "Maps", words, here))
    for number, evaluation in enumerate(parts.evaluations):
        made = evaluation_sections(evaluation, parts.cube, folder, number if len(parts.evaluations) > 1 else None)
        sections += [Section(title=s.title, body=s.body, simulated=tag and evaluation.simulated) for s in made]
    sections += training_sections(parts, folder, tag=tag)
    if views:
        sections += embedding_sections(views, folder, here)
    facts = card(data_card(parts)) + (card(model_card(parts.model)) if parts.model else "")
    return [*sections, Section(title="Data and model", body=facts, simulated=here)]


def examples_of(parts: Parts) -> list[Mapping[str, Any]]:
    """Pixels that an evaluation of this site shows."""
    assert parts.cube is not None
    site = parts.cube.site
    found = [e.result["examples"] for e in parts.evaluations if e.result.get("site") == site and "examples" in e.result]
    return list(found[0]) if found else []


def training_sections(parts: Parts, folder: Path, *, tag: bool) -> list[Section]:
    """Curves of the runs; of simulated and real data apart."""
    words, sections = "Running means of training (solid) and validation (dashed).", []
    by_data: dict[bool, list[Path]] = {}
    for run in parts.runs:
        by_data.setdefault(run_simulated(run), []).append(run)
    for simulated, runs in sorted(by_data.items()):
        panels = training_panels(runs, parts.model.modalities if parts.model else {})
        if panels:
            name = f"training{'_simulated' if simulated and len(by_data) > 1 else ''}.png"
            title = "Training on simulated data" if simulated and len(by_data) > 1 else "Training"
            figure = figures.training_figure(panels)
            sections.append(_figure(figure, folder / name, title, words, tag and simulated))
    return sections


def embedding_sections(views: Views, folder: Path, simulated: bool) -> list[Section]:
    """Through time at a pixel; how often pixels were seen; what limits the vectors."""
    sections = []
    if pixel := views.embedding_at_pixel():
        words = (
            "At the pixel that changes most: index, the components of the maps' PCA, and every dimension of the "
            "embedding (standardised over time; red above, blue below the mean). Clear dates only."
        )
        figure = figures.pixel_figure(**pixel)
        sections.append(_figure(figure, folder / "pixel.png", "Embedding through time", words, simulated))
    figure = figures.count_figure(views.counts(), views.pixel_m)
    sections.append(
        _figure(figure, folder / "counts.png", "Observations", "How often each pixel was observed.", simulated)
    )
    means, flags = views.layers()
    if not means and not flags:
        return sections
    told = [f"{name}: {words}" for name, words in LAYER_WORDS.items() if any(t.startswith(name) for t in means)]
    words = (
        (f"Means over the clear dates of each pixel, of {'; '.join(told)}. " if told else "")
        + "Share of the clear dates of each pixel that carry a flag: "
        + "; ".join(views.flag_words)
        + "."
    )
    figure = figures.layer_figure(means, flags, views.pixel_m)
    return [*sections, _figure(figure, folder / "layers.png", "What limits the vectors", words, simulated)]


def _figure(figure: Any, path: Path, title: str, caption: str, simulated: bool) -> Section:
    return Section(title=title, body=image(save(figure, path), title, caption), simulated=simulated)


def save(figure: Any, path: Path) -> Path:
    """A figure as PNG."""
    figure.savefig(path, dpi=130)
    return path


def subtitle(parts: Parts) -> str:
    """One line below the title."""
    words = [f"Site {parts.cube.site}." if parts.cube else ""]
    words += [f"Model {parts.model.hash}, {parts.model.dim} numbers for every pixel and date." if parts.model else ""]
    names = ", ".join(dict.fromkeys(e.kind for e in parts.evaluations))
    return " ".join(filter(None, [*words, f"Evaluations: {names}." if names else "No evaluation was given."]))


def data_card(parts: Parts) -> dict[str, object]:
    """What the cube is, and the protocol of what was hidden."""
    facts: dict[str, object] = {}
    if cube := parts.cube:
        facts = {"site": cube.site, "simulated": "yes" if cube.provenance.get("simulated") else "no"}
        for name in cube:
            g = cube[name]
            m = g.modality
            span = f"from {' to '.join(g.dates)}" if g.dates else "static"
            facts[name] = (
                f"{m.level} {m.calibration}, {m.unit}, {' '.join(m.band_names)}; {len(g)} acquisitions {span}, "
                f"{int(g.usable.sum())} usable; {g.grid.height} x {g.grid.width} px of "
                f"{abs(g.grid.transform[0]):g} m, {g.grid.crs}; contract {m.contract_hash}"
            )
    for e in parts.evaluations:
        data, at = "simulated" if e.simulated else "real", e.about
        if e.kind == "reconstruction":
            facts[f"{at}: test dates"] = ", ".join(e.result["dates"])
            if e.result["columns"]:
                facts[f"{at}: unseen block"] = f"columns {e.result['columns'][0]} to {e.result['columns'][1] - 1}"
            facts[f"{at}: pixels scored"] = f"blocks of {e.result['pixels_read']:,} of {e.result['pixels_of_site']:,}"
        facts[f"{at}: data"] = data + (f", from {e.source.name}" if e.source else "")
    if parts.unread:
        facts["not read, for they are no JSON"] = ", ".join(p.name for p in parts.unread)
    return facts


def model_card(model: Model) -> dict[str, object]:
    """What the model is."""
    facts: dict[str, object] = {"model": model.hash, "embedding": f"{model.dim} numbers"}
    for name, encoder in model.encoders.items():
        before, after = encoder.frames
        facts[f"{name} encoder"] = (
            f"{type(encoder).__name__}, {encoder.dim} numbers, {before} acquisitions before and {after} after, "
            f"{2 * encoder.halo + 1} px window"
        )
    if model.fusion:
        facts["fusion"] = f"up to {model.fusion.max_offset_days} days between modalities"
    facts |= {f"multiply-adds per pixel-date, {k}": f"{v:,}" for k, v in model.macs().items()}
    return facts | {k: v for k, v in model.info.items() if isinstance(v, str | int | float | bool)}


def repeat(commands: Sequence[str]) -> str:
    """Commands as they are typed."""
    return f"<pre>{text(chr(10).join(commands))}</pre>"


def guess_commands(parts: Parts, out: Path) -> list[str]:
    """The commands behind this page: those that its evaluations kept, and what its arguments tell of the rest."""
    lines = []
    cube = str(parts.cube.path) if parts.cube else "CUBE"
    model = shlex.quote(str(parts.model_path or "MODEL"))
    quoted = {"cube": shlex.quote(cube), "embedding": shlex.quote(str(parts.embedding or "EMBEDDING"))}
    if parts.embedding:
        lines.append(f"eomm embed --model {model} --cube {quoted['cube']} --out {quoted['embedding']}")
    for e in parts.evaluations:
        source = shlex.quote(str(e.source or f"{e.kind}.json"))
        default = f"eomm evaluate {e.kind} --model {model} --cube {quoted['cube']} --records RECORDS --out {source}"
        lines += e.result["commands"] or [default]
    options = f" --cube {quoted['cube']}" if parts.cube else ""
    options += f" --embedding {quoted['embedding']}" if parts.embedding else ""
    options += f" --model {model}" if parts.model else ""
    options += "".join(f" --run {shlex.quote(str(r))}" for r in parts.runs)
    options += "".join(f" --evaluation {shlex.quote(str(e.source or f'{e.kind}.json'))}" for e in parts.evaluations)
    return [*lines, f"eomm report{options} --out {shlex.quote(str(out))}"]
