"""Numbers, days and parts as arguments: numbers finite, and where only such can be meant, whole or above 0."""

import math
from argparse import ArgumentTypeError
from datetime import date

from eomm.errors import DataError

MOST = 2**31 - 1


def whole(text: str) -> int:
    """From 0 to 2,147,483,647. Raises ArgumentTypeError."""
    try:
        value = int(text)
    except ValueError as e:
        raise ArgumentTypeError(f"{text!r}: expected a whole number") from e
    if not 0 <= value <= MOST:
        raise ArgumentTypeError(f"{text}: expected a whole number from 0 to {MOST}")
    return value


def number(text: str) -> float:
    """Any finite number. Raises ArgumentTypeError."""
    try:
        value = float(text)
    except ValueError as e:
        raise ArgumentTypeError(f"{text!r}: expected a number") from e
    if not math.isfinite(value):
        raise ArgumentTypeError(f"{text}: expected a finite number")
    return value


def amount(text: str) -> float:
    """Above 0. Raises ArgumentTypeError."""
    if (value := number(text)) <= 0:
        raise ArgumentTypeError(f"{text}: expected a number above 0")
    return value


def day(text: str) -> date:
    """A day in one of the forms of `eomm.data.days`. Raises ArgumentTypeError."""
    from eomm.data.days import EXPECTED, parse_day  # pandas takes half a second to import

    try:
        return parse_day(text, where="the option")
    except DataError as e:
        raise ArgumentTypeError(f"{text!r}: expected a day, {EXPECTED}") from e


def shard_of(text: str) -> tuple[int, int]:
    """`"3/8"` to (3, 8). Raises ArgumentTypeError where it is none."""
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ArgumentTypeError(f"{text}: expected I/N such as 3/8, I from 0 to N - 1")
    return int(index), int(count)
