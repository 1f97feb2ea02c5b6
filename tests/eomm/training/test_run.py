"""What surrounds a training: writers and callbacks, what is said, and a finished run extended."""

import dataclasses
import json
import logging
import re
import sys

import jax
import pytest

import eomm
from eomm.errors import DataError, UsageError
from eomm.models.directory import load_model, save_model
from eomm.store.log import LOGGER
from eomm.training.loop import train
from eomm.training.run import extension
from eomm.training.writers import MetricsLog
from tests import zoo
from tests.eomm.tiny import make_config, make_records, make_stage
from tests.test_readme import make_world

WRITER = """
import json

def build_writer(workdir, step, config):
    file = (workdir / "mine.txt").open("a")
    print(json.dumps({"from": step, "seed": config["seed"]}), file=file)

    class Mine:
        def __call__(self, step, values):
            print(json.dumps({"step": step, **values}), file=file)

        def close(self):
            file.close()

    return Mine()
"""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return make_records(tmp_path_factory.mktemp("run") / "records")


def run(workdir, records, *, callbacks=(), **changes):
    config = make_config(steps=8, **changes)
    return train(make_stage(), config=config, records=records, workdir=workdir, callbacks=callbacks)


def test_metrics_go_where_the_configuration_and_the_caller_say(records, tmp_path, monkeypatch):
    (tmp_path / "my_writer.py").write_text(WRITER)
    monkeypatch.syspath_prepend(tmp_path)
    seen = []
    run(tmp_path / "run", records, metrics=("my_writer",), callbacks=[lambda step, values: seen.append((step, values))])
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    first, *mine = map(json.loads, (tmp_path / "run" / "mine.txt").read_text().splitlines())
    assert first == {"from": 0, "seed": 3} and mine == lines and len(lines) == 2
    assert [{"step": step, **values} for step, values in seen] == lines
    assert not (tmp_path / "run" / "tensorboard").exists()  # not named, so not written


def test_a_callback_may_end_a_run_which_then_resumes(records, tmp_path):
    def full(step, values):
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        run(tmp_path, records, callbacks=[full], save_every=2)
    again = []
    run(tmp_path, records, callbacks=[lambda step, values: again.append(step)], save_every=2)
    assert again == [4, 8]  # what was not logged everywhere is not lost: steps 3 and 4 were done again


def test_writers_that_are_not_there_are_refused(records, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"config\.metrics names 'wanb'"):
        run(tmp_path / "a", records, metrics=("wanb",))
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"pip install 'eomm\[wandb\]'"):
        run(tmp_path / "b", records, metrics=("wandb",))


def test_only_process_0_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    log = MetricsLog.open(tmp_path, step=0, config=make_config())
    log.write(1, {"loss": 1.0})
    log.close()
    assert not list(tmp_path.iterdir())


def test_a_run_says_on_what_it_runs_and_that_it_compiles(records, tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.setattr(LOGGER, "handlers", [*LOGGER.handlers, caplog.handler])
    run(tmp_path / "run", records)
    said = capsys.readouterr().err
    line = (
        rf"tiny: {jax.device_count()} devices? \(.+\), mesh data \d+ x fsdp 1, 1 process; batches of 8 records \(s2 3 x"
    )
    assert re.search(line, said)
    assert said.index("compiling the training step") < said.index("compiled the training step in")
    (start,) = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert 0 < start["seconds_compiling"] < 600
    assert any("compiling" in r.getMessage() for r in caplog.records)  # Python's logging hears it too
    with caplog.at_level(logging.WARNING, logger="eomm"):
        run(tmp_path / "other", records)
    assert "compiling" not in capsys.readouterr().err
    assert LOGGER is logging.getLogger("eomm")


def test_what_extending_makes_of_a_configuration(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        extension(eomm.load_config("s2"), tmp_path, 100)
    model = zoo.model("s2")
    save_model(dataclasses.replace(model, info={**model.info, "steps": 4000}), tmp_path / "model")
    config = eomm.load_config("s2", ["data.records=r"])
    found, folder = extension(config, tmp_path, 50)
    assert folder == tmp_path / "extended-4050" and found.steps == 50 and found.seed == config.seed + 4000
    assert found.init == str(tmp_path / "model") and found.optimiser.warmup_steps == 5  # shortened
    assert config.steps == 4000 and config.optimiser.warmup_steps == 100  # the given one is left as it was
    with pytest.raises(UsageError, match="expected a number of steps above 0"):
        extension(config, tmp_path, 0)
    with pytest.raises(UsageError, match="stage fuse cannot start from a model"):
        extension(eomm.load_config("fusion"), tmp_path, 50)


@pytest.mark.whole
def test_a_run_is_extended_and_resumes_as_any(tmp_path, capsys):
    make_world(tmp_path)
    small = ["encoder.size=tiny", "encoder.frames=3,3", "decoder.width=16", "log_every=2", "steps=4"]
    small += ["calibrate_records=3"]
    config = eomm.load_config("s2", [*small, f"data.records={tmp_path / 'records'}"])
    with config.unlocked():
        config.encoder.update({"width": 16, "dilations": (7,)})  # a third of the time to compile
    first = load_model(eomm.train(config, tmp_path / "run"))
    path = eomm.train(config, tmp_path / "run", extend=3)
    assert path == tmp_path / "run" / "extended-7" / "model"
    longer = load_model(path)
    assert longer.info["init"]["hash"] == first.hash and longer.info["steps"] == 3
    assert longer.hash != first.hash and load_model(tmp_path / "run" / "model").hash == first.hash
    assert "extended from step 4 by 3 steps, a run of its own" in capsys.readouterr().err
    assert eomm.train(config, tmp_path / "run", extend=3) == path  # complete: nothing is done
    assert "the run is complete (3 steps)" in capsys.readouterr().err
