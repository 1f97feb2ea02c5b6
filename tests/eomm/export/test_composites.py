"""Composites are means over the dates that have a vector."""

from datetime import date

import numpy as np
import pytest
import rasterio
import xarray as xr

from eomm.cli.info import describe
from eomm.data.attributes import attributes_of
from eomm.data.grid import to_date
from eomm.embedding.run import open_embedding
from eomm.export.frames import period_of
from eomm.export.options import ExportOptions
from eomm.export.run import export
from tests.eomm.export.by_hand import masked, means_by_hand
from tests.eomm.site import DAYS


def test_int16_means_are_finer_than_the_store(stores, tmp_path):
    done = export(stores["int8"], tmp_path / "out", ExportOptions(to="cog", composite="season"))
    assert done["dtype"] == "int16"
    for name, (_, mean, _) in zip(done["files"][::2], means_by_hand(masked(stores["int8"]), "season"), strict=True):
        with rasterio.open(tmp_path / "out" / name) as file:
            assert set(file.dtypes) == {"int16"} and file.nodata == -32768
            raw = np.moveaxis(file.read().astype(float), 0, -1)
            found = np.where(raw == file.nodata, np.nan, raw * np.array(file.scales))
        np.testing.assert_array_equal(np.isnan(found), np.isnan(mean))
        assert np.nanmax(np.abs(found - mean) / (np.array(file.scales) * 256)) <= 0.51 / 256


def test_a_composite_of_int8_is_int8_with_the_same_scales(stores, tmp_path):
    export(stores["int8"], tmp_path / "c.zarr", ExportOptions(to="zarr", composite="season"))
    ds, scale = open_embedding(tmp_path / "c.zarr").load(), np.linspace(0.02, 0.05, 8)
    stored = open_embedding(tmp_path / "c.zarr", decode=False)
    assert stored["embedding"].dtype == np.int8
    np.testing.assert_array_equal(stored["embedding"] == -128, np.repeat(~ds["valid"].values[..., None], 8, axis=-1))
    for i, (_, mean, count) in enumerate(means_by_hand(masked(stores["int8"]), "season")):
        error = np.abs(ds["embedding"].values[i] - np.where(count[..., None] > 0, mean, np.nan))
        assert (error <= 0.501 * scale)[count > 0].all() and np.isnan(error[count == 0]).all()
    again = export(tmp_path / "c.zarr", tmp_path / "y.zarr", ExportOptions(to="zarr", composite="year"))
    assert again["frames"] == ["2018"] and again["dtype"] == "int8", "a composite is an embedding cube"


def test_periods_end_where_the_next_begins():
    assert period_of(date(2020, 2, 29), "month") == ("2020-02", 18293, 18321)
    assert period_of(date(2019, 12, 31), "season") == ("2020-DJF", 18231, 18321)
    assert period_of(date(2020, 1, 1), "season") == period_of(date(2020, 2, 29), "season")[:3]
    assert period_of(date(2020, 11, 30), "season") == ("2020-SON", 18506, 18596)
    assert period_of(date(2020, 12, 1), "year") == ("2020", 18262, 18627)
    assert period_of(date(2020, 12, 1), "month") == ("2020-12", 18597, 18627)


@pytest.mark.parametrize("composite", ["month", "season", "year"])
def test_a_composite_is_the_mean_over_the_dates_that_have_a_vector(composite, stores, tmp_path, small):
    out = tmp_path / "c.zarr"
    done = export(stores["clear"], out, ExportOptions(to="zarr", composite=composite))
    ds, want = open_embedding(out).load(), list(means_by_hand(masked(stores["clear"]), composite))
    assert done["frames"] == [name for name, *_ in want] and ds.sizes["time"] == len(want)
    np.testing.assert_array_equal(ds["dates"], [count for *_, count in want])
    np.testing.assert_array_equal(ds["valid"], [count > 0 for *_, count in want])
    np.testing.assert_allclose(ds["embedding"].where(ds["valid"]), [mean for _, mean, _ in want], atol=1e-6)
    assert np.isnan(ds["embedding"].values[~ds["valid"].values]).all()
    assert attributes_of(ds)["eomm:export"]["composite"] == composite
    first, after = (np.asarray(ds["time_bounds"][:, i]).astype("datetime64[D]") for i in (0, 1))
    np.testing.assert_array_equal(ds["time"].values.astype("datetime64[D]"), first)
    days = np.array(DAYS, "datetime64[D]")
    assert sum(((days >= a) & (days < b)).sum() for a, b in zip(first, after, strict=True)) == len(DAYS)
    info = describe(out)
    assert info["complete"] and info["simulated"] and info["arrays"]["dates"].startswith("uint16")
    with xr.open_zarr(out) as plain:  # consolidated metadata are there: no warning
        assert "32631" in plain["spatial_ref"].attrs["crs_wkt"]


def test_a_composite_counts_few_dates_and_none(stores, tmp_path):
    done = export(
        stores["clear"], tmp_path / "m", ExportOptions(to="cog", composite="month", dates=(to_date(DAYS[0]),) * 2)
    )
    assert done["files"] == ["site_one_2018-03.tif", "site_one_2018-03_dates.tif"]
    with rasterio.open(tmp_path / "m" / done["files"][0]) as a, rasterio.open(tmp_path / "m" / done["files"][1]) as b:
        mean, count = np.moveaxis(a.read(), 0, -1), b.read(1)
        assert b.descriptions == ("dates",) and b.dtypes == ("uint16",) and b.nodata == 0
        assert a.tags()["date"] == "2018-03-01" and a.tags()["last_date"] == "2018-03-31"
    np.testing.assert_array_equal(mean, masked(stores["clear"])[0])
    np.testing.assert_array_equal(count, np.isfinite(mean[..., 0]))
    assert (count == 0).any() and (count == 1).any()
