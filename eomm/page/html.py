"""HTML of every page of ours: one self-contained file from sections. No figures, no scores.

Everything that comes from data passes through `text`; images are data URIs. Scripts run by their hashes alone and
nothing is fetched, so that text from data cannot become a script, whatever it says.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CSS = """
:root{--ink:#1b1f24;--soft:#59636e;--line:#d9dee3;--blue:#0072B2}
*{box-sizing:border-box}
body{margin:0;color:var(--ink);background:#fff;font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1060px;margin:0 auto;padding:1.2rem 1.1rem 4rem}
h1{font-size:1.7rem;line-height:1.25;margin:.6rem 0 .2rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.4rem 0 .5rem;padding-top:.8rem;border-top:1px solid var(--line)}
p,li{max-width:75ch;overflow-wrap:anywhere}
li{margin:.25rem 0}
th{white-space:normal;min-width:5.5rem}
.sub,figcaption,.note{color:var(--soft);font-size:.9rem}
.banner{background:#E69F00;color:#000;font-weight:600;text-align:center;padding:.45rem 1rem}
.banner b{font-size:1.15rem;letter-spacing:.2em;margin-right:.6rem}
.verdict{border-left:5px solid var(--blue);background:#f2f7fb;padding:.6rem 1rem;margin:1rem 0}
.verdict h3{font-size:1rem;margin:.2rem 0}
.tag{background:#E69F00;color:#000;font-size:.72rem;font-weight:700;padding:.1rem .4rem;vertical-align:middle}
section.sim{border-left:5px solid #E69F00;padding-left:.9rem}
.verdict summary{cursor:pointer;color:var(--blue)}
.verdict ul{margin:.3rem 0;padding-left:1.2rem}
.plain{font-size:1.15rem;font-weight:600;max-width:60ch}
nav ol{columns:2;padding-left:1.6rem;margin:.4rem 0}
nav li{margin:0;padding:.12rem 0;break-inside:avoid}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
figure{margin:1rem 0}
figure img{display:block;max-width:100%;height:auto}
figcaption{margin-top:.3rem;max-width:85ch}
table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .6rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:top}
td{white-space:nowrap}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:#fff}
tr.main td:first-child{background:#e8f2f9}
td small{display:block;color:var(--soft);font-size:.76rem}
tr.main td{background:#e8f2f9;font-weight:600}
table.card{margin:.5rem 0}
table.card td{text-align:left;white-space:normal;overflow-wrap:anywhere}
table.card td:first-child{color:var(--soft);white-space:nowrap}
pre{background:#f5f6f7;padding:.8rem 1rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem;line-height:1.5}
@media (max-width:700px){
body{font-size:15px}
.banner{font-size:.8rem;line-height:1.35;padding:.35rem .7rem}
h1{font-size:1.35rem;margin:.3rem 0 .1rem}
th,td{padding:.28rem .35rem}
th:first-child,td:first-child{white-space:normal;min-width:6rem;max-width:7.5rem}
table.card td:first-child{position:static;white-space:normal}
nav ol{font-size:.85rem;column-gap:2rem}
.plain{font-size:1.02rem}
.scroll figure{min-width:680px}
.scroll figcaption{max-width:86vw}
}
"""
YES_NO = {"True": "yes", "False": "no"}
MARK = ' class="sim"'
LONG = 4  # sections, from which on a page lists its contents
OPEN = 3  # conclusions of an evaluation that are not folded away
TAG = ' <span class="tag">SIMULATED DATA</span>'


def text(value: object) -> str:
    """Text as HTML."""
    return html.escape(str(value))


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and its HTML; marked where it shows simulated data on a page that also shows real data."""

    title: str
    body: str
    simulated: bool = False


def image(path: Path, alt: str, caption: str) -> str:
    """A PNG as a data URI, with a caption in plain text; on a narrow screen it scrolls instead of shrinking."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<div class="scroll"><figure><img alt="{text(alt)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text(caption)}</figcaption></figure></div>"
    )


def table(head: Sequence[str], rows: Iterable[tuple[str, Sequence[tuple[str, str]]]], *, main: str = "") -> str:
    """A table of (name, cells); a cell is (figure, small print). The row named `main` is marked."""
    cells = "".join(f"<th>{text(h)}</th>" for h in head)
    lines = [f"<tr>{cells}</tr>"]
    for name, values in rows:
        mark = ' class="main"' if name == main else ""
        data = "".join(f"<td>{text(v)}{f'<small>{text(s)}</small>' if s else ''}</td>" for v, s in values)
        lines.append(f"<tr{mark}><td>{text(name)}</td>{data}</tr>")
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def card(facts: Mapping[str, object]) -> str:
    """Names and values."""
    rows = "".join(f"<tr><td>{text(k)}</td><td>{text(YES_NO.get(str(v), v))}</td></tr>" for k, v in facts.items())
    return f'<table class="card">{rows}</table>'


def paragraph(words: str, *, kind: str = "") -> str:
    """Plain text as a paragraph."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def conclusions(lines: Sequence[str], *, head: str = "", simulated: bool = False) -> str:
    """What comes first: findings of one evaluation, the first few open and the rest to unfold."""
    name = f"<h3>{text(head)}{TAG if simulated else ''}</h3>" if head else ""
    first = lines if len(lines) <= OPEN + 1 else lines[:OPEN]
    rest = lines[len(first) :]
    more = f"<details><summary>{len(rest)} more findings</summary>{_list(rest)}</details>" if rest else ""
    return f'<div class="verdict">{name}{_list(first)}{more}</div>'


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{text(x)}</li>' for x in lines)}</ul>"


@dataclass(frozen=True, kw_only=True)
class Live:
    """A part of a page that answers.

    Attributes:
        body: HTML with its data; text from data in it is escaped.
        style: CSS.
        scripts: code, in the order in which it runs.
        asks: whether it may ask the server that the page came from.
    """

    body: str
    style: str
    scripts: tuple[str, ...]
    asks: bool = False


def page(
    *,
    title: str,
    subtitle: str,
    simulated: bool,
    sections: Sequence[Section],
    verdict: str = "",
    live: Live | None = None,
) -> str:
    """The whole page: the verdict, a list of contents where it is long, and the sections.

    Args:
        title: of the page.
        subtitle: a line below it.
        simulated: everything on the page is.
        sections: in their order.
        verdict: what it comes to, in one plain sentence.
        live: whose body one of the sections has.
    """
    parts = "".join(
        f'<section id="part-{i}"{MARK if s.simulated else ""}>'
        f"<h2>{text(s.title)}{TAG if s.simulated else ''}</h2>{s.body}</section>"
        for i, s in enumerate(sections, 1)
    )
    links = "".join(f'<li><a href="#part-{i}">{text(s.title)}</a></li>' for i, s in enumerate(sections, 1))
    contents = f'<nav aria-label="Contents"><ol>{links}</ol></nav>' if len(sections) > LONG else ""
    head = f'<h1>{text(title)}</h1><p class="sub">{text(subtitle)}</p>'
    plain = paragraph(verdict, kind="plain") if verdict else ""
    body = f"{banner(simulated)}<main>{head}{plain}{contents}{parts}</main>"
    return document(title=title, body=body, style=CSS, live=live)


def banner(simulated: bool) -> str:
    """What stands above all where everything is simulated."""
    words = "No image and no number on this page says how well anything works on real satellites."
    return f'<div class="banner"><b>SIMULATED</b>{words}</div>' if simulated else ""


def document(*, title: str, body: str, style: str, live: Live | None = None) -> str:
    """The file: a body of HTML, with the scripts of what answers in it."""
    scripts = live.scripts if live else ()
    policy = {
        "default-src": "'none'",
        "script-src": " ".join(f"'sha256-{_digest(code)}'" for code in scripts) or "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "connect-src": "'self'" if live and live.asks else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(f"{k} {v}" for k, v in policy.items())}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,">'
        f"<title>{text(title)}</title><style>{style}{live.style if live else ''}</style></head><body>{body}"
        f"{''.join(f'<script>{code}</script>' for code in scripts)}</body></html>\n"
    )


def _digest(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
