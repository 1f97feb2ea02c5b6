"""The command `eomm`: parses arguments, calls one function, prints what it returns. No logic of its own.

Results go to standard output (`--json` for one JSON object), progress and messages to standard error.
"""

import argparse
import io
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from eomm.cli import handlers
from eomm.cli.parser import build_parser
from eomm.errors import EommError
from eomm.store.folders import cache_folder, check_apart, is_disk_full
from eomm.training.allocator import keep_freed_memory

WRITTEN = ("out", "figure", "figures", "leaderboard", "predictions", "work", "workdir")
CACHE_BYTES = 512 << 20  # some hundred programs
SEARCHED = ("folders", "run", "folder")  # in which results may lie beside what is read


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    settle_streams()
    parser = build_parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.handler not in (handlers.train, handlers.plan_train):
        parser.error(f"unknown arguments: {' '.join(rest)}; see eomm {arguments.command} --help")
    arguments.typed = shlex.join(["eomm", *(sys.argv[1:] if argv is None else argv)])
    keep_freed_memory()
    use_compilation_cache()
    try:
        check_outputs(arguments)
        result = arguments.handler(arguments, rest)
    except (EommError, OSError) as e:
        words = str(e) if isinstance(e, EommError) else refused_file(e)
        if words is None:
            raise
        print(f"eomm: {type(e).__name__}: {words}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\neomm: interrupted; run the same command again", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0 if result is None else show(arguments, result)


def show(arguments: argparse.Namespace, result: Any) -> int:
    """Print what a command returned; returns the exit status."""
    try:
        print(json_of(result) if arguments.json else text_of(arguments, result), flush=True)
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's end would try again
        if not isinstance(e, BrokenPipeError):  # `eomm info … | head`
            print(f"eomm: the result cannot be written to standard output: {e.strerror}", file=sys.stderr)
        return 1
    return 0 if "succeeded" not in arguments or arguments.succeeded(result) else 1


def settle_streams() -> None:
    """Let no terminal stop the work: what it has no sign for becomes "?", and a log that is full or closed is lost."""
    if sys.stdout is sys.__stdout__ and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        sys.stderr = Patient(sys.stderr)


class Patient:
    """A stream of messages whose reader may be gone; a training of days does not end for its log."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """As of any stream."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """As of any stream."""
        with suppress(OSError):
            self._stream.flush()


def check_outputs(arguments: argparse.Namespace) -> None:
    """Raise UsageError where a command would write onto, or into, one of the paths that it reads."""
    given = vars(arguments)
    read = {name: value for name, value in given.items() if name not in (*WRITTEN, *SEARCHED)}
    for out in (given.get(name) for name in WRITTEN):
        if not isinstance(out, Path):
            continue
        for name, value in read.items():
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, Path):
                    check_apart(out, {f"the {name}": path}, replaced=False)


def refused_file(error: OSError) -> str | None:
    """What the system refused to read or write, and what to do; None where it names no file."""
    if is_disk_full(error):
        return f"{error.filename or 'a file'}: the disk is full, or a quota is used up; free some space and run again"
    if error.filename is None:
        return None
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename}: a file lies where a folder is expected; choose another path"
    if isinstance(error, IsADirectoryError):
        return f"{error.filename}: a folder, expected a file; choose another path"
    return f"{error.filename}: {error.strerror}; check the path, who may read and write there, and the space left"


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs between runs, at most CACHE_BYTES of them, in the user's cache directory.

    JAX's own variables count where they are set: JAX_COMPILATION_CACHE_DIR is another place, whose size is its owner's
    affair, and JAX_ENABLE_COMPILATION_CACHE=false keeps nothing. With a bound JAX locks the folder while it reads or
    writes, so that runs beside each other may share it; where nothing can be written there is no cache. Of the
    processes of one run JAX lets only the first write.
    """
    cache = cache_folder()
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and cache and can_write(cache / "xla"):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache / "xla")
        os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(CACHE_BYTES))
        drop_undated(cache / "xla")
    # Everything is kept. CPU seconds of `eomm embed` (48 px, 2 cores, jax 0.10), whatever compiles in less than 0.3 s
    # left out in brackets: the first run 8.2 (8.2), later ones 4.6 (5.0). JAX looks at every entry when it writes one:
    # among 3,000 others the first run took 10.4 (8.6), later ones 4.5 (5.0), so that it pays from the fifth on.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def drop_undated(folder: Path) -> None:
    """Remove compiled programs of which no time of use was noted.

    A run that was killed between the two files leaves one, and so did eomm before there was a bound. JAX reads all
    times before it writes an entry: with one missing it warns each time and keeps nothing any more.
    """
    names = set(os.listdir(folder))
    for name in names:
        entry = name.removesuffix("-cache")
        if entry != name and f"{entry}-atime" not in names:
            (folder / name).unlink(missing_ok=True)


def can_write(folder: Path) -> bool:
    """Whether files can be written into a folder, which is made where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def json_of(result: Any) -> str:
    """One JSON object of what a handler returned: JSON types, or the result of an evaluation."""
    return json.dumps(result.to_json() if hasattr(result, "to_json") else result, indent=1)


def text_of(arguments: argparse.Namespace, result: Any) -> str:
    """A result for people: the handler's own text, or one line per value."""
    if formatter := getattr(arguments, "formatter", None):
        return str(formatter(result))
    return "\n".join(f"{k}: {v}" for k, v in result.items())
