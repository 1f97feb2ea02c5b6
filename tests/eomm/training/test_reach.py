"""What a configuration asks of an encoder that it cannot give is told by the option that asks it."""

import dataclasses

import pytest

from eomm.errors import UsageError
from eomm.training.objective import Objective
from eomm.training.stages import check_crop
from tests.eomm.site import make_model


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reach_px": 8}, r"config\.objective\.reach_px is 8.*, 7; say --config\.objective\.reach_px=7"),
        ({"crop_px": 14}, r"config\.objective\.crop_px is 14; expected 0, or 15"),
        ({"targets": 99}, r"where: records hold 3 acquisitions, fewer than the 99 targets drawn"),
    ],
)
def test_a_wish_beyond_the_window_names_its_option(change, words):
    encoder = make_model(("s2",)).encoders["s2"]
    shape = dataclasses.make_dataclass("Shape", [("height", int, 32), ("width", int, 32), ("acquisitions", int, 3)])()
    check_crop(encoder, shape, Objective(targets=2), "where")
    with pytest.raises(UsageError, match=words):
        check_crop(encoder, shape, dataclasses.replace(Objective(targets=2), **change), "where")
