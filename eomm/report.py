"""One self-contained HTML page, and its figures as PNG: what a model learned, made and scored at a site.

Gathers cube, embedding, training and evaluation, draws (figures.py) and writes (page.py). Computes no score.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from eomm import figures
from eomm.cube import Cube, open_cube, to_date
from eomm.model import Model, load_model
from eomm.page import Section, card, conclusions, image, page, paragraph, table, text
from eomm.report_data import Views, training_panels
from eomm.storage import new_directory

SHOWN_GAP = 30  # days; the figures of single targets show the gap nearest to it


def build(
    out: Path | str,
    *,
    cube: Cube | Path | str,
    embedding: Path | str,
    model: Model | Path | str,
    evaluation: Mapping[str, Any],
    runs: Sequence[Path | str] = (),
    title: str | None = None,
    simulated: bool | None = None,
    commands: Sequence[str] = (),
) -> Path:
    """Write the page, and its figures into a folder named after it.

    Args:
        out: the HTML file; replaced when it exists. Figures go to the folder of its name with "_figures".
        cube: that the evaluation and the embedding were made of.
        embedding: embedding cube.
        model: that made them.
        evaluation: from `eomm.evaluate.reconstruction.evaluate`.
        runs: workdirs of trainings, for their curves.
        title: of the page.
        simulated: whether to label the page so; what cube and evaluation say when None.
        commands: to repeat everything; made up from the arguments when empty.

    Raises:
        DataError: a store is missing or damaged.
    """
    out = Path(out)
    asked = {"cube": cube, "embedding": embedding, "model": model}
    cube = cube if isinstance(cube, Cube) else open_cube(cube)
    model = model if isinstance(model, Model) else load_model(model)
    if simulated is None:
        simulated = bool(evaluation["simulated"] or cube.provenance.get("simulated"))
    gap = min((g for g in evaluation["gaps"]), key=lambda g: abs(g - SHOWN_GAP))
    views = Views(cube, embedding, evaluation)
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.with_name(out.stem + "_figures")
    with new_directory(folder, overwrite=True) as partial, matplotlib.rc_context(figures.STYLE):
        drawn = {name: save(figure, partial / f"{name}.png") for name, figure in draw(views, runs, model, gap).items()}
        sections = [
            Section(title="Conclusions", body=conclusions(conclude(evaluation))),
            *figure_sections(evaluation, drawn, gap),
            Section(title="Data and model", body=card(data_card(cube, evaluation)) + card(model_card(model))),
            Section(title="To repeat this", body=repeat(commands or guess_commands(asked, runs, out))),
        ]
        where = f"Site {cube.site}. Model {model.hash}, embeddings of {len(views.day)} dates, {model.dim} numbers each."
        html = page(
            title=title or f"eomm: embeddings of {cube.site}", subtitle=where, simulated=simulated, sections=sections
        )
    temporary = out.with_name(out.name + ".partial")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(out)
    return out


def draw(views: Views, runs: Sequence[Path | str], model: Model, gap: int) -> dict[str, Any]:
    """Every figure that the data at hand allow, by name."""
    evaluation = views.evaluation
    drawn = {
        "maps": figures.map_figure(views.maps()),
        "skill": figures.skill_figure(evaluation),
        "bands": figures.band_figure(evaluation, gap),
    }
    if evaluation["examples"]:
        series = [views.pixel(e["row"], e["col"]) for e in evaluation["examples"]]
        wavelengths = [b.wavelength_nm for b in views.group.modality.bands]
        drawn["spectra"] = figures.spectra_figure(evaluation, gap, wavelengths)
        drawn["series"] = figures.series_figure(evaluation, gap, series, views.shown_bands())
    panels = training_panels([Path(r) for r in runs], model)
    if panels:
        drawn["training"] = figures.training_figure(panels)
    pixel = views.embedding_at_pixel()
    if pixel:
        drawn["pixel"] = figures.pixel_figure(**pixel)
    drawn["counts"] = figures.count_figure(views.counts(), views.pixel_m)
    return drawn


def save(figure: Any, path: Path) -> Path:
    """A figure as PNG."""
    figure.savefig(path, dpi=130)
    return path


def conclude(evaluation: Mapping[str, Any]) -> list[str]:
    """The findings in sentences, each number beside its baseline."""
    main, unit, verdict = evaluation["main"], evaluation["unit"], evaluation["verdict"]
    best, label = verdict["best_interpolation"], figures.LABELS
    scores = {g: s for g, s in evaluation["hidden"]["all"].items() if s["methods"]}
    lines = []
    better = [g for g, s in scores.items() if _resolved(s["difference"][best]) < 0]
    worse = [g for g, s in scores.items() if _resolved(s["difference"][best]) > 0]
    for gap in sorted({min(scores, key=int), max(scores, key=int)}, key=int):
        m, d = scores[gap]["methods"], scores[gap]["difference"][best]
        linear = "" if best == "linear" else f", linear in time {_number(m['linear'])}"
        lines.append(
            f"Targets hidden with everything within ±{gap} days: mean absolute error of the {label[main]} "
            f"{_number(m[main])}, of {label[best]} (the best interpolation over all gaps) {_number(m[best])}{linear} "
            f"({unit}). Paired difference to the best: {_signed(d)}."
        )
    lines.append(
        f"Against {label[best]} the {label[main]} is better at {_gaps(better)}, worse at {_gaps(worse)}, and not told "
        f"apart elsewhere ({scores[min(scores, key=int)]['dates']} test dates; intervals resample dates)."
    )
    widest = scores[max(scores, key=int)]["difference"]
    if "fused_alone" in widest:
        lines.append(
            f"What the other modalities bring at ±{max(scores, key=int)} days: fused model minus the same "
            f"fusion head without them {_signed(widest['fused_alone'])}, minus the encoder alone "
            f"{_signed(widest['encoder'])}; below 0 they help."
        )
    says = {
        True: "These scores count",
        False: "These scores do not count as skill of the embedding",
        None: "Whether these scores count is unknown",
    }
    lines.append(f"{says[verdict['counts']]}: {'; '.join(verdict['reasons'])}.")
    visible = evaluation["visible"]["all"]["methods"]
    if visible:
        k, length = evaluation["components"]["pca"], evaluation["components"]["embedding"]
        lines.append(
            f"Compression, not skill: at the visible centre the encoder ({length} numbers) errs by "
            f"{_number(visible['encoder'])}, PCA of the bands with {k} components by {_number(visible['pca'])}."
        )
    unseen = {
        True: "Training has not seen the test dates at this site.",
        False: "Training HAS seen the test dates at this site: the figures show fit, not skill.",
        None: "No record set was given, so that nothing here proves that training has not seen the test dates.",
    }
    return [*lines, unseen[evaluation["dates_unseen"]]]


def figure_sections(evaluation: Mapping[str, Any], drawn: Mapping[str, Path], gap: int) -> list[Section]:
    """Figures with captions, and the table of scores."""
    main = figures.LABELS[evaluation["main"]]
    captions = {
        "maps": (
            "Maps",
            "True colour above, the embedding's first three principal components below. One PCA and one stretch serve "
            "all dates, so that colours compare between maps.",
        ),
        "skill": (
            "Hidden-target skill",
            "All test dates are hidden from every method, with everything within the gap around the current target. "
            "Left: mean over dates of the mean over pixels and bands, with 95 % intervals over dates. Right: paired "
            "differences on the same targets; an interval that leaves 0 is resolved.",
        ),
        "bands": (
            "By band, and compression",
            "Left: hidden targets. Right: the centre is visible to the encoder, so that decoding it is compression; "
            "PCA of the bands stands beside it.",
        ),
        "spectra": (
            "Spectra of hidden targets",
            f"Observed spectra of test dates and what {main} and linear interpolation give when everything within "
            f"±{gap} days is hidden, at pixels of different cover.",
        ),
        "series": (
            "Series at the same pixels",
            "Grey: what other dates show; circles: test dates, hidden from all methods. Points within the gap around "
            "a test date were hidden from its prediction too.",
        ),
        "training": ("Training", "Running means of training (solid) and validation (dashed)."),
        "pixel": (
            "Embedding through time",
            "At the pixel that changes most: index, the components of the maps' PCA, and every dimension of the "
            "embedding (standardised over time; red above, blue below the mean). Clear dates only.",
        ),
        "counts": ("Observations", "How often each pixel was observed."),
    }
    sections = []
    for name, (title, caption) in captions.items():
        if name in drawn:
            body = image(drawn[name], title, caption)
            sections.append(Section(title=title, body=body + (skill_tables(evaluation) if name == "skill" else "")))
    return sections


def skill_tables(evaluation: Mapping[str, Any]) -> str:
    """Every method at every gap, with intervals; one table per region."""
    out = []
    for region, by_gap in evaluation["hidden"].items():
        gaps = [g for g in by_gap if by_gap[g]["methods"]]
        if not gaps:
            continue
        rows = []
        for method in evaluation["methods"]:
            cells = [by_gap[g]["methods"][method] for g in gaps]
            rows.append((figures.LABELS[method], [(_number(c), _interval(c)) for c in cells]))
        pixels = by_gap[gaps[0]]["pixels"]
        where = "All pixels" if region == "all" else region.capitalize()
        dates = by_gap[gaps[0]]["dates"]
        about = f"{where}: mean absolute error ({evaluation['unit']}), {pixels:,} target pixels on {dates} dates, 95 %"
        out.append(paragraph(about + " intervals over dates below each figure."))
        head = ["", *(f"±{g} days" for g in gaps)]
        out.append(table(head, rows, main=figures.LABELS[evaluation["main"]]))
    meaning = "; ".join(f"{figures.LABELS[m]}: {words}" for m, words in evaluation["methods"].items())
    return "".join(out) + paragraph(meaning + ".", kind="note")


def data_card(cube: Cube, evaluation: Mapping[str, Any]) -> dict[str, object]:
    """What the cube is, and the protocol."""
    facts: dict[str, object] = {"site": cube.site, "simulated": "yes" if evaluation["simulated"] else "no"}
    for name in cube:
        g = cube[name]
        m = g.modality
        facts[name] = (
            f"{m.level} {m.calibration}, {m.unit}, {' '.join(m.band_names)}; {len(g)} acquisitions from "
            f"{to_date(g.day[0])} to {to_date(g.day[-1])}, {int(g.usable.sum())} usable; {g.grid.height} x "
            f"{g.grid.width} px of {abs(g.grid.transform[0]):g} m, {g.grid.crs}; contract {m.contract_hash}"
        )
    facts["test dates"] = ", ".join(evaluation["dates"])
    if evaluation["columns"]:
        facts["unseen block"] = f"columns {evaluation['columns'][0]} to {evaluation['columns'][1] - 1}"
    facts["pixels scored"] = f"blocks of {evaluation['pixels_read']:,} of {evaluation['pixels_of_site']:,}"
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
    return facts | {k: v for k, v in model.info.items() if isinstance(v, str | int | float | bool)}


def repeat(commands: Sequence[str]) -> str:
    """Commands as they are typed."""
    return f"<pre>{text(chr(10).join(commands))}</pre>"


def guess_commands(asked: Mapping[str, Any], runs: Sequence[Path | str], out: Path) -> list[str]:
    """The commands behind this page, as far as its arguments tell; capitals where they do not."""
    at = {k: str(v) if isinstance(v, Path | str) else k.upper() for k, v in asked.items()}
    at["cube"] = str(asked["cube"].path) if isinstance(asked["cube"], Cube) else at["cube"]
    workdirs = "".join(f" --run {r}" for r in runs)
    return [
        f"eomm embed --model {at['model']} --cube {at['cube']} --out {at['embedding']}",
        f"eomm evaluate reconstruction --model {at['model']} --cube {at['cube']} --records RECORDS --out eval.json",
        f"eomm report --cube {at['cube']} --embedding {at['embedding']} --model {at['model']}{workdirs} "
        f"--evaluation eval.json --out {out}",
    ]


def _resolved(estimate: Mapping[str, Any]) -> int:
    """-1 or 1 where the interval leaves 0, else 0."""
    low, high = estimate["interval"] or (-1, 1)
    return -1 if high < 0 else 1 if low > 0 else 0


def _gaps(gaps: Sequence[str]) -> str:
    return ", ".join(f"±{g}" for g in gaps) + " days" if gaps else "no gap"


def _number(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['mean']:.4f}"


def _interval(estimate: Mapping[str, Any]) -> str:
    return "" if estimate["interval"] is None else f"{estimate['interval'][0]:.4f} to {estimate['interval'][1]:.4f}"


def _signed(estimate: Mapping[str, Any]) -> str:
    if estimate["interval"] is None:
        return f"{estimate['mean']:+.4f} (too few dates for an interval)"
    low, high = estimate["interval"]
    return f"{estimate['mean']:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
