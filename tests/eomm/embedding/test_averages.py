"""Vectors averaged over dates (`eomm embed --average-days`): what is stored equals means of what would be."""

import numpy as np
import pytest

from eomm.cli import main
from eomm.data.attributes import attributes_of
from eomm.embedding.plan import make_plan
from eomm.embedding.run import embed, open_embedding
from eomm.errors import UsageError
from tests import zoo
from tests.eomm.embedding.test_state_layers import first_dates, state_model

WITHIN = 17  # days; acquisitions are 8 days apart, and the first unit ends at the sixteenth


def means(store, days):
    """Vectors [date, y, x, d] of a store of before averaging, averaged in double precision."""
    ds = open_embedding(store, masked=False).load()
    vectors, valid = ds["embedding"].values.astype(np.float64), ds["valid"].values
    day = ds["time"].values.astype("datetime64[D]").astype(int)
    found = np.empty_like(vectors)
    for i in range(len(day)):
        seen = valid & (np.abs(day - day[i]) <= days)[:, None, None]
        seen[i] = True
        found[i] = np.where(seen[..., None], vectors, 0).sum(0) / seen.sum(0)[..., None]
    return found


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    options = {"dtype": "float32", "clear_only": False, "average_days": WITHIN}
    return embed(zoo.model(), zoo.cube(), tmp_path_factory.mktemp("mean") / "e.zarr", **options)


def test_vectors_are_means_over_clear_dates_also_across_units(averaged):
    found = open_embedding(averaged, masked=False).load()
    own = open_embedding(zoo.store("cloudy"), masked=False).load()
    np.testing.assert_allclose(found["embedding"], means(zoo.store("cloudy"), WITHIN), atol=1e-5)
    assert np.abs(found["embedding"] - own["embedding"]).max() > 0.01
    for name in set(map(str, own.data_vars)) - {"embedding"}:
        np.testing.assert_array_equal(found[name], own[name])  # the layers stay the date's own


def test_where_not_clear_they_are_missing_unless_asked_for(averaged, tmp_path):
    path = embed(zoo.model(), zoo.cube(), tmp_path / "e.zarr", dtype="float32", average_days=WITHIN)
    found, whole = open_embedding(path).load(), open_embedding(averaged).load()
    np.testing.assert_array_equal(found["embedding"].isnull().all("feature"), ~found["valid"])
    np.testing.assert_allclose(found["embedding"], whole["embedding"], atol=1e-5)


def test_parts_blocks_and_days_of_no_neighbour_change_nothing(averaged, tmp_path):
    options = {"dtype": "float32", "clear_only": False}
    for i in (1, 0):
        out = tmp_path / "parts.zarr"
        embed(zoo.model(), zoo.cube(), out, **options, average_days=WITHIN, block=16, shard=(i, 2))
    whole = open_embedding(averaged, masked=False)["embedding"].values
    np.testing.assert_allclose(open_embedding(out, masked=False)["embedding"].values, whole, atol=1e-5)
    alone = embed(zoo.model(), zoo.cube(), tmp_path / "alone.zarr", **options, average_days=7)
    own = open_embedding(zoo.store("cloudy"), masked=False)["embedding"].values
    np.testing.assert_allclose(open_embedding(alone, masked=False)["embedding"].values, own, atol=1e-6)


def test_only_dates_of_the_store_are_averaged(tmp_path):
    day = open_embedding(zoo.store("cloudy"))["time"].values.astype("datetime64[D]")
    options = {"dtype": "float32", "clear_only": False, "dates": tuple(day[[4, 9]].tolist())}
    own = embed(zoo.model(), zoo.cube(), tmp_path / "own.zarr", **options)
    path = embed(zoo.model(), zoo.cube(), tmp_path / "e.zarr", **options, average_days=WITHIN)
    np.testing.assert_allclose(open_embedding(path, masked=False)["embedding"], means(own, WITHIN), atol=1e-5)


def test_dates_that_came_change_the_means_near_them(tmp_path):
    early, late = (first_dates(n, tmp_path / f"{n}.zarr") for n in (17, 20))
    model, options = state_model(), {"dtype": "float32", "average_days": WITHIN}
    out = embed(model, early, tmp_path / "e.zarr", **options)
    embed(model, late, out, append=True, **options)
    anew = embed(model, late, tmp_path / "anew.zarr", **options)
    a, b = (open_embedding(p).load() for p in (out, anew))
    np.testing.assert_allclose(a["embedding"], b["embedding"], atol=1e-6)  # other dates at hand, another order of sums
    continued = attributes_of(a)["provenance"]["continued"]
    assert (continued["kept"], len(continued["changed"])) == (12, 5)  # three whose windows changed, two near those
    with pytest.raises(UsageError, match="average_days 17 there, None now"):
        embed(model, late, out, append=True, dtype="float32")


def test_the_store_says_over_which_dates(averaged):
    ds = open_embedding(averaged)
    assert attributes_of(ds)["provenance"]["average_days"] == WITHIN
    assert f"clear dates at most {WITHIN} days away" in ds["embedding"].attrs["long_name"]
    plain = open_embedding(zoo.store("cloudy"))
    assert "mean" not in plain["embedding"].attrs["long_name"]
    assert "average_days" not in attributes_of(plain)["eomm:request"]
    with pytest.raises(UsageError, match="average_days is -1"):
        make_plan(zoo.model(), zoo.cube(), average_days=-1)


def test_memory_counts_the_dates_that_are_averaged():
    plans = [make_plan(zoo.model(), zoo.cube(), average_days=days) for days in (0, WITHIN)]
    assert plans[1].memory_bytes() > plans[0].memory_bytes()


def test_the_command_averages(averaged, tmp_path, capsys):
    out = tmp_path / "e.zarr"
    arguments = ["--cube", zoo.cube().path, "--out", out, "--dtype", "float32", "--cloudy", "--average-days", WITHIN]
    assert main(["embed", "--model", str(zoo.model_directory()), *map(str, arguments), "--json"]) == 0
    capsys.readouterr()
    a, b = (open_embedding(p, masked=False)["embedding"].values for p in (out, averaged))
    np.testing.assert_array_equal(a, b)
