"""Models that come with the package: their names, their cards, and where a name leads. Loading is directory.py.

A shipped model is a model directory with a `CARD.md` in `weights/`, named with a version ("base-1"); an alias ("base")
stands for the newest of its kind.
"""

import warnings
from pathlib import Path

from eomm.errors import UsageError
from eomm.store.fields import Json
from eomm.store.folders import entered, read_json, recover

FOLDER = Path(__file__).parent / "weights"


def shipped() -> dict[str, Path]:
    """Name -> model directory of every model in the package."""
    return {p.parent.name: p.parent for p in sorted(FOLDER.glob("*/model.json"))}


def aliases() -> dict[str, str]:
    """Alias -> name: "base" for the highest version of "base-1", "base-2" and so on."""
    newest: dict[str, str] = {}
    for name in sorted(shipped(), key=_version):
        newest[name.rpartition("-")[0]] = name
    return newest


def find_model(model: Path | str) -> Path:
    """The model directory that a path or the name of a shipped model stands for.

    An existing path wins over a name, with a warning; what is neither comes back as a path, for its reader to refuse.

    Raises:
        UsageError: a bare word that is neither a path nor the name of a shipped model.
    """
    path, name = entered(model), str(model)
    recover(path)
    known = shipped()
    home = known.get(aliases().get(name, name))
    if path.exists():
        if home:
            warnings.warn(f"{name}: the folder here is used, not the shipped model of that name", stacklevel=2)
        return path
    if home:
        return home
    if path.parent == Path() and path.suffix == "" and not path.is_absolute():
        names = ", ".join([*aliases(), *known]) or "none"
        raise UsageError(f"{name}: no folder of that name here, and no shipped model; shipped are {names}")
    return path


def describe_shipped() -> Json:
    """What `eomm models` prints: by name, alias, hash, contracts, length, size, and its card's path. JSON types."""
    alias = {name: a for a, name in aliases().items()}
    found = {}
    for name, path in shipped().items():
        head = read_json(path / "model.json")
        info = head.get("info", {})
        found[name] = {
            "alias": alias.get(name),
            "hash": head["hash"],
            "about": info.get("about", ""),
            "modalities": {n: f"{c['level']}, {c['calibration']}" for n, c in head["contracts"].items()},
            "bytes": sum(p.stat().st_size for p in path.iterdir()),
            "licence": info.get("licence", ""),
            "card": str(path / "CARD.md"),
        }
    return found


def card(name: str) -> str:
    """The model card. Raises UsageError where nothing of that name ships."""
    path = shipped().get(aliases().get(name, name))
    if path is None:
        raise UsageError(f"{name}: no shipped model; shipped are {', '.join([*aliases(), *shipped()]) or 'none'}")
    return (path / "CARD.md").read_text(encoding="utf-8")


def _version(name: str) -> tuple[str, int]:
    kind, _, number = name.rpartition("-")
    return kind, int(number) if number.isdigit() else 0
