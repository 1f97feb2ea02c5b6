"""The command `eomm`, a file per family of commands; `main` is the entry point."""

from eomm.cli.entry import main as main
