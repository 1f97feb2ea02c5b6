"""A mapping of points and a manifest that draws crops, damaged in every way: a message that names the file and key."""

import json
import tomllib

import pytest

from eomm.data import points
from eomm.data.records import open_records
from eomm.errors import ContractError, DataError, EommError
from tests.eomm.data.test_points import MAPPING
from tests.eomm.safety.damage import damaged, text
from tests.eomm.safety.stores import copy

TABLE = {
    "modality": "s2", "id": "parcel", "date": "date", "scale": 1e-4, "offset": -0.1, "fill": [0], "valid": "scl",
    "valid_values": [4, 5], "group": "farm", "lon": "lon", "lat": "lat", "bands": dict(MAPPING.bands),
}  # fmt: skip


def test_no_damage_of_a_mapping_of_points_ends_in_a_traceback(tmp_path, monkeypatch):
    path = tmp_path / "m.toml"
    path.write_text("")
    for what, content in damaged(TABLE, depth=2):
        if not isinstance(content, dict):
            continue
        monkeypatch.setattr(tomllib, "loads", lambda _, content=content: dict(content))
        try:
            found = points.load_point_mapping(path)
        except (ContractError, DataError) as error:
            assert "m.toml" in str(error), (what, error)
        else:
            assert isinstance(found.scale, int | float) and all(isinstance(c, str) for c in found.columns), what


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("scale", "small", "scale is 'small', expected a finite number"),
        ("scale", float("nan"), "scale is nan, expected a finite number"),
        ("id", 7, "id is 7, expected text"),
        ("bands", ["B02"], "bands is a list, expected a table"),
        ("fill", 0, "fill is 0, expected a list"),
    ],
)
def test_nonsense_in_a_mapping_of_points_is_refused_by_its_key(key, value, words, tmp_path, monkeypatch):
    (tmp_path / "m.toml").write_text("")
    monkeypatch.setattr(tomllib, "loads", lambda _: TABLE | {key: value})
    with pytest.raises(ContractError, match=rf"m.toml: {words}"):
        points.load_point_mapping(tmp_path / "m.toml")


def test_a_mapping_is_utf_8_whatever_the_terminal_is(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getencoding", lambda: "ascii")
    bands = "\n".join(f'{b} = "{c}"' for b, c in MAPPING.bands.items())
    text = f'modality = "s2"\nid = "Flurstück"\ndate = "date"\n[bands]\n{bands}\n'
    (tmp_path / "m.toml").write_bytes(text.encode())
    assert points.load_point_mapping(tmp_path / "m.toml").id == "Flurstück"


def test_no_damage_of_what_a_manifest_draws_ends_in_a_traceback(stores, tmp_path):
    path = copy(stores["records"], tmp_path)
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    name = next(iter(manifest["shapes"]))
    draw = {"reference": name, "crop_px": 8, "margin_px": 1, "acquisitions": 3, "per_record": 2, "windows": {},
            "lengths": {name: 3}}  # fmt: skip
    more = {"draw": draw, "drawn": {name: {"acquisitions": 3, "height": 8, "width": 8}}, "reading": "lone"}
    for key in more:
        for what, content in damaged({key: more[key]}, depth=3):
            if not isinstance(content, dict):
                continue
            file.write_text(text({**manifest, **more, **content}))
            try:
                open_records(path).shapes  # noqa: B018
            except EommError as error:
                assert "manifest.json" in str(error), (what, error)
