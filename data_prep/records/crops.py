"""How records are cut: the options of `prepare records`. Not the cutting (cut.py), nor who trains (split.py)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from eomm.data.modality import Modality
from eomm.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class CropConfig:
    """How records are cut.

    Attributes:
        crop_px: rows and columns of a crop, in pixels of the reference modality.
        acquisitions: consecutive usable acquisitions of the reference; shorter series are padded.
        stride_px: from one crop to the next; half a crop when None, since encoders train on a crop's interior.
        stride_acquisitions: from one series to the next; half a series when None.
        window: acquisitions of every other modality before the first and after the last reference acquisition.
        windows: modality -> what it has instead of `window`, such as two months of what comes daily.
        reference: the modality whose grid and dates lead.
        min_clear: a record needs this many reference acquisitions with at least `clear_fraction` of the crop valid.
        clear_fraction: see `min_clear`.
        margin_px: 0, or the halo of encoders: then crops overlap by their margins alone, and batches draw smaller ones
            (`draw_px`, `draw_acquisitions`) within them.
        draw_px: side of these, their margins included.
        draw_acquisitions: reference acquisitions of these.
        shard_records: at most so many records in a file.
    """

    crop_px: int = 32
    acquisitions: int = 32
    stride_px: int | None = None
    stride_acquisitions: int | None = None
    window: tuple[int, int] = (8, 8)
    windows: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    reference: str = "s2"
    min_clear: int = 4
    clear_fraction: float = 0.5
    margin_px: int = 0
    draw_px: int = 32
    draw_acquisitions: int = 32
    shard_records: int = 256

    def __post_init__(self) -> None:
        for name in ("crop_px", "acquisitions", "stride_px", "stride_acquisitions", "min_clear"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"patches: {name} is {value}, expected at least 1")
        if self.margin_px and not (
            0 < 2 * self.margin_px < self.draw_px <= self.crop_px and 0 < self.draw_acquisitions <= self.acquisitions
        ):
            raise UsageError(
                f"patches: margin_px {self.margin_px}, draw_px {self.draw_px}, crop_px {self.crop_px}, "
                f"draw_acquisitions {self.draw_acquisitions}, acquisitions {self.acquisitions}; expected crops to be "
                "drawn that are larger than their margins and no larger than a record"
            )
        if self.reference in self.windows or min((n for w in self.windows.values() for n in w), default=0) < 0:
            raise UsageError(
                f"patches: windows are {dict(self.windows)}; expected numbers from 0 for modalities beside "
                f"{self.reference!r}"
            )

    def around(self, modality: Modality) -> tuple[int, int]:
        """How many acquisitions of a modality before the first and after the last of the reference a record has.

        One on either side of a static layer: wherever its day lies, its only one is among them.
        """
        return (1, 1) if modality.static else self.windows.get(modality.name, self.window)

    @property
    def strides(self) -> tuple[int, int]:
        """(pixels, acquisitions)."""
        if self.margin_px:
            shared = min(sum(self.window), self.acquisitions - 1)
            return (
                self.stride_px or self.crop_px - 2 * self.margin_px,
                self.stride_acquisitions or self.acquisitions - shared,
            )
        return self.stride_px or max(1, self.crop_px // 2), self.stride_acquisitions or max(1, self.acquisitions // 2)
