import importlib.util

import pytest

from benchmarks import peers
from eomm.errors import UsageError


def test_the_batches_with_most_vectors_are_given():
    rows = [
        {"batch": 16, "seconds": 0.2, "cpu_seconds": 0.16},
        {"batch": 64, "seconds": 0.4, "cpu_seconds": 0.8},
        {"batch": 256, "seconds": 3.2, "cpu_seconds": 6.0},
    ]
    assert peers.summary(rows, flop=50e6) == pytest.approx(
        {
            "vectors_per_second": 160,
            "vectors_per_cpu_second": 100,
            "batch": 64,
            "mflop_per_vector": 50,
            "gflop_per_second": 8,
        }
    )


def test_a_peer_must_be_named():
    with pytest.raises(UsageError, match="--presto DIR"):
        peers.run(checkouts={}, repeats=1)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_torch_it_is_said_what_to_install(tmp_path):
    with pytest.raises(UsageError, match="pip install 'eomm\\[torch\\]'"):
        peers.main(["--presto", str(tmp_path)])


def test_a_folder_that_is_no_checkout_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"single_file_presto\.py does not exist"):
        peers.load(tmp_path, "single_file_presto")


def test_a_module_of_a_checkout_finds_its_neighbours_and_says_what_it_lacks(tmp_path):
    (tmp_path / "parts.py").write_text("SIZE = 3\n")
    (tmp_path / "model.py").write_text("from .parts import SIZE\n")
    (tmp_path / "other.py").write_text("import no_such_package_anywhere\n")
    assert peers.load(tmp_path, "model").SIZE == 3
    with pytest.raises(UsageError, match=r"other\.py needs no_such_package_anywhere"):
        peers.load(tmp_path, "other")
