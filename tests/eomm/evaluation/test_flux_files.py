"""Flux files of every naming, with the traps that real ones hold."""

import numpy as np
import pandas as pd
import pytest

from eomm.data.grid import Grid
from eomm.data.missing import FILLS
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.gpp.features import read_extra
from eomm.evaluation.gpp.flux_files import read_flux
from eomm.evaluation.gpp.flux_sites import Tower, read_towers

NAMES = (
    "FLX_CH-Dav_FLUXNET2015_FULLSET_DD_1997-2014_1-4.csv",
    "AMF_CH-Dav_FLUXNET_FULLSET_DD_2018-2020_3-5.csv",
    "AMF_CH-Dav_FLUXNET_FLUXMET_DD_2010-2022_v1.3_r1.csv",
    "ICOSETC_CH-Dav_FLUXNET_DD_L2.csv",
    "ICOSETC_CH-Dav_FLUXNET_DD_INTERIM_L2.csv",
)
UNIT = "gC m-2 d-1"


def write_flux(folder, name=NAMES[0], **changes):
    """Five days; TA_F_QC comes first among the quality columns, as in real files."""
    table = pd.DataFrame({
        "TIMESTAMP": [20200101, 20200102, 20200103, 20200104, 20200105],
        "TA_F": [1.5, -9999, -3.0, 0.0, 2.0], "TA_F_QC": [1.0, 1.0, 1.0, 1.0, 1.0],
        "SW_IN_F": [20.0, 30, 40, 50, 60], "VPD_F": [1.0] * 5,
        "NEE_VUT_REF": [0.5] * 5, "NEE_VUT_REF_QC": [0.9, 0.2, 0.8, 1.0, -9999],
        "GPP_NT_VUT_REF": [2.0, 3.0, -0.7, -9999, 4.0], "GPP_DT_VUT_REF": [1.0, 2.0, 0.1, 3.0, 4.0],
    })  # fmt: skip
    folder.mkdir(exist_ok=True)
    pd.concat([table.assign(**changes)]).to_csv(folder / name, index=False)
    return folder / name


def write_varinfo(folder, unit, name="AMF_CH-Dav_FLUXNET_BIFVARINFO_DD_2010-2022_v1.3_r1.csv"):
    rows = [
        ("CH-Dav", "7", "GRP_VAR_INFO", "VAR_INFO_VARNAME", "GPP_NT_VUT_REF"),
        ("CH-Dav", "7", "GRP_VAR_INFO", "VAR_INFO_UNIT", unit),
        ("CH-Dav", "8", "GRP_VAR_INFO", "VAR_INFO_VARNAME", "TA_F"),
        ("CH-Dav", "8", "GRP_VAR_INFO", "VAR_INFO_UNIT", "deg C"),
    ]
    columns = ["SITE_ID", "GROUP_ID", "VARIABLE_GROUP", "VARIABLE", "DATAVALUE"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / name, index=False)


@pytest.mark.parametrize("name", NAMES)
def test_every_naming_is_read(tmp_path, name):
    series = read_flux(write_flux(tmp_path, name), unit=UNIT)
    assert series.site == "CH-Dav" and not series.simulated
    table = series.table
    assert table.day.tolist() == [18262, 18263, 18264, 18265, 18266]  # windows see days without a flux
    assert table.gpp.tolist()[:3] == [2.0, 3.0, -0.7] and np.isnan(table.gpp[3])  # negative values stay
    assert table.quality.tolist()[:4] == [0.9, 0.2, 0.8, 1.0]  # NEE's, not the first QC column
    assert np.isnan(table.quality[4])
    assert np.isnan(table.TA_F[1]) and table.TA_F[2] == -3 and "P_F" not in table


def test_the_other_partitioning(tmp_path):
    series = read_flux(write_flux(tmp_path), target="GPP_DT_VUT_REF", unit=UNIT)
    assert series.table.gpp.tolist() == [1.0, 2.0, 0.1, 3.0, 4.0]


def test_units_are_read_or_asked_for_never_guessed(tmp_path):
    path = write_flux(tmp_path)
    with pytest.raises(UsageError, match=r"unit of GPP_NT_VUT_REF is unknown .no VARINFO file.*--unit"):
        read_flux(path)
    write_varinfo(tmp_path, "gC m-2 d-1")
    assert read_flux(path).table.gpp[0] == 2.0
    with pytest.raises(UsageError, match=r"BIFVARINFO_DD_.* does not tell it"):
        read_flux(path, target="GPP_DT_VUT_REF")
    write_varinfo(tmp_path, "µmolCO2 m-2 s-1")
    assert read_flux(path).table.gpp[0] == pytest.approx(2 * 1.03775, rel=1e-4)
    write_varinfo(tmp_path, "gC m-2 d-1", name="ICOSETC_CH-Dav_VARINFO_FLUXNET_DD_L2.csv")
    with pytest.raises(ContractError, match="has units"):
        read_flux(path)
    with pytest.raises(ContractError, match="in 'gC m-2 y-1'; expected"):
        read_flux(path, unit="gC m-2 y-1")


def test_a_unit_of_another_site_does_not_count(tmp_path):
    path = write_flux(tmp_path)
    write_varinfo(tmp_path, UNIT, name="AMF_CH-Dav2_FLUXNET_BIFVARINFO_DD_2010-2022_v1.3_r1.csv")
    with pytest.raises(UsageError, match="no VARINFO file"):
        read_flux(path)


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(ContractError, match=r"NEE_VUT_REF_QC reaches 3.*0..1.*--table"):
        read_flux(write_flux(tmp_path, NEE_VUT_REF_QC=[0, 1, 2, 3, 0]), unit=UNIT)
    with pytest.raises(DataError, match="occurs twice"):
        read_flux(write_flux(tmp_path, TIMESTAMP=[20200101, 20200101, 20200102, 20200103, 20200104]), unit=UNIT)
    with pytest.raises(DataError, match=r"FULLSET_DD.*TIMESTAMP: 202001010000 is no day; expected YYYY-MM-DD"):
        read_flux(write_flux(tmp_path, TIMESTAMP=[202001010000] * 5), unit=UNIT)
    with pytest.raises(DataError, match="every GPP_NT_VUT_REF is missing"):
        read_flux(write_flux(tmp_path, GPP_NT_VUT_REF=-9999), unit=UNIT)
    with pytest.raises(DataError, match="expected numbers"):
        read_flux(write_flux(tmp_path, GPP_NT_VUT_REF="n/k"), unit=UNIT)
    with pytest.raises(DataError, match="no column GPP_X"):
        read_flux(write_flux(tmp_path), target="GPP_X", unit=UNIT)
    with pytest.raises(DataError, match=r"holds HH means; expected the daily"):
        read_flux(write_flux(tmp_path, "ICOSETC_CH-Dav_FLUXNET_HH_L2.csv"), unit=UNIT)
    with pytest.raises(DataError, match="not a name of a FLUXNET file"):
        read_flux(write_flux(tmp_path, "davos.csv"), unit=UNIT)
    with pytest.raises(DataError, match="missing"):
        read_flux(tmp_path / "ICOSETC_XX-Xxx_FLUXNET_DD_L2.csv", unit=UNIT)


@pytest.mark.parametrize("fill", FILLS)
def test_every_number_that_means_nothing_is_missing_everywhere(tmp_path, fill):
    path = write_flux(tmp_path, GPP_NT_VUT_REF=[2.0, fill, -0.7, 1.0, 4.0], TA_F=[fill, 1, 2, 3, 4])
    table = read_flux(path, unit=UNIT).table
    assert table.gpp.isna().tolist() == [False, True, False, False, False] and np.isnan(table.TA_F[0])
    extra = tmp_path / "x.csv"
    extra.write_text(f"date, a\n2020-01-01, 1.5\n2020-01-02, {fill!r}\n")
    assert read_extra(extra, ["a"])["a"].tolist() == [1.5]


@pytest.mark.parametrize("form", ["2020-01-0{}", "2020010{}", "2020-00{}", "2020-01-0{}T00:00:00+01:00"])
def test_flux_days_and_further_tables_keep_the_day_that_is_written(tmp_path, form):
    days = [form.format(k) for k in range(1, 6)]
    assert read_flux(write_flux(tmp_path, TIMESTAMP=days), unit=UNIT).table.day.tolist() == list(range(18262, 18267))
    for name in ("TIMESTAMP", "date"):
        path = tmp_path / "x.CSV"
        path.write_text(f"\ufeff{name} , a\n" + "\n".join(f" {d} , 1" for d in days))
        assert read_extra(path, ["a"])["day"].tolist() == list(range(18262, 18267))


def test_a_number_is_a_written_day_and_no_epoch_in_further_tables(tmp_path):
    for kind in ("csv", "parquet"):
        path = tmp_path / f"x.{kind}"
        table = pd.DataFrame({"date": [20180101, 20180102], "a": [1.0, 2.0]})
        table.to_parquet(path) if kind == "parquet" else table.to_csv(path, index=False)
        assert read_extra(path, ["a"])["day"].tolist() == [17532, 17533]
    pd.DataFrame({"date": [1514764800], "a": [1.0]}).to_csv(tmp_path / "e.csv", index=False)
    with pytest.raises(DataError, match=r"e.csv, column date: 1514764800 is no day; expected YYYY-MM-DD"):
        read_extra(tmp_path / "e.csv", ["a"])


def test_twins_beside_a_flux_file_are_not_read(tmp_path):
    path = write_flux(tmp_path)
    write_varinfo(tmp_path, "gC m-2 d-1")
    (tmp_path / "._AMF_CH-Dav_FLUXNET_BIFVARINFO_DD_x.csv").write_bytes(b"\x00\x05\x16\x07")
    assert read_flux(path).table.gpp[0] == 2.0


def test_site_lists_with_blanks_and_a_byte_order_mark(tmp_path):
    listed = tmp_path / "sites.csv"
    listed.write_text('\ufeffSite , "Latitude", Longitude, IGBP\n DE-Hai , 51.079, 10.452 , "DBF"\n')
    assert read_towers([listed]) == {"DE-Hai": Tower(site="DE-Hai", x=10.452, y=51.079, kind="DBF")}


def test_towers_from_lists_badm_and_the_simulator(tmp_path):
    listed = tmp_path / "sites.csv"
    listed.write_text("SITE_ID,LOCATION_LAT,LOCATION_LONG,IGBP\nDE-Hai,51.079,10.452,DBF\nNA-Aab,-18.0,NA,GRA\n")
    with pytest.raises(DataError, match=r"NA-Aab has latitude '-18.0', longitude 'NA'"):
        read_towers([listed])
    listed.write_text("site,lat,lon\nDE-Hai,51.079,10.452\n")
    badm = tmp_path / "ICOSETC_CH-Dav_SITEINFO_L2.csv"
    rows = [("IGBP", "ENF", 3), ("LOCATION_LAT", "46.8153", 4), ("LOCATION_LONG", "9.8559", 4)]
    lines = [f"CH-Dav,GRP,{g},{name},{value}" for name, value, g in rows]
    badm.write_text("SITE_ID,VARIABLE_GROUP,GROUP_ID,VARIABLE,DATAVALUE\n" + "\n".join(lines))
    found = read_towers([listed, badm])
    assert found["CH-Dav"] == Tower(site="CH-Dav", x=9.8559, y=46.8153, kind="ENF")
    assert found["DE-Hai"].degrees == pytest.approx((51.079, 10.452))
    other = tmp_path / "other.csv"
    other.write_text("site,lat,lon\nDE-Hai,10.452,51.079\n")
    with pytest.raises(UsageError, match="DE-Hai is described differently"):
        read_towers([listed, other])
    other.write_text("station,lat,lon\nDE-Hai,10.452,51.079\n")
    with pytest.raises(DataError, match="no column for site among station, lat, lon"):
        read_towers([other])


def test_a_tower_falls_into_its_pixel():
    grid = Grid(crs="EPSG:32632", transform=(10, 0, 600000, 0, -10, 5700000), height=20, width=30)
    assert Tower(site="a", x=600125, y=5699951, crs="EPSG:32632").pixel(grid) == (4, 12)
    lat, lon = Tower(site="a", x=600125, y=5699951, crs="EPSG:32632").degrees
    assert Tower(site="a", x=lon, y=lat).pixel(grid) == (4, 12)
    with pytest.raises(DataError, match="outside the grid"):
        Tower(site="a", x=lat, y=lon).pixel(grid)
