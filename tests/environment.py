"""What the suite's processes agree on before JAX is imported; workers and subprocesses inherit it from the controller.

Nearly all of the suite's time is XLA compiling programs that run once. So XLA compiles without optimising, and what one
process has compiled every other reads.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import filelock  # noqa: F401  # without it JAX only warns, and shares nothing: say so here

QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
OWN_LEVEL = "--xla_backend_optimization_level=3 --xla_llvm_disable_expensive_passes=false"  # XLA's own defaults
COMMON = "EOMM_TESTS_FOLDER"  # names the folder that the processes of one session share


def set_up() -> Path | None:
    """Set the environment; gives the session's common folder to the process that made it, and None to the others."""
    assert "jax" not in sys.modules, "JAX was imported before its environment was set: nothing of this would count"
    if COMMON in os.environ:
        return None
    # First, since of two equal flags the last counts: what a developer sets in XLA_FLAGS is kept.
    os.environ["XLA_FLAGS"] = f"{QUICK} {os.environ.get('XLA_FLAGS', '')}".strip()
    folder = Path(tempfile.mkdtemp(prefix="eomm-tests-"))
    os.environ[COMMON] = str(folder)
    # A developer's own cache outlives the session: then a second run of the same tests compiles hardly anything.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
    # Each entry that is written has JAX look at all of them: with thousands of small ones, three tenths of all time.
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    # Only a bound switches on JAX's file lock; without one a reader meets half an entry, warns, and the test fails.
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(4 << 30)
    return folder


def changed(common: Path) -> list[str]:
    """Names of members of tests/zoo.py that are not as they were made."""
    seals = sorted((common / "zoo").glob("*.seal"))
    return [s.stem for s in seals if state(s.with_suffix("")) != s.read_text()]


def state(path: Path) -> str:
    """Of a file or folder: when each of its files was written, and its size."""
    files = [path, *sorted(path.rglob("*"))]
    return json.dumps([(str(f.relative_to(path)), f.stat().st_mtime_ns, f.stat().st_size) for f in files])


def tear_down(folder: Path) -> None:
    """Remove the session's common folder and every trace of it, so that a session inside this process starts anew."""
    shutil.rmtree(folder)
    del os.environ[COMMON]


def with_devices(count: int) -> dict[str, str]:
    """The environment of a process with `count` simulated devices, else as this process's."""
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
