"""The page of a cube's check: one self-contained HTML file. Measures nothing (check_cube), draws nothing itself."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.check.cube import QUANTILES, Checked
from data_prep.check.words import alignment_words, pixel_words, span_words
from eomm.page.html import Section, card, conclusions, image, page, paragraph, table
from eomm.store.fields import Json
from eomm.store.folders import check_free_file, write_text


def write_page(checked: Checked, out: Path | str, *, overwrite: bool = False) -> Path:
    """Write the page.

    Raises:
        UsageError: `out` exists.
    """
    import matplotlib

    from data_prep.check import figures
    from eomm.page.style import STYLE

    out = Path(out)
    check_free_file(out, overwrite=overwrite)
    summary, samples = checked.summary, checked.samples
    with tempfile.TemporaryDirectory() as folder, matplotlib.rc_context(STYLE):

        def drawn(name: str, draw: Callable[[], Any], alt: str, caption: str) -> str:
            path = Path(folder) / f"{name}.png"
            draw().savefig(path, dpi=130)
            return image(path, alt, caption)

        sections = [Section(title="What was found", body=_found(summary))]
        caption = "Share of the site that is valid at each acquisition. Hollow: below 3 %, not used."
        dated = {n: s for n, s in samples.items() if not s.group.modality.static}
        valid = drawn("valid", partial(figures.valid_figure, dated), "valid share by date", caption) if dated else ""
        sections.append(Section(title="Dates", body=valid + _suspicious(summary)))
        for name, sample in samples.items():
            m = summary["modalities"][name]
            body = card(_facts(m)) + _bands(m)
            caption = (
                "Values of all valid pixels of usable acquisitions; line: median, orange: where the median of land is "
                "expected."
            )
            body += drawn(f"{name}_hist", partial(figures.histogram_figure, sample, m["bands"]), "histograms", caption)
            if min(sample.valid.shape[1:]) > 1:
                spans = "The clearest acquisition of each of equally long spans."
                caption = spans if name in dated else "The layer."
                body += drawn(f"{name}_look", partial(figures.quicklook_figure, sample), "quicklooks", caption)
            sections.append(Section(title=f"{name}: {m['level']}, {m['calibration']}", body=body))
    text = page(
        title=f"Check of {summary['site']}",
        subtitle=f"{Path(summary['cube']).name}: {summary['crs']}",
        simulated=summary["simulated"],
        sections=sections,
    )
    write_text(out, text)
    return out


def _found(summary: Json) -> str:
    measured = any(a["determined"] for a in summary["alignment"])
    shift = "and no sensor is shifted" if measured else "but whether sensors lie on each other could not be told"
    lines = list(summary["findings"]) or [f"Nothing: every band lies where land does, {shift}."]
    if summary["accepted"]:
        lines.append(f"Checks overruled when the cube was made: {', '.join(summary['accepted'])}.")
    for name, m in summary["modalities"].items():
        if m["suspicious"]:
            lines.append(f"{name}: {len(m['suspicious'])} of {m['usable']} usable dates to look at, below.")
    aligned = "".join(paragraph(f"Alignment of {alignment_words(a)}.") for a in summary["alignment"])
    if aligned:
        aligned += paragraph(
            "Edges are compared by phase correlation, every clear optical date with radar averaged over a quarter of "
            "an orbit's acquisitions. The spread is that of the pairs, which all show one ground: the error may be "
            "larger.",
            kind="note",
        )
    else:
        aligned = paragraph("Alignment of sensors was not measured: too small a site, or too few clear dates.")
    return conclusions(lines) + aligned


def _facts(m: Json) -> dict[str, object]:
    facts: dict[str, object] = {
        "acquisitions": f"{m['acquisitions']}, {m['usable']} usable, {span_words(m)}",
        "speckle filter": m["speckle_filter"],
        "looked at": f"the middle {m['sample_px'][0]} x {m['sample_px'][1]} px",
    }
    if m["pixels"]:
        facts["pixel-dates"] = pixel_words(m["pixels"])
    if m["checks"]:
        facts["checked when made"] = "; ".join(m["checks"])
    if m["clouds"]:
        facts["clouds"] = f"{m['clouds'].get('method', 'classes')}, removed " + ", ".join(
            f"{k.replace('_', ' ')} {v:.1%}" for k, v in m["clouds"].get("removed_fraction", {}).items()
        )
    return facts


def _bands(m: Json) -> str:
    rows = []
    for b in m["bands"]:
        q, span = b["quantiles"], b["expected_median"]
        cells = [(f"{v:.4g}", "") for v in q.values()] if q else [("-", "")] * len(QUANTILES)
        cells.append((f"{span[0]:g} to {span[1]:g}" if span else "-", ""))
        cells.append((b["finding"] or "", ""))
        rows.append((f"{b['band']} ({b['unit']})", cells))
    head = ["band", *(f"{100 * q:g} %" for q in QUANTILES), "median of land", ""]
    return table(head, rows)


def _suspicious(summary: Json) -> str:
    rows = {
        " ".join(filter(None, (s["date"], name, s["orbit"]))): f"{'; '.join(s['reasons'])} ({s['valid']:.0%} valid, "
        f"correlation {s['correlation']:.2f})"
        for name, m in summary["modalities"].items()
        for s in m["suspicious"]
    }
    if not rows:
        return paragraph("No date stands out against the dates around it.")
    return paragraph(
        "Dates that stand out against the pixels' own series (three usable acquisitions before and after, of radar "
        "those of the same orbit). Real change, such as harvest or snow, is among them."
    ) + card(rows)
