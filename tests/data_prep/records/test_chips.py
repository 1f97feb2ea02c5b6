from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from data_prep.records.chips import read_chips
from data_prep.records.points import PointOptions, build_point_records
from eomm.cli import main
from eomm.data.batches import RecordSource
from eomm.data.modality import SENTINEL2
from eomm.data.points import PointMapping
from eomm.data.records import open_records
from eomm.errors import ContractError, DataError, UsageError

BANDS = SENTINEL2.band_names
GREEN = np.array([0.03, 0.06, 0.04, 0.1, 0.25, 0.3, 0.32, 0.33, 0.2, 0.1])
MAPPING = PointMapping(
    modality="s2", id="field", date="time", bands={b: f"s2[{b}]" for b in BANDS},
    scale=1e-4, fill=(0,), valid="SCL", valid_values=(4, 5), group="farm", label="crop", lon="lon", lat="lat",
)  # fmt: skip
TOML = f"""
modality = "s2"
id = "field"
date = "time"
scale = 1e-4
fill = [0]
valid = "SCL"
valid_values = [4, 5]
group = "farm"
label = "crop"
lon = "lon"
lat = "lat"
[bands]
{chr(10).join(f'{b} = "s2[{b}]"' for b in BANDS)}
"""


def chips(*, count=6, dates=7, side=(8, 6)):
    """Fields of three farms, their outline and clouds in SCL, one value missing."""
    rng = np.random.default_rng(0)
    stored = np.rint(GREEN * rng.uniform(0.8, 1.2, (count, dates, *side, 1)) * 1e4).astype(np.uint16)
    stored[0, 2, 3, 3, 4] = 0
    scl = np.full((count, dates, *side), 4, np.uint8)
    scl[:, 1], scl[..., 0] = 9, 0  # a clouded date, and a column that is not of the field
    fields = {"farm": [f"farm {i % 3}" for i in range(count)], "crop": ["maize", ""] * (count // 2)}
    return xr.Dataset(
        {
            "s2": (("n", "time", "band", "row", "col"), np.moveaxis(stored, -1, 2)),
            "SCL": (("n", "time", "row", "col"), scl),
            **{name: ("n", np.array(values)) for name, values in fields.items()},
            "lon": ("n", 9.0 + np.arange(count)),
            "lat": ("n", np.full(count, 48.0)),
        },
        coords={
            "field": ("n", [f"{i:02}" for i in range(count)]),
            "time": pd.date_range("2020-03-01", periods=dates, freq="9D"),
            "band": list(BANDS),
        },
    )


def filled(values):
    return "n", np.array(values), {"_FillValue": np.array(values).dtype.type(min(values))}


def dated(data, when):
    return data.drop_vars("time").assign(when=when)


def test_chips_are_series_of_their_pixels(tmp_path):
    data = chips()
    data.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    found = read_chips(tmp_path / "c.nc", MAPPING)
    assert [s.name for s in found] == [f"farm {f}/{i:02}" for f in range(3) for i in (f, f + 3)]
    first = found[0]
    assert (first.label, first.place) == ("maize", (9.0, 48.0)) and found[1].label == ""
    assert first.values.shape == (7, 8, 6, 10) and first.valid.shape == (7, 8, 6)
    assert not first.valid[1].any() and not first.valid[..., 0].any() and not first.valid[2, 3, 3]
    assert first.valid.sum() == 6 * 8 * 5 - 1
    expected = np.moveaxis(data["s2"].values[0], 1, -1) * 1e-4
    np.testing.assert_allclose(first.values[first.valid], expected[first.valid], rtol=1e-6)
    assert first.day[0] == 18322 and (np.diff(first.day) == 9).all()
    data.to_zarr(tmp_path / "c.zarr", zarr_format=2)
    assert [s.values.tolist() for s in read_chips(tmp_path / "c.zarr", MAPPING)] == [s.values.tolist() for s in found]


def test_each_chip_may_have_its_own_dates_and_a_variable_for_each_band(tmp_path):
    data = chips(count=2, dates=4)
    apart = {b: data["s2"].sel(band=b, drop=True).transpose("time", "n", "row", "col") for b in BANDS}
    day = np.array(
        [["2020-03-01", "2020-03-01", "2020-02-01", ""], ["2020-04-01", "2020-04-02", "2020-04-03", "20200404"]]
    )
    own = data.drop_vars(["s2", "time"]).assign(apart).assign(when=(("n", "time"), day))
    own.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    about = {"modality": "s2", "id": "field", "bands": dict(zip(BANDS, BANDS, strict=True)), "scale": 1e-4}
    one, two = read_chips(tmp_path / "c.nc", PointMapping(date="when", valid="SCL", valid_values=(4,), **about))
    assert one.day.tolist() == [18293, 18322] and len(two.day) == 4 and one.group == "00"
    np.testing.assert_allclose(one.values[1, 3, 4], data["s2"].values[0, 0, :, 3, 4] * 1e-4, rtol=1e-6)  # 1 is clouded


@pytest.mark.parametrize(("stored", "scale", "offset"), [(np.int8, 2, 0), (np.uint8, 1, -183), (np.uint16, 0.5, 1)])
def test_numbers_of_any_type_are_scaled_alike(tmp_path, stored, scale, offset):
    data = chips(count=2)
    data["s2"] = xr.full_like(data["s2"], 100, stored)
    data.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    found = read_chips(tmp_path / "c.nc", replace(MAPPING, scale=scale, offset=offset))[0]
    assert (found.values[found.valid] == 100 * scale + offset).all()


def test_dates_may_lead_chips(tmp_path):
    day = pd.date_range("2020-03-01", periods=14, freq="5D").values.reshape(7, 2)
    dated(chips(count=2), (("time", "n"), day)).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    one, two = read_chips(tmp_path / "c.nc", replace(MAPPING, date="when"))
    assert (one.day[0], two.day[0]) == (18322, 18327) and (np.diff(one.day) == 10).all()


def test_what_a_file_declares_to_be_missing_is_missing_everywhere(tmp_path):
    orbit = ("time", np.array([44, -1, 44, 44, 44, 44, 117], np.int32), {"_FillValue": np.int32(-1)})
    data = chips(count=2).assign(crop=filled([3, -1]), lon=filled([9.5, -9999.0]), orbit=orbit)
    data.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    one, two = read_chips(tmp_path / "c.nc", replace(MAPPING, orbit="orbit"))
    assert (one.label, one.place) == ("3", (9.5, 48.0)) and (two.label, two.place) == ("", None)
    assert one.orbit.tolist() == [44, 0, 44, 44, 44, 44, 117]


@pytest.mark.parametrize(
    ("orbit", "error", "message"),
    [
        (("time", ["a"] * 7), DataError, r"c.nc: orbit: holds .*, expected numbers"),
        (("n", [1, 2]), ContractError, r"c.nc: .*orbit \('n',\); expected one of times"),
        (3, ContractError, r"c.nc: .*orbit \(\); expected one of times"),
    ],
)
def test_orbits_are_numbers_of_dates(tmp_path, orbit, error, message):
    chips(count=2).assign(orbit=orbit).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    with pytest.raises(error, match=message):
        read_chips(tmp_path / "c.nc", replace(MAPPING, orbit="orbit"))


def test_a_class_may_be_called_none(tmp_path):
    chips(count=2).assign(crop=("n", ["None", "nan"])).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    assert [s.label for s in read_chips(tmp_path / "c.nc", MAPPING)] == ["None", ""]


def test_records_of_chips_hold_their_pixels_and_what_is_not_of_the_field_is_masked(tmp_path, capsys):
    chips().to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    (tmp_path / "m.toml").write_text(TOML)
    command = ["prepare", "points", tmp_path / "c.nc", "--mapping", tmp_path / "m.toml", "--out", tmp_path / "r"]
    assert main([*map(str, command), "--reading", "homogeneous", "--accept", "band_order"]) == 0
    assert "6 field" not in capsys.readouterr().err
    records = open_records(tmp_path / "r")
    assert records.shapes["s2"].fields()["values"][0] == (6, 8, 6, 10) and records.count("train") == 6
    (series,) = [s for s in read_chips(tmp_path / "c.nc", MAPPING) if s.id == "00"]
    patch = RecordSource(records, split="train")[0]
    clear = series.valid.any((1, 2))
    np.testing.assert_array_equal(patch["s2"]["valid"].astype(bool), series.valid[clear])
    np.testing.assert_array_equal(patch["s2"]["values"], SENTINEL2.encode(
        np.where(series.valid[clear][..., None], series.values[clear], np.nan))[0])  # fmt: skip
    lone = PointOptions(accept=["band_order"])
    assert open_records(build_point_records(tmp_path / "l", [series], lone)).reading == "lone"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.drop_vars("farm"), DataError, r"c.nc: lacks farm, which the mapping names; it has s2, SCL"),
        (lambda d: d.drop_vars("band"), ContractError, r"c.nc: s2 has dimensions .* expected one of bands, 'band'"),
        (lambda d: d.sel(band=list(BANDS[:-1])), DataError, r"c.nc: lacks s2\[B12\]"),
        (lambda d: d.isel(n=[]), DataError, r"c.nc: field names no chip"),
        (lambda d: d.isel(n=0), ContractError, r"field has dimensions \(\), s2\[B02\] \('time', 'row', 'col'\)"),
        (lambda d: d.assign(farm=d["SCL"]), ContractError, r"c.nc: farm has dimensions .* expected of"),
        (lambda d: dated(d, ("n", [18322] * 6)), ContractError, r"c.nc: when has dimensions \('n',\); expected one of"),
        (lambda d: dated(d, 20200101), ContractError, r"c.nc: when has dimensions \(\); expected one of times"),
        (lambda d: d.assign(time=[""] * 7), DataError, r"c.nc: time: none of 7 dates is known"),
        (lambda d: d.assign(lon=d["crop"]), DataError, r"c.nc: lon: holds .*, expected numbers"),
        (lambda d: d.assign(s2=d["s2"].astype(str)), DataError, r"c.nc: s2\[B02\]: holds .*, expected numbers"),
        (lambda d: d.assign(crop=("n", [b"\xff"] * 6)), DataError, r"c.nc: crop: holds text that is not UTF-8"),
        (lambda d: d.assign(field=filled([1, 2, 3, 4, 5, -1])), DataError, r"chip 5, counted from 0, has no field"),
        (lambda d: d.isel(col=[0] * 65), ContractError, r"chips have 8 x 65 px, expected at most 64 .* prepare cube"),
        (lambda d: d.isel(n=[0, 0, 1]), DataError, r"chips farm 0/00 are there twice"),
        (lambda d: d.assign(time=["soon"] * 7), DataError, r"c.nc: time: 'soon' is no day"),
        (
            lambda d: d.assign(s2=d["s2"].assign_attrs(scale_factor=1e-3)),
            ContractError,
            r"s2\[B02\]: the file declares the scale 0.001, expected 0.0001 as the mapping says",
        ),
    ],
)
def test_chips_that_are_not_what_the_mapping_says_are_refused(tmp_path, change, error, message):
    data = change(chips())
    data.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    with pytest.raises(error, match=message):
        read_chips(tmp_path / "c.nc", replace(MAPPING, date="when" if "when" in data else "time"))


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "c.nc").write_text("no")
    with pytest.raises(DataError, match=r"c.nc: not a readable NetCDF4 file"):
        read_chips(tmp_path / "c.nc", MAPPING)
    with pytest.raises(UsageError, match=r"c.npz: no such file, or its name ends in none of .nc, .nc4, .zarr"):
        read_chips(tmp_path / "c.npz", MAPPING)
