"""Points and parcels: their vectors are those of a cube of one pixel, and a table goes in and out."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from eomm.cli import main
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.data.points import PointSeries
from eomm.embedding.points import embed_points, embed_series
from eomm.errors import DataError
from eomm.models import context, decoder, state
from eomm.models.directory import Model, save_model
from tests.parameters import parameters

OPTIONS = {"size": "tiny", "dilations": (), "frames": (2, 2)}
MAPPING = 'modality = "s2"\nid = "parcel"\ndate = "date"\nscale = 1e-4\n[bands]\n'


@pytest.fixture(scope="module")
def model():
    encoder = context.build_encoder(SENTINEL2, OPTIONS)
    decode = decoder.build_decoder(SENTINEL2, encoder.dim, {})
    return Model(
        encoders={"s2": encoder},
        decoders={"s2": decode},
        fusion=None,
        params={"s2": {"encoder": parameters(encoder), "decoder": parameters(decode)}},
        parts={"s2": {"encoder": OPTIONS, "decoder": {}}},
        info={},
    )


def make_series(name, dates, seed):
    rng = np.random.default_rng(seed)
    day = 18000 + np.cumsum(rng.integers(2, 9, dates)).astype(np.int32)
    values = rng.uniform(0.02, 0.4, (dates, 10)).astype(np.float32)
    return PointSeries(id=name, group=name, day=day, values=values, valid=rng.random(dates) < 0.8)


def test_a_series_is_embedded_alike_beside_others_and_alone(model):
    series = [make_series("a", 12, 0), make_series("b", 40, 1)]
    both, alone = embed_points(model, series), embed_points(model, series[:1])
    assert list(both.columns[:4]) == ["group", "id", "date", "v0"] and len(both) == sum(s.valid.sum() for s in series)
    mine = both[both.id == "a"].reset_index(drop=True)
    np.testing.assert_array_equal(mine.date, alone.date)
    np.testing.assert_allclose(mine.filter(like="v"), alone.filter(like="v"), atol=1e-5)


def test_what_is_not_valid_does_not_count(model):
    series = make_series("a", 12, 0)
    other = np.where(series.valid[:, None], series.values, 0.9).astype(np.float32)
    changed = PointSeries(id="a", group="a", day=series.day, values=other, valid=series.valid)
    a, b = embed_points(model, [series]), embed_points(model, [changed])
    np.testing.assert_allclose(a.filter(like="v"), b.filter(like="v"), atol=1e-6)


def test_fields_of_several_pixels_are_refused(model):
    one = make_series("a", 5, 0)
    field = PointSeries(
        id="a", group="a", day=one.day, values=one.values[:, None, None], valid=one.valid[:, None, None]
    )
    with pytest.raises(DataError, match=r"1 series with values .* expected \[10\], the bands of s2"):
        embed_points(model, [field])


def test_a_radar_state_averages_passes_of_one_orbit_alone():
    options = {"mean": (-10.0, -17.0), "whiten": np.eye(2), "same_orbit": True, "likeness": 1e6, "frames": (4, 4)}
    encoder = state.build_encoder(SENTINEL1, options)
    day = np.arange(17600, 17606, dtype=np.int32)
    values = np.where((np.arange(6) % 2)[:, None] == 0, (-9.0, -16.0), (-12.0, -19.0)).astype(np.float32)
    one = PointSeries(id="a", group="a", day=day, values=values, valid=np.ones(6, bool))
    known = dataclasses.replace(one, orbit=np.array([44, 117] * 3, np.int32))
    params, at = {"encoder": {}, "fusion": None}, [np.arange(6)]
    (apart,), (mixed,) = (embed_series(encoder, SENTINEL1, params, [s], at) for s in (known, one))
    np.testing.assert_allclose(apart[:, :2], values - (-10.0, -17.0), atol=0.01)
    assert (np.abs(mixed[:, 0] - apart[:, 0]) > 0.5).all()


def test_a_table_goes_in_and_a_table_comes_out(model, tmp_path):
    save_model(model, tmp_path / "m")
    one = make_series("a", 9, 3)
    rows = pd.DataFrame(np.round(one.values * 1e4).astype(int), columns=list(SENTINEL2.band_names))
    rows.insert(0, "parcel", "a")
    rows.insert(1, "date", one.day.astype("datetime64[D]").astype(str))
    rows.to_csv(tmp_path / "t.csv", index=False)
    (tmp_path / "m.toml").write_text(MAPPING + "".join(f'{b} = "{b}"\n' for b in SENTINEL2.band_names))
    command = ["embed-points", str(tmp_path / "t.csv"), "--mapping", str(tmp_path / "m.toml")]
    command += ["--model", str(tmp_path / "m"), "--out", str(tmp_path / "v.csv")]
    assert main(command) == 0
    found = pd.read_csv(tmp_path / "v.csv")
    assert len(found) == 9 and found.shape[1] == 3 + 16 and found.date[0] == rows.date[0]
    assert main(command) == 2  # it is there already
