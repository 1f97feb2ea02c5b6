"""A Sentinel-1 encoder of single pixels: [radar state 2 | one-sided means 4 | learned 26], as `base.py` is for optical.

    python -m experiments.shipped.radar --data ../shared/data --work runs/radar      # trains three and scores them
    eomm train --config experiments/radar.py --workdir runs/radar --config.data.records=a,b      # on your own

Noise is what passes of one orbit 6 and 12 days apart differ by, and the state averages one orbit alone. No likeness:
two passes of a field differ by speckle more than by what the field did. Sigma and gamma nought are different
contracts; the encoder has that of its records. Expected: experiments/RESULTS.md, "Radar".
"""

from ml_collections import ConfigDict

from . import base, common

CLOSED = 6  # numbers: VV and VH, their one-sided means
NO_LIKENESS = 1e6  # squared noise units


def get_config() -> ConfigDict:
    """The configuration."""
    optical = base.get_config()
    config = common.pretrain("s1")
    for name in ("steps", "data", "optimiser", "encoder", "decoder", "objective", "save_every"):
        config[name] = optical[name]
    config.encoder.dim = 32
    config.encoder.likeness = NO_LIKENESS
    config.encoder.inner.start = CLOSED
    config.encoder.inner.use_orbit = True
    config.decoder.leading = CLOSED
    config.objective.cuts = 0.0  # of vegetation, seen by optical sensors
    return config
