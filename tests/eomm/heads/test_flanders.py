"""A real site, a real model, real labels: crops of Flanders as a map, with whole fields held out."""

import numpy as np
import pytest
import xarray as xr

import eomm
from data_prep.cubes.build import Source, build_cube
from eomm.heads.options import LabelOptions


@pytest.mark.whole
def test_crops_of_flanders(flanders, tmp_path):
    cube = build_cube(tmp_path / "c.zarr", site="flanders", sources=[Source(path=flanders, mapping="worldcereal_s2")])
    day = np.datetime64("2018-07-05").astype(object)
    store = eomm.embed("base", cube, tmp_path / "e.zarr", dates=(day, day))
    (labels,) = flanders.glob("OUTPUT_POLY-110*.nc")
    classes = {"1200": "maize", "9120": "grass"}
    options = LabelOptions(column="CT", ignore=["0"], classes=classes, min_pixels=20, buffer_px=2)
    head = eomm.fit(store, labels=labels, form="logistic", out=tmp_path / "head", options=options)
    assert not head.contract["simulated"] and head.contract["model"] == eomm.load_model("base").hash
    assert head.scores["balanced_accuracy"]["value"] > 0.5  # 11 fields: that it is told at all, not how well
    assert 0.6 < head.interval.coverage <= 1
    eomm.predict(head, store, tmp_path / "map.zarr")
    found = xr.open_zarr(tmp_path / "map.zarr")
    assert found.sizes == {"time": 1, "y": 64, "x": 64}
    assert (found["flags"].values == 0).mean() > 0.5 and (found["flags"].values == 2).any()
    said = found["prediction"].values[np.isfinite(found["prediction"].values)]
    assert set(said) == {0, 1}
