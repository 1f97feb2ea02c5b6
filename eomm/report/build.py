"""One self-contained HTML page, and its figures as PNG: what a model learned, made and scored.

Gathers training, cube, embedding and results, draws (figures.py), lays results out (layout.py) and writes
(page/html.py), the headline first, then what answers (eomm.view). Computes no score.
Simulated and real results may stand on one page, never in one table or figure.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

from eomm.data.attributes import open_attributes
from eomm.data.cube import Cube, open_cube
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.result import Result
from eomm.evaluation.result_file import read_result
from eomm.evaluation.text import title as title_of
from eomm.models.directory import Model, load_model
from eomm.page.html import Section, card, image, page, text
from eomm.page.style import STYLE
from eomm.report import figures
from eomm.report.data import LAYER_WORDS, Views, run_simulated, training_panels
from eomm.report.gather import Source, gather, one
from eomm.report.layout import findings, headline, sections_of
from eomm.store.folders import check_apart, check_free, check_free_file, entered, new_directory, read_json, write_text
from eomm.view.layers import Layers
from eomm.view.run import live_view

MAPS = (
    "True colour above, the embedding's first three principal components below. One PCA and one stretch serve all "
    "dates, so that colours compare between maps."
)
LIVE_BYTES = 20_000_000  # of what answers; pictures take the rest of the 25 MB of a page


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a page is to show.

    Attributes:
        folders: runs, stores, or folders of them, in which everything not named here is looked for.
        cube: that the embedding was made of; of those found the one of the embedding's site.
        embedding: embedding cube.
        model: that made it; of those found the one whose hash the embedding tells.
        evaluations: results of `eomm evaluate …`, or their files.
        runs: workdirs of trainings, for their curves.
        code: modules whose encoders are trusted.
    """

    folders: Sequence[Path | str] = ()
    cube: Cube | Path | str | None = None
    embedding: Path | str | None = None
    model: Model | Path | str | None = None
    evaluations: Sequence[Result | Path | str] = ()
    runs: Sequence[Path | str] = ()
    code: Sequence[str] = ()

    @property
    def paths(self) -> dict[str, Path | str]:
        """Of those that lie on disk, by what they are."""
        every = {"the cube": self.cube, "the embedding": self.embedding, "the model": self.model}
        every |= {f"evaluation {e}": e for e in self.evaluations if isinstance(e, Path | str)}
        return {name: path for name, path in every.items() if isinstance(path, Path | str)}


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a page is made of; what there is not is None or empty."""

    cube: Cube | None
    embedding: Path | None
    model: Model | None
    model_path: Path | None
    results: tuple[Source, ...]
    runs: tuple[Path, ...]
    unread: tuple[Path, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the cube is."""
        return bool(self.cube and self.cube.simulated)

    @property
    def all_simulated(self) -> bool:
        """Whether each result and the cube are."""
        return all(self._flags) and bool(self._flags)

    @property
    def mixed(self) -> bool:
        """Whether some are and some are not, so that those that are have to be marked."""
        return any(self._flags) and not all(self._flags)

    @property
    def _flags(self) -> list[bool]:
        return [s.result.simulated for s in self.results] + ([self.simulated] if self.cube else [])


def build(out: Path | str, *, title: str | None = None, overwrite: bool = False, **named: Any) -> Path:
    """Write the page, and its figures into a folder named after it.

    Args:
        out: the HTML file. Figures go to the folder of its name with "_figures".
        title: of the page.
        overwrite: replace `out` and its figures where they exist.
        named: of `Named`.

    Raises:
        DataError: a store is missing or damaged, or there is nothing to show.
        UsageError: `out` exists, or folders hold several stores of a kind and none is named.
        ContractError: cube and embedding are of different sites.
    """
    out, asked = entered(out), Named(**named)
    folder = out.with_name(out.stem + "_figures")
    check_free_file(out, overwrite=overwrite)  # before the work, not after it
    check_free(folder, overwrite=overwrite, kind="figures")
    for place in (out, folder):
        check_apart(place, asked.paths)
    parts = collect(asked)
    live = live_view(Layers(parts.embedding, parts.cube), limit=LIVE_BYTES)[0] if parts.embedding else None
    with new_directory(folder, kind="figures", overwrite=overwrite) as partial, matplotlib.rc_context(STYLE):
        sections = compose(parts, partial, tag=parts.mixed)
    if live:
        marked = parts.mixed and parts.simulated
        sections.insert(0, Section(title="Ask the embedding", body=live.body, simulated=marked))
    sections.append(Section(title="To repeat this", body=repeat(commands_of(parts, out))))
    html = page(
        title=title or (f"eomm: embeddings of {parts.cube.site}" if parts.cube else "eomm: evaluation"),
        subtitle=subtitle(parts),
        simulated=parts.all_simulated,
        sections=sections,
        verdict=headline(parts.results),
        live=live,
    )
    write_text(out, html)
    return out


def read_results(named: Sequence[Result | Path | str], found: Sequence[Source]) -> tuple[Source, ...]:
    """Results that are named, then those that were found and are not among them."""
    read = [Source(e) if isinstance(e, Result) else Source(read_result(e), Path(e)) for e in named]
    known = {s.file.resolve() for s in read if s.file}
    return (*read, *(s for s in found if s.file and s.file.resolve() not in known))


def collect(asked: Named) -> Parts:
    """What is named, and for the rest what was found: one embedding, the cube and model that it says it is of."""
    found = gather(asked.folders)
    results = read_results(asked.evaluations, found.results)
    embedding = Path(asked.embedding) if asked.embedding else one(found.embeddings, "embedding", "--embedding")
    about = open_attributes(entered(embedding), kind="embedding") if embedding else {}
    models = _of(found.models, "model.json", ("hash",), about.get("eomm:model"))
    cubes = _of(found.cubes, "zarr.json", ("attributes", "site"), about.get("site"))
    model = one(models, "model", "--model") if asked.model is None else asked.model
    cube = one(cubes, "cube", "--cube") if asked.cube is None else asked.cube
    parts = Parts(
        cube=_cube_of(embedding, about.get("site"), open_cube(cube) if isinstance(cube, Path | str) else cube),
        embedding=embedding,
        model=load_model(model, code=asked.code) if isinstance(model, Path | str) else model,
        model_path=Path(model) if isinstance(model, Path | str) else None,
        results=results,
        runs=tuple(dict.fromkeys([*map(Path, asked.runs), *found.runs])),
        unread=tuple(found.unread),
    )
    if not (parts.results or parts.embedding or parts.runs):
        raise DataError("nothing to report: no evaluation, embedding or run was named or found")
    return parts


def _cube_of(embedding: Path | None, site: str | None, cube: Cube | None) -> Cube | None:
    """The cube itself. Raises UsageError where an embedding has none, ContractError where it is of another site."""
    if embedding and cube is None:
        raise UsageError(f"{embedding}: its cube was not found; name it by --cube")
    if cube and site not in (None, cube.site):
        raise ContractError(f"{embedding}: is of site {site!r}, the cube of {cube.site!r}; name its own")
    return cube


def _of(paths: Sequence[Path], file: str, keys: Sequence[str], value: str | None) -> list[Path]:
    """Stores whose file says this value; without one all."""

    def said(path: Path) -> Any:
        known = read_json(path / file)
        for key in keys:
            known = known.get(key, {})
        return known

    return [p for p in paths if value is None or said(p) == value]


def compose(parts: Parts, folder: Path, *, tag: bool) -> list[Section]:
    """Every section but the last; those of simulated data are marked where `tag`."""
    here = tag and parts.simulated
    views = Views(parts.cube, parts.embedding) if parts.embedding and parts.cube else None
    body = "".join(findings(s, simulated=tag and s.result.simulated) for s in parts.results)
    sections = [Section(title="Conclusions", body=body)] if body else []
    if views:
        figure = figures.map_figure(views.maps())
        sections.append(_figure(figure, folder / "maps.png", "Maps", MAPS, here))
    for number, source in enumerate(parts.results):
        own = number if len(parts.results) > 1 else None
        sections += sections_of(source, folder, own, simulated=tag and source.result.simulated)
    sections += training_sections(parts, folder, tag=tag)
    sections += embedding_sections(views, folder, here) if views else []
    facts = card(data_card(parts)) + (card(model_card(parts.model)) if parts.model else "")
    return [*sections, Section(title="Data and model", body=facts, simulated=here)]


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
        figure = figures.pixel_figure(pixel)
        sections.append(_figure(figure, folder / "pixel.png", "Embedding through time", words, simulated))
    figure, words = figures.count_figure(views.counts(), views.pixel_m), "How often each pixel was observed."
    sections.append(_figure(figure, folder / "counts.png", "Observations", words, simulated))
    means, flags = views.layers()
    if not means and not flags:
        return sections
    told = [f"{name}: {words}" for name, words in LAYER_WORDS.items() if any(t.startswith(name) for t in means)]
    words = f"Means over the clear dates of each pixel, of {'; '.join(told)}. " if told else ""
    words += f"Share of the clear dates of each pixel that carry a flag: {'; '.join(views.flag_words)}."
    figure = figures.layer_figure(means, flags, views.pixel_m)
    return [*sections, _figure(figure, folder / "layers.png", "What limits the vectors", words, simulated)]


def _figure(figure: Any, path: Path, title: str, caption: str, simulated: bool) -> Section:
    figure.savefig(path, dpi=130)
    return Section(title=title, body=image(path, title, caption), simulated=simulated)


def subtitle(parts: Parts) -> str:
    """One line below the title."""
    words = [f"Site {parts.cube.site}." if parts.cube else ""]
    words += [f"Model {parts.model.hash}, {parts.model.dim} numbers for every pixel and date." if parts.model else ""]
    names = ", ".join(dict.fromkeys(s.result.kind for s in parts.results))
    return " ".join(filter(None, [*words, f"Evaluations: {names}." if names else "No evaluation was given."]))


def data_card(parts: Parts) -> dict[str, object]:
    """What the cube is, and where results come from."""
    facts: dict[str, object] = {}
    if cube := parts.cube:
        facts = {"site": cube.site, "simulated": "yes" if parts.simulated else "no"}
        for name in cube:
            g = cube[name]
            m = g.modality
            span = f"from {' to '.join(g.dates)}" if g.dates else "static"
            facts[name] = (
                f"{m.level} {m.calibration}, {m.unit}, {' '.join(m.band_names)}; {len(g)} acquisitions {span}, "
                f"{int(g.usable.sum())} usable; {g.grid.height} x {g.grid.width} px of {g.grid.gsd_m:g} m, "
                f"{g.grid.crs}; contract {m.contract_hash}"
            )
    for s in parts.results:
        data = "simulated" if s.result.simulated else "real"
        facts[f"{title_of(s.result)}: data"] = data + (f", from {s.file.name}" if s.file else "")
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


def commands_of(parts: Parts, out: Path) -> list[str]:
    """The commands that results keep, and that of the page."""
    named: list[tuple[str, object]] = [
        ("cube", parts.cube and parts.cube.path),
        ("embedding", parts.embedding),
        ("model", parts.model_path),
        *(("run", run) for run in parts.runs),
        *(("evaluation", s.file) for s in parts.results),
    ]
    options = "".join(f" --{name} {shlex.quote(str(path))}" for name, path in named if path)
    kept = dict.fromkeys(command for s in parts.results for command in s.result.commands)
    return [*kept, f"eomm report{options} --out {shlex.quote(str(out))}"]
