"""How results speak: figures with their intervals, who beats whom, verdicts, lists. Nothing else writes such words."""

from collections.abc import Iterable, Mapping, Sequence

from eomm.evaluation.result import Difference, Estimate, Verdict

BEATS, LOSES, UNTOLD = "beats", "loses to", "cannot be told apart from"
VERBS = {1: BEATS, -1: LOSES, 0: UNTOLD}
FEW = " (too few groups for an interval)"


def figure(estimate: Estimate | None, digits: int = 2, *, few: str = FEW) -> str:
    """A figure with its interval: `0.68 (0.58 to 0.74)`; differences with their sign.

    Args:
        estimate: None for none.
        digits: behind the point.
        few: said where there is no interval.
    """
    if estimate is None or estimate.value is None:
        return "none"
    sign = "+" if isinstance(estimate, Difference) else ""
    value, *ends = (f"{round(x, digits) + 0.0:{sign}.{digits}f}" for x in (estimate.value, *(estimate.interval or ())))
    return f"{value} ({ends[0]} to {ends[1]})" if ends else value + few  # + 0.0: never -0.00


def value(estimate: Estimate | None, digits: int = 2) -> str:
    """The figure alone."""
    return "none" if estimate is None or estimate.value is None else cell(estimate, digits).split(" (")[0]


def cell(estimate: Estimate | None, digits: int = 2) -> str:
    """A figure in a table: without an interval where groups are too few for one."""
    return figure(estimate, digits, few="")


def number(value: float | None) -> str:
    """A bare number in a table."""
    return "none" if value is None else f"{value:.4f}"


def against(name: str, difference: Difference, digits: int = 2) -> str:
    """How the method stands to another, with the figure: `beats raw bands, +0.15 (+0.10 to +0.20)`."""
    if difference.value is None:
        return f"nothing is known against {name}"
    return f"{VERBS[difference.side]} {name}, {figure(difference, digits)}"


def standing(differences: Mapping[str, Difference | None], *, whole: str = "") -> str:
    """How the method stands to several others: `beats a and b; loses to c; cannot be told apart from d`.

    Args:
        differences: by what the others are called; None where there is none.
        whole: said in the place of the names where all have one standing.
    """
    sides = {name: d.side if d else 0 for name, d in differences.items()}
    parts = [(verb, [n for n, s in sides.items() if s == side]) for side, verb in VERBS.items()]
    return "; ".join(
        f"{v} {whole if whole and len(names) == len(sides) else listed(names)}" for v, names in parts if names
    )


def verb(difference: Difference) -> str:
    """How the method stands to another, in a cell of a table."""
    return "too few groups" if difference.resolved is None else VERBS[difference.side]


def ranked(differences: Mapping[str, Difference], *, most: int = 5, digits: int = 2) -> list[str]:
    """As `standing`, with figures: a clause for each standing, the nearest competitors first and at most so many."""
    clauses = []
    for side, said in VERBS.items():
        names = [n for n, d in differences.items() if d.resolved is not None and d.side == side]
        names.sort(key=lambda n: abs(differences[n].value or 0))
        if names:
            shown = "; ".join(f"{n} {figure(differences[n], digits)}" for n in names[:most])
            clauses.append(f"{said} {shown}" + (f" and {len(names) - most} more" if len(names) > most else ""))
    return clauses


def verdict(found: Verdict) -> str:
    """A sentence: whether the claim is borne out, and why."""
    said = {True: "It is shown that", False: "It is not shown that", None: "It cannot be told whether"}[found.holds]
    return f"{said} {found.claim}{': ' if found.because else ''}{'; '.join(found.because)}."


def listed(names: Iterable[object]) -> str:
    """`a, b and c`."""
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last


def counted(count: int, what: str) -> str:
    """`1 date`, `4 dates`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def sentence(text: str) -> str:
    """With a capital letter."""
    return text[:1].upper() + text[1:]


def gaps(days: Sequence[object]) -> str:
    """Days hidden on both sides."""
    return ", ".join(f"±{d}" for d in days) + " days" if days else "no gap"


def at_gaps(differences: Mapping[str, Difference]) -> str:
    """How a method stands to another by days hidden: `beats it at ±30, ±60 days, loses to it at no gap and …`."""
    return listed(
        f"{said} it at {gaps([g for g, d in differences.items() if d.side == side])}" for side, said in VERBS.items()
    )


def seen(known: bool | None, what: str = "the test dates") -> str:
    """Whether training has seen something."""
    if known is None:
        return f"Nothing here proves that training has not seen {what}: no record set was given."
    return f"Training has not seen {what}." if known else f"Training HAS seen {what}: the figures show fit, not skill."
