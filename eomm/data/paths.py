"""Which paths are worked on: those of a file system. Buckets are refused by name before anything is made.

Record sets alone are read from buckets (buckets.py).
"""

from pathlib import Path

from eomm.data.remote import is_url
from eomm.errors import UsageError


def local_path(path: Path | str, why: str) -> Path:
    """A path of a file system, as a Path.

    Args:
        path: as the user gave it.
        why: a file system is needed.

    Raises:
        UsageError: it is in a bucket or elsewhere on the net: gs://, s3://, https://.
    """
    if is_url(path):
        raise UsageError(
            f"{path}: is no path of a file system, and {why}. Mount the bucket (gcsfuse, mountpoint-s3, rclone mount) "
            "and give the path there, or copy it"
        )
    return Path(path)
