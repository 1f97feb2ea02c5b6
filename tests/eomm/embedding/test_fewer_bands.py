"""Series of fewer bands than a model's: the missing ones are those to be expected from the others in training."""

import numpy as np
import pytest

from eomm.cli import main
from eomm.data.modality import SENTINEL2
from eomm.data.points import PointMapping, PointSeries
from eomm.data.tables import read_frame
from eomm.embedding.points import embed_points
from eomm.errors import ContractError, DataError, UsageError
from eomm.models.bands import complete_bands
from eomm.models.directory import load_model
from eomm.training.noise import with_noise
from tests import zoo
from tests.eomm.embedding.test_state_layers import DEVIATION, series, state_model

HLS = ("B02", "B03", "B04", "B8A", "B11", "B12")
LACKS = [b for b in SENTINEL2.band_names if b not in HLS]
AT = [SENTINEL2.band_names.index(b) for b in HLS]


@pytest.fixture(scope="module")
def model():
    """A state whose noise is measured on places whose bands go together."""
    options = with_noise({"code": "eomm.models.state", "frames": (3, 3)}, SENTINEL2, [series()])
    return state_model(**{k: v for k, v in options.items() if k != "code"})


def test_missing_bands_are_the_regression_on_those_given(model):
    values = SENTINEL2.decode(series().values.reshape(-1, 10)).astype(np.float64)
    found = complete_bands(values[:, AT], HLS, model.encoders["s2"])
    assert np.array_equal(found[:, AT], values[:, AT])
    x = np.column_stack([values[:, AT], np.ones(len(values))])
    expected = x @ np.linalg.lstsq(x, values, rcond=None)[0]
    spread = values.std(0).mean()
    assert np.abs(found - expected).mean() < 0.05 * spread < 0.3 * np.abs(values - values.mean(0)).mean()
    reordered = complete_bands(values[:5, AT[::-1]], HLS[::-1], model.encoders["s2"])
    np.testing.assert_allclose(reordered, found[:5])


def points(values, seed=0):
    valid = np.random.default_rng(seed).random(len(values)) < 0.8
    day = np.arange(17000, 17000 + 5 * len(values), 5, dtype=np.int32)
    return PointSeries(id="a", group="a", day=day, values=values.astype(np.float32), valid=valid)


def test_vectors_of_six_bands_are_near_those_of_ten(model):
    values = SENTINEL2.decode(series().values[:30]).reshape(-1, 10)
    own, far = (embed_points(model, [points(v)]).filter(like="v").to_numpy() for v in (values, values[::-1]))
    six = embed_points(model, [points(values[:, AT])], bands=HLS).filter(like="v").to_numpy()
    # Of the state the three components by which places differ: the others are noise, which no other band tells.
    apart = [np.linalg.norm((x - own)[:, :3], axis=1).mean() for x in (six, far)]
    assert six.shape == own.shape and apart[0] < 0.4 * apart[1]
    all_of_them = embed_points(model, [points(values)], bands=SENTINEL2.band_names).filter(like="v").to_numpy()
    np.testing.assert_array_equal(all_of_them, own)


def test_what_cannot_be_estimated_is_refused(model):
    values = np.full((12, 6), 0.2)
    with pytest.raises(UsageError, match="only a model with a state can estimate the others"):
        embed_points(zoo.model("s2"), [points(values)], bands=HLS)
    with pytest.raises(UsageError, match=r"bands B01, B02.*: expected some of B02"):
        embed_points(model, [points(values[:, :2])], bands=("B01", "B02"))
    with pytest.raises(DataError, match=r"values \[\(6,\)\] a date; expected \[10\]"):
        embed_points(model, [points(values)])
    assert state_model(deviation=DEVIATION).encoders["s2"].deviations
    with pytest.raises(UsageError, match="only a model with a state"):
        complete_bands(values, HLS, state_model().encoders["s2"])


def mapping(**changes):
    return PointMapping(**{"modality": "s2", "id": "id", "date": "date", "bands": {b: b for b in HLS}, **changes})


def test_a_mapping_says_which_bands_its_table_lacks():
    assert mapping(lacks=tuple(LACKS)).contract.band_names == HLS
    with pytest.raises(ContractError, match="expected all of B02"):
        mapping()
    with pytest.raises(ContractError, match="lacks B10, expected some of B02"):
        mapping(lacks=("B10",))


def test_the_command_embeds_six_bands_with_the_shipped_model(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = ["id,date," + ",".join(HLS)]
    rows += [f"p,2020-{m:02d}-{d:02d}," + ",".join(f"{v:.4f}" for v in rng.uniform(0.05, 0.3, 6))
             for m in range(3, 9) for d in (2, 12, 22)]  # fmt: skip
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    lines = ['modality = "s2"', 'id = "id"', 'date = "date"', f"lacks = {LACKS}", "[bands]"]
    (tmp_path / "m.toml").write_text("\n".join([*lines, *(f'{b} = "{b}"' for b in HLS)]) + "\n")
    arguments = ["--mapping", tmp_path / "m.toml", "--out", tmp_path / "v.csv"]
    assert main(["embed-points", str(tmp_path / "t.csv"), *map(str, arguments)]) == 0
    capsys.readouterr()
    found = read_frame(tmp_path / "v.csv").filter(regex=r"^v\d")
    assert found.shape == (18, load_model("base").dim) and np.isfinite(found.to_numpy()).all()
