"""GeoTIFFs as QGIS 3.22 and R's terra 1.7 read them: rasterio 1.3.7, with GDAL 3.6.4, in an environment of its own."""

import json
import subprocess
import sys

import numpy as np
import pytest
import rasterio

from eomm.export.options import ExportOptions
from eomm.export.run import export
from tests import zoo

READ = """
import json, sys, numpy, rasterio
out = {"gdal": rasterio.__gdal_version__}
for path in sys.argv[1:]:
    with rasterio.open(path) as file:
        raw = file.read(masked=True)
        values = raw.astype("float64") * numpy.array(file.scales)[:, None, None]
        out[path] = [file.dtypes[0], str(file.crs), list(file.transform)[:6], values.filled(numpy.nan).tolist()]
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def old_python(tmp_path_factory):
    """A Python with rasterio 1.3.7, whose wheel holds GDAL 3.6.4."""
    folder = tmp_path_factory.mktemp("gdal36") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin/python", "-m", "pip", "install", "-q", "rasterio==1.3.7", "numpy<2"]
    done = subprocess.run(install, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "bin/python"


@pytest.mark.whole
def test_a_geotiff_holds_the_same_numbers_for_an_old_gdal_and_todays(old_python, tmp_path):
    paths = {}
    for name, options in {
        "int16": {"store": "int8"},
        "means": {"store": "int8", "composite": "season"},
        "float32": {"store": "clear"},
        "cloudy": {"store": "cloudy", "cloudy": True},
        "local": {"store": "local"},
    }.items():
        store = zoo.store(options.pop("store"))
        done = export(store, tmp_path / name, ExportOptions(to="cog", **options))
        paths[name] = tmp_path / name / done["files"][0]
    done = subprocess.run([old_python, "-c", READ, *paths.values()], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found.pop("gdal").startswith("3.6.")
    for name, path in paths.items():
        dtype, crs, transform, values = found[str(path)]
        with rasterio.open(path) as file:
            raw = file.read(masked=True).astype(float) * np.array(file.scales)[:, None, None]
            assert (dtype, crs, transform) == (file.dtypes[0], str(file.crs), list(file.transform)[:6])
        np.testing.assert_array_equal(np.array(values, float), raw.filled(np.nan), err_msg=name)
        assert dtype == ("int16" if name in ("int16", "means") else "float32")
        assert np.isfinite(raw.filled(np.nan)).any() and (name in ("int16", "float32")) == bool(raw.mask.any())


@pytest.mark.whole
def test_int8_is_misread_by_an_old_gdal_as_the_warning_says(old_python, tmp_path):
    with pytest.warns(UserWarning, match=r"misread by GDAL before 3\.7"):
        done = export(zoo.store("int8"), tmp_path / "out", ExportOptions(to="cog", dtype="int8"))
    path = tmp_path / "out" / done["files"][0]
    ran = subprocess.run([old_python, "-c", READ, path], capture_output=True, text=True, check=True)
    values = np.array(json.loads(ran.stdout)[str(path)][3], float)
    with rasterio.open(path) as file:
        raw = file.read(masked=True).astype(float) * np.array(file.scales)[:, None, None]
    assert not np.array_equal(values, raw.filled(np.nan), equal_nan=True)
