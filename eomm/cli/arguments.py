"""What the commands share: how one is added, arguments that several of them have, and options made of arguments."""

import argparse
import dataclasses
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eomm.cli.numbers import day, number, whole
from eomm.errors import UsageError

Handler = Callable[[argparse.Namespace, list[str]], Any]
Options = TypeVar("Options")
EXTRACT = "pixel, window:N, footprint:METRES, or weights.tif (default: %(default)s)"
RESULT = "also write the result there, and figures into a folder beside it"


class AsTuple(argparse.Action):
    """Keeps several values of one argument as a tuple, which options are made of."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        """As of any action."""
        setattr(namespace, self.dest, tuple(values))


SHARED: dict[str, dict[str, Any]] = {
    "block_px": {"type": whole, "default": 32, "metavar": "N", "help": "side of blocks (default: %(default)s)"},
    "buffer_px": {"type": number, "default": 9, "metavar": "N"},
    "classes": {"nargs": "+", "default": [], "metavar": "LABEL[=NAME]", "help": "only these, with their names"},
    "code": {"action": "append", "default": [], "metavar": "MODULE", "help": "trust encoders in this module"},
    "column": {"metavar": "NAME", "help": "NetCDF variable, or property or column with the label"},
    "cube": {"type": Path},
    "dates": {"type": day, "nargs": 2, "action": AsTuple, "metavar": ("FIRST", "LAST"), "help": "both included"},
    "extract": {"default": "window:3", "metavar": "HOW", "help": EXTRACT},
    "flux": {"type": Path, "nargs": "+", "default": [], "help": "daily files: FLUXNET2015, ICOS, FLUXNET"},
    "gaps": {"type": whole, "nargs": "+", "default": [0, 10, 30, 45, 60], "metavar": "DAYS"},
    "groups": {"choices": ("fields", "blocks", "sites"), "default": "fields"},
    "ignore": {"nargs": "+", "default": [], "metavar": "LABEL", "help": "labels that count as none"},
    "label_column": {"metavar": "NAME", "help": "its variable or column"},
    "labels": {"type": Path, "metavar": "FILE"},
    "length": {"type": whole, "metavar": "K"},
    "min_pixels": {"type": whole, "default": 1, "metavar": "N", "help": "leave smaller fields out"},
    "out": {"type": Path},
    "overwrite": {"action": "store_true"},
    "predictions": {"type": Path, "metavar": "FILE"},
    "quality": {"type": number, "default": 0.7, "metavar": "SHARE", "help": "least NEE_VUT_REF_QC (default: 0.7)"},
    "records": {"type": Path},
    "scheduler": {"metavar": "ADDRESS"},
    "seed": {"type": whole, "default": 0},
    "site_info": {"type": Path, "nargs": "+", "default": [], "help": "SITEINFO, BADM, a list of sites, or site.json"},
    "workers": {"type": whole, "default": 0, "metavar": "N", "help": "by N processes of this machine (1: this one)"},
}
"""Arguments that several commands have, without the dashes, as argparse takes them."""


def shared(parser: Any, *names: str, required: bool = False, **helps: str) -> None:
    """Add arguments of SHARED: `names` as they are there, then those that have words of their own for their help."""
    for name, words in {**dict.fromkeys(names), **helps}.items():
        said = ({"help": words} if words else {}) | ({"required": True} if required else {})
        parser.add_argument(f"--{name.replace('_', '-')}", **{**SHARED[name], **said})


def command(
    commands: Any, name: str, handler: Handler, summary: str, example: str, *, formatter: str = ""
) -> argparse.ArgumentParser:
    """A sub-command with `--json` and an example in its help.

    Args:
        commands: to which it is added.
        name: of it.
        handler: does it, and returns what `--json` prints.
        summary: one line.
        example: a command line or several.
        formatter: MODULE:FUNCTION, its result -> text for people; a line for each value where none is named.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(handler=handler)
    if formatter:
        parser.set_defaults(formatter=later(formatter))
    return parser


def later(place: str) -> Callable[[Any], Any]:
    """A function of one argument by its place, MODULE:FUNCTION, imported when it is called: `eomm --help` is quick."""

    def call(result: Any) -> Any:
        module, _, name = place.partition(":")
        return getattr(importlib.import_module(module), name)(result)

    return call


def options_of(kind: type[Options], a: argparse.Namespace, **more: Any) -> Options:
    """A dataclass of options from the arguments that are called as its fields; `more` are what are called otherwise."""
    asked = {f.name: getattr(a, f.name) for f in dataclasses.fields(kind) if f.name in a}  # type: ignore[arg-type]
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in {**asked, **more}.items()})


def pair_of(text: str, option: str = "", expected: str = "NAME=VALUE") -> tuple[str, str]:
    """`"a=b"` to ("a", "b"). Raises UsageError where a part is missing."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{f'{option} {text}'.strip()}: expected {expected}")
    return name, value


def pairs_of(texts: Sequence[str], option: str = "", expected: str = "NAME=VALUE") -> dict[str, str]:
    """The same of several, by name."""
    return dict(pair_of(text, option, expected) for text in texts)


def add_model(parser: argparse.ArgumentParser, *, required: bool = True, default: str = "") -> None:
    """The arguments that name a model."""
    words = f"a model directory, or a name of `eomm models`{f' (default: {default})' if default else ''}"
    parser.add_argument("--model", type=Path, required=required, help=words)
    shared(parser, "code")
