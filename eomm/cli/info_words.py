"""What `eomm.cli.info.describe` found, as text for people. Not the finding: that is info.py."""

from collections.abc import Mapping, Sequence
from typing import Any

from eomm.cli.info_lines import short_lines
from eomm.store.fields import Json

MAX_ITEMS = 6  # of a list of many records, or of a mapping of more than MAX_KEYS
MAX_KEYS = 30
WIDTH = 160  # characters up to which a small mapping stays on one line
DETAILS = ("contracts", "request", "model_info", "objectives", "statistics", "hold_out_days", "sha256", "days_by_site")
OF_RECORDS = ("crop", "balance", "sources", "strata", "seed")  # details of a record set
CONVENTIONS = ("proj:", "geoemb:")  # for other programs; what they say stands elsewhere in the text


def format_info(info: Mapping[str, Any]) -> str:
    """A description as text: long lists are cut, what only programs ask for is left out; the JSON has everything."""
    finished = "finished" if info.get("complete") else "NOT FINISHED"
    sort = {True: ", simulated", False: ", real data", None: ""}[info.get("simulated")]
    head = f"{info['path']}: {info['kind']}, {finished}{sort}, {_size(info['bytes'])}"
    if (lines := short_lines(info)) is not None:
        return "\n".join(f"  {line}" for line in [head, *lines, f"in full: eomm info {info['path']} --json"]).lstrip()
    rest = {k: v for k, v in info.items() if k not in ("path", "kind", "complete", "simulated", "bytes")}
    rest["coverage"], drawn = _without_map(rest.get("coverage", {}))
    rest = {k: v for k, v in rest.items() if k != "coverage" or v}
    short = _without_details(_brief(rest) if info["kind"] == "records" else rest)
    end = [] if short == rest else [f"  in full: eomm info {info['path']} --json"]
    return "\n".join([head, *_lines(short, indent=2), *drawn, *end])


def _without_map(coverage: Json) -> tuple[Json, list[str]]:
    """Where sites lie in numbers, and the lines of their map where there is more than one."""
    drawn = coverage.get("map", []) if coverage.get("sites") != 1 else []
    return {k: v for k, v in coverage.items() if k != "map"}, [f"  {line}" for line in drawn]


def _brief(rest: Mapping[str, Any]) -> Json:
    """Of a record set what one who has just cut it looks for; of its split what is not as ever."""
    split = {k: v for k, v in rest.get("split", {}).items() if v not in (None, False, [], {})}
    kept = {k: v for k, v in rest.items() if k not in OF_RECORDS}
    return {**kept, "split": split} if split else kept


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _without_details(value: Any, *, top: bool = True) -> Any:
    if isinstance(value, Mapping):
        value = {**value, "mapping": value["mapping"]["name"]} if "mapping" in value else value
        return {k: _without_details(v, top=False) for k, v in value.items() if not _is_detail(k, v, top)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_details(v, top=False) for v in value]
    return value


def _is_detail(key: str, value: Any, top: bool) -> bool:
    """Whether only a program asks for it; a cube's provenance is one where it stands within an embedding's."""
    listed = key == "acquisitions" and isinstance(value, list)
    return listed or key in DETAILS or key.startswith(CONVENTIONS) or (key == "provenance" and not top)


def _lines(value: Any, *, indent: int) -> list[str]:
    pad, lines = " " * indent, []
    items = value.items() if isinstance(value, Mapping) else ((f"{i}", v) for i, v in enumerate(value))
    for number, (key, item) in enumerate(items):
        if number == MAX_ITEMS and (not isinstance(value, Mapping) or len(value) > MAX_KEYS):
            lines.append(f"{pad}… and {len(value) - MAX_ITEMS} more")
            break
        flat = _flat(item)
        if flat is not None and indent + len(key) + len(flat) < WIDTH:
            lines.append(f"{pad}{key}: {flat}")
        elif isinstance(item, str):
            lines.append(f"{pad}{key}: {item}")
        else:
            lines += [f"{pad}{key}:", *_lines(item, indent=indent + 2)]
    return lines


def _flat(value: Any) -> str | None:
    """On one line, where it fits: scalars, short lists of scalars, small mappings of scalars; else None."""
    if isinstance(value, Mapping):
        return _flat_table(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _flat_list(value)
    if value is None or isinstance(value, bool):
        return {None: "unknown", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e5 else str(value)


def _flat_table(value: Mapping[str, Any]) -> str | None:
    if {"value", "interval"} <= set(value):  # a score
        ends = f" ({_flat(value['interval'][0])} to {_flat(value['interval'][1])})" if value["interval"] else ""
        return f"{_flat(value['value'])}{ends}"
    parts = {k: None if isinstance(v, Mapping) else _flat(v) for k, v in value.items()}
    if len(parts) > 8 or None in parts.values():
        return None
    return ", ".join(f"{k} {p}" for k, p in parts.items()) or "none"


def _flat_list(value: Sequence[Any]) -> str | None:
    if any(isinstance(v, Mapping) or (isinstance(v, list | tuple) and len(v) > 2) for v in value):
        return None
    shown = [_flat(v) or "" for v in value[:12]]
    more = f" … {len(value)} in all" if len(value) > 12 else ""
    return f"[{', '.join(shown)}{more}]" if value else "none"
