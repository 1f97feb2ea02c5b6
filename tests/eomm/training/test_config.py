import importlib
import sys

import pytest

from eomm.errors import UsageError
from eomm.training.config import flatten, load_config

EXPERIMENT = """
from ml_collections import ConfigDict

def get_config():
    config = ConfigDict(dict(stage="pretrain", seed=0, rate=1.0, flag=False, sizes=(1, 2), anything=None))
    config.optimiser = ConfigDict(dict(learning_rate=1e-3, schedule="cosine"))
    return config
"""


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "tiny.py"
    path.write_text(EXPERIMENT)
    return path


def test_overrides_take_the_type_of_what_they_replace(experiment):
    overrides = [
        "--config.optimiser.learning_rate=1",
        "seed=7",
        "--config.flag=True",
        "--config.sizes=3,4,5",
        "--config.stage=7",
        "--config.anything=[1, 2]",
    ]
    config = load_config(experiment, overrides)
    assert config.optimiser.learning_rate == 1.0 and isinstance(config.optimiser.learning_rate, float)
    assert (config.seed, config.flag, config.sizes, config.stage) == (7, True, (3, 4, 5), "7")
    assert config.anything == [1, 2]
    assert load_config(experiment).seed == 0
    assert dict(flatten(config))["optimiser.schedule"] == "cosine"
    with pytest.raises(AttributeError):
        config.unknown = 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("--config.optimiser.learning_rat=1", "did you mean optimiser.learning_rate"),
        ("--config.learning_rate=1", "did you mean optimiser.learning_rate"),
        ("--config.optimiser=1", "no value 'optimiser'"),
        ("--config.seed=1.5", "'1.5' is not a whole number"),
        ("--config.flag=maybe", "'maybe' is not true or false"),
        ("--config.sizes=1,a", "is not a comma-separated list"),
        ("--config.seed", "expected --config.KEY=VALUE"),
    ],
)
def test_a_wrong_override_is_refused_with_a_hint(experiment, override, message):
    with pytest.raises(UsageError, match=message):
        load_config(experiment, [override])


def test_an_installed_module_serves_where_there_is_no_file(experiment, monkeypatch):
    monkeypatch.syspath_prepend(experiment.parent.parent)
    package = experiment.parent.name
    assert load_config(f"{package}/tiny.py", ["seed=2"]).seed == 2
    assert load_config(f"{package}.tiny").seed == 0


def test_what_is_no_experiment_is_refused(tmp_path):
    for name in ("no/such.py", "/no/such.py", "", "json"):
        with pytest.raises(UsageError):
            load_config(name)
    broken = tmp_path / "broken.py"
    broken.write_text("import a_module_that_does_not_exist\n")
    with pytest.raises(ModuleNotFoundError):
        load_config(broken)


@pytest.mark.parametrize("line", ["from . import common", "from mine import common", "import common"])
def test_a_files_siblings_come_from_its_own_folder(line, tmp_path, monkeypatch):
    """Whatever lies under these names elsewhere or was imported, such as an installed copy of the same experiments."""
    for place, steps in (("elsewhere", 4000), ("here", 7777), ("there", 8888)):
        folder = tmp_path / place / "mine"
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "common.py").write_text(f"STEPS = {steps}\n")
        body = f"    {line}\n    return ConfigDict(dict(steps=common.STEPS))\n"
        (folder / "late.py").write_text(f"from ml_collections import ConfigDict\n\ndef get_config():\n{body}")
        (folder / "early.py").write_text(f"from ml_collections import ConfigDict\n{line}\n\ndef get_config():\n{body}")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere" / "mine")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    before = importlib.import_module("mine.common"), importlib.import_module("common")
    for file in ("early.py", "late.py"):
        for place, steps in (("here", 7777), ("there", 8888)):
            assert load_config(tmp_path / place / "mine" / file).steps == steps
            monkeypatch.chdir(tmp_path / place)
            assert load_config(f"mine/{file}").steps == steps
    assert before == (importlib.import_module("mine.common"), importlib.import_module("common"))
    for name in ("mine.common", "mine", "common"):
        monkeypatch.delitem(sys.modules, name)


def test_a_shipped_experiment_goes_by_its_name_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s2", "experiments/s2.py", "experiments.s2", "eomm.experiments.s2"):
        assert load_config(name).modality == "s2"
    with pytest.raises(UsageError, match=r"s9: neither a file that ends in .py .*; shipped are base, fusion, .*s1, s2"):
        load_config("s9")
