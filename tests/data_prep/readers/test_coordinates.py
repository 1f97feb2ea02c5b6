"""Where and when a stack lies is what its file says: packed, in other units, in other zones, or not at all."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
import rasterio
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.mappings.mapping import load_mapping
from data_prep.readers import open_scenes
from eomm.errors import ContractError, DataError
from tests.data_prep.tiny_scenes import NORTH, WEST, write_tiff

S2 = load_mapping("simulated_s2")
STACK = replace(S2, reader="netcdf", files="*.nc", time="t", bands={"B02": "B02", "B04": "B04"}, mask=None)
X, Y = WEST + 10 * (np.arange(4) + 0.5), NORTH - 10 * (np.arange(4) + 0.5)
often = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
zones = st.integers(1, 60).flatmap(lambda n: st.sampled_from([32600 + n, 32700 + n]))
times = st.datetimes(datetime(1985, 1, 1), datetime(2060, 1, 1)).map(lambda t: t.replace(microsecond=0))
offsets = st.integers(-12 * 4, 14 * 4).map(lambda q: timezone(timedelta(minutes=15 * q)))


def write(path, *, x=X, y=Y, t=None, values=None, about=None, attrs=None):
    t = ("t", np.array([0, 5]), {"units": "days since 2018-07-01"}) if t is None else t
    values = np.full((2, 4, 4), 500, np.uint16) if values is None else values
    data = xr.Dataset({"B02": (("t", "y", "x"), values, about or {})}, coords={"t": t, "y": y, "x": x})
    data.assign_attrs(attrs or {"epsg": 32631}).to_netcdf(path, engine="h5netcdf")
    return path


def scenes(path, mapping=STACK):
    with ExitStack() as stack:
        found = open_scenes([path], mapping, stack)
        return [(s, s.read("B02")) for s in found]


def test_packed_coordinates_and_times_are_unpacked(tmp_path):
    plain = scenes(write(tmp_path / "a.nc"))
    packed = {"scale_factor": 10.0, "add_offset": WEST + 5.0}
    hours = {"units": "hours since 2018-07-01", "scale_factor": 24.0, "_FillValue": np.int16(-1)}
    path = write(
        tmp_path / "b.nc", x=("x", np.arange(4, dtype=np.int16), packed), t=("t", np.array([0, 5], "i2"), hours)
    )
    found = scenes(path)
    assert [s.time for s, _ in found] == [s.time for s, _ in plain]
    assert found[0][0].grids["B02"] == plain[0][0].grids["B02"]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"x": ("x", X / 1000, {"units": "km"})}, "coordinate x: is in 'km' by its units, expected metres"),
        ({"y": ("y", Y, {"units": "US survey foot"})}, "coordinate y: is in 'US survey foot'"),
        ({"x": np.array(list("abcd"))}, "coordinate x: holds <U1, expected numbers"),
        ({"x": X[::-1]}, "not evenly spaced"),
        ({"values": np.full((2, 4, 4), "a")}, r"B02 \(B02\) holds .*, expected numbers"),
        ({"attrs": {"epsg": [32631, 32632]}}, "which is no CRS"),
        ({"attrs": {"epsg": float("nan")}}, "which is no CRS"),
        ({"attrs": {"epsg": 32631, "TimeZone": "CET"}}, "states the TimeZone 'CET', expected UTC"),
        ({"t": ("t", np.array([0, 5]), {"units": "months since 2018-07-01"})}, "cannot be read as times"),
        ({"t": ("t", np.array([1e30, 5]), {"units": "days since 2018-07-01"})}, "cannot be read as times"),
        ({"t": ("t", np.array([43282, 43287]))}, "holds no times"),
        ({"t": ("t", np.array(["01/07/2018", "06/07/2018"]))}, "'01/07/2018' is no day"),
        ({"t": ("t", np.array([0, 5]), {"units": "days since 2018-07-01", "calendar": "noleap"})}, "calendar 'noleap'"),
    ],
)
def test_what_cannot_be_a_place_or_time_is_refused(tmp_path, change, error):
    with pytest.raises((ContractError, DataError), match=error):
        scenes(write(tmp_path / "a.nc", **change))


@pytest.mark.parametrize(
    ("about", "kept"),
    [
        ({"valid_max": np.uint16(400)}, [1, 400]),
        ({"valid_range": np.array([2, 400], np.uint16)}, [400]),
        ({"valid_min": 0.0, "valid_max": 0.5}, [1, 400, 500, 600]),  # of the unpacked: not of these numbers
    ],
)
def test_numbers_beyond_the_valid_range_that_a_file_states_are_missing(tmp_path, about, kept):
    values = np.tile(np.array([1, 400, 500, 600], np.uint16), (2, 4, 1))
    (_, read), *_ = scenes(write(tmp_path / "a.nc", values=values, about=about))
    assert np.round(read[0][np.isfinite(read[0])] * 1e4).tolist() == kept


@often
@given(epsg=zones, when=times, zone=offsets)
def test_a_netcdf_stack_says_its_crs_and_time(tmp_path, epsg, when, zone):
    units = f"seconds since {when.replace(tzinfo=zone).isoformat(sep=' ')}"
    found = scenes(write(tmp_path / "a.nc", t=("t", np.array([0, 3600]), {"units": units}), attrs={"epsg": epsg}))
    expected = when.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
    assert [s.time for s, _ in found] == [expected, expected + timedelta(hours=1)]
    assert found[0][0].grids["B02"].crs == f"EPSG:{epsg}"


@often
@given(epsg=zones, when=times, zone=st.none() | offsets, fill=st.none() | st.integers(1, 65535), named=st.booleans())
def test_a_geotiff_says_its_crs_time_and_fill(tmp_path, epsg, when, zone, fill, named):
    tags = {"DATETIME": when.replace(tzinfo=zone).isoformat()} | ({"NODATA": str(fill)} if named and fill else {})
    values = np.full((4, 4), 500, np.uint16)
    values[0] = fill or 500
    write_tiff(
        tmp_path / "S2.tif", [values], names=["B02"], gsd=10, epsg=epsg, nodata=None if named else fill, tags=tags
    )
    ((scene, read),) = scenes(tmp_path / "S2.tif", S2)
    assert scene.time == (when if zone is None else when.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None))
    assert scene.grids["B02"].crs == f"EPSG:{epsg}"
    assert np.isnan(read[0]).all() == (fill is not None) and np.isfinite(read[1:]).all() == (fill != 500)


def test_a_geotiff_in_another_zone_or_without_a_time_is_refused(tmp_path):
    values = [np.full((4, 4), 500, np.uint16)]
    tags = {"DATETIME": "2018-07-01T10:00:00", "TIME_ZONE": "Europe/Brussels"}
    path = write_tiff(tmp_path / "S2.tif", values, names=["B02"], gsd=10, tags=tags)
    with pytest.raises(ContractError, match=r"S2.tif: tag DATETIME: the file states the TIME_ZONE 'Europe/Brussels'"):
        scenes(path, S2)
    path = write_tiff(tmp_path / "S2_b.tif", values, names=["B02"], gsd=10)
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2018:04:01 10:20:30")
    words = r"no tag DATETIME \(its TIFFTAG_DATETIME, 2018:04:01 10:20:30, says when the file was written\)"
    with pytest.raises(DataError, match=words):
        scenes(path, S2)
