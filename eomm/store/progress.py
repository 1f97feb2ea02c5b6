"""Progress bars on standard error, with rate and time left, for functions that report how far they are."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

Progress = Callable[[int, int], None]
"""Told (done, total)."""
NamedProgress = Callable[[str, int, int], None]
"""Told (what, done, total)."""


class Report:
    """Receives progress; one bar per thing named."""

    def __init__(self, title: str):
        self._title = title
        self._bar: tqdm | None = None

    def counted(self, done: int, total: int) -> None:
        """For functions that report (done, total)."""
        self.named(self._title, done, total)

    def named(self, what: str, done: int, total: int) -> None:
        """For functions that report (what, done, total)."""
        if self._bar is None or self._bar.desc != what:
            self.close()
            self._bar = tqdm(total=total, desc=what, file=sys.stderr, mininterval=0.5)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """End the bar that is shown."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress_bar(title: str) -> Iterator[Report]:
    """A bar that is closed also when the work fails."""
    report = Report(title)
    try:
        yield report
    finally:
        report.close()
