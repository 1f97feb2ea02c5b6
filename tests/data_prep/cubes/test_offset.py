import dataclasses
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from data_prep.cubes import offset
from data_prep.cubes.build import Source, build_cube
from data_prep.cubes.options import CubeOptions
from data_prep.mappings.mapping import load_mapping
from data_prep.readers import Scene
from eomm.data.cube import open_cube
from eomm.errors import ContractError
from tests.data_prep.tiny_scenes import START, write_s2

S2 = load_mapping("simulated_s2")
SAID = "baseline 02.13, nothing is added"


def date(i, low, *, middle=0.04, clear=0.9, pixels=1000):
    return offset.Darkness(index=i, label=f"date {i}", stated=SAID, clear=clear, low=low, middle=middle, pixels=pixels)


def check(dates, accept=(), infrared=lambda i: 0.05):
    return offset.check_values(dates, infrared, accept)


def scene(baseline=None, added=None, **mapping):
    return Scene(
        product="p",
        file=Path("scene.tif"),
        time=START,
        mapping=dataclasses.replace(S2, **mapping),
        grids={},
        read=lambda b: None,
        offset=added,
        stated={"baseline": baseline} if baseline else {},
    )


def test_an_offset_left_in_is_found_also_in_a_part_of_a_series():
    good = [date(i, 0.02) for i in range(20)]
    assert check(good) == "offset: dark pixels agree with the metadata at 20 clear acquisitions"
    bad = good[:10] + [date(i, 0.12) for i in range(10, 20)]
    with pytest.raises(
        ContractError, match=rf"date 10: the metadata say: {SAID}; the values say: .*the 7 clear.*looks left in"
    ):
        check(bad)
    assert check(bad, ("offset",)) == "offset: not checked (accepted)"


def test_a_hazy_date_and_a_cloudy_one_are_not_an_offset():
    dates = [date(i, 0.02) for i in range(20)]
    dates[4] = date(4, 0.15)
    dates[5] = date(5, 0.5, clear=0.1)
    check(dates)


@pytest.mark.parametrize(("shift", "mixed"), [(0.1, True), (0.02, False)])
def test_a_mixed_series_is_found_by_the_infrared_which_haze_leaves_dark(shift, mixed):
    odd = (4, 9, 14)
    dates = [date(i, 0.12 if i in odd else 0.02) for i in range(20)]
    infrared = lambda i: 0.05 + shift * (i in odd)  # noqa: E731
    if mixed:
        with pytest.raises(
            ContractError, match=r"date 4: .*the values say: in this and 2 more of 20 .*0\.100.*mixes products"
        ):
            check(dates, infrared=infrared)
    else:
        check(dates, infrared=infrared)
    check(dates, infrared=lambda i: float("nan"))  # no infrared band: nothing is claimed
    check([dataclasses.replace(d, pixels=36) for d in dates], infrared=infrared)  # nor of a plot
    cloud = [dataclasses.replace(d, low=0.2) if d.index in odd else d for d in dates]
    check(cloud, infrared=infrared)  # far brighter in the visible: missed cloud


def test_an_offset_taken_out_of_what_does_not_carry_it_is_found():
    with pytest.raises(ContractError, match=r"date 2: .*median .* is -0\.060.*taken out of values that do not carry"):
        check([date(i, -0.08 if i == 2 else 0.02, middle=-0.06 if i == 2 else 0.04) for i in range(5)])
    check([date(i, -0.03, middle=-0.005) for i in range(5)])  # dark water after Sen2Cor


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (scene("05.09"), r"scene.tif .*baseline 05.09, nothing is added.*BOA_OFFSET=-1000.*harmonised = true"),
        (scene("N0509"), "baseline N0509, nothing is added"),
        (
            scene("02.13", -0.1),
            r"baseline 02.13, the file says to add -0.1\. Products before baseline 04.00 carry none",
        ),
        (scene("02.13", offset=-0.1), r"the mapping says to add -0.1\. Products before"),
        (scene("05.09", -0.1, harmonised=True), "taken out twice"),
    ],
)
def test_metadata_that_contradict_the_mapping_stop(one, message):
    with pytest.raises(ContractError, match=message):
        offset.check_statement(one, ())
    offset.check_statement(one, ("offset",))


@pytest.mark.parametrize(
    "one",
    [
        scene(),
        scene("02.13"),
        scene("05.09", -0.1),
        scene("05.09", 0.0),
        scene("05.09", offset=-0.1),
        scene("05.09", harmonised=True),
        scene("unknown"),
    ],
)
def test_metadata_that_agree_pass(one):
    offset.check_statement(one, ())


@pytest.mark.parametrize(
    ("tags", "dn", "message"),
    [
        ({"PROCESSING_BASELINE": "05.09", "BOA_OFFSET": "-1000"}, 1000, None),
        ({"PROCESSING_BASELINE": "05.09", "BOA_OFFSET": "0"}, 0, None),  # harmonised by the provider
        ({"PROCESSING_BASELINE": "05.09"}, 1000, r"baseline 05.09, nothing is added"),
        # metadata that lie: the provider says that the offset is there, or gone, and the values say otherwise
        (
            {"PROCESSING_BASELINE": "05.09", "BOA_OFFSET": "-1000"},
            0,
            r"file says to add -0.1; the values say.*do not carry",
        ),
        ({"PROCESSING_BASELINE": "05.09", "BOA_OFFSET": "0"}, 1000, r"file says to add 0; the values say.*left in"),
    ],
)
def test_what_files_say_and_hold_must_agree(tmp_path, tags, dn, message):
    for k in range(3):
        write_s2(tmp_path / "in", START + timedelta(days=5 * k), seed=k, offset_dn=dn, tags=tags)
    sources = [Source(path=tmp_path / "in", mapping="simulated_s2")]
    if message is None:
        values, valid = open_cube(build_cube(tmp_path / "c.zarr", site="x", sources=sources))["s2"].read()
        assert valid.all() and 0.02 < np.median(values[..., 0]) * 1e-4 < 0.09
        return
    with pytest.raises(ContractError, match=message):
        build_cube(tmp_path / "c.zarr", site="x", sources=sources)
    out = build_cube(
        tmp_path / "c.zarr", site="x", sources=sources, options=CubeOptions(accept=("offset", "band_order"))
    )
    assert open_cube(out).provenance["accepted"] == ["band_order", "offset"]
