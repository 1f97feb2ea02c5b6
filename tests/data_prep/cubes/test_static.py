"""A layer without dates: its GeoTIFF becomes one acquisition, and is nowhere a date."""

import json

import numpy as np
import pytest

from data_prep.cubes.build import Source, build_cube
from data_prep.mappings.mapping import load_mapping
from data_prep.readers.stated import plain_unit
from eomm.cli import main
from eomm.data.cube import Acquisition, GroupSource, open_cube, write_cube
from eomm.data.grid import Grid
from eomm.errors import ContractError, DataError
from tests.data_prep.tiny_scenes import NORTH, SIZE, WEST, sources, write_tiff

ELEVATION = load_mapping("elevation").contract
SMALL = Grid(crs="LOCAL", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), height=4, width=4)


def height(x, y):
    """Metres: a plane, which resampling by weights keeps."""
    return 120 + 0.05 * (x - WEST) + 0.02 * (NORTH - y)


def write_dem(path, *, gsd=30, west=WEST - 60, north=NORTH + 60, size=20, rise=0.0, **more):
    """As providers deliver it: a single band without a description, and no tag."""
    x, y = west + gsd * (np.arange(size) + 0.5), north - gsd * (np.arange(size) + 0.5)
    values = (height(x, y[:, None]) + rise).astype(np.float32)
    place = {"gsd": gsd, "west": west, "north": north, "nodata": -9999}
    return write_tiff(path, [values], **{"names": [None], **place, **more})


def elevation(path):
    return Source(path=path, mapping="elevation")


@pytest.fixture(scope="module")
def cube(site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    with_dem = [*sources(site), elevation(write_dem(folder / "dem.tif"))]
    return build_cube(folder / "c.zarr", site="here", sources=with_dem)


def test_a_geotiff_without_a_date_or_a_description_is_one_acquisition_on_the_cubes_grid(cube):
    opened = open_cube(cube)
    group = opened["elevation"]
    assert group.modality == ELEVATION and group.modality.static
    assert group.acquisitions == [Acquisition(day=0, product_ids=("dem",))] and group.usable.all() and group.dates == []
    assert group.grid == opened["s2"].grid == opened.grid
    x, y = WEST + 10 * (np.arange(SIZE) + 0.5), NORTH - 10 * (np.arange(SIZE) + 0.5)
    values, valid = group.read()
    assert valid.all()
    np.testing.assert_allclose(ELEVATION.decode(values)[0, ..., 0], height(x, y[:, None]), atol=0.11)  # of its step 0.2


def test_no_reader_is_told_a_date(cube, capsys):
    group = open_cube(cube)["elevation"]
    data, (values, _) = group.to_xarray(), group.read()
    assert data["values"].dims == ("y", "x", "band") and "time" not in data.coords and "static" in repr(group)
    np.testing.assert_array_equal(data["values"], ELEVATION.decode(values)[0])
    for command in (f"info {cube} --json", f"prepare check {cube} --json", f"info {cube}", f"prepare check {cube}"):
        main(command.split())
        said = capsys.readouterr().out
        assert "1970-01" not in said and "static" in said
        if command.endswith("--json"):
            assert json.loads(said)["modalities"]["elevation"]["acquisitions"] == 1
    assert "elevation (DEM, none): 1 of 1 acquisitions usable, static" in said


def test_tiles_are_one_layer_and_decide_neither_grid_nor_span(site, tmp_path):
    for west in (WEST, WEST + 200):
        write_dem(tmp_path / "dem" / f"{west}.tif", gsd=5, west=west, size=40)
    found = open_cube(build_cube(tmp_path / "c.zarr", site="here", sources=[*sources(site), elevation(tmp_path)]))
    assert found.grid.transform[0] == 10 and len(found["elevation"]) == 1
    valid = found["elevation"].read()[1][0]
    assert valid[:14].all() and not valid[14:].any()  # the tiles, 200 m high, begin 60 m north of the site


def test_files_that_are_not_one_layer_are_refused(site, tmp_path):
    def refused(match, folder, **more):
        for name in ("a", "b"):
            write_dem(folder / f"{name}.tif", **{k: v[name] for k, v in more.items()})
        with pytest.raises(ContractError, match=match):
            build_cube(tmp_path / "c.zarr", site="here", sources=[*sources(site), elevation(folder)])

    same = r"a.tif and .*b.tif: hold the same bands of the same ground, but modality 'elevation' is static"
    refused(same + ".*name the one file as the source", tmp_path / "twice")
    tags = {"a": {"DATETIME": "2010-06-01"}, "b": {"DATETIME": "2020-06-01"}}
    refused(
        r"b.tif: state the times 2010-06-01 and 2020-06-01, .* leave `static` out of the contract",
        tmp_path / "dated",
        tags=tags,
        west={"a": WEST - 100, "b": WEST + 200},
    )


def test_a_scene_without_a_date_is_told_of_static_layers(site, tmp_path):
    write_dem(tmp_path / "dem.tif", names=["elevation"])
    own = (load_mapping("elevation").to_dict()["modality"], tmp_path / "dated.toml")
    bands = (
        'bands = [{ name = "elevation", gsd_m = 30, scale = 0.2, offset = 4000, valid_min = -500, valid_max = 9000 }]'
    )
    head = f'reader = "geotiff"\nfiles = "*.tif"\n[modality]\nname = "{own[0]["name"]}"\nunit = "m"\n'
    own[1].write_text(f'{head}level = "DEM"\ncalibration = "none"\n{bands}\n')
    with pytest.raises(DataError, match=r"no tag DATETIME.*or say `static = true` in \[modality\]"):
        build_cube(tmp_path / "c.zarr", site="here", sources=[*sources(site), Source(path=tmp_path, mapping=own[1])])
    own[1].write_text(
        own[1].read_text().replace("geotiff", "netcdf").replace('unit = "m"', 'unit = "m"\nstatic = true')
    )
    with pytest.raises(ContractError, match="reader is netcdf, expected geotiff of a static modality"):
        load_mapping(own[1])


def test_a_series_is_no_static_layer(tmp_path):
    def write(*days):
        read = lambda i: (np.ones((4, 4, 1), np.int16), np.ones((4, 4), bool))  # noqa: E731
        acquisitions = [Acquisition(day=d) for d in days]
        group = GroupSource(modality=ELEVATION, grid=SMALL, acquisitions=acquisitions, read=read)
        write_cube(tmp_path / "c.zarr", site="a", groups=[group], provenance={})

    for days in ((0, 1), (17000,)):
        with pytest.raises(DataError, match=r"'elevation' is static, but has .* expected one of day 0"):
            write(*days)
    write(0)


@pytest.mark.parametrize("unit", ["m", "metre", "Meters"])
def test_a_unit_that_a_dem_states_is_metres_however_it_is_spelt(unit):
    assert plain_unit(unit) == plain_unit("m") and plain_unit(unit) != plain_unit("m/s")
