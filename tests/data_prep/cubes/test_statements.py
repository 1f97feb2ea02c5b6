"""What files declare is compared with the mapping, file by file and band by band, through whole builds."""

import dataclasses
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio

from data_prep.cubes import statements
from data_prep.cubes.build import Source, build_cube
from data_prep.cubes.options import CubeOptions
from data_prep.mappings.mapping import load_mapping
from data_prep.readers import Scene
from data_prep.readers.stated import Numbers
from eomm.data.cube import open_cube
from eomm.errors import ContractError
from tests.data_prep.tiny_scenes import SIZE, START, write_s2

S2, S1_LINEAR, S1_DB = (load_mapping(m) for m in ("simulated_s2", "simulated_s1", "worldcereal_s1"))
WEATHER = load_mapping("worldcereal_agera5")


def scene(mapping, band, applied=None, file="scene.tif", **numbers):
    return Scene(
        product="p", file=Path(file), time=START, mapping=mapping, grids={}, read=lambda b: None, offset=applied,
        numbers={band: Numbers(**numbers)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("one", "accept", "message"),
    [
        (scene(S2, "B04", scale=2e-4), "scale", "band B04: the file declares the scale 0.0002, expected 0.0001 as map"),
        (scene(S2, "B04", scale=1e-4, offset=-0.1), "offset", "declares the offset -0.1, expected 0 as mapping"),
        (scene(S2, "B04", applied=0.0, offset=-0.1), "offset", "own BOA_OFFSET"),
        (scene(S2, "B04", scale=1e-4, unit="dB"), "unit", "states the unit 'dB', expected 'reflectance'"),
        (scene(S2, "B04", unit="%", scale=1e-4), "scale", "declares the scale 1e-06, expected 0.0001"),
        (scene(S1_LINEAR, "VV", unit="decibels"), "unit", "the unit 'decibels', expected 'linear power'"),
        (scene(S1_DB, "VV", unit="linear power"), "unit", "the unit 'linear power', expected 'dB'"),
        (scene(WEATHER, "temperature_mean", unit="degC"), "unit", "band temperature_mean: .*'degC', expected 'K'"),
        (scene(WEATHER, "wind_speed", unit="km h-1"), "unit", "'km h-1', expected 'm s-1'"),
    ],
)
def test_contradictions_name_file_band_and_both_sides_unless_overruled(one, accept, message):
    with pytest.raises(ContractError, match=rf"scene.tif \(2019.*{message}"):
        statements.check_numbers(one, ())
    statements.check_numbers(one, (accept,))


@pytest.mark.parametrize(
    "one",
    [
        scene(S2, "B04"),
        scene(S2, "B04", scale=float(np.float32(1e-4)), offset=0.0, unit="1"),
        scene(S2, "B04", applied=-0.1, offset=-0.1),
        scene(S2, "B04", unit="sr-1"),
        scene(dataclasses.replace(S2, scale=0.01), "B04", unit="percent"),
        scene(dataclasses.replace(S2, scale=1e-4), "B04", unit="%", scale=0.01),
        scene(S1_LINEAR, "VV", unit="1"),
        scene(S2, "mask", scale=3.0),
        scene(WEATHER, "wind_speed", unit="m/s"),
    ],
)
def test_what_agrees_in_other_words_passes(one):
    statements.check_numbers(one, ())


def test_an_offset_that_only_some_files_declare_is_refused_also_where_the_mapping_has_it():
    shifted = dataclasses.replace(S2, offset=-0.1)
    declared = [scene(shifted, "B04", file=f"{k}.tif", offset=-0.1) for k in range(3)]
    silent = [scene(shifted, "B04", file=f"{k}.tif") for k in range(3, 8)]
    statements.check_mixture(declared, ()), statements.check_mixture(silent, ())
    with pytest.raises(ContractError, match=r"^3.tif .*band B04: declares no offset, as 5 of 8 files; 0.tif .* -0.1"):
        statements.check_mixture([*declared, *silent], ())
    statements.check_mixture([*declared, *silent], ("offset",))


def write_dates(folder, *, odd=(), dn=0, scale=None, offset=None, factor=1, dates=8):
    for k in range(dates):
        shift = dn if k in odd else 0
        write_s2(folder, START + timedelta(days=5 * k), seed=100 * k, offset_dn=shift)
        for path in folder.glob(f"*{START + timedelta(days=5 * k):%Y%m%d}*0m.tif"):
            with rasterio.open(path, "r+") as file:
                if factor != 1:
                    file.write((file.read() // factor).astype(np.uint16))
                if scale:
                    file.scales = [scale] * file.count
                if offset and k in odd:
                    file.offsets = [offset] * file.count
    return [Source(path=folder, mapping="simulated_s2")]


def test_numbers_halved_with_twice_the_scale_are_refused_or_right(tmp_path):
    sources = write_dates(tmp_path / "in", scale=2e-4, factor=2, dates=3)
    with pytest.raises(ContractError, match=r"_10m.tif .*band B02: the file declares the scale 0.0002, expected 0.000"):
        build_cube(tmp_path / "c.zarr", site="x", sources=sources)
    right = [dataclasses.replace(sources[0], mapping=dataclasses.replace(S2, scale=2e-4))]
    values, _ = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=right))["s2"].read()
    assert 0.3 < values[:, :, : SIZE // 2, 6].mean() * 1e-4 < 0.38


def test_an_offset_declared_on_three_of_eight_dates_is_caught(tmp_path):
    sources = write_dates(tmp_path / "in", odd=(2, 4, 6), dn=1000, scale=1e-4, offset=-0.1)
    with pytest.raises(ContractError, match=r"20190411.*declares the offset -0.1, expected 0"):
        build_cube(tmp_path / "c.zarr", site="x", sources=sources)


def test_nor_does_the_screen_for_excursions(tmp_path):
    write_dates(tmp_path / "in", odd=(2, 4, 6), dn=1000)
    sources = [Source(path=tmp_path / "in", mapping=dataclasses.replace(S2, mask=None, files="S2*0m.tif"))]
    with pytest.raises(ContractError, match=r"in this and 2 more of 8 .*mixes products with and without"):
        build_cube(tmp_path / "c.zarr", site="x", sources=sources, options=CubeOptions(screen="mask"))


@pytest.mark.parametrize("odd", [(2, 4, 6), (0, 1), (3, 7)])
def test_haze_does_not_hide_that_offsets_are_mixed(tmp_path, odd):
    """Nothing is declared: the pixels alone tell, and the haze screen takes whole such dates away."""
    sources = write_dates(tmp_path / "in", odd=odd, dn=1000)
    with pytest.raises(ContractError, match=rf"in this and {len(odd) - 1} more of 8 .*mixes products with and without"):
        build_cube(tmp_path / "c.zarr", site="x", sources=sources)
