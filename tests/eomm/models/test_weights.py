"""The models that ship: they load by name, are what their cards say, and give the vectors that they gave when made."""

import numpy as np
import pytest

from eomm.data.points import PointSeries
from eomm.embedding.points import embed_points
from eomm.models.directory import load_model
from eomm.models.shipped import FOLDER, card, describe_shipped, shipped

GOLDEN = (-1.45102, 0.26049, 0.03978, -0.03756, 0.01155, 0.08432)


def a_year():
    """A meadow that greens, is mown and greens again; made up."""
    day = np.arange(17_900, 18_200, 6).astype(np.int32)
    green = np.clip(np.sin((day - 17_900) / 300 * np.pi), 0, 1) * np.where(day > 18_060, 0.55, 1.0)
    bare = np.array([0.09, 0.11, 0.13, 0.16, 0.18, 0.2, 0.22, 0.23, 0.28, 0.22])
    full = np.array([0.03, 0.06, 0.03, 0.09, 0.3, 0.38, 0.42, 0.44, 0.2, 0.1])
    values = (bare + green[:, None] * (full - bare)).astype(np.float32)
    return PointSeries(id="a", group="a", day=day, values=values, valid=np.ones(len(day), bool))


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_model_is_what_its_card_says(name):
    model, found = load_model(name), describe_shipped()[name]
    assert (
        model.hash == found["hash"]
        and model.hash in card(name)
        and model.dim == (30 if name.startswith("closed") else 64)
    )
    assert found["bytes"] < 3_000_000 and set(p.name for p in (FOLDER / name).iterdir()) == {
        "CARD.md",
        "model.json",
        "params.safetensors",
    }
    assert len(set(model.info["calibration"]["scale"])) == 1  # one scale for all numbers
    assert "korea nj" not in model.info["places"] and not model.info["simulated"]


def test_the_closed_form_alone_is_the_beginning_of_base():
    whole, closed = (embed_points(load_model(n), [a_year()]).filter(like="v").to_numpy() for n in ("base", "closed"))
    np.testing.assert_allclose(closed, whole[:, :30], atol=1e-5)


def test_vectors_are_those_of_the_day_they_were_made():
    found = embed_points(load_model("base-2"), [a_year()])
    numbers = found.filter(like="v").to_numpy()
    np.testing.assert_allclose(numbers[20, [0, 1, 10, 20, 30, 63]], GOLDEN, atol=2e-4)


def test_the_past_only_model_sees_nothing_of_what_comes():
    year = a_year()
    early = PointSeries(id="a", group="a", day=year.day[:30], values=year.values[:30], valid=year.valid[:30])
    model = load_model("base_past")
    whole, part = (embed_points(model, [s]).filter(like="v").to_numpy() for s in (year, early))
    np.testing.assert_allclose(whole[:30], part, atol=1e-5)
    assert np.abs(whole[:, 20:30]).max() == 0  # of the future
