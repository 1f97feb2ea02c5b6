"""The command `eomm`: parses arguments, calls one function, prints what it returns. No logic of its own.

Results go to standard output (`--json` for one JSON object), progress and messages to standard error.
"""

import argparse
import json
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eomm.cli import handlers
from eomm.cli.parser import build_parser
from eomm.errors import EommError
from eomm.store.folders import check_apart
from eomm.training.allocator import keep_freed_memory

WRITTEN = ("out", "figure", "figures", "leaderboard", "work", "workdir")
SEARCHED = ("folders", "run", "folder")  # in which results may lie beside what is read


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
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
        if result is not None:
            print(json.dumps(result, indent=1) if arguments.json else text_of(arguments, result), flush=True)
            if "succeeded" in arguments and not arguments.succeeded(result):
                return 1
    except EommError as e:
        print(f"eomm: {type(e).__name__}: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `eomm info … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as e:
        if e.filename is None:
            raise
        print(f"eomm: {type(e).__name__}: {refused_file(e)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\neomm: interrupted; run the same command again", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


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


def refused_file(error: OSError) -> str:
    """What the system refused to read or write, and what to do."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{error.filename}: a file lies where a folder is expected; choose another path"
    if isinstance(error, IsADirectoryError):
        return f"{error.filename}: a folder, expected a file; choose another path"
    return f"{error.filename}: {error.strerror}; check the path, who may read and write there, and the space left"


def use_compilation_cache() -> None:
    """Let JAX keep compiled programs between runs, in the user's cache directory (or JAX_COMPILATION_CACHE_DIR).

    Of the processes of one run JAX lets only the first write there.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "eomm" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def text_of(arguments: argparse.Namespace, result: Any) -> str:
    """A result for people: the handler's own text, or one line per value."""
    if formatter := getattr(arguments, "formatter", None):
        return str(formatter(result))
    return "\n".join(f"{k}: {v}" for k, v in result.items())
