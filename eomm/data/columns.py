"""Columns of tables by names that mean the same: a file that says `longitude` need not be edited to say `lon`."""

from collections.abc import Iterable, Sequence

SYNONYMS = {
    "lon": ("longitude", "long", "lng"),
    "lat": ("latitude",),
    "name": ("site", "site_name", "site_id", "id"),
    "id": ("name", "site", "site_id", "point_id"),
    "label": ("class",),
}


def canonical(names: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Column names without blanks around them, and each of `wanted` that is missing in the place of its synonym.

    Case counts for neither. Two synonyms of one name, of which nobody knows which is meant, stay as they are.
    """
    found = [name.strip().removeprefix("\ufeff") for name in names]
    for want in wanted:
        low = [name.lower() for name in found]
        at = [i for i, name in enumerate(low) if name == want] or [
            i for i, name in enumerate(low) if name in SYNONYMS.get(want, ())
        ]
        if len(at) == 1:
            found[at[0]] = want
    return found
