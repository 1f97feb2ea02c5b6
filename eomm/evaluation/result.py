"""What every evaluation gives: estimates, paired differences, verdicts, tables, figures, conclusions, and its numbers.

Words are say.py's; files are result_file.py's; how a page or a terminal lays results out knows these parts alone.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from eomm.store.fields import Json as Json

Better = Literal["higher", "lower"]


def rounded(x: float | np.floating) -> float | None:
    """Six digits behind the point; None for what is not finite, which JSON cannot hold."""
    return round(float(x), 6) if np.isfinite(x) else None


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A score and how sure it is.

    Attributes:
        value: None where there is none, such as R2 of equal targets.
        interval: 95 %, low and high; None where groups are too few for one.
        groups: that it rests on and that the interval draws, such as sites, fields or dates.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    groups: int = 0

    def to_json(self) -> dict[str, object]:
        """JSON types."""
        return {f.name: as_json(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> "Estimate":
        """Of what `to_json` gives; what is more than an estimate is left out."""
        interval = known.get("interval")
        return Estimate(value=known["value"], interval=interval and tuple(interval), groups=known.get("groups", 0))


@dataclass(frozen=True, kw_only=True)
class Difference(Estimate):
    """A method's score minus another's on the same rows, its interval from the same draws.

    Attributes:
        better: which sign of it is to the method's favour.
    """

    better: Better = "higher"

    @property
    def resolved(self) -> bool | None:
        """Whether the interval leaves 0; None without one."""
        return None if self.interval is None else not self.interval[0] <= 0 <= self.interval[1]

    @property
    def side(self) -> int:
        """1 where the method is better, -1 where it is worse, 0 where the two cannot be told apart."""
        if not self.resolved or not self.value:
            return 0
        return 1 if (self.value > 0) == (self.better == "higher") else -1

    def to_json(self) -> dict[str, object]:
        """JSON types."""
        return super().to_json() | {"resolved": self.resolved}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a claim is borne out.

    Attributes:
        claim: as a clause, such as "the scores count as skill of the embedding".
        holds: None where it cannot be told.
        because: reasons, in words.
        differences: that it rests on, by the method compared with.
    """

    claim: str
    holds: bool | None
    because: tuple[str, ...] = ()
    differences: Mapping[str, Difference] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells are text; the first column names rows, of which `main` is marked."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    main: str = ""

    @classmethod
    def of(cls, title: str, columns: Iterable[str], rows: Mapping[str, Iterable[str]], *, main: str = "") -> "Table":
        """Of rows by name; the first column has no title where there is one less than cells."""
        named, cells = tuple(columns), tuple((name, *row) for name, row in rows.items())
        head = ("",) * max(0, len(next(iter(cells), named)) - len(named))
        return cls(title=title, columns=(*head, *named), rows=cells, main=main)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A figure to be drawn, or that was.

    Attributes:
        title: above it.
        caption: below it.
        name: of its file, without the ending.
        draw: makes it, a Matplotlib figure; None of one that was drawn.
        png: its file, relative to the result's folder; "" before.
    """

    title: str
    caption: str
    name: str = ""
    draw: Callable[[], Any] | None = field(default=None, compare=False, repr=False)
    png: str = ""

    def to_json(self) -> dict[str, str]:
        """JSON types."""
        return {"title": self.title, "caption": self.caption, "png": self.png}


@dataclass(frozen=True, kw_only=True)
class Result:
    """What an evaluation came to.

    Attributes:
        kind: of evaluation, a lower-case word.
        dataset: the site, or what labels or fluxes are called; "" where nobody said.
        simulated: whether its data are.
        headline: what it came to in one sentence for a reader who looks up no number; "" for none.
        conclusions: sentences with their numbers, baselines and intervals.
        verdicts: whether its claims are borne out.
        tables: as text.
        figures: drawn when the result is written.
        protocol: what was measured how, in a few words by name.
        commands: that repeat it.
        numbers: the evaluation's own, such as `hidden` or `scores`; `result["hidden"]` reads them.
    """

    kind: str
    dataset: str = ""
    simulated: bool
    headline: str = ""
    conclusions: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    protocol: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.numbers[name]

    def to_json(self) -> dict[str, object]:
        """JSON types: the parts by name, and beside them the evaluation's own numbers; figures that were drawn."""
        parts = {f.name: as_json(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "numbers"}
        parts["figures"] = [f.to_json() for f in self.figures if f.png]
        return {"eomm:kind": f"evaluation of {self.kind}", **parts, **as_json(self.numbers)}


def as_json(value: Any) -> Any:
    """JSON types of what results hold: dataclasses by field, mappings by the text of their keys."""
    if hasattr(value, "to_json"):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    return [as_json(v) for v in value] if isinstance(value, list | tuple) else value
