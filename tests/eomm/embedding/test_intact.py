"""`eomm verify STORE`: what a store says of itself, compared with what lies on disk."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

from eomm.cli import main
from eomm.data.records import open_records
from eomm.embedding.intact import format_intact, verify_intact
from eomm.errors import DataError
from eomm.models.directory import load_model, save_model
from tests.compatibility.test_v1 import V1
from tests.eomm.embedding.test_store import write
from tests.eomm.site import make_cube, make_model


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A cube, an embedding cube, a model and a record set."""
    folder = tmp_path_factory.mktemp("whole")
    make_cube(folder / "cube", clouds=0.2)
    write(folder / "embedding")
    scale = {"calibration": {"scale": [0.1] * 8}}
    save_model(dataclasses.replace(make_model(), info=scale), folder / "model")
    shutil.unpack_archive(V1 / "records.zip", folder / "records")
    return folder


KINDS = ("cube", "embedding", "model", "records")


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_store_is_called_whole(kind, whole, capsys):
    found = verify_intact(whole / kind)
    assert (
        found["intact"] and found["kind"] == kind and found["compared"] and not found["damage"] and not found["notes"]
    )
    assert main(["verify", str(whole / kind)]) == 0
    assert f"{kind}, whole" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_every_flipped_bit_of_any_file_is_found(kind, whole, tmp_path, capsys):
    rng = np.random.default_rng(0)
    shutil.copytree(whole / kind, tmp_path / "s")
    skipped = ("features.json", "dataset_info.json", "manifest.json", "model.json")  # told apart below
    files = sorted(p for p in (tmp_path / "s").rglob("*") if p.is_file() and p.name not in skipped)
    for i in range(25):
        file = files[i % len(files)]
        content = file.read_bytes()
        if not content:
            continue
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        if is_head(file, content, damaged):
            file.write_bytes(content)
            continue
        try:
            found = verify_intact(tmp_path / "s")
            assert not found["intact"] and found["damage"], file
        except DataError as e:  # the head itself can no longer be read
            assert file.name == "zarr.json", e
        file.write_bytes(content)
    assert verify_intact(tmp_path / "s")["intact"]
    files[0].unlink()
    assert main(["verify", str(tmp_path / "s")]) == 1
    assert "DAMAGED" in capsys.readouterr().out


def is_head(file, content, damaged):
    """Whether a flip in a group's head changes nothing that is read: its consolidated copy of its arrays' heads."""
    if file.name != "zarr.json" or b"consolidated_metadata" not in content:
        return False
    try:
        a, b = json.loads(content), json.loads(damaged)
    except ValueError:
        return False
    return a["attributes"] == b.get("attributes")


def test_damage_is_told_by_file(whole, tmp_path):
    shutil.copytree(whole / "embedding", tmp_path / "e")
    lost, swapped = tmp_path / "e/valid/c/0/0/0", tmp_path / "e/embedding/c/1/0/0/0"
    lost.unlink()
    shutil.copy(tmp_path / "e/embedding/c/0/0/0/0", swapped)  # another shard: every chunk's checksum is right
    (tmp_path / "e/flags/c/9").mkdir()
    (tmp_path / "e/flags/c/9/0").write_bytes(b"?")
    found = verify_intact(tmp_path / "e")
    assert found["damage"] == [f"{swapped}: holds something else than was written", f"{lost}: missing"]
    assert "DAMAGED in 2 places" in format_intact(found)


def test_an_acquisition_of_an_old_cube_is_compared_with_its_digest(tmp_path):
    shutil.unpack_archive(V1 / "cube.zip", tmp_path / "c.zarr")
    found = verify_intact(tmp_path / "c.zarr")
    assert found["intact"] and any("digests of 12 acquisitions" in c for c in found["compared"])
    assert any("lists no files" in note for note in found["notes"])
    shutil.rmtree(tmp_path / "c.zarr/s2/values/c/0/0/0")
    found = verify_intact(tmp_path / "c.zarr")
    assert not found["intact"] and re.search(
        r"s2: acquisition 0 \(day 18386\) holds something else", found["damage"][0]
    )


def test_an_old_embedding_is_read_through(tmp_path):
    shutil.unpack_archive(V1 / "int8.zip", tmp_path / "e.zarr")
    assert verify_intact(tmp_path / "e.zarr")["intact"]
    file = next(p for p in (tmp_path / "e.zarr/embedding/c").rglob("*") if p.is_file())
    file.write_bytes(file.read_bytes()[:-100])
    assert "cannot be read" in verify_intact(tmp_path / "e.zarr")["damage"][0]


@pytest.mark.parametrize("name", ["../other", "a/b", "..", "", "/etc/passwd", "a\\b", 7, None])
def test_a_manifest_that_names_files_elsewhere_is_refused(name, whole, tmp_path):
    shutil.copytree(whole / "records", tmp_path / "r")
    manifest = json.loads((tmp_path / "r/manifest.json").read_text())
    manifest["files"][0]["name"] = name
    (tmp_path / "r/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        DataError,
        match=r"r/manifest\.json: (names a file .*; expected names without a folder|files/0/name is .*, expected text)",
    ):
        open_records(tmp_path / "r")


WRONG = (0.0, -1, float("nan"), float("inf"), "1", None, True)


@pytest.mark.parametrize("scale", [[0.1] * 7, [0.1] * 9, *([0.1] * 7 + [wrong] for wrong in WRONG), "0.1", None, {}])
def test_a_model_whose_scales_are_none_is_refused(scale, whole, tmp_path):
    shutil.copytree(whole / "model", tmp_path / "m")
    head = json.loads((tmp_path / "m/model.json").read_text())
    head["info"] = {"calibration": {"scale": scale}}
    (tmp_path / "m/model.json").write_text(json.dumps(head))
    with pytest.raises(DataError, match=r"m/model\.json, info/calibration: scale.* is .*expected"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("what", ["nothing", "a file", "an export", "a folder"])
def test_what_bears_no_digest_is_refused(what, tmp_path):
    if what == "a file":
        (tmp_path / "s").write_text("x")
    elif what != "nothing":
        (tmp_path / "s").mkdir()
    if what == "an export":
        (tmp_path / "s/manifest.json").write_text('{"eomm:kind": "export"}')
    with pytest.raises(DataError, match=r"s: .*; expected a cube, record set, embedding cube or model"):
        verify_intact(tmp_path / "s")


def test_records_that_were_replaced_since_they_were_opened_are_told(whole, tmp_path):
    shutil.copytree(whole / "records", tmp_path / "r")
    records = open_records(tmp_path / "r")
    records.check_unchanged()
    manifest = json.loads((tmp_path / "r/manifest.json").read_text())
    manifest["files"][0]["sha256"] = "0" * 64
    (tmp_path / "r/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="was replaced since it was opened"):
        records.check_unchanged()
