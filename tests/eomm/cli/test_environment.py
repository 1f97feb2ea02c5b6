"""Terminals that lack signs, logs on full disks, users without a home: the command still does its work."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eomm.cli import main
from eomm.cli.entry import CACHE_BYTES, use_compilation_cache
from eomm.data.remote import cache
from eomm.errors import UsageError
from eomm.store.folders import read_json, write_json
from tests import zoo

PLAIN = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}


def eomm(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **environment):
    command = [sys.executable, "-m", "eomm", *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=stderr, env=PLAIN | environment)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_our_signs_shows_question_marks(encoding, tmp_path):
    label = tmp_path / "m\u4e2d\u00d7\udcff"  # a name that is no UTF-8 either
    os.symlink(zoo.model_directory("s2"), label)
    for arguments in (["info", label], ["embed", "--help"], ["info", f"{label}-none"]):
        done = eomm(*arguments, PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C")
        assert done.returncode == (2 if "-none" in str(arguments[-1]) else 0), done.stderr
        assert b"Traceback" not in done.stderr and (done.stdout + done.stderr).decode(encoding)


def test_a_result_that_cannot_be_written_is_said_and_a_log_that_cannot_be_is_not_missed():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    model = zoo.model_directory("s2")
    with open("/dev/full", "w") as full:
        done = eomm("info", model, stdout=full)
        assert done.returncode == 1
        assert done.stderr.decode().strip() == (
            "eomm: the result cannot be written to standard output: No space left on device"
        )
        done = eomm("info", model, "--json", stderr=full)
        assert done.returncode == 0 and b'"kind": "model"' in done.stdout
        assert eomm("info", "none", stderr=full).returncode == 2


def test_a_user_without_a_home_works_without_a_cache(monkeypatch, tmp_path, capsys):
    def no_home(*_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    for name in ("HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    use_compilation_cache()
    assert "JAX_COMPILATION_CACHE_DIR" not in os.environ
    assert main(["info", str(zoo.model_directory("s2"))]) == 0
    with pytest.raises(UsageError, match="set XDG_CACHE_HOME"):
        cache()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache() == tmp_path / "eomm" / "records"
    use_compilation_cache()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "eomm" / "xla")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")


def test_programs_without_a_time_of_use_are_dropped_and_others_stay(monkeypatch, tmp_path):
    folder = tmp_path / "eomm" / "xla"
    folder.mkdir(parents=True)
    for name in ("killed-cache", "whole-cache", "whole-atime", ".lockfile"):
        (folder / name).write_bytes(b"x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    use_compilation_cache()
    assert {p.name for p in folder.iterdir()} == {"whole-cache", "whole-atime", ".lockfile"}
    elsewhere = tmp_path / "mine"
    elsewhere.mkdir()
    (elsewhere / "killed-cache").write_bytes(b"x")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(elsewhere))
    use_compilation_cache()
    assert (elsewhere / "killed-cache").exists()  # another's folder, which need not have a bound


CACHE = """
import os, sys
from eomm.cli.entry import use_compilation_cache
use_compilation_cache()
print(*(os.environ.get(f"JAX_COMPILATION_CACHE_{name}") for name in ("DIR", "MAX_SIZE")))
"""


def test_compiled_programs_are_kept_within_a_bound_where_they_can_be_and_elsewhere_on_request(tmp_path):
    def kept(**variables):
        environment = {k: v for k, v in PLAIN.items() if not k.startswith(("JAX_", "XDG_"))} | variables
        done = subprocess.run(
            [sys.executable, "-c", CACHE], env=environment, check=True, capture_output=True, text=True
        )
        return done.stdout.split()

    assert kept(XDG_CACHE_HOME=str(tmp_path)) == [str(tmp_path / "eomm" / "xla"), str(CACHE_BYTES)]
    shared = str(tmp_path / "shared")
    assert kept(XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=shared) == [shared, "None"]
    (tmp_path / "file").touch()  # nothing can be written below it
    assert kept(XDG_CACHE_HOME=str(tmp_path / "file")) == ["None", "None"]


def test_our_files_are_utf_8_whatever_the_locale(tmp_path):
    write_json(tmp_path / "a.json", {"site": "Zürich ×"})
    code = "import sys; from pathlib import Path; from eomm.store.folders import *\n"
    code += "a = read_json(Path(sys.argv[1])); write_text(Path(sys.argv[2]), a['site'])"
    command = [sys.executable, "-c", code, tmp_path / "a.json", tmp_path / "b"]
    subprocess.run(command, env=PLAIN | {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}, check=True)
    assert (tmp_path / "b").read_text(encoding="utf-8") == read_json(tmp_path / "a.json")["site"]
