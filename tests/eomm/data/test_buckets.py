"""Record sets in a bucket; fsspec's file system in memory stands for it, since no bucket is within reach."""

import json
from pathlib import Path

import fsspec
import pytest

from eomm.data.records import open_records
from eomm.data.remote import cache, fetch_records
from eomm.errors import DataError, UsageError
from tests.eomm.tiny import make_records


@pytest.fixture
def local(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_records(tmp_path / "records", train=6, validation=2)


@pytest.fixture
def bucket(local):
    files = fsspec.filesystem("memory")
    files.put(str(local.path), "/bucket/records", recursive=True)
    yield files
    files.rm("/bucket", recursive=True)


@pytest.mark.parametrize("path", ["memory://bucket/records", Path("memory://bucket/records")])
def test_records_are_copied_once_and_checked(local, bucket, path):
    found = open_records(path)
    assert found.data_hash == local.data_hash and found.count("train") == 6 and cache() in found.path.parents
    found.verify()
    assert sorted(p.name for p in found.path.iterdir()) == sorted(p.name for p in local.path.iterdir())
    shard = next(f for f in bucket.ls("/bucket/records", detail=False) if "array_record" in f)
    bucket.rm(shard)
    assert open_records(path).path == found.path, "what lies here is not read again"


def test_a_bucket_whose_content_is_wrong_is_refused_and_nothing_is_kept(bucket):
    shard = next(f for f in bucket.ls("/bucket/records", detail=False) if "array_record" in f)
    bucket.pipe_file(shard, b"damaged")
    with pytest.raises(DataError, match="its content differs from the manifest"):
        open_records("memory://bucket/records")
    bucket.rm(shard)
    with pytest.raises(DataError, match="which its manifest lists"):
        open_records("memory://bucket/records")
    manifest = json.loads(bucket.cat_file("/bucket/records/manifest.json"))
    manifest["files"][0]["name"] = "../../outside"
    bucket.pipe_file("/bucket/records/manifest.json", json.dumps(manifest).encode())
    with pytest.raises(DataError, match="expected names without a folder"):
        open_records("memory://bucket/records")
    bucket.pipe_file("/bucket/records/manifest.json", b"[]")
    with pytest.raises(DataError, match="is no manifest of records"):
        open_records("memory://bucket/records")
    with pytest.raises(DataError, match=r"no manifest.json there"):
        open_records("memory://bucket/none")
    assert not any(cache().iterdir())


def test_an_address_that_nothing_reads_is_refused(local):
    with pytest.raises(UsageError, match=r"eomm\[buckets\]"):
        fetch_records("nosuch://bucket/records")
