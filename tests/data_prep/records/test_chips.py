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
        (lambda d: d.isel(n=0), ContractError, r"field has dimensions \(\), s2\[B02\] \('time', 'row', 'col'\)"),
        (lambda d: d.assign(farm=d["SCL"]), ContractError, r"c.nc: farm has dimensions .* expected of"),
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
    change(chips()).to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    with pytest.raises(error, match=message):
        read_chips(tmp_path / "c.nc", MAPPING)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "c.nc").write_text("no")
    with pytest.raises(DataError, match=r"c.nc: not a readable NetCDF4 file"):
        read_chips(tmp_path / "c.nc", MAPPING)
    with pytest.raises(UsageError, match=r"c.npz: no such file, or its name ends in none of .nc, .nc4, .zarr"):
        read_chips(tmp_path / "c.npz", MAPPING)
