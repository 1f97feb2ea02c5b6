"""Two processes that would do the same work: the second one says so and touches nothing."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from eomm.cli import main
from eomm.embedding.plan import make_plan
from eomm.embedding.run import embed
from eomm.embedding.store import open_embedding
from eomm.embedding.units import Run
from eomm.errors import UsageError
from eomm.training.loop import train
from eomm.training.rundir import claimed
from tests.eomm.safety.stores import contents
from tests.eomm.site import make_cube, make_model
from tests.eomm.tiny import make_config, make_records, make_stage

ROOT = Path(__file__).parents[3]
TRAINING = """
import sys, time
from pathlib import Path
from eomm.training.rundir import claimed
with claimed(Path(sys.argv[1])):
    Path(sys.argv[2]).touch()
    time.sleep(60)
"""
EMBEDDING = """
import sys, time
from pathlib import Path
from eomm.embedding.run import embed
from tests.eomm.site import make_model
def wait(done, total):
    Path(sys.argv[3]).touch()
    while Path(sys.argv[3]).exists():
        time.sleep(0.05)
embed(make_model(), sys.argv[1], sys.argv[2], dtype="float32", block=16, progress=wait)
"""


@pytest.fixture
def beside(tmp_path):
    """Starts another process and waits for its mark; ends it after the test."""
    processes = []

    def start(script, *arguments):
        mark = tmp_path / "mark"
        processes.append(subprocess.Popen([sys.executable, "-c", script, *map(str, arguments), str(mark)], cwd=ROOT))
        until = time.monotonic() + 120
        while not mark.exists():
            assert processes[0].poll() is None and time.monotonic() < until
            time.sleep(0.05)
        return mark, processes[0]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.mark.whole
def test_a_second_training_in_one_workdir_is_refused_and_changes_nothing(beside, tmp_path):
    records, workdir = make_records(tmp_path / "records"), tmp_path / "run"
    config = make_config(steps=6)
    train(make_stage(), config=config, records=records, workdir=workdir)
    _, process = beside(TRAINING, workdir)
    before = contents(workdir)
    for steps in (6, 8):
        with pytest.raises(UsageError, match=r"run: another process is writing it; wait for it, or stop it"):
            train(make_stage(), config=make_config(steps=steps), records=records, workdir=workdir)
    assert contents(workdir) == before
    process.kill()
    process.wait()
    assert train(make_stage(), config=config, records=records, workdir=workdir).step == 6  # a kill frees it
    assert not (workdir / "run.lock").exists()


@pytest.mark.whole
def test_the_same_embed_twice_says_so_and_the_first_ends_well(beside, tmp_path):
    cube, out = make_cube(tmp_path / "cube"), tmp_path / "e.zarr"
    mark, process = beside(EMBEDDING, cube.path, out)
    options = {"dtype": "float32", "block": 16}
    for shard in ((0, 1), (0, 2)):
        with pytest.raises(UsageError, match=r"e.zarr: another process is embedding it; wait for it, or stop it"):
            embed(make_model(), cube, out, shard=shard, **options)
    with pytest.raises(UsageError, match=r"e.zarr.partial: is of another request"):
        embed(make_model(), cube, out, length=4, **options)
    while process.poll() is None:
        mark.unlink(missing_ok=True)
        time.sleep(0.02)
    assert process.returncode == 0 and open_embedding(out)["embedding"].notnull().all()
    assert embed(make_model(), cube, out, **options) == out  # complete: nothing to do


def test_a_store_that_another_process_completes_meanwhile_is_left_alone(tmp_path):
    cube, out, model = make_cube(tmp_path / "cube"), tmp_path / "e.zarr", make_model()
    request = make_plan(model, cube, dtype="float32").request()
    run = Run.open(out, request, lambda path: None, overwrite=False)
    assert run is not None
    with run.claimed((0, 1)) as there:
        assert there
        run.partial.rename(tmp_path / "elsewhere")
    with run.claimed((0, 1)) as there:
        assert not there


@pytest.mark.whole
def test_overwrite_does_not_take_a_store_from_the_process_that_makes_it(beside, tmp_path):
    cube, out = make_cube(tmp_path / "cube"), tmp_path / "e.zarr"
    mark, process = beside(EMBEDDING, cube.path, out)
    with pytest.raises(UsageError, match=r"another process is embedding it"):
        embed(make_model(), cube, out, dtype="float32", block=16, length=4, overwrite=True)
    while process.poll() is None:
        mark.unlink(missing_ok=True)
        time.sleep(0.02)
    assert process.returncode == 0 and open_embedding(out).sizes["time"] == 20


def test_a_workdir_is_claimed_by_its_command_too(tmp_path, capsys):
    records = make_records(tmp_path / "records")
    with claimed(tmp_path / "run"):
        arguments = ["train", "--config", "experiments/s2.py", "--workdir", str(tmp_path / "run")]
        assert main([*arguments, f"--config.data.records={records.path}"]) == 2
    assert "Traceback" not in capsys.readouterr().err
