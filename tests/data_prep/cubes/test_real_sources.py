"""Real odd data: expected numbers were measured on the files themselves, not on our output."""

import re

import h5py
import numpy as np
import pytest
import xarray as xr

from data_prep.cubes.build import Source, build_cube
from data_prep.readers.esa_names import parse
from data_prep.records.build import build_patches
from data_prep.records.split import SplitConfig
from eomm.data.cube import open_cube
from eomm.data.grid import to_date
from eomm.data.modality import SENTINEL1_SIGMA0, SENTINEL2
from eomm.embedding.run import embed, open_embedding
from eomm.embedding.store import FLAGS
from eomm.errors import ContractError, DataError
from tests.eomm.site import make_model

pytestmark = pytest.mark.whole  # real sites

PLOTS = {"abies": "Abies_alba_1_1005_WEFL_NLF.h5", "betula": "Betula_spec._1_15679_WEFL_NLF_2019.h5"}
FOREST = ("forest_s2", "forest_s1_ascending", "forest_s1_descending")


def raw_stack(file):
    data = xr.open_dataset(file, mask_and_scale=False)
    arrays = {n: v.values.view(np.uint16) for n, v in data.data_vars.items() if n != "crs"}
    days = data.t.values.astype("M8[D]").astype(int)
    data.close()
    return days, arrays


def make(path, folder, *mappings, site="x"):
    return open_cube(build_cube(path, site=site, sources=[Source(path=folder, mapping=m) for m in mappings]))


@pytest.fixture(scope="module")
def april(shared, tmp_path_factory):
    folder = shared / "data" / "april_2023_cloudy"
    return make(tmp_path_factory.mktemp("april") / "c.zarr", folder, "openeo_april_s2", "openeo_april_s1")


@pytest.fixture(scope="module")
def monthly(shared, tmp_path_factory):
    folder = shared / "data" / "monthly_composites"
    return make(
        tmp_path_factory.mktemp("monthly") / "c.zarr", folder, "worldcereal_monthly_s2", "worldcereal_monthly_s1"
    )


@pytest.fixture(scope="module", params=sorted(PLOTS))
def plot(request, shared, tmp_path_factory):
    file = shared / "data" / "forest_plots" / PLOTS[request.param]
    return make(tmp_path_factory.mktemp(request.param) / "c.zarr", file, *FOREST, site=request.param), file


def test_unsigned_integers_of_openeo_are_read_as_such_and_two_dates_are_clear(april, shared):
    days, raw = raw_stack(shared / "data" / "april_2023_cloudy" / "cdse_sentinel2_l2a.nc")
    group = april["s2"]
    values, valid = group.read()
    np.testing.assert_array_equal(group.day, days)
    assert (group.grid.crs, group.grid.height, group.grid.width) == ("EPSG:32631", 66, 64)
    for k, band in enumerate(group.modality.band_names):
        np.testing.assert_array_equal(values[..., k][valid], raw[f"S2-L2A-{band}"][valid])
    assert [str(to_date(d)) for d in group.day[group.usable]] == ["2023-04-05", "2023-04-15"]
    clear = np.isin(raw["S2-L2A-SCL"], (4, 5, 6))
    assert not (valid & ~clear).any() and valid[5].mean() > 0.99 and 0.9 < valid[1].mean() < clear[1].mean()
    assert [a.orbit for a in group.acquisitions] == [f"descending day {d % 5} of 5" for d in days]


def test_amplitudes_become_decibels_and_orbits_of_days_without_times_are_told_apart(april, shared):
    days, raw = raw_stack(shared / "data" / "april_2023_cloudy" / "cdse_sentinel1_grd.nc")
    group = april["s1"]
    assert group.modality == SENTINEL1_SIGMA0
    np.testing.assert_array_equal(group.day, days)
    values, valid = group.read()
    dn = np.stack([raw["S1-SIGMA0-VV"], raw["S1-SIGMA0-VH"]], axis=-1)
    assert not valid[(dn >= 65534).any(-1)].any() and valid.mean() > 0.998
    np.testing.assert_allclose(values[valid] / 100, 20 * np.log10(dn[valid].astype(float)) - 83, atol=0.0051)
    orbits = [a.orbit for a in group.acquisitions]
    assert len(set(orbits)) == 4
    for orbit in set(orbits):  # each repeats every twelve days
        assert set(np.diff(days[[o == orbit for o in orbits]])) <= {12}


def test_monthly_composites_are_modalities_of_their_own(monthly, shared):
    days, raw = raw_stack(shared / "data" / "monthly_composites" / "worldcereal_preprocessed_inputs.nc")
    s2, s1 = monthly["s2"], monthly["s1"]
    assert s2.modality.band_names == ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")
    assert s2.modality.level == "L2A monthly composite" and s1.modality.speckle_filter == "monthly composite"
    values, valid = s2.read()
    np.testing.assert_array_equal(s2.day, days)
    empty = (raw["S2-L2A-B02"] == 65535).all((1, 2))
    assert empty.sum() == 2 and s2.usable.tolist() == (~empty).tolist()
    dn = np.stack([raw[f"S2-L2A-{b}"] for b in s2.modality.band_names], axis=-1)
    np.testing.assert_array_equal(values[valid], dn[valid])
    assert not valid[((dn == 0) | (dn == 65535)).any(-1)].any() and valid[~empty].mean() > 0.99
    values, valid = s1.read()
    vv = 20 * np.log10(raw["S1-SIGMA0-VV"].astype(float)) - 83
    assert valid.all()
    np.testing.assert_allclose(values[..., 0] / 100, vv, atol=0.0051)


@pytest.mark.parametrize("which", ["april", "monthly"])
def test_a_model_of_ten_bands_refuses_other_bands_by_contract(which, request, tmp_path):
    cube = request.getfixturevalue(which)
    found, expected = " ".join(cube["s2"].modality.band_names), " ".join(SENTINEL2.band_names)
    message = rf"{re.escape(str(cube.path))} and model .*bands: found {found}, expected {expected}"
    with pytest.raises(ContractError, match=message):
        embed(make_model(), cube.path, tmp_path / "e.zarr", dtype="float32")
    assert not (tmp_path / "e.zarr").exists()


def test_forest_plots_keep_dates_orbits_and_reflectance(plot):
    cube, file = plot
    with h5py.File(file) as data:
        stack, cloud = data["sen-2-data"][()], data["sen-2-masks"][:, 1]
        names = [parse(p.decode()) for p in data["sen-2-products"][()]]
    group = cube["s2"]
    assert group.modality == SENTINEL2 and (group.grid.crs, group.grid.height, group.grid.width) == ("LOCAL", 6, 6)
    assert [a.platform for a in group.acquisitions] == [n.platform for n in names]
    assert {a.orbit for a in group.acquisitions} == {f"R{n.relative_orbit:03d}" for n in names}
    values, valid = group.read()
    np.testing.assert_array_equal(values[valid], np.moveaxis(stack, 1, -1)[valid])
    assert not (valid & (cloud >= 40)).any() and not (valid & (stack == 1).any(1)).any()
    assert 20 < group.usable.sum() < 100
    assert group.attributes["clouds"]["method"] == "probability"
    assert sum(group.attributes["pixels"].values()) == valid.size and group.attributes["pixels"]["valid"] == valid.sum()


def test_radar_of_a_plot_has_two_directions_and_no_zeros(plot):
    cube, file = plot
    group = cube["s1"]
    assert group.modality.calibration == "unstated"
    values, valid = group.read()
    with h5py.File(file) as data:
        for which in ("asc", "des"):
            power = np.moveaxis(data[f"sen-1-{which}-data"][()], 1, -1)
            names = [parse(p.decode()) for p in data[f"sen-1-{which}-products"][()]]
            direction = {"asc": "ascending", "des": "descending"}[which]
            chosen = [i for i, a in enumerate(group.acquisitions) if a.direction == direction]
            passes = sorted({(n.time.date(), n.platform, n.relative_orbit) for n in names})
            assert len(chosen) == len(passes)  # of Betula 235 products on 121 dates
            for i, (day, platform, orbit) in zip(chosen, passes, strict=True):
                assert to_date(group.day[i]) == day and group.acquisitions[i].platform == platform
                assert group.acquisitions[i].orbit == f"{which[0].upper()}{orbit:03d}"
                parts = [power[k] for k, n in enumerate(names) if (n.time.date(), n.platform) == (day, platform)]
                good = [np.isfinite(p).all(-1) & (p > 0).all(-1) for p in parts]
                expected = np.full((6, 6, 2), np.nan)
                for part, ok in zip(parts, good, strict=True):
                    expected[ok] = 10 * np.log10(part[ok].astype(float))
                assert not valid[i][~np.any(good, axis=0)].any()
                np.testing.assert_allclose(values[i][valid[i]] / 100, expected[valid[i]], atol=0.0051)
    assert valid.mean() > 0.998


def test_one_track_is_flown_at_one_time_of_day_by_both_platforms(shared):
    """The relative orbits computed from names are right: nothing else would fall on one minute."""
    for file in PLOTS.values():
        with h5py.File(shared / "data" / "forest_plots" / file) as data:
            names = [parse(p.decode()) for w in ("asc", "des") for p in data[f"sen-1-{w}-products"][()]]
        for orbit in {n.relative_orbit for n in names}:
            minutes = [n.time.hour * 60 + n.time.minute for n in names if n.relative_orbit == orbit]
            assert max(minutes) - min(minutes) <= 2


def test_every_embedding_of_a_plot_is_flagged_and_no_records_are_cut(plot, tmp_path):
    cube, _ = plot
    out = open_embedding(embed(make_model(), cube.path, tmp_path / "e.zarr", dtype="float32"))
    flags = np.asarray(out["flags"])
    assert flags.shape[1:] == (6, 6) and ((flags & FLAGS["edge"]) > 0).all()
    with pytest.raises(
        DataError, match=r"c.zarr: 6 x 6 px is smaller than a crop of 32 px; choose crops of at most 6 px"
    ):
        build_patches(tmp_path / "r", cubes=[cube.path], split=SplitConfig())


def test_plots_without_position_are_not_joined(shared, tmp_path):
    with pytest.raises(
        ContractError, match=r"Abies.*h5 and 1 more, such as .*Betula.*no coordinates.*one file per site"
    ):
        make(tmp_path / "c.zarr", shared / "data" / "forest_plots", "forest_s2")


def test_a_name_of_another_kind_is_refused():
    with pytest.raises(DataError, match=r"'LC08_L1TP' is no name of a Sentinel-1 or Sentinel-2 product"):
        parse("LC08_L1TP")
    assert parse("S1C_IW_GRDH_1SDV_20250503T054940_20250503T055005_002178_02CCD2_4331").relative_orbit is None
