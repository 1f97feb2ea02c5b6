"""How a net that may fail is asked: how much at a time, how often, for how long. Not what is asked (items, item)."""

from dataclasses import dataclass

FIRST_WAIT_S = 0.5
"""Before the second try; each further wait is twice as long."""


@dataclass(frozen=True, kw_only=True)
class Net:
    """Patience.

    Attributes:
        parallel: bands of an item that are read at a time.
        tries: of every request, and of every item that failed, after all others; waits double, with jitter, or are what
            the server asks for (Retry-After).
        timeout_s: for each answer.
    """

    parallel: int = 8
    tries: int = 4
    timeout_s: float = 60

    @property
    def gdal(self) -> dict[str, str]:
        """GDAL's options."""
        return {
            "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no guessing of files beside an asset
            "GDAL_HTTP_TIMEOUT": f"{self.timeout_s:g}",
            "GDAL_HTTP_CONNECTTIMEOUT": f"{min(self.timeout_s, 20):g}",
            "GDAL_HTTP_MAX_RETRY": str(self.tries - 1),  # of 429 and 5xx, with waits that double, and jitter
            "GDAL_HTTP_RETRY_DELAY": f"{FIRST_WAIT_S:g}",
            "GDAL_HTTP_MULTIRANGE": "YES",
            "CPL_VSIL_CURL_NON_CACHED": "/vsicurl/",  # a second try must not meet the remains of the first
        }
