"""What is asked of the probes: sites with labels, methods, and a plan of modes, folds and draws. Runs nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eomm.data.cube import Cube
from eomm.errors import UsageError
from eomm.evaluation.features import Dates, Provider
from eomm.evaluation.labels import GROUPS, Labels

SHARES = (0.01, 0.1, 1.0)
BUFFER_PX = 9  # as for hidden targets: half a window and the reach of resampling
FOLDS = 5
MAIN = "model"  # the name of the embedding under test


class Labelled(Protocol):
    """A site with labels."""

    @property
    def site(self) -> str:
        """Its name."""

    @property
    def labels(self) -> Labels:
        """On its grid."""


@dataclass(frozen=True)
class LabelledSite:
    """A cube and its labels."""

    cube: Cube
    labels: Labels

    @property
    def site(self) -> str:
        """Its name."""
        return self.cube.site


@dataclass(frozen=True)
class Method:
    """What a probe is given.

    Attributes:
        source: name of the features; methods of one name share them.
        about: in words.
        read: gives the features.
        components: of a PCA fitted on training rows, for each date or season of a row; None for the features as they
            are.
    """

    source: str
    about: str
    read: Provider
    components: int | None = None


@dataclass(frozen=True, kw_only=True)
class ProbePlan:
    """What is asked of the probes.

    Attributes:
        modes: of features.MODES.
        days: by site, the date of mode "date"; chosen as the clearest over labelled pixels where missing.
        dates: first and last that features may use, or None.
        probes: of probes_fit.PROBES.
        shares: of the labelled training pixels that are used.
        seeds: draws of those, and of what is drawn in fitting.
        groups: of labels.GROUPS: what is held out as a whole.
        block_px: side of blocks.
        buffer_px: training pixels nearer to a test pixel than this are left out.
        folds: at most so many.
        main: the method that is compared with each of the others, if it is among them.
        length: leading numbers of each embedding that are used; all when None.
        seed: of folds, intervals and the random encoder.
    """

    modes: Sequence[str] = ("date",)
    days: Mapping[str, int] = field(default_factory=dict)
    dates: Dates = None
    probes: Sequence[str] = ("knn", "linear")
    shares: Sequence[float] = SHARES
    seeds: Sequence[int] = (0, 1, 2)
    groups: str = "fields"
    block_px: int = 32
    buffer_px: float = BUFFER_PX
    folds: int = FOLDS

    main: str = MAIN
    length: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError unless shares are in (0, 1], nothing is empty and all words are known."""
        if not (self.modes and self.probes and self.shares and self.seeds):
            raise UsageError("no mode, probe, share or seed: expected at least one of each")
        if not all(0 < s <= 1 for s in self.shares):
            raise UsageError(f"shares of labels are {list(self.shares)}; expected above 0, at most 1")
        if self.buffer_px < 0 or self.block_px < 1:
            raise UsageError(
                f"buffer {self.buffer_px} px, blocks {self.block_px} px; expected 0 or more, and 1 or more"
            )
        if self.groups not in GROUPS:
            raise UsageError(f"groups {self.groups!r}: expected fields, blocks or sites")
