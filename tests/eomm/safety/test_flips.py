"""One bit of any file of a store, or a whole file, is lost: `eomm verify` tells; readers refuse, or read the same."""

import json
import random
import struct

import numpy as np
import pytest

from eomm.cli.info import describe
from eomm.cli.info_words import format_info
from eomm.data.attributes import to_deep, to_flat
from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.embedding.intact import verify_intact
from eomm.embedding.store import open_embedding
from eomm.errors import EommError
from eomm.models.directory import load_model, unflatten
from eomm.store.shards import ATTRIBUTE
from tests.eomm.safety.stores import change_json, copy

UNLISTED = ("CARD.md", "dataset_info.json", "features.json", "manifest.json")  # words; and the heads of record sets
READ = {
    "cube": lambda path: np.concatenate([np.ravel(a) for g in open_cube(path).groups.values() for a in g.read()]),
    "embedding": lambda path: open_embedding(path)["embedding"].values,
    "records": lambda path: open_records(path).files("train") and None,
    "model": lambda path: load_model(path) and None,
}


def whole(path):
    """What verification says; damage so large that nothing opens is damage."""
    try:
        return verify_intact(path)["intact"]
    except EommError:
        return False


@pytest.mark.parametrize("kind", READ)
def test_every_file_of_a_store_is_watched(kind, stores, tmp_path):
    path = copy(stores[kind], tmp_path)
    before = READ[kind](path)
    rng = random.Random(0)
    files = [p for p in sorted(path.rglob("*")) if p.is_file() and p.name not in UNLISTED]
    assert whole(path) and len(files) >= 2
    for file in files:
        name, content = str(file.relative_to(path)), file.read_bytes()
        for _ in range(12 if file.name in ("zarr.json", "model.json") else 1):
            flipped = bytearray(content)
            at = rng.randrange(len(content))
            flipped[at] ^= 1 << rng.randrange(8)
            file.write_bytes(flipped)
            assert not whole(path) or is_blank(content, flipped), f"a bit of {name} went unseen, at {at}"
            same_or_refused(kind, path, before, name)
        file.unlink()
        assert not whole(path), f"{name} went missing unseen"
        same_or_refused(kind, path, before, name)
        file.write_bytes(content[: len(content) // 2])
        assert not whole(path), f"half of {name} went missing unseen"
        same_or_refused(kind, path, before, name)
        file.write_bytes(content)
    assert whole(path)


def is_blank(content, flipped):
    """Whether JSON says the same: a space became another, or a sign of a head that says nothing of its arrays."""
    return content.split() == bytes(flipped).split()


def same_or_refused(kind, path, before, name):
    try:
        found = READ[kind](path)
    except EommError:
        return
    if before is not None:
        np.testing.assert_array_equal(found, before, err_msg=f"{name} is damaged, and other numbers are read")


@pytest.mark.parametrize("name", ["../cube", "/etc", "..", "", "s2/values"])
def test_a_group_that_lists_what_lies_elsewhere_is_refused(name, stores, tmp_path):
    path = copy(stores["embedding"], tmp_path)
    change_json(path / "zarr.json", lambda head: head["attributes"].update(listed_with(head["attributes"], name)))
    with pytest.raises(EommError, match=r"zarr.json: lists the array .*expected names without a folder"):
        open_embedding(path)
    assert any("lists the array" in line for line in verify_intact(path)["damage"])


def listed_with(attributes, name):
    deep = to_deep(attributes)
    deep[ATTRIBUTE][name] = "0" * 8
    return to_flat(deep)


@pytest.mark.parametrize("shape", [[10**30, 24, 24, 8], [10**9, 24, 24, 8], [0.5, 24, 24, 8], [24], "x", None])
def test_an_array_of_an_impossible_shape_is_damage_at_once(shape, stores, tmp_path):
    path = copy(stores["embedding"], tmp_path)
    change_json(path / "embedding/zarr.json", lambda head: head.update(shape=shape))
    assert not verify_intact(path)["intact"]
    with pytest.raises(EommError, match="embedding"):
        open_embedding(path)


def write_safetensors(file, head, body, length=None):
    text = json.dumps(head).encode()
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def first(head, **change):
    name = next(k for k in head if k != "__metadata__")
    return {**head, name: {**head[name], **change}}


def renamed(head, to):
    name = next(k for k in head if k != "__metadata__")
    return {to(k) if k == name else k: v for k, v in head.items()}


SPOILT = {
    "header cut": lambda f, h, b: f.write_bytes(f.read_bytes()[:20]),
    "empty": lambda f, h, b: f.write_bytes(b""),
    "header of 4 EiB": lambda f, h, b: write_safetensors(f, h, b, length=2**62),
    "no JSON": lambda f, h, b: f.write_bytes(struct.pack("<Q", 5) + b"hello"),
    "a huge shape": lambda f, h, b: write_safetensors(f, first(h, shape=[10**12, 10**12]), b),
    "a negative shape": lambda f, h, b: write_safetensors(f, first(h, shape=[-1]), b),
    "another dtype": lambda f, h, b: write_safetensors(f, first(h, dtype="I8"), b),
    "body cut": lambda f, h, b: write_safetensors(f, h, b[:-10]),
    "NaN": lambda f, h, b: write_safetensors(f, h, b"\xff" * len(b)),
    "one missing": lambda f, h, b: write_safetensors(f, renamed(h, lambda k: "q"), b),
    "a path out": lambda f, h, b: write_safetensors(f, renamed(h, lambda k: f"../../{k}"), b),
    "a path of 3000": lambda f, h, b: write_safetensors(f, renamed(h, lambda k: "/".join("a" * 3000)), b),
    "a folder": lambda f, h, b: (f.unlink(), f.mkdir()),
    "nothing": lambda f, h, b: f.unlink(),
}


@pytest.mark.parametrize("how", SPOILT)
def test_spoilt_parameters_are_refused_by_their_file(how, stores, tmp_path):
    path = copy(stores["model"], tmp_path)
    file = path / "params.safetensors"
    content = file.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    SPOILT[how](file, json.loads(content[8 : 8 + size]), content[8 + size :])
    with pytest.raises(EommError, match="model"):
        load_model(path)
    assert not whole(path)
    format_info(describe(path))


def test_paths_that_are_no_tree_are_refused():
    array = np.zeros(1, np.float32)
    for names in (("a", "a/b"), ("a/b", "a"), ("/".join("a" * 40),)):
        with pytest.raises(ValueError, match="is no path of a network's parameters"):
            unflatten(dict.fromkeys(names, array))
