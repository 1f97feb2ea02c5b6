import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data_prep.cubes import checks
from data_prep.mappings.mapping import load_mapping
from data_prep.readers import Scene
from eomm.errors import ContractError, UsageError
from tests.data_prep.tiny_scenes import BARE, GREEN, NAMES, START

S2, S1_DB, S1_LINEAR = load_mapping("simulated_s2"), load_mapping("worldcereal_s1"), load_mapping("simulated_s1")


def scene(mapping, **stated):
    return Scene(
        product="p", file=Path("scene.tif"), time=START, mapping=mapping, grids={}, read=lambda b: None, stated=stated
    )


def spectra(order=NAMES, offset=0.0):
    rng = np.random.default_rng(0)
    pixels = [[kind[b] for b in order] for kind in (GREEN, BARE) for _ in range(400)]
    return np.array(pixels) * (1 + 0.05 * rng.standard_normal((800, 10))) + offset


@pytest.mark.parametrize(
    ("mapping", "stated", "message"),
    [
        (S2, {"level": "L1C"}, "scene.tif .*: level is 'L1C', expected 'L2A'.*get the other product"),
        (S1_LINEAR, {"calibration": "sigma0"}, "calibration is 'sigma0', expected 'rtc_gamma0'"),
    ],
)
def test_metadata_decide_unless_overruled_by_name(mapping, stated, message):
    with pytest.raises(ContractError, match=message):
        checks.check_metadata(scene(mapping, **stated), ())
    checks.check_metadata(scene(mapping, **stated), tuple(stated))


def test_the_same_calibration_in_other_words_is_the_same():
    checks.check_metadata(scene(S1_LINEAR, calibration="gamma0_rtc"), ())
    checks.check_metadata(scene(S1_LINEAR, calibration="RTC-gamma0"), ())


@pytest.mark.parametrize(
    ("mapping", "factor", "name", "message"),
    [
        (S2, 1e4, "scale", "band B: values from .* digital numbers.*usually 1e-4"),
        (S2, 1e-4, "scale", "the scale looks applied twice"),
    ],
)
def test_digital_numbers_and_scales_applied_twice_are_found(mapping, factor, name, message):
    values = spectra().astype(np.float32) * factor
    with pytest.raises(ContractError, match=message):
        checks.check_raw(values, band="B", scene=scene(mapping), accept=())
    checks.check_raw(values, band="B", scene=scene(mapping), accept=(name,))


def test_linear_power_and_db_are_told_apart():
    linear = np.random.default_rng(0).gamma(5, 0.02, (20, 20)).astype(np.float32)
    db = 10 * np.log10(linear)
    checks.check_raw(linear, band="VV", scene=scene(S1_LINEAR), accept=())
    checks.check_raw(db, band="VV", scene=scene(S1_DB), accept=())
    with pytest.raises(
        ContractError, match=r'scene.tif .*, band VV: .*look like linear power.*Set `unit = "linear power"`'
    ):
        checks.check_raw(linear, band="VV", scene=scene(S1_DB), accept=())
    with pytest.raises(ContractError, match=r'look like dB.*Set `unit = "dB"`'):
        checks.check_raw(db, band="VV", scene=scene(S1_LINEAR), accept=())
    with pytest.raises(ContractError, match=r"digital numbers"):
        checks.check_raw(db * 1e4, band="VV", scene=scene(S1_DB), accept=())
    with pytest.raises(ContractError, match=r"digital numbers"):
        checks.check_raw(linear * 1e4, band="VV", scene=scene(S1_LINEAR), accept=())
    checks.check_raw(linear, band="VV", scene=scene(S1_DB), accept=("unit",))


def test_land_in_its_published_order_agrees():
    found = checks.check_spectra(spectra(), names=NAMES, label="x", accept=())
    assert found == "band order: agrees at 400 vegetated pixels, 400 bare pixels"


EXCHANGED = [(a, b) for i, a in enumerate(NAMES) for b in NAMES[i + 1 :]]
ALIKE = {("B08", "B8A"), ("B07", "B08"), ("B07", "B8A")}  # near infrared thrice: no statistic can part them for sure


@pytest.mark.parametrize(("a", "b"), [p for p in EXCHANGED if p not in ALIKE])
def test_any_two_exchanged_bands_are_found(a, b):
    swap = {a: b, b: a}
    with pytest.raises(ContractError, match=r"bands look exchanged.*accept 'band_order'"):
        checks.check_spectra(spectra([swap.get(n, n) for n in NAMES]), names=NAMES, label="x", accept=())


@pytest.mark.parametrize(
    "order",
    [
        ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12"),  # 10 m first
        ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12", "B8A"),  # by name
        ("B04", "B03", "B02", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),  # true colour first
        NAMES[::-1],
    ],
)
def test_the_orders_of_other_providers_are_found(order):
    with pytest.raises(ContractError, match=r"bands look exchanged"):
        checks.check_spectra(spectra(order), names=NAMES, label="x", accept=())


def test_too_few_pixels_decide_nothing_and_say_so():
    assert "not checked" in checks.check_spectra(spectra()[:50], names=NAMES, label="x", accept=())


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "band B05 is empty"), (0.2, "band B05 has the value 0.2 at all")]
)
def test_empty_and_constant_bands_are_found(value, message):
    values = spectra().reshape(20, 40, 10).astype(np.float32)
    values[..., 3] = value
    with pytest.raises(ContractError, match=rf"label: {message}.*accept 'constant'"):
        checks.check_bands(values, mapping=S2, label="label", accept=())
    checks.check_bands(values, mapping=S2, label="label", accept=("constant",))
    checks.check_bands(np.full_like(values, np.nan), mapping=S2, label="outside the swath", accept=())


def test_an_override_must_name_a_check():
    with pytest.raises(UsageError, match=r"accept names ofset, which is no check; the checks are: level"):
        checks.check_accept(("ofset",))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("unit", "DN", "unit is DN, expected one of"),
        ("unit", "dB", "unit is dB, expected one of reflectance"),
        ("level", "L1C", "level is L1C, expected L2A"),
        ("calibration", "toa", "calibration is toa, expected surface_reflectance"),
        ("bands", {"B99": "x"}, "bands is B99, expected some of B02"),
        ("reader", "grib", "reader is grib, expected one of netcdf, geotiff"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(field, value, message):
    with pytest.raises(ContractError, match=rf"mapping 'simulated_s2': {message}"):
        dataclasses.replace(S2, **{field: value})
