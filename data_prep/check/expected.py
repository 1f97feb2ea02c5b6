"""What values of land look like: the ranges that a cube's bands are compared with, and what makes a date suspicious.

Wide on purpose: they find wrong units, offsets and exchanged bands, not kinds of land. A site of water, snow or desert
lies outside and is right.
"""

LAND: dict[str, dict[str, tuple[float, float]]] = {
    "reflectance": {  # band -> least and most that the median of clear land is
        "B01": (0.005, 0.30),
        "B02": (0.005, 0.25),
        "B03": (0.015, 0.30),
        "B04": (0.008, 0.38),
        "B05": (0.02, 0.42),
        "B06": (0.06, 0.50),
        "B07": (0.07, 0.55),
        "B08": (0.07, 0.60),
        "B8A": (0.07, 0.60),
        "B09": (0.07, 0.65),
        "B11": (0.04, 0.60),
        "B12": (0.02, 0.55),
    },
    "dB": {"VV": (-20.0, -3.0), "VH": (-28.0, -9.0), "HH": (-20.0, -3.0), "HV": (-28.0, -9.0)},
}
"""Unit -> band -> range of the median over all valid pixels of usable acquisitions."""

STEP = {"reflectance": 0.03, "dB": 2.0}
"""Unit -> how far an acquisition's median may lie from its neighbours in time before it is looked at."""
SIGMAS = 5.0  # and how far in robust standard deviations of the other acquisitions
HAZE_BLUE = 0.03  # B02 above its neighbours
OFFSET = (0.07, 0.13)  # every band above its neighbours by about 1000 DN
LOW_CORRELATION = 0.35  # with the mean of its neighbours, pixel by pixel
MOVED_PX = 1.5  # an optical image shifted against its neighbours
