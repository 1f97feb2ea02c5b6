"""--overwrite replaces what we made of the same kind and nothing else: no folder of others, no input, nothing near."""

import json
import shutil

import pytest

from eomm.cli import main
from eomm.errors import UsageError
from eomm.store.folders import check_apart, check_free, entered, new_directory
from eomm.store.kinds import KINDS, kind_of
from tests.eomm.safety.stores import contents, copy, make_foreign


def replace(path, kind):
    with new_directory(path, kind=kind, overwrite=True) as partial:
        (partial / "new").touch()


def test_every_store_tells_its_kind(stores):
    assert {name: kind_of(path) for name, path in stores.items()} == {name: name for name in stores}


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_made_is_never_replaced(kind, tmp_path):
    for name, path in make_foreign(tmp_path / "theirs").items():
        before = contents(path)
        with pytest.raises(UsageError, match=f"{name}: already exists and was not made by eomm"):
            replace(path, kind)
        assert contents(path) == before
        hindrance = shutil.copytree(path, tmp_path / "x.partial")
        with pytest.raises(UsageError, match=r"x.partial: lies where x is made and was not made by eomm"):
            replace(tmp_path / "x", kind)
        assert contents(hindrance) == before and not (tmp_path / "x").exists()
        shutil.move(hindrance, tmp_path / "x.replaced")
        with pytest.raises(UsageError, match=r"x.replaced: lies where x is made"):
            replace(tmp_path / "x", kind)
        shutil.rmtree(tmp_path / "x.replaced")


def test_only_a_store_of_the_same_kind_is_replaced_and_only_without_what_is_not_its_own(stores, tmp_path):
    for found, store in stores.items():
        for kind in KINDS:
            path = copy(store, tmp_path)
            if kind == found:
                (path / "notes.txt").write_text("mine")
                with pytest.raises(UsageError, match=r"holds notes.txt, which is no part of"):
                    replace(path, kind)
                assert (path / "notes.txt").exists() and kind_of(path) == kind
                (path / "notes.txt").unlink()
                replace(path, kind)
                assert [p.name for p in path.iterdir()] == ["new"]
            else:
                with pytest.raises(UsageError, match=f"already exists and is {KINDS[found][0]}, not"):
                    replace(path, kind)
                assert contents(path) == contents(store)
            shutil.rmtree(path)


def test_an_unfinished_store_of_ours_is_no_hindrance(stores, tmp_path):
    for kind, store in stores.items():
        copy(store, tmp_path, "x.partial")
        replace(tmp_path / "x", kind)
        assert [p.name for p in tmp_path.iterdir()] == ["x"]
        shutil.rmtree(tmp_path / "x")


def test_nothing_is_written_onto_into_or_over_an_input(tmp_path):
    source = tmp_path / "a" / "b"
    source.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "a")
    for out, words in (
        (source, "is the cube itself"),
        (link / "b", "is the cube itself"),
        (tmp_path / "a" / "c" / ".." / "b", "is the cube itself"),
        (tmp_path / "a", "holds the cube"),
        (link, "holds the cube"),
        (source / "x" / "y", "lies inside the cube"),
        (link / "b" / "x", "lies inside the cube"),
    ):
        with pytest.raises(UsageError, match=words):
            check_apart(out, {"the cube": source})
    check_apart(tmp_path / "a" / "b2", {"the cube": source, "nothing": None, "a bucket": "gs://bucket/a"})


COMMANDS = {
    "embed": "embed --model {model} --cube {cube} --out {out}",
    "export cog": "export {embedding} --to cog --out {out}",
    "export zarr": "export {embedding} --to zarr --composite month --out {out}",
    "export parquet": "export {embedding} --to parquet --stride 9 --out {out}",
    "export-model": "export-model {model} --out {out}",
    "records": "prepare records {cube} --out {out} --sites train=a --crop-px 16 --acquisitions 4",
    "cube": "prepare cube --site a --source fetched_s2={cube} --out {out}",
    "reconstruction": "evaluate reconstruction --model {model} --cube {cube} --records {records} --out {out}",
    "fusion": "evaluate fusion --model {model} --cube {cube} --records {records} --out {out}",
    "coherence": "evaluate coherence --model {model} --cube {cube} --embedding {embedding} --out {out}",
    "probes": "evaluate probes --model {model} --cube {cube} --labels {labels} --out {out}",
    "report": "report --model {model} --cube {cube} --embedding {embedding} --out {out}",
    "check": "prepare check {cube} --out {out}",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_destroys_what_it_reads_or_any_other_store(command, stores, tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("lon,lat,label\n")
    paths = {kind: copy(store, tmp_path) for kind, store in stores.items()} | {"labels": tmp_path / "labels.csv"}
    before = contents(tmp_path)
    text = COMMANDS[command]
    read = [name for name in paths if f"{{{name}}}" in text]
    outs = [p for n in read for p in (paths[n], paths[n] / "inside" / "x")] + [paths["export"] / "x", tmp_path]
    for out in outs:
        arguments = text.format(**paths, out=out).split()
        flags = [] if command == "export parquet" and out == tmp_path else ["--overwrite"]
        assert main([*arguments, *flags]) == 2, out
        assert "eomm: UsageError: " in capsys.readouterr().err, out
        assert contents(tmp_path) == before, out


def test_a_model_is_not_calibrated_onto_its_records_nor_a_run_put_into_them(stores, tmp_path, capsys):
    records, model = copy(stores["records"], tmp_path), copy(stores["model"], tmp_path / "records", "m")
    before = contents(tmp_path)
    assert main(f"calibrate --model {records} --records {records}".split()) == 2
    for workdir in (records, records / "run"):
        data = f"--config.data.records={records}"
        assert main(["train", "--config", "experiments/s2.py", "--workdir", str(workdir), data]) == 2
        assert contents(tmp_path) == before
    assert "lies inside" in capsys.readouterr().err and model.exists()


def test_a_run_does_not_begin_where_another_program_keeps_its_configuration(tmp_path, stores, capsys):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "config.json").write_text('{"port": 80}')
    before = contents(tmp_path / "app")
    data = f"--config.data.records={stores['records']}"
    assert main(["train", "--config", "experiments/s2.py", "--workdir", str(tmp_path / "app"), data]) == 2
    assert "holds config.json and no run of eomm" in capsys.readouterr().err
    assert contents(tmp_path / "app") == before


def test_a_demo_keeps_what_is_not_its_own(tmp_path, capsys):
    work = tmp_path / "demo"
    (work / "cubes").mkdir(parents=True)
    (work / "demo.json").write_text(json.dumps({"made_by": "eomm demo"}))
    (work / "thesis.txt").write_text("mine")
    assert main(["demo", "--out", str(work), "--overwrite"]) == 2
    assert "holds thesis.txt, which no demo has made" in capsys.readouterr().err and (work / "cubes").is_dir()


def test_a_link_is_not_replaced(stores, tmp_path):
    store = copy(stores["cube"], tmp_path)
    (tmp_path / "current").symlink_to(store)
    with pytest.raises(UsageError, match=r"current: is a link to .*cube, and links are not replaced"):
        replace(tmp_path / "current", "cube")
    assert kind_of(tmp_path / "current") == "cube"
    with pytest.raises(UsageError, match="is no name for a cube"):
        check_free(entered("/"), overwrite=True, kind="cube")
