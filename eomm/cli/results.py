"""Results of evaluations as the terminal shows them."""

from typing import Any


def format_result(result: Any) -> str:
    """For people: verdicts, conclusions and tables of any evaluation."""
    from eomm.evaluation.text import format_result as format_

    return format_(result)
