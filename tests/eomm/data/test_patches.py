import dataclasses

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from eomm.data.modality import SENTINEL1, SENTINEL1_SIGMA0, SENTINEL2
from eomm.data.records import Codec, PatchShape, finish_records, open_records, shard_name
from eomm.errors import ContractError, DataError
from eomm.store.digest import sha256

SHAPES = {
    "s2": PatchShape(modality=SENTINEL2, acquisitions=5, height=16, width=16),
    "s1": PatchShape(modality=SENTINEL1, acquisitions=7, height=16, width=16),
}


def random_patch(rng):
    patch = {"site": "nærum", "row": 3, "col": int(rng.integers(100))}
    for name, shape in SHAPES.items():
        patch[name] = {
            field: rng.integers(0, 100, dims).astype(dtype) for field, (dims, dtype) in shape.fields().items()
        }
    return patch


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    path = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    patches = [random_patch(rng) for _ in range(6)]
    files = []
    for split, chosen in {"train": patches[:4], "test": patches[4:]}.items():
        for i in range(2):
            name, part = shard_name(split, i, 2), chosen[i::2]
            writer = ArrayRecordWriter(str(path / name), "group_size:1")
            for p in part:
                writer.write(Codec(SHAPES).encode(p))
            writer.close()
            size = (path / name).stat().st_size
            files.append(
                {"name": name, "split": split, "records": len(part), "bytes": size, "sha256": sha256(path / name)}
            )
    finish_records(path, shapes=SHAPES, files=files, manifest={})
    return path, patches


def assert_same(a, b):
    assert (a["site"], a["row"], a["col"]) == (b["site"], b["row"], b["col"])
    for name, shape in SHAPES.items():
        for field in shape.fields():
            assert a[name][field].dtype == b[name][field].dtype
            np.testing.assert_array_equal(a[name][field], b[name][field])


def test_a_patch_survives_bytes_exactly():
    patch = random_patch(np.random.default_rng(1))
    assert_same(Codec(SHAPES).decode(Codec(SHAPES).encode(patch)), patch)


def test_tensorflow_datasets_opens_the_set(records):
    path, patches = records
    source = tfds.builder_from_directory(path).as_data_source()
    assert len(source["train"]) == 4 and len(source["test"]) == 2
    np.testing.assert_array_equal(source["train"][0]["s2"]["values"], patches[0]["s2"]["values"])


def test_opening_checks_contract_split_and_size(records, tmp_path):
    path, _ = records
    opened = open_records(path, expect={"s2": SENTINEL2})
    assert opened.count("train") == 4 and len(opened.files("test")) == 2 and opened.shapes == SHAPES
    opened.verify()
    with pytest.raises(ContractError, match="calibration"):
        open_records(path, expect={"s1": SENTINEL1_SIGMA0})
    with pytest.raises(DataError, match="no split 'validation'"):
        opened.files("validation")
    with pytest.raises(DataError, match=r"without a finished store.*expected a record set"):
        open_records(tmp_path)


def test_a_truncated_or_changed_shard_is_named(records, tmp_path):
    import shutil

    path = tmp_path / "r"
    shutil.copytree(records[0], path)
    shard = open_records(path).files("train")[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(DataError, match=shard.name):
        open_records(path).files("train")
    shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=shard.name):
        open_records(path).verify()


def test_a_patch_of_another_shape_is_refused():
    patch = random_patch(np.random.default_rng(1))
    patch["s1"]["day"] = patch["s1"]["day"].astype(np.int64)
    with pytest.raises(DataError, match="s1/day is int64"):
        Codec(SHAPES).encode(patch)
    assert dataclasses.replace(SHAPES["s2"], width=8) != SHAPES["s2"]
