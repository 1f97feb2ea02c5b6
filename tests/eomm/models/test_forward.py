"""How modalities meet; that every way of embedding agrees is held by tests of embedding, export and evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from eomm.models import forward
from eomm.models.fusion import Fusion


@pytest.fixture(scope="module")
def head():
    fusion = Fusion.build({"s1": 3, "s2": 4}, {"dim": 5, "width": 8, "heads": 2, "layers": 1})
    return fusion, fusion.init(jax.random.key(0))


def test_the_nearest_serves_the_earlier_of_two_and_none_beyond_the_limit():
    day, exists = jnp.array([[10, 14, 20, 21]], jnp.int32), jnp.array([[1, 1, 1, 0]], jnp.uint8)
    found = forward.pair(jnp.array([[12, 17, 22, 33]], jnp.int32), day, exists, 12)
    assert found.at.tolist() == [[0, 1, 2, 2]] and found.offset_days.tolist() == [[-2, -3, -2, -13]]
    assert found.near.tolist() == [[True, True, True, False]]


def test_a_static_layer_serves_every_day_as_if_it_were_its_own():
    target, day = jnp.array([[12, 17000, 30000]], jnp.int32), jnp.zeros((1, 1), jnp.int32)
    found = forward.pair(target, day, jnp.ones((1, 1), bool), None)
    assert found.at.tolist() == found.offset_days.tolist() == [[0, 0, 0]] and found.near.all()
    assert not forward.pair(target, day, jnp.zeros((1, 1), bool), None).near.any()  # where a record lacks it


def test_acquisitions_may_exist_for_some_targets_only_and_nothing_is_never_near():
    day = jnp.array([[10, 14, 20]], jnp.int32)
    exists = jnp.array([[[True, False, True], [False, False, False]]])
    found = forward.pair(jnp.array([[15, 10]], jnp.int32), day, exists, 100)
    assert found.at[0, 0] == 0 and found.near.tolist() == [[True, False]]  # of 10 and 20 the earlier


def test_a_modality_is_present_where_its_acquisition_is_near_valid_and_not_dropped():
    inside = jnp.asarray(np.random.default_rng(0).random((1, 3, 2, 4)) < 0.5)
    pairs = forward.Pairs(jnp.array([[2, 0, 2]]), jnp.array([[3, -20, 4]]), jnp.array([[True, False, True]]))
    part = forward.follow(jnp.zeros((1, 3, 2, 4, 5)), inside, pairs, jnp.array([[False, False, True]]))
    np.testing.assert_array_equal(part.present[0, 0], inside[0, 2])
    assert not part.present[0, 1:].any() and part.offset_days[0, :, 0, 0].tolist() == [3, -20, 4]
    lead = forward.lead(jnp.zeros((1, 3, 2, 4, 5)), jnp.array([[False, True, False]]))
    assert lead.present.all((2, 3)).tolist() == [[True, False, True]] and not lead.offset_days.any()


def test_what_brings_no_part_is_absent_and_a_single_pixel_serves_all(head):
    fusion, params = head
    rng = np.random.default_rng(1)
    s2 = forward.lead(jnp.asarray(rng.normal(size=(1, 2, 3, 4, 4)), jnp.float32))
    one = jnp.ones((1, 2, 1, 1))
    s1 = forward.Part(jnp.asarray(rng.normal(size=(1, 2, 1, 1, 3)), jnp.float32), one > 0, 5 * one)
    spread = forward.Part(*(jnp.broadcast_to(x, (1, 2, 3, 4, *x.shape[4:])) for x in s1))
    both = forward.fuse(fusion, params, {"s2": s2, "s1": s1})
    assert both.shape == (1, 2, 3, 4, 5)
    np.testing.assert_allclose(both, forward.fuse(fusion, params, {"s2": s2, "s1": spread}), atol=1e-6)
    absent = forward.fuse(fusion, params, {"s2": s2, "s1": spread._replace(present=~spread.present)})
    np.testing.assert_allclose(forward.fuse(fusion, params, {"s2": s2}), absent, atol=1e-6)
    assert np.abs(both - absent).max() > 1e-3
