import json
import re

import numpy as np
import pytest
from scipy import ndimage

from data_prep.check.alignment import compare, shift_between
from data_prep.check.cube import check_cube, nothing_found
from data_prep.check.page import write_page
from data_prep.check.words import format_check
from eomm.cli import main
from eomm.data.cube import Acquisition, GroupSource, open_cube, write_cube
from eomm.data.grid import Grid, to_date
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.errors import UsageError

SIZE, DAYS = 48, [17900 + 5 * i for i in range(16)]
GRID = Grid(crs="EPSG:32631", transform=(10, 0, 501360, 0, -10, 5629680), height=SIZE, width=SIZE)
GREEN = np.array([300, 600, 350, 900, 2500, 3200, 3400, 3500, 1800, 900])


def fields(seed=0):
    """Square fields, each with a brightness of its own, 0.6 to 1.4."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0.6, 1.4, (SIZE // 8, SIZE // 8)).repeat(8, 0).repeat(8, 1)


def make(path, *, change=None, radar_shift=(0, 0), simulated=False, factor=1.0):
    """A cube of fields; `change` maps a date's number to a function of its stored values [y, x, band]."""
    rng = np.random.default_rng(1)
    land, full = fields(), np.ones((SIZE, SIZE), bool)

    def optical(i):
        season = 1 + 0.1 * np.sin(i / 3)
        values = land[..., None] * GREEN * season * factor + rng.normal(0, 15, (SIZE, SIZE, 10))
        values = (change or {}).get(i, lambda v: v)(values)
        return np.clip(values, 1, 15000).astype(np.int16), full

    def radar(i):
        power = 0.05 * np.roll(land, radar_shift, (0, 1))[..., None] ** 3 * np.array([1.0, 0.2])
        return np.rint(1000 * np.log10(power * rng.gamma(8, 1 / 8, (SIZE, SIZE, 2)))).astype(np.int16), full

    acquisitions, checks = [Acquisition(day=d) for d in DAYS], {"checks": ["offset: dark pixels agree"]}
    groups = [
        GroupSource(modality=SENTINEL2, grid=GRID, acquisitions=acquisitions, read=optical, attributes=checks),
        GroupSource(
            modality=SENTINEL1, grid=GRID, acquisitions=[Acquisition(day=d + 2, orbit="A088") for d in DAYS], read=radar
        ),
    ]
    return write_cube(path, site="fields", groups=groups, provenance={"simulated": simulated, "accepted": ["offset"]})


@pytest.mark.parametrize("shift", [(0, 0), (2, -3), (-5, 1)])
def test_phase_correlation_finds_a_shift_and_its_sign_also_of_inverted_contrast(shift):
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((64, 64)), 1.5)
    moved = np.roll(image, shift, (0, 1))
    assert shift_between(image, moved) == pytest.approx(shift, abs=0.2)
    assert shift_between(image, -moved) == pytest.approx(shift, abs=0.2)


def test_a_fraction_of_a_pixel_is_seen():
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((64, 64)), 2)
    moved = ndimage.shift(image, (0.5, 0), order=3, mode="wrap")
    rows, cols = shift_between(image, moved)
    assert 0.25 < rows < 0.75 and abs(cols) < 0.2


def test_images_that_have_nothing_in_common_determine_no_shift():
    rng = np.random.default_rng(0)
    one, two = ([ndimage.gaussian_filter(rng.random((48, 48)), 1) for _ in range(6)] for _ in range(2))
    assert not compare(one, two).determined


def test_a_good_cube_has_no_findings_and_its_numbers_are_its_own(tmp_path):
    path = make(tmp_path / "c.zarr")
    summary = check_cube(path).summary
    assert summary["findings"] == [] and nothing_found(summary)
    values, valid = open_cube(path)["s2"].read()
    band = summary["modalities"]["s2"]["bands"][6]
    assert (band["band"], band["expected_median"]) == ("B08", [0.07, 0.6])
    assert band["quantiles"]["median"] == pytest.approx(np.median(values[..., 6][valid]) * 1e-4, abs=1e-5)
    assert summary["modalities"]["s1"]["suspicious"] == [] == summary["modalities"]["s2"]["suspicious"]
    (aligned,) = summary["alignment"]
    assert aligned["determined"] and aligned["metres"] < 5 and aligned["between"] == "s2 B11 and s1"


def test_a_shifted_sensor_is_a_finding(tmp_path):
    summary = check_cube(make(tmp_path / "c.zarr", radar_shift=(0, 4))).summary
    (aligned,) = summary["alignment"]
    assert aligned["cols_px"] == pytest.approx(4, abs=0.5) and abs(aligned["rows_px"]) < 0.5
    assert re.fullmatch(
        r"s2 B11 and s1: shifted by \d\d m, with a spread of \d+ m over \d+ pairs", summary["findings"][0]
    )


def test_another_unit_is_a_finding(tmp_path):
    summary = check_cube(make(tmp_path / "c.zarr", factor=0.1)).summary
    assert any(f.startswith("s2: B08: median 0.03") for f in summary["findings"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v + 1000, "an offset left in, or cloud"),
        (lambda v: v + np.linspace(900, 100, 10), "haze or missed cloud"),
        (lambda v: v * 0.5, "shadow or smoke"),
        (lambda v: np.where(np.arange(10) == 6, v - 1500, v), "B08 is -0.1"),
        (lambda v: np.roll(v, (0, 4), (0, 1)), r"lies 4\.\d px off"),
    ],
)
def test_an_odd_date_is_named_with_its_reason_and_the_others_are_not(tmp_path, change, reason):
    summary = check_cube(make(tmp_path / "c.zarr", change={7: change})).summary
    (odd,) = summary["modalities"]["s2"]["suspicious"]
    assert odd["date"] == str(to_date(DAYS[7])) and re.search(reason, "; ".join(odd["reasons"]))
    assert f"{odd['date']}: " in format_check(summary) and summary["findings"] == []


def test_the_command_prints_a_table_writes_a_page_and_says_by_its_status_what_it_found(tmp_path, capsys):
    good, bad = make(tmp_path / "good.zarr", simulated=True), make(tmp_path / "bad.zarr", factor=0.1)
    page = tmp_path / "page.html"
    assert main(["prepare", "check", str(good), "--out", str(page)]) == 0
    assert "alignment of s2 B11 and s1" in capsys.readouterr().out
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 5 and "SIMULATED" in text and "Checks overruled" in text
    assert "Nothing: every band lies where land does, and no sensor is shifted." in text and "dark pixels agree" in text
    assert "http" not in text.replace("http-equiv", "") and list(tmp_path.glob("*.partial")) == []
    assert main(["prepare", "check", str(bad), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"]
    with pytest.raises(UsageError, match=r"page.html: already exists"):
        write_page(check_cube(good), page)
