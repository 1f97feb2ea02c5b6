"""What containers can state of their numbers comes back as it was written, whatever it is."""

import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.mappings.mapping import load_mapping
from data_prep.readers import open_scenes
from data_prep.readers.stated import agreed, plain_unit
from eomm.errors import ContractError, DataError
from tests.data_prep.tiny_safe import IDS, numbers, write_safe
from tests.data_prep.tiny_scenes import NAMES, NORTH, START, WEST, write_netcdf, write_tiff

S2 = load_mapping("simulated_s2")
STACK = replace(S2, reader="netcdf", files="*.nc", time="t", bands={"B02": "B02", "B04": "B04"}, mask=None)
H5 = replace(load_mapping("forest_s2"), bands={"B02": "data/0", "B04": "data/1"}, mask=None, products="names")
PRODUCT = "S2A_MSIL2A_20200102T102421_N0213_R065_T32UNC_20200102T115419"
TIMES = ["2019-04-01T10:00:00", "2019-04-06T10:00:00"]
often = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
scales = st.sampled_from([1e-4, 2e-4, 0.01, 2.75e-5, 3.0])
offsets = st.sampled_from([-0.1, -0.2, 0.05, 273.15])
units = st.sampled_from(["reflectance", "1", "%", "dB", "K", "W m-2 sr-1 um-1"])
fills = st.integers(1, 2**16 - 1)
stated = st.fixed_dictionaries({
    "scale": st.none() | scales, "offset": st.none() | offsets, "unit": st.none() | units, "fill": st.none() | fills,
})  # fmt: skip
CF = {"scale": "scale_factor", "offset": "add_offset", "unit": "units", "fill": "_FillValue"}


def attributes(what):
    found = {CF[k]: v for k, v in what.items() if v is not None}
    return found | ({"_FillValue": np.uint16(what["fill"])} if what["fill"] is not None else {})


def came_back(numbers, what):
    assert numbers.scale == (None if what["scale"] is None else pytest.approx(what["scale"], rel=1e-12))
    assert numbers.offset == (None if what["offset"] is None else pytest.approx(what["offset"], rel=1e-12))
    assert numbers.unit == what["unit"]
    assert numbers.fill == (() if what["fill"] is None else (what["fill"],))


def one(path, mapping):
    with ExitStack() as stack:
        return open_scenes([Path(path)], mapping, stack)[0]


def tiff(path, bands=1, **tags):
    arrays = [np.full((4, 4), 500, np.uint16)] * bands
    return write_tiff(path, arrays, names=["B02", "B04"][:bands], gsd=10, tags={"DATETIME": "2019-04-01"} | tags)


@often
@given(a=stated, b=stated)
def test_geotiff_round_trip_band_by_band(tmp_path, a, b):
    path = tiff(tmp_path / "S2.tif", bands=2)
    with rasterio.open(path, "r+") as file:
        file.nodata = a["fill"] = b["fill"] = a["fill"] or 0  # GeoTIFF has one for all bands
        file.scales = [w["scale"] or 1 for w in (a, b)]
        file.offsets = [w["offset"] or 0 for w in (a, b)]
        for i, w in enumerate((a, b), 1):
            if w["unit"]:
                file.set_band_unit(i, w["unit"])
    scene = one(path, S2)
    for band, w in (("B02", a), ("B04", b)):
        if w["scale"] is None and w["offset"] is not None:
            w["scale"] = 1  # an offset without a scale is of numbers as they are
        came_back(scene.numbers[band], w)


@often
@given(a=stated, b=stated, unsigned=st.booleans())
def test_netcdf_round_trip_variable_by_variable(tmp_path, a, b, unsigned):
    kind, more = (np.int16, {"_Unsigned": "true"}) if unsigned else (np.uint16, {})
    both = [attributes(w) | more for w in (a, b)]
    if unsigned:
        both = [w | ({"_FillValue": w["_FillValue"].view(np.int16)} if "_FillValue" in w else {}) for w in both]
    variables = {n: (np.full((2, 4, 4), 500, kind), w) for n, w in zip(("B02", "B04"), both, strict=True)}
    path = write_netcdf(tmp_path / "a.nc", variables=variables, times=TIMES, time="t")
    scene = one(path, STACK)
    came_back(scene.numbers["B02"], a), came_back(scene.numbers["B04"], b)


@often
@given(a=stated, b=stated, zarr_format=st.sampled_from([2, 3]))
def test_zarr_round_trip_variable_by_variable(tmp_path, a, b, zarr_format):
    x, y = WEST + 10 * (np.arange(4) + 0.5), NORTH - 10 * (np.arange(4) + 0.5)
    data = xr.Dataset(
        {n: (("t", "y", "x"), np.full((2, 4, 4), 500, np.uint16), attributes(w)) for n, w in (("B02", a), ("B04", b))},
        coords={"t": np.array(TIMES, "M8[ns]"), "y": y, "x": x},
        attrs={"epsg": 32631},
    )
    data.to_zarr(tmp_path / "a.zarr", mode="w", zarr_format=zarr_format, consolidated=zarr_format == 2)
    scene = one(tmp_path / "a.zarr", replace(STACK, reader="zarr", files="*.zarr"))
    came_back(scene.numbers["B02"], a), came_back(scene.numbers["B04"], b)


@often
@given(a=stated, several=st.booleans())
def test_hdf5_round_trip_of_a_data_set_and_of_its_channels(tmp_path, a, several):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", data=np.full((1, 2, 4, 4), 500, np.uint16))
        data.attrs.update(attributes(a))
        file["names"] = [PRODUCT.encode()]
        if several:
            data.attrs["scale_factor"] = [1e-4, 5e-4]
    scene = one(path, H5)
    for k, band in enumerate(("B02", "B04")):
        came_back(scene.numbers[band], a | ({"scale": (1e-4, 5e-4)[k]} if several else {}))


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    return write_safe(tmp_path_factory.mktemp("safe"), START, size=8, baseline="05.09")


@often
@given(quantification=st.sampled_from([1000, 10_000, 20_000]), offsets=st.lists(st.integers(-2000, 500), min_size=13,
       max_size=13), special=st.integers(2, 65535))  # fmt: skip
def test_safe_round_trip_of_quantification_offsets_and_special_values(safe, quantification, offsets, special):
    file = safe / "MTD_MSIL2A.xml"
    text = re.sub(r"(BOA_QUANT[^>]*>)[0-9]+", rf"\g<1>{quantification}", file.read_text())
    text = re.sub(r'band_id="(\d+)">-?\d+<', lambda m: f'band_id="{m[1]}">{offsets[int(m[1])]}<', text)
    text = re.sub(r"(SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>)\d+", rf"\g<1>{special}", text)
    file.write_text(text)
    mapping = replace(load_mapping("safe_s2"), scale=1 / quantification, fill=(), clipped=())
    scene = one(safe, mapping)
    assert all(n.scale == 1 / quantification and n.fill == (0, special) for n in scene.numbers.values())
    for band in ("B02", "B8A", "B12"):
        number = numbers(band, NAMES.index(band), 8 if band == "B02" else 4, 1000)
        expected = np.where(number == special, np.nan, (number + float(offsets[IDS[band]])) / quantification)
        np.testing.assert_allclose(scene.read(band), expected, atol=1e-5)


def test_a_product_that_states_offsets_of_some_bands_alone_is_refused(tmp_path):
    cut = lambda text: re.sub(r'<BOA_ADD_OFFSET band_id="8">[^/]*/BOA_ADD_OFFSET>', "", text)  # noqa: E731
    product = write_safe(tmp_path, START, size=8, baseline="05.09", xml=cut)
    with pytest.raises(DataError, match=r"SAFE: states BOA_ADD_OFFSET of other bands, but not of B8A_20m"):
        one(product, load_mapping("safe_s2"))


@pytest.mark.parametrize("place", ["field", "band tag", "file tag", "scale_factor", "quantification"])
def test_a_geotiff_states_a_scale_in_any_of_its_places(tmp_path, place):
    path = tiff(tmp_path / "S2.tif")
    with rasterio.open(path, "r+") as file:
        if place == "field":
            file.scales = [2e-4]
        elif place == "quantification":
            file.update_tags(BOA_QUANTIFICATION_VALUE="5000")
        else:
            name = "scale_factor" if place == "scale_factor" else "SCALE"
            file.update_tags(**({"bidx": 1} if place != "file tag" else {}), **{name: "0.0002"})
    assert one(path, S2).numbers["B02"].scale == pytest.approx(2e-4)


def test_a_file_that_contradicts_itself_is_refused(tmp_path):
    path = tiff(tmp_path / "S2.tif", SCALE="0.0001")
    with rasterio.open(path, "r+") as file:
        file.scales = [2e-4]
    with pytest.raises(ContractError, match=r"S2.tif, band 1: contradicts itself: its scale is 0.0002 by .* 0.0001 by"):
        one(path, S2)
    assert one(tiff(tmp_path / "S2_b.tif", SCALE="1:10000"), S2).numbers["B02"].scale is None  # somebody's words
    with pytest.raises(DataError, match=r"tag SCALE_FACTOR is 'small', expected a number"):
        one(tiff(tmp_path / "S2_c.tif", SCALE_FACTOR="small"), S2)
    path = write_netcdf(
        tmp_path / "a.nc", variables={"B02": (np.ones((2, 4, 4)), {"grid_mapping": "where"})}, times=TIMES, time="t"
    )
    with xr.open_dataset(path) as data:
        wkt = rasterio.CRS.from_epsg(32632).to_wkt()
        data.load().assign(where=xr.DataArray(0, attrs={"crs_wkt": wkt})).to_netcdf(tmp_path / "b.nc")
    with pytest.raises(ContractError, match=r"b.nc: contradicts itself: .* EPSG:32632 by its variable where .*31"):
        one(tmp_path / "b.nc", STACK)


def test_two_statements_of_one_number_agree_up_to_their_precision():
    assert agreed([("a", float(np.float32(1e-4))), ("b", None), ("c", 1e-4)], where="f", what="scale") is not None
    assert agreed([], where="f", what="scale") is None


@pytest.mark.parametrize(("a", "b"), [("m/s", "m s**-1"), ("K", "Kelvin"), ("percent", "%"), ("DB", "decibel")])
def test_units_are_the_same_in_other_spellings(a, b):
    assert plain_unit(a) == plain_unit(b) and plain_unit(a) != plain_unit("m")


def test_a_mask_of_a_geotiff_says_where_there_is_no_data(tmp_path):
    path = tmp_path / "S2.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_tiff(path, [np.full((4, 4), 500, np.uint16)], names=["B02"], gsd=10, nodata=None,
                   tags={"DATETIME": "2019-04-01"})  # fmt: skip
        with rasterio.open(path, "r+") as file:
            file.write_mask(np.arange(16).reshape(4, 4) % 4 != 0)
    values = one(path, S2).read("B02")
    assert np.isnan(values[:, 0]).all() and np.isfinite(values[:, 1:]).all()


def test_a_float_raster_with_an_undeclared_fill_has_holes_there(tmp_path):
    values = np.full((4, 4), 0.1, np.float32)
    values[0] = (-9999, -9999.9, -3.4028235e38, np.inf)
    write_tiff(tmp_path / "S1.tif", [values], names=["VV"], gsd=10, nodata=None, tags={"DATETIME": "2019-04-01"})
    read = one(tmp_path / "S1.tif", load_mapping("simulated_s1")).read("VV")
    assert np.isnan(read[0]).all() and np.isfinite(read[1:]).all()


@pytest.mark.parametrize(
    ("form", "expected"),
    [("2018:07:01 10:00:00", 10), ("2018-07-01T10:00:00+02:00", 8), ("20180701T100000", 10), ("2018-182", 0)],
)
def test_a_geotiff_says_its_time_in_any_strict_form(tmp_path, form, expected):
    time = one(tiff(tmp_path / "S2.tif", DATETIME=form), S2).time
    assert (time.isoformat(), time.tzinfo) == (f"2018-07-01T{expected:02}:00:00", None)


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"units": "days since 2018-07-01", "calendar": "360_day"}, "holds dates of the calendar '360_day'"),
        ({"units": "days since 2018-07-01", "time_zone": "Europe/Brussels"}, "states the time_zone 'Europe/Brussels'"),
        ({"units": "seconds"}, "holds no times but int64"),
    ],
)
def test_times_in_another_calendar_or_zone_are_refused(tmp_path, attrs, message):
    write_times(tmp_path / "a.nc", np.array([0, 5]), attrs)
    with pytest.raises(ContractError, match=rf"a.nc: time coordinate 't'.*{message}"):
        one(tmp_path / "a.nc", STACK)


def test_times_with_an_offset_from_utc_become_utc_and_texts_are_read_strictly(tmp_path):
    write_times(tmp_path / "a.nc", np.array([0, 24]), {"units": "hours since 2018-07-01 01:00:00 +02:00"})
    assert one(tmp_path / "a.nc", STACK).time.isoformat() == "2018-06-30T23:00:00"
    write_times(tmp_path / "b.nc", np.array(["2018-07-01", "2018-07-06"]), {})
    assert one(tmp_path / "b.nc", STACK).time == START.replace(2018, 7, 1, 0, 0, 0)
    write_times(tmp_path / "c.nc", np.array(["2018-07-01", "soon"]), {})
    with pytest.raises(DataError, match=r"c.nc: time coordinate 't': 'soon' is no day"):
        one(tmp_path / "c.nc", STACK)
    write_times(tmp_path / "d.nc", np.array(["2018-07-01", "NaT"], "M8[ns]"), {})
    with pytest.raises(DataError, match=r"d.nc: time coordinate 't': has no time at step 1"):
        one(tmp_path / "d.nc", STACK)


def write_times(path, values, attrs):
    x, y = WEST + 10 * (np.arange(4) + 0.5), NORTH - 10 * (np.arange(4) + 0.5)
    xr.Dataset(
        {"B02": (("t", "y", "x"), np.ones((2, 4, 4)))},
        coords={"t": ("t", values, attrs), "y": y, "x": x},
        attrs={"epsg": "EPSG:32631"},
    ).to_netcdf(path, engine="h5netcdf")
