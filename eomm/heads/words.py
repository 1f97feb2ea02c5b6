"""What the layers and columns of a prediction mean, and where a table of them says so. Computes nothing."""

from pathlib import Path

KIND = "series"  # of what lies beside a table
LAYERS = {
    "low": "lower end of the interval",
    "high": "upper end of the interval",
    "probability": "probability of the class",
    "set_size": "classes that the interval cannot tell apart; 0 where none fits",
    "distance": "distance to the vectors that the head was fitted on; about 1 for those",
}
COLUMNS = {
    "site": "the place",
    "date": "of the satellite's pass",
    "prediction": "empty where there is none",
    **LAYERS,
    "clear": "false: clouded, the place has no vector on that date",
    "outside": "true: the vector is unlike those that the head was fitted on, so that there is no prediction",
    "fitted": "true: the head was fitted on this very day of this place, so that it is no test of it",
}


def side_file(table: Path) -> Path:
    """The JSON beside a table that says what it is: its head, unit, interval, and the meaning of its columns."""
    return table.with_name(f"{table.name}.json")
