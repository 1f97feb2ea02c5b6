"""One bit of any file of a store, or a whole file, is lost: `eomm verify` tells; readers refuse, or read the same."""

import random

import numpy as np
import pytest

from eomm.data.cube import open_cube
from eomm.data.records import open_records
from eomm.embedding.intact import verify_intact
from eomm.embedding.store import open_embedding
from eomm.errors import EommError
from eomm.models.directory import load_model
from tests.eomm.safety.stores import copy

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
