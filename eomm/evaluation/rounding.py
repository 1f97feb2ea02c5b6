"""Numbers as JSON holds them."""

import numpy as np


def rounded(x: float | np.floating) -> float | None:
    """Six digits behind the point; None for what is not finite, which JSON cannot hold."""
    return round(float(x), 6) if np.isfinite(x) else None
