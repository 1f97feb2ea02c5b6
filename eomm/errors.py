"""The few errors that eomm raises for what a user can mend.

Each message names the file, what was found, what was expected and what to do.
"""


class EommError(Exception):
    """Base of all errors that eomm raises on purpose; the command line prints them without a traceback."""


class ContractError(EommError):
    """The data are readable but are not what they are taken for: bands, units, level, calibration, grid."""


class DataError(EommError):
    """A file or store is missing, truncated, unfinished, corrupt or empty."""


class UsageError(EommError):
    """The request cannot be met: an option, a configuration, an output that already exists."""


class DiskFull(UsageError):
    """No space is left, or no quota. A type of its own, since what caused an error is lost between processes."""
