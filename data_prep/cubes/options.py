"""How a cube is made of its scenes: the options of `prepare cube` and `prepare sites`. Recorded in the cube."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_prep.cubes.checks import check_accept
from data_prep.cubes.grid import METHODS
from eomm.errors import UsageError

SCREENS = ("none", "flag", "mask")


@dataclass(frozen=True, kw_only=True)
class CubeOptions:
    """What may be chosen. Raises UsageError where a choice is unknown.

    Attributes:
        accept: checks to overrule, names of `data_prep.cubes.checks.CHECKS`.
        resampling: of bands that are not of the cube's grid, one of METHODS; of radar in linear power.
        screen: one of SCREENS: whether optical dates that leave their neighbours and come back are found (`excursions`,
            for shadow and thin cloud that masks pass); "flag" notes them beside the mask, "mask" takes them out of it
            besides. The newest dates are provisional.
    """

    accept: Sequence[str] = ()
    resampling: str = "bilinear"
    screen: str = "none"

    def __post_init__(self) -> None:
        check_accept(self.accept)
        for what, value, known in (("resampling", self.resampling, METHODS), ("screen", self.screen, SCREENS)):
            if value not in known:
                raise UsageError(f"{what} {value!r} is unknown; choose one of {', '.join(known)}")
