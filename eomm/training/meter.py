"""How fast a run is and what it takes: rates, memory, utilisation, a profile of some steps. Not what it learns."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax

from eomm.errors import UsageError


class Meter:
    """Rates since the last log entry, without the time that validation and saving take.

    Args:
        batch_size: records per step; of a mixture their mean.
        flops: floating-point operations per step, over all devices.
        peak: of one device per second; None where its maker states none.
    """

    def __init__(self, batch_size: float, *, flops: float, peak: float | None):
        self._batch_size, self._flops, self._peak = batch_size, flops, peak
        self._restart()

    def _restart(self) -> None:
        self.steps, self._waited, self._since = 0, 0.0, time.perf_counter()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Waiting for data."""
        began = time.perf_counter()
        yield
        self._waited += time.perf_counter() - began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What no rate counts."""
        began = time.perf_counter()
        yield
        self._since += time.perf_counter() - began

    def rates(self, targets_per_step: float | None) -> dict[str, float]:
        """Per second, the seconds waited for data, and memory; starts the next window.

        `teraflops_per_second` are those of the model's matrix products (cost.py), `flop_utilisation` their share of
        what all devices could do, `peak_memory_gb` of the fullest device of this host or, where devices do not tell,
        of this process.
        """
        seconds = max(time.perf_counter() - self._since, 1e-9)
        steps = self.steps / seconds
        rates = {
            "steps_per_second": steps,
            "records_per_second": steps * self._batch_size,
            "seconds_waited_for_data": self._waited,
            "teraflops_per_second": steps * self._flops / 1e12,
            "peak_memory_gb": peak_memory() / 1e9,
        }
        if self._peak:
            rates["flop_utilisation"] = steps * self._flops / (self._peak * jax.device_count())
        if targets_per_step is not None:
            rates["targets_per_second"] = targets_per_step * steps
        self._restart()
        return rates


def peak_memory() -> int:
    """Bytes: the most that a local device has held, or this process where devices do not tell, as on a CPU."""
    told = [stats["peak_bytes_in_use"] for d in jax.local_devices() if (stats := d.memory_stats())]
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return max(told) if told else resident * (1 if sys.platform == "darwin" else 1024)


class Profile:
    """A trace of steps `first` to `last` (from 1) for TensorBoard or Perfetto, of process 0.

    Args:
        folder: where it goes.
        steps: "FIRST:LAST", or None for no profile.

    Raises:
        UsageError: `steps` is something else.
    """

    def __init__(self, folder: Path, steps: str | None):
        self._folder, self._running = folder, False
        self._first = self._last = 0
        if steps is None:
            return
        first, _, last = steps.partition(":")
        if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
            raise UsageError(f"--profile {steps}: expected FIRST:LAST, such as 20:25; steps count from 1")
        self._first, self._last = int(first), int(last)

    def before(self, step: int) -> None:
        """To be called before a step; a run that resumes amid them starts there."""
        if self._first <= step <= self._last and not self._running and jax.process_index() == 0:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, result: Any) -> None:
        """To be called after a step; after the last it waits for the step's `result`."""
        if self._running and step == self._last:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """End a trace that is under way."""
        if self._running:
            jax.profiler.stop_trace()
            self._running = False
