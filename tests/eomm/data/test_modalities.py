import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eomm.data.modality import KNOWN, SENTINEL1, SENTINEL1_SIGMA0, SENTINEL2, Band, Modality, check_contract, in_order
from eomm.errors import ContractError


@pytest.mark.parametrize("modality", KNOWN.values(), ids=list(KNOWN))
def test_a_contract_survives_json(modality):
    back = Modality.from_dict(json.loads(json.dumps(modality.to_dict())))
    assert back == modality and back.contract_hash == modality.contract_hash


@given(st.floats(-0.1, 1.6))
def test_storing_keeps_reflectance_to_half_a_step(value):
    stored, valid = SENTINEL2.encode(np.full((1, 10), value, np.float64))
    assert valid.all() and abs(SENTINEL2.decode(stored) - value).max() < 5.1e-5


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.61, -0.11, 7.0, 1e9])
def test_what_cannot_be_stored_becomes_invalid_never_wrapped(bad):
    values = np.full((3, 10), 0.3, np.float32)
    values[1, 4] = bad
    stored, valid = SENTINEL2.encode(values)
    assert valid.tolist() == [True, False, True] and (stored[1] == 0).all() and (stored[0] == 3000).all()


def test_the_model_range_follows_from_the_spec():
    scale, offset = SENTINEL1.model_scale()
    np.testing.assert_allclose(np.array([-1400, -900]) * scale + offset, [0.0, 1.0], atol=1e-6)


def test_bands_may_have_their_own_unit_and_range():
    mixed = dataclasses.replace(
        SENTINEL1,
        unit="per band",
        bands=(
            Band(name="t", unit="K", gsd_m=1, scale=0.01, offset=273.15, valid_min=200, valid_max=330, centre=283.15),
            Band(name="sun", unit="J", gsd_m=1, scale=2e3, valid_min=0, valid_max=5e7, centre=1e7, spread=2e7),
        ),
    )
    stored, valid = mixed.encode(np.array([[288.15, 3e7], [199.0, 1e7], [288.15, 6e7]]))
    assert valid.tolist() == [True, False, False]
    scale, offset = mixed.model_scale()
    np.testing.assert_allclose(stored[0] * scale + offset, [1.0, 1.0], atol=1e-6)  # the modality's spread is 5
    assert mixed.units == {"t": "K", "sun": "J"}
    name, size = mixed.error_unit
    assert name == "spreads" and size.tolist() == [5, 2e7] and SENTINEL1.error_unit[0] == "dB"
    assert Modality.from_dict(json.loads(json.dumps(mixed.to_dict()))) == mixed


def test_only_a_static_layer_says_so_in_its_contract():
    layer = dataclasses.replace(SENTINEL1, name="relief", static=True)
    assert layer.to_dict()["static"] is True and "static" not in SENTINEL1.to_dict()
    assert Modality.from_dict(json.loads(json.dumps(layer.to_dict()))) == layer
    dated = dataclasses.replace(layer, static=False)
    assert dated.contract_hash != layer.contract_hash
    with pytest.raises(ContractError, match="static: found False, expected True"):
        check_contract(dated, layer, found_in="a cube", expected_by="a model")


def test_s2_leads_then_what_has_dates():
    relief = dataclasses.replace(SENTINEL1, static=True)
    assert in_order({"a": relief, "l8": SENTINEL2, "s1": SENTINEL1}) == ["l8", "s1", "a"]
    assert in_order({"a": SENTINEL1, "s2": SENTINEL2}) == ["s2", "a"]


def test_contracts_written_before_bands_had_units_keep_their_hash():
    assert (SENTINEL2.contract_hash, SENTINEL1.contract_hash) == ("706bf9f04f1500cc", "c4b511b20d48136e")


@pytest.mark.parametrize("change", [{"name": "fusion"}, {"name": "a/b"}, {"spread": 0.0}])
def test_a_name_or_range_that_cannot_work_is_refused(change):
    with pytest.raises(ContractError, match=r"expected a name|must be above 0"):
        dataclasses.replace(SENTINEL1, **change)


def test_a_difference_names_both_sides():
    with pytest.raises(ContractError, match=r"cube\.zarr and model/.*found 'sigma0', expected 'rtc_gamma0'"):
        check_contract(SENTINEL1_SIGMA0, SENTINEL1, found_in="cube.zarr", expected_by="model/")
    swapped = dataclasses.replace(SENTINEL2, bands=SENTINEL2.bands[::-1])
    with pytest.raises(ContractError, match="bands: found B12 B11"):
        check_contract(swapped, SENTINEL2, found_in="a", expected_by="b")


def test_a_range_that_would_wrap_is_refused():
    with pytest.raises(ContractError, match="does not fit int16"):
        dataclasses.replace(SENTINEL2, bands=(dataclasses.replace(SENTINEL2.bands[0], valid_max=4.0),))
