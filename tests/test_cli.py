"""The command line on the real site, at a reduced number of steps, and its manners."""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from eomm.cli import main
from eomm.cli.parser import build_parser
from eomm.embedding import golden

TINY = ["--config.steps=2", "--config.optimiser.warmup_steps=1", "--config.log_every=1", "--config.save_every=2"]
TINY.append("--config.calibrate_records=3")
SMALL = [f"--config.{k}" for k in ("encoder.size=tiny", "decoder.width=16", "objective.queries=4")]


def run(capsys, *arguments):
    """Run `eomm … --json`; the JSON object that it prints."""
    status = main([str(a) for a in (*arguments, "--json")])
    out, err = capsys.readouterr()
    assert status == 0, err
    return json.loads(out)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("path")


@pytest.mark.whole
def test_the_whole_path_on_the_real_site(flanders, work, capsys):
    cube, records, runs = work / "flanders.zarr", work / "records", work / "runs"
    sources = [f"--source={m}={flanders}" for m in ("worldcereal_s2", "worldcereal_s1")]
    info = run(capsys, "prepare", "cube", "--site", "flanders", *sources, "--out", cube)
    assert info["complete"] and not info["simulated"]
    split = ["--test-columns", 0.78, 1.0, "--test-uncut", "--hold-out-every", 3, "--stride-acquisitions", 16]
    run(capsys, "prepare", "records", cube, *split, "--out", records)
    assert run(capsys, "info", records)["kind"] == "records"

    data = f"--config.data.records={records}"
    for name in ("s2", "s1"):
        run(capsys, "train", "--config", f"experiments/{name}.py", "--workdir", runs / name, data, *TINY, *SMALL)
    encoders = f"--config.encoders={runs}/s2/model,{runs}/s1/model"
    trained = run(
        capsys, "train", "--config", "experiments/fusion.py", "--workdir", runs / "fusion", data, encoders, *TINY
    )
    model = trained["model"]
    again = run(
        capsys, "train", "--config", "experiments/fusion.py", "--workdir", runs / "fusion", data, encoders, *TINY
    )
    assert again == trained  # complete: says so and exits 0

    out = work / "embedding.zarr"
    assert run(capsys, "embed", "--model", model, "--cube", cube, "--out", out)["complete"]
    part = ["--length", 7, "--dtype", "float16", "--modality", "s2", "--cloudy", "--dates", "2018-05-01", "2018-06-30"]
    short = run(capsys, "embed", "--model", model, "--cube", cube, "--out", work / "part.zarr", *part)
    assert short["complete"] and not short["provenance"]["clear_only"]
    opened = xr.open_zarr(work / "part.zarr")
    assert opened.sizes["feature"] == 7 and opened.embedding.dtype == np.float16
    assert str(opened.time.values.min()) >= "2018-05-01" and str(opened.time.values.max()) < "2018-07-01"
    with xr.open_zarr(out, consolidated=False) as ds:
        vectors, valid = ds["embedding"].values, ds["valid"].values.astype(bool)
        assert vectors.shape[1:] == (64, 64, 64) and np.isfinite(vectors[valid]).all() and valid.any()
        assert np.isnan(vectors[~valid]).all() and np.abs(vectors[valid]).max() > 0

    scores = work / "evaluation.json"
    result = run(
        capsys, "evaluate", "reconstruction", "--model", model, "--cube", cube, "--records", records, "--out", scores,
        "--gaps", 0, 30,
    )  # fmt: skip
    linear = [result["summary"]["hidden_mae"][g]["linear"] for g in ("0", "30")]
    assert 0.02 < linear[0] < linear[1] < 0.06  # the anchors: 0.033 and 0.048 under a looser mask
    page = work / "report.html"
    args = ["--model", model, "--cube", cube, "--embedding", out, "--evaluation", scores, "--run", runs / "s2"]
    run(capsys, "report", *args, "--out", page)
    said = re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)  # which can say it of other data
    assert "SIMULATED" not in said and page.stat().st_size > 100_000


def test_a_user_error_is_one_line_with_status_2(tmp_path, capsys):
    assert main(["info", str(tmp_path / "nothing.zarr")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "nothing.zarr" in err and "Traceback" not in err
    assert main(["prepare", "cube", "--source", "x", "--site", "a", "--out", str(tmp_path / "c")]) == 2
    assert "MAPPING=PATH" in capsys.readouterr().err
    assert main(["train", "--config", "experiments/s2.py", "--workdir", str(tmp_path / "w")]) == 2
    assert "config.data.records is empty" in capsys.readouterr().err
    assert main(["train", "--config", "experiments/s2.py", "--workdir", str(tmp_path / "w"), "--config.stepz=1"]) == 2
    assert "steps" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_one_line_with_status_2(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("eomm.cli.info.describe", lambda path: (path / "store").mkdir(parents=True))
    assert main(["info", str(tmp_path / "file")]) == 2
    err = capsys.readouterr().err
    assert "a file lies where a folder is expected" in err and str(tmp_path / "file") in err and "Traceback" not in err


def test_an_interrupted_command_says_so(monkeypatch, tmp_path, capsys):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("eomm.cli.info.describe", interrupt)
    assert main(["info", str(tmp_path)]) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_an_unknown_argument_is_refused():
    with pytest.raises(SystemExit):
        main(["info", "x", "--jsno"])


def commands(parser, prefix=()):
    """Every command of a parser, as words, with its own parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield (*prefix, name), sub
                yield from commands(sub, (*prefix, name))


def test_every_command_has_help_with_an_example_that_parses(capsys):
    parser = build_parser()
    found = dict(commands(parser))
    assert len(found) >= 11
    for words, sub in found.items():
        if sub.epilog is None:
            continue  # a group of commands
        example = sub.epilog.replace("\\\n", " ").split("\n")[1].split()
        assert example[0] == "eomm" and tuple(example[1 : 1 + len(words)]) == words
        parser.parse_known_args(example[1:])
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["embed", "--help"])
    assert stop.value.code == 0 and "example" in capsys.readouterr().out


def test_the_readme_names_commands_that_exist():
    text = (Path(__file__).parents[1] / "README.md").read_text()
    parser = build_parser()
    shell = "\n".join(block for block in text.split("```") if block.startswith("sh\n"))
    lines = shell.replace("\\\n", " ").split("\n")
    examples = [line.split("#")[0].split() for line in lines if line.startswith("eomm ")]
    assert len(examples) >= 8
    for words in examples:
        parser.parse_known_args(words[1:])


def test_a_reader_that_leaves_early_sees_no_traceback(tmp_path):
    head = json.loads((Path(golden.__file__).parent / "model" / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps(head | {"info": {"notes": "x" * 100_000}}))
    command = [sys.executable, "-c", "import sys; from eomm.cli import main; sys.exit(main())", "info", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 1
