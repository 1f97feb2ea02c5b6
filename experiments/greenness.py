"""An example of features of one's own: near infrared minus red on every date. See PEERS.md.

eomm evaluate probes --cube c.zarr --labels fields.tif --features mine=function:eomm.experiments.greenness:greenness
"""

from eomm.data.cube import Cube
from eomm.evaluation.features import Features


def greenness(cube: Cube) -> Features:
    """Reflectance of B08 minus that of B04: values [time, y, x, 1], where they are valid, and the days."""
    group = cube["s2"]
    stored, valid = group.read()
    reflectance = group.modality.decode(stored)
    near, red = (reflectance[..., [group.modality.band_names.index(band)]] for band in ("B08", "B04"))
    return Features(near - red, valid, group.day)
