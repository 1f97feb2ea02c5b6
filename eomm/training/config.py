"""Load an experiment's configuration and override its values. Not the experiments themselves (experiments/).

An experiment is Python code that the user names: a file, or an installed module. It is run by design; overrides
are only ever parsed as values.
"""

import ast
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from eomm.errors import UsageError
from eomm.store.digest import digest_text
from eomm.training import limits

SHIPPED = "eomm.experiments"  # the folder experiments/ of a checkout
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def load_config(experiment: str | Path, overrides: Sequence[str] = ()) -> ConfigDict:
    """Run `get_config()` of an experiment and apply overrides; the result is locked against unknown keys.

    Args:
        experiment: path of a Python file, such as "experiments/s2.py", whose siblings come from its own folder; else
            the name of a shipped experiment ("s2"), or an installed module ("package.module").
        overrides: such as "--config.optimiser.learning_rate=1e-3" or "seed=1"; later ones win. Each is parsed as
            the type of the value it replaces; tuples are comma-separated.

    Raises:
        UsageError: no such experiment, it has no `get_config`, an unknown key, or a value that cannot be (limits.py).
    """
    config = _get_config(str(experiment))
    if not isinstance(config, ConfigDict):
        raise UsageError(f"{experiment}: get_config() returned {type(config).__name__}, expected a ConfigDict")
    for override in overrides:
        _apply(config, override)
    limits.scale_warmup(config, given=any("optimiser.warmup_steps=" in o for o in overrides))
    limits.check_values(dict(flatten(config)))
    return config.lock()


def flatten(config: ConfigDict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value with its dotted key, in the configuration's order; lists become tuples, nested dicts are opened."""
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", tuple(value) if isinstance(value, list) else value


def _get_config(experiment: str) -> Any:
    """What `get_config()` of an experiment returns."""
    path = Path(experiment)
    if path.suffix == ".py" and path.is_file():
        with _own_siblings(path.resolve()) as name:
            return _call(importlib.import_module(name), experiment)
    return _call(_installed(experiment), experiment)


def _call(module: ModuleType, experiment: str) -> Any:
    if not callable(getattr(module, "get_config", None)):
        raise UsageError(f"{experiment}: has no function get_config(); see experiments/ for examples")
    return module.get_config()


@contextmanager
def _own_siblings(path: Path) -> Iterator[str]:
    """The name by which a file can be imported, so that what it imports of its own folder comes from there.

    However it says that: `from . import common`, `from experiments import common` in a folder experiments, or `import
    common`; and whatever lies elsewhere, or was imported, under these names.
    """
    folder = path.parent
    package = f"eomm_experiments_{digest_text(str(folder))[:12]}"
    own = {package, folder.name, *(f.stem for f in folder.glob("*.py"))} - {"__init__"} - sys.stdlib_module_names
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in own}
    for name in kept:
        del sys.modules[name]
    for name in (package, folder.name):
        module = ModuleType(name, f"The folder {folder}.")
        module.__path__ = [str(folder)]
        sys.modules[name] = module
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield f"{package}.{path.stem}"
    finally:
        sys.path.remove(str(folder))
        for name in [n for n in sys.modules if n.partition(".")[0] in own]:
            del sys.modules[name]
        sys.modules.update(kept)


def _installed(experiment: str) -> ModuleType:
    """A shipped experiment by its name, such as "s2" or "experiments/s2.py", or an installed module of the user's."""
    name = experiment.removesuffix(".py").replace("/", ".").replace("\\", ".")
    shipped = f"{SHIPPED}.{name.removeprefix('eomm.').removeprefix('experiments.')}"
    for module in (shipped, name):
        try:
            return importlib.import_module(module)
        except (ModuleNotFoundError, TypeError, ValueError) as e:  # the latter two: not a module's name at all
            if isinstance(e, ModuleNotFoundError) and e.name and not f"{module}.".startswith(f"{e.name}."):
                raise  # the experiment exists and imports something that does not
    raise UsageError(f"{experiment}: neither a file that ends in .py nor an installed module; shipped are {_shipped()}")


def _shipped() -> str:
    package = importlib.import_module(SHIPPED)
    names = sorted(m.name for m in pkgutil.iter_modules(package.__path__))
    found = [n for n in names if hasattr(importlib.import_module(f"{SHIPPED}.{n}"), "get_config")]
    return ", ".join(found)


def _apply(config: ConfigDict, override: str) -> None:
    key, equals, text = override.removeprefix("--").removeprefix("config.").partition("=")
    if not equals:
        raise UsageError(f"{override}: expected --config.KEY=VALUE")
    values = dict(flatten(config))
    if key not in values:
        close = difflib.get_close_matches(key, values, n=3, cutoff=0.5)
        close += [k for k in values if k.split(".")[-1] == key.split(".")[-1] and k not in close]
        close += [k for k in values if k.startswith(f"{key}.") and k not in close]
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(values)}"
        raise UsageError(f"{override}: the configuration has no value {key!r}; {hint}")
    *parents, leaf = key.split(".")
    for parent in parents:
        config = config[parent]
    try:
        value = _parse(text, config[leaf], config.get_type(leaf))
    except (ValueError, SyntaxError, KeyError) as e:
        raise UsageError(f"{override}: {text!r} is not {_describe(config.get_type(leaf))}") from e
    with config.ignore_type():  # lists become tuples, ints may replace an empty value
        config[leaf] = value


def _parse(text: str, old: Any, kind: type) -> Any:
    if kind is bool:
        return _BOOLEANS[text.lower()]
    if kind in (int, float, str):
        return kind(text)
    if kind in (list, tuple):
        items = [t.strip() for t in text.strip("()[]").split(",") if t.strip()]
        return tuple(_parse(t, None, type(old[0]) if old else type(None)) for t in items)
    try:  # no type is known: a literal, or else a string
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _describe(kind: type) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(kind, "a comma-separated list of values of the type it has now")
