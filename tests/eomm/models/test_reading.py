import jax
import numpy as np
import pytest

from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.data.records import PatchShape
from eomm.models.context import build_encoder
from eomm.models.interface import META, crop
from eomm.models.reading import surround, surrounded, trim
from tests.eomm.helpers import random_group
from tests.parameters import parameters


def embed(encoder, params, data):
    features = encoder.features(params, data["values"], data["valid"], {k: data[k] for k in META})
    inside = crop(data["valid"], encoder.halo)
    return encoder.embed(params, features, inside, data["day"], np.array([[0, 2]]))


@pytest.mark.parametrize("reading", ["lone", "homogeneous"])
def test_a_pixel_is_embedded_as_one_cut_from_such_surroundings(reading):
    encoder = build_encoder(SENTINEL2, {"size": "tiny", "dilations": (1, 2)})
    params = encoder.init(jax.random.key(0))
    data = random_group(np.random.default_rng(0), SENTINEL2, time=4, size=1)
    whole = {**data, "values": np.zeros((1, 4, 11, 11, 10), np.int16), "valid": np.zeros((1, 4, 11, 11), np.uint8)}
    at = (slice(None), slice(None)) + ((slice(None),) * 2 if reading == "homogeneous" else (slice(5, 6),) * 2)
    whole["values"][at], whole["valid"][at] = data["values"], data["valid"]
    found = embed(encoder, params, surround(data, encoder.halo, reading))
    assert found.shape[2:4] == (1, 1)
    np.testing.assert_allclose(found[:, :, 0, 0], embed(encoder, params, whole)[:, :, 2, 2], atol=1e-5)


def test_records_with_a_margin_and_encoders_of_single_pixels_are_left_alone():
    data = random_group(np.random.default_rng(0), SENTINEL2, time=4, size=1)
    assert surround(data, 0, "lone") is data and surround(data, 7, "crop") is data
    shape = PatchShape(modality=SENTINEL2, acquisitions=4, height=2, width=1)
    assert surrounded(shape, 7, "crop") == shape
    wide = surrounded(shape, 7, "lone")
    assert (wide.height, wide.width) == (16, 15)
    field = random_group(np.random.default_rng(0), SENTINEL2, time=4, size=3)
    assert surround(field, 7, "homogeneous")["values"].shape[2:4] == (17, 17)


@pytest.mark.whole
def test_encoders_of_unlike_halos_embed_the_same_pixels():
    rng = np.random.default_rng(0)
    batch = {n: random_group(rng, m, time=4, size=9) for n, m in {"s2": SENTINEL2, "s1": SENTINEL1}.items()}
    wide = build_encoder(SENTINEL2, {"size": "tiny", "dilations": (1, 2)})
    narrow = build_encoder(SENTINEL1, {"size": "tiny", "dilations": (1,)})
    met = trim(batch, {"s2": wide.halo, "s1": narrow.halo})
    params = parameters(narrow)
    edge = wide.halo - narrow.halo
    whole = embed(narrow, params, batch["s1"])[:, :, edge:-edge, edge:-edge]
    assert edge == 2 and whole.shape[2] == 9 - 2 * wide.halo
    np.testing.assert_allclose(embed(narrow, params, met["s1"]), whole, atol=1e-5)
    np.testing.assert_array_equal(met["s2"]["values"], batch["s2"]["values"])


def test_what_has_one_pixel_for_all_is_not_trimmed():
    rng = np.random.default_rng(0)
    batch = {"s2": random_group(rng, SENTINEL2, size=5), "weather": random_group(rng, SENTINEL1, size=1)}
    met = trim(batch, {"s2": 2, "weather": 0})
    assert met["weather"]["values"].shape[2:4] == (1, 1) and met["s2"]["values"].shape[2:4] == (5, 5)
