"""What the README tells people to type in Python is run as it stands there, but for the number of steps."""

import re
from pathlib import Path

import numpy as np
import pytest

import eomm
from data_prep.records.build import build_patches
from data_prep.records.crops import CropConfig
from data_prep.records.split import SplitConfig
from tests.eomm.site import SIZE, make_cube

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def make_world(folder):
    """`flanders.zarr` and `records`, as the README calls them."""
    cube = make_cube(folder / "flanders.zarr", site="flanders", clouds=0.1, s1=False)
    crops = CropConfig(crop_px=SIZE - 4, acquisitions=20, stride_px=2, stride_acquisitions=4)
    build_patches(folder / "records", cubes=[cube.path], split=SplitConfig(sites={"train": ["flanders"]}), crops=crops)


def test_the_loop_of_ones_own_is_short():
    assert len([line for line in own_loop().splitlines() if line.strip()]) <= 16


@pytest.mark.whole
def test_a_training_loop_of_ones_own_ends_in_a_model_that_embeds(tmp_path, monkeypatch):
    make_world(tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = own_loop()
    assert lines.count("1200") == 1
    exec(compile(lines.replace("1200", "2"), "README.md", "exec"), {})
    model, vectors = eomm.load_model("mine"), eomm.open_embedding("mine.zarr")
    assert vectors.attrs["eomm:model"] == model.hash and len(model.info["calibration"]["scale"]) == model.dim
    assert eomm.open_embedding("mine.zarr", decode=False)["embedding"].dtype == np.int8
    assert np.isfinite(vectors["embedding"].values[vectors["valid"].values.astype(bool)]).all()


def own_loop():
    (code,) = [c for c in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "def step(" in c]
    return code
