"""Longitude is a circle."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eomm.data import longitude
from eomm.embedding.stac import outline

somewhere = st.floats(-180, 180)
near = st.lists(st.floats(-40, 40), min_size=1, max_size=6)


@given(middle=somewhere, offsets=near)
def test_an_extent_turns_with_its_positions(middle, offsets):
    west, wide = longitude.extent([longitude.wrapped(middle + o) for o in offsets])
    assert wide == pytest.approx(max(offsets) - min(offsets), abs=1e-9)
    assert math.remainder(west - middle - min(offsets), 360) == pytest.approx(0, abs=1e-9)
    assert -180 <= west <= 180


@given(a=somewhere, b=somewhere, wide=st.floats(0.1, 60), turn=somewhere)
def test_whether_arcs_share_ground_does_not_depend_on_where_longitude_is_zero(a, b, wide, turn):
    def turned(lon):
        return longitude.wrapped(lon + turn), longitude.wrapped(lon + turn + wide)

    apart = abs(math.remainder(a - b, 360))
    if abs(apart - wide) > 1e-6:
        assert longitude.share(turned(a), turned(b)) is (apart < wide)


def test_an_outline_across_180_degrees_is_divided_there():
    ring = [(179.9, -1.0), (-179.9, -1.0), (-179.9, 1.0), (179.9, 1.0), (179.9, -1.0)]
    made = outline(ring)
    west, east = (part[0] for part in made["coordinates"])
    assert made["type"] == "MultiPolygon"
    assert sorted(map(tuple, west[:-1])) == [(179.9, -1), (179.9, 1), (180, -1), (180, 1)] and west[0] == west[-1]
    assert sorted(map(tuple, east[:-1])) == [(-180, -1), (-180, 1), (-179.9, -1), (-179.9, 1)] and east[0] == east[-1]
    assert outline([(1, 0), (2, 0), (2, 1), (1, 0)])["type"] == "Polygon"
