"""What opened cubes, records, models and heads say of themselves; cubes as xarray."""

import shutil
from importlib.metadata import version

import numpy as np
import pytest
import xarray as xr

import eomm
from eomm.errors import DataError
from eomm.page.shown import Shown
from tests import zoo
from tests.eomm.site import COUNT, DAYS, SIZE
from tests.eomm.tiny import make_records


def test_a_line_in_python_and_a_table_in_a_notebook(tmp_path):
    records = make_records(tmp_path / "records")
    told = [
        (zoo.cube(), ("<eomm.Cube site one; simulated: yes, ", "20 usable", "2018-")),
        (zoo.cube()["s2"], ("<eomm.CubeGroup s2; bands: B02, ", "EPSG:32631")),
        (zoo.model(), (f"<eomm.Model {zoo.model().hash}; modalities: s2 and s1, fused", "8 numbers")),
        (records, ("<eomm.RecordSet records; train: 24, validation: 5", "3 x 4 x 4 px")),
    ]
    for shown, words in told:
        assert len(repr(shown)) < 400 and "\n" not in repr(shown)
        assert all(w in repr(shown) for w in words), repr(shown)
        assert shown._repr_html_().startswith("<table>") and len(shown._repr_html_()) < 2000


def test_what_the_package_gives_is_shown_in_a_line():
    constants = [v for n in eomm.__all__ if not isinstance(v := getattr(eomm, n), type) and not callable(v)]
    assert eomm.SENTINEL2 in constants and "reflectance" in eomm.SENTINEL2._repr_html_()
    model = eomm.load_model("base")  # whose state holds matrices
    for shown in (*constants, eomm.SENTINEL2.bands[0], zoo.GRID, model):
        assert len(repr(shown)) < 200 and "\n" not in repr(shown), repr(shown)
    assert len(repr(model.encoders["s2"])) < 800


def test_names_are_no_html():
    class Odd(Shown):
        def facts(self):
            return {"site": "<b>"}

    assert "&lt;b&gt;" in Odd()._repr_html_()


def test_a_cube_as_xarray_is_physical_and_lazy():
    cube = zoo.cube()
    tree = cube.to_xarray()
    assert isinstance(tree, xr.DataTree) and set(tree.children) == {"s2", "s1"}
    data = tree["s2"].to_dataset()
    stored, valid = cube["s2"].read()
    expected = np.where(valid[..., None], cube["s2"].modality.decode(stored), np.nan)
    assert data["values"].dtype == np.float32 and data["values"].attrs["units"] == "reflectance"
    np.testing.assert_array_equal(data["values"].values, expected)
    np.testing.assert_array_equal(data["valid"].values, valid)
    assert data.sizes == {"time": COUNT, "y": SIZE, "x": SIZE, "band": 10}
    assert data["time"].values[3] == np.datetime64(DAYS[3], "D") and list(data["band"].values)[:2] == ["B02", "B03"]
    whole = xr.DataArray(expected, dims=data["values"].dims)
    rng = np.random.default_rng(0)
    for _ in range(20):  # whatever is asked for, alone or in any order, is the same as of the whole
        key = {
            "time": rng.permutation(COUNT)[:3],
            "y": slice(int(rng.integers(10)), int(rng.integers(11, SIZE)), 2),
            "x": int(rng.integers(SIZE)),
            "band": rng.integers(0, 10, 2),
        }
        np.testing.assert_array_equal(data["values"].isel(key), whole.isel(key))
    assert data["values"].isel(time=slice(0, 0)).values.shape == (0, SIZE, SIZE, 10)
    assert data["values"].sel(band="B08").isel(time=-1, y=-1, x=-1).values == expected[-1, -1, -1, 6]


def test_damage_is_an_error_when_it_is_read(tmp_path):
    path = shutil.copytree(zoo.cube().path, tmp_path / "cube.zarr")
    data = eomm.open_cube(path)["s2"].to_xarray()
    (shard,) = [p for p in (path / "s2" / "values").rglob("*") if p.is_file() and p.name != "zarr.json"]
    content = bytearray(shard.read_bytes())
    content[100] ^= 255
    shard.write_bytes(bytes(content))
    with pytest.raises(DataError, match="cannot be read"):
        data["values"].values  # noqa: B018


def test_the_version_is_the_package_s():
    assert eomm.__version__ == version("eomm") and "__version__" in dir(eomm)
