"""(Kind of file) x (key missing, of a wrong type, NaN, negative, huge): a message that names the file, no traceback."""

import json
import random
import tomllib

import pytest
from ml_collections import ConfigDict

from data_prep.fetch.run import read_note
from data_prep.mappings import mapping as mappings
from data_prep.sites.units import status as sites_status
from eomm.cli import main
from eomm.cli.info import describe
from eomm.cli.info_words import format_info
from eomm.data import described
from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.embedding.store import open_embedding
from eomm.embedding.units import status
from eomm.errors import ContractError, DataError, EommError, UsageError
from eomm.export.frames import Frames
from eomm.models.directory import load_model
from eomm.report.data import read_metrics
from eomm.store.fields import Fields, ListOf, Maybe, Number, TableOf, check
from eomm.store.notes import Notes
from eomm.training.config import load_config
from eomm.training.writers import MetricsLog
from tests.eomm.safety.damage import damaged, text
from tests.eomm.safety.stores import copy

MOST = 120  # cases of each file, drawn by a seed; all of them take minutes


def told(path):
    format_info(describe(path))


def read_records(path):
    return open_records(path).files("train")


def read_cube(path):
    return open_cube(path)["s2"].read()


def read_embedding(path):
    return open_embedding(path)["embedding"].load()


FILES = {
    "model": [("model.json", 4, [load_model, told])],
    "records": [("manifest.json", 4, [read_records, told])],
    "cube": [
        ("zarr.json", 3, [open_cube, told]),
        ("s2/zarr.json", 5, [open_cube, told]),
        ("s2/day/zarr.json", 3, [open_cube]),
        ("s2/values/zarr.json", 3, [read_cube]),
    ],
    "embedding": [
        ("zarr.json", 3, [open_embedding, status, Frames, told]),
        ("time/zarr.json", 3, [Frames, told]),
        ("embedding/zarr.json", 3, [read_embedding, Frames, told]),
    ],
}


@pytest.mark.parametrize(("kind", "number"), [(k, i) for k, files in FILES.items() for i in range(len(files))])
def test_no_damage_of_a_stores_files_ends_in_a_traceback(kind, number, stores, tmp_path):
    name, depth, readers = FILES[kind][number]
    path = copy(stores[kind], tmp_path)
    file = path / name
    before = file.read_text()
    cases = list(damaged(json.loads(before), depth=depth))
    for what, content in random.Random(0).sample(cases, min(MOST, len(cases))):
        file.write_text(text(content))
        for reader in readers:
            try:
                reader(path)
            except EommError as error:
                assert kind in str(error), f"{what}: {error} does not name the file"
            except Exception as error:
                raise AssertionError(f"{name}, {what}: {type(error).__name__}: {error}") from error
    for content in ("", "{", "\x00\x01", '{"a": NaN', "[" * 100_000, "[]", "null"):
        file.write_text(content)
        for reader in readers:
            with pytest.raises(EommError):
                reader(path)


def test_no_damage_of_a_mapping_ends_in_a_traceback(monkeypatch):
    path = mappings.SHIPPED / "fetched_s2.toml"
    table = tomllib.loads(path.read_text())
    for what, content in damaged(table, depth=3):
        if isinstance(content, dict):
            monkeypatch.setattr(described.tomllib, "loads", lambda _, content=content: dict(content))
            try:
                found = mappings.load_mapping(str(path))
            except (ContractError, DataError) as error:
                assert "fetched_s2" in str(error) or "[mask]" in str(error), (what, error)
            else:
                assert isinstance(found.layers, dict)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gsd_m", -10.0),
        ("scale", 0),
        ("scale", float("nan")),
        ("files", "/etc/*"),
        ("files", ""),
        ("files", "../*"),
        ("mask", {"dilation_m": float("nan")}),
        ("mask", {"threshold": -1}),
        ("orbit_cycle_days", -5),
        ("mask", "x"),
    ],
)
def test_nonsense_in_a_mapping_is_refused_by_its_key(key, value, monkeypatch):
    path = mappings.SHIPPED / "fetched_s2.toml"
    table = tomllib.loads(path.read_text())
    table[key] = table[key] | value if isinstance(value, dict) else value
    monkeypatch.setattr(described.tomllib, "loads", lambda _: table)
    with pytest.raises(ContractError, match=next(iter(value)) if isinstance(value, dict) else key):
        mappings.load_mapping(str(path))


@pytest.mark.parametrize(
    "override",
    [
        "save_every=0",
        "log_every=-1",
        "steps=0",
        "seed=-1",
        "optimiser.learning_rate=nan",
        "optimiser.clip=inf",
        "optimiser.learning_rate=-1",
        "encoder.dtype=float31",
        "decoder.dtype=x",
        "data.batch_size=0",
        "data.batch_size=1000000000000",
        "data.threads=-1",
        "objective.hidden=1.5",
        "objective.targets=0",
        "encoder.frames=8",
        "encoder.frames=-1,2",
        "objective.prefixes=0",
        "data.on_bad_record=maybe",
        "mesh.data=-7",
        "optimiser.schedule=quick",
        "decoder.width=0",
        "accumulate=0",
        "objective.sam=nan",
        "steps=99999999999999999999",
        "objective.gap_days=5",
    ],
)
def test_a_configuration_that_cannot_be_is_refused_before_anything_is_read(override, tmp_path, capsys):
    key = override.partition("=")[0]
    with pytest.raises(UsageError, match=rf"config\.{key}: .*expected .*--config.KEY=VALUE"):
        load_config("s2", [override])
    records = "--config.data.records=there-are-none"
    command = ["train", "--config", "s2", "--workdir", str(tmp_path / "run"), records, f"--config.{override}"]
    assert main(command) == 2 and f"config.{key}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_batch_that_no_memory_holds_is_refused_before_compiling(stores, tmp_path, capsys):
    records = f"--config.data.records={stores['records']}"
    command = ["train", "--config", "s2", "--workdir", str(tmp_path / "run"), records]
    assert main([*command, "--config.data.batch_size=16000000"]) == 2
    assert "choose a smaller batch" in capsys.readouterr().err


def test_a_warm_up_longer_than_the_training_is_scaled_and_said(capsys):
    assert load_config("s2", ["steps=60"]).optimiser.warmup_steps == 6
    assert "warmup_steps: 6, not 100, of 60 steps" in capsys.readouterr().err
    assert load_config("s2", ["steps=60", "optimiser.warmup_steps=100"]).optimiser.warmup_steps == 100  # as asked


def test_a_garbage_line_in_the_metrics_is_left_out_and_said(tmp_path, capsys):
    good = ['{"step": 1, "loss": 0.5}', '{"step": 3, "loss": 0.25}']
    bad = ["garbage", "\x00\xff", "[1]", '{"loss": 1}', '{"step": "x"}', '{"step": NaN}', "", "[" * 100_000]
    file = tmp_path / "metrics.jsonl"
    file.write_text("\n".join([good[0], *bad, good[1], '{"step": 4, "loss": NaN, "text": "x"}', '{"step": 5']))
    steps, losses = read_metrics(file)["loss"]
    assert (list(steps), list(losses)) == ([1, 3], [0.5, 0.25])
    assert "left out 8 lines that are no metrics, first 2" in capsys.readouterr().err
    assert describe(tmp_path)["latest"]["step"] == 4
    MetricsLog.open(tmp_path, step=3, config=ConfigDict()).close()
    assert file.read_text().splitlines() == good


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "x", "1e400"])
def test_numbers_of_options_are_finite_and_above_nothing(value, capsys):
    for command in ("embed --out e.zarr --memory", "plan train --config s2 --device H100 --read-gb"):
        with pytest.raises(SystemExit):
            main([*command.split(), value])
        assert "expected a" in capsys.readouterr().err
    for command in ("embed --out e.zarr --workers", "export e.zarr --to cog --out o --stride"):
        if value != "0":
            with pytest.raises(SystemExit):
                main([*command.split(), value])
            assert "expected a whole number" in capsys.readouterr().err


def test_lists_of_sites_and_of_what_was_fetched(tmp_path):
    sites = {"eomm:kind": "sites", "sites": [{"name": "a", "lon": 3.0, "lat": 50.0}]}
    item = {"state": "complete", "files": [{"name": "a.tif", "bytes": 3, "sha256": "0"}]}
    for name, whole, read in (
        ("sites.json", sites, lambda: sites_status(tmp_path)),
        ("i.json", item, lambda: read_note(Notes(tmp_path), "i")),
    ):
        for _, content in damaged(whole):
            (tmp_path / name).write_text(text(content))
            try:
                read()
            except EommError as error:
                assert name in str(error)


def test_a_description_says_where_what_and_what_else():
    kind = Fields({"a": Number(low=1, high=5, whole=True), "b?": ListOf(of=str, count=2), "c?": Maybe(TableOf(float))})
    assert check({"a": 3, "b": ["x", "y"], "c": None, "d": object}, kind, "f", remedy="-")
    for found, words in (
        ([], "it is a list, expected a table"),
        ({}, "a is missing, expected a whole number from 1 to 5"),
        ({"a": True}, "a is True, expected a whole number from 1 to 5"),
        ({"a": 6}, "a is 6, expected a whole number from 1 to 5"),
        ({"a": 1, "b": ["x"]}, r"b is 1 values, expected a list of 2 \(text each\)"),
        ({"a": 1, "b": ["x", 2]}, "b/1 is 2, expected text"),
        ({"a": 1, "c": {"k": float("inf")}}, "c/k is inf, expected a finite number"),
    ):
        with pytest.raises(DataError, match=rf"^f: {words}; mend it$"):
            check(found, kind, "f", remedy="mend it")
