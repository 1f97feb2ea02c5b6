import json
import shutil

import numpy as np
import pytest
import zarr
from array_record.python.array_record_module import ArrayRecordWriter
from safetensors.numpy import save_file

from eomm.cli import main
from eomm.cli.info import describe
from eomm.cli.info_words import format_info
from eomm.data.coverage import describe_coverage, draw_coverage
from eomm.data.cube import Acquisition, GroupSource, write_cube
from eomm.data.grid import Grid
from eomm.data.modality import SENTINEL1, SENTINEL2
from eomm.data.records import Codec, PatchShape, finish_records, shard_name
from eomm.errors import DataError, UsageError
from eomm.store.digest import sha256

GRID = Grid(crs="EPSG:32631", transform=(10.0, 0.0, 501600.0, 0.0, -10.0, 5630080.0), height=20, width=30)


def source(modality, days, valid_rows):
    """The first `valid_rows[i]` rows of acquisition i are valid."""

    def read(i):
        valid = np.zeros((20, 30), bool)
        valid[: valid_rows[i]] = True
        return np.where(valid[..., None], 1000, 0).repeat(len(modality.bands), -1).astype(np.int16), valid

    acquisitions = [Acquisition(day=d, platform="S2A", orbit="R051", direction="descending") for d in days]
    attributes = {"resampling": "cubic"}
    return GroupSource(modality=modality, grid=GRID, acquisitions=acquisitions, read=read, attributes=attributes)


@pytest.fixture
def cube(tmp_path):
    # 1970-04-11, 1970-04-21, 1970-05-11; the second is all cloud
    groups = [source(SENTINEL2, (100, 110, 130), (20, 0, 10)), source(SENTINEL1, (101,), (20,))]
    return write_cube(tmp_path / "c.zarr", site="here", groups=groups, provenance={"simulated": True, "made_by": "us"})


def reopened(info):
    assert json.loads(json.dumps(info, allow_nan=False)) == info, "JSON types only"
    return info


def test_a_cube_is_described_with_contract_dates_coverage_and_provenance(cube):
    info = reopened(describe(cube))
    s2 = info["modalities"]["s2"]
    assert (info["kind"], info["complete"], info["simulated"], info["site"]) == ("cube", True, True, "here")
    assert s2["contract"]["hash"] == SENTINEL2.contract_hash and s2["shape"] == "3 time, 20 y, 30 x, 10 band"
    assert (s2["acquisitions"], s2["usable"], s2["valid_fraction"]) == (3, 2, 0.5)
    assert s2["months"]["1970-04"] == {"acquisitions": 2, "usable": 1, "valid_fraction": 0.5}
    assert s2["dates"] == ["1970-04-11", "1970-05-11"] and s2["orbits"] == ["R051 descending"]
    assert s2["grid"]["west_south_east_north"] == [501600.0, 5629880.0, 501900.0, 5630080.0]
    assert s2["attributes"] == {"resampling": "cubic"} and info["provenance"]["made_by"] == "us"
    text = format_info(info)
    assert "cube, finished, simulated" in text and "EPSG:32631" in text
    assert "2 of 3 acquisitions usable, 1970-04-11 to 1970-05-11, 50% of their pixels clear" in text
    assert "% clear by month of 1970:   -   -   -  50  50   -" in text and SENTINEL2.contract_hash in text
    assert len(text.splitlines()) < 15 and text.endswith("--json")


def test_an_unfinished_cube_is_described_and_called_unfinished(cube):
    meta = json.loads((cube / "zarr.json").read_text())
    meta["attributes"]["eomm:complete"] = False
    (cube / "zarr.json").write_text(json.dumps(meta))
    shutil.rmtree(cube / "s2" / "day")
    info = reopened(describe(cube))
    assert not info["complete"] and info["modalities"]["s2"]["acquisitions"] == 3
    assert "NOT FINISHED" in format_info(info)


def test_a_damaged_finished_cube_is_an_error(cube):
    shutil.rmtree(cube / "s2" / "day")
    with pytest.raises(DataError, match=r"c\.zarr.*damaged"):
        describe(cube)


def write_records(path):
    path.mkdir()
    shapes = {"s2": PatchShape(modality=SENTINEL2, acquisitions=2, height=4, width=4)}
    fields = {field: np.zeros(dims, dtype) for field, (dims, dtype) in shapes["s2"].fields().items()}
    file = path / shard_name("train", 0, 1)
    writer = ArrayRecordWriter(str(file), "group_size:1")
    writer.write(Codec(shapes).encode({"s2": fields, "site": "a", "row": 0, "col": 0}))
    writer.close()
    files = [{"name": file.name, "split": "train", "records": 1, "bytes": file.stat().st_size, "sha256": sha256(file)}]
    finish_records(path, shapes=shapes, files=files, manifest={"simulated": False, "sources": [{"site": "a"}]})
    return file


def test_a_record_set_is_described_with_what_is_missing(tmp_path):
    file = write_records(tmp_path / "r")
    info = reopened(describe(tmp_path / "r"))
    assert info["complete"] and info["simulated"] is False and info["records"] == {"train": 1}
    assert info["modalities"]["s2"]["shape"] == "2 time, 4 y, 4 x, 10 band" and "damaged" not in info
    assert "records, finished, real data" in format_info(info)
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    assert describe(tmp_path / "r")["damaged"] == [file.name]
    (tmp_path / "r" / "manifest.json").unlink()
    assert reopened(describe(tmp_path / "r"))["complete"] is False


def manifest_of(sites, **split):
    """`sites`: name -> (split, lon, lat), or a split alone."""

    def place(value):
        return {"lon": value[1], "lat": value[2], "radius_m": 800.0} if isinstance(value, tuple) else None

    named = {}
    for name, value in sites.items():
        for one in (value[0] if isinstance(value, tuple) else value).split("+"):
            named.setdefault(one, []).append(name)
    sources = [{"site": name, "place": place(value)} for name, value in sites.items()]
    return {"sources": sources, "split": {"sites": named, "site_buffer_m": 5000.0, **split}}


def test_a_record_sets_sites_are_drawn_north_up(tmp_path):
    places = {"nw": ("train", 3, 51), "ne": ("test", 4, 51), "s": ("validation", 3.5, 50), "lost": "train"}
    manifest = manifest_of(places, least_distance_m=60000.0)
    found = reopened(describe_coverage(manifest))
    assert (found["sites"], found["without_position"]) == (4, 1)
    assert found["splits"] == {"train": 1, "validation": 1, "test": 1}
    assert found["west_south_east_north"] == [3, 50, 4, 51]
    first, *_, last, legend = found["map"]
    assert (first[0], first[-1], first[1:-1].strip(".")) == ("o", "T", "")
    assert last.strip(".") == "v" and abs(last.index("v") - (len(last) - 1) / 2) <= 0.5 and "T test" in legend
    same = manifest_of({"a": ("train", 3, 51), "b": ("test", 3, 51), "c": ("train", 3, 51)})
    assert describe_coverage(same)["map"][0].strip(".") == "+"
    shared = manifest_of({"a": ("train+test", 3, 51), "b": ("train+test", 3.2, 51)}, leaky=True)
    assert describe_coverage(shared)["map"][0].strip(".")[0] == "#" and describe_coverage(shared)["splits"] == {
        "several": 2
    }
    draw_coverage(manifest, tmp_path / "map.svg")
    text = (tmp_path / "map.svg").read_text()
    assert all(f"<!-- {label} (1) -->" in text for label in ("train", "validation", "test"))
    assert "60.0 km apart" in text and "LEAKY" not in text
    assert "LEAKY" in draw_coverage(shared, tmp_path / "leaky.svg").read_text()
    with pytest.raises(UsageError, match=r"ends in \.png"):
        draw_coverage(manifest, tmp_path / "map.txt")
    with pytest.raises(DataError, match="no positions"):
        draw_coverage(manifest_of({"a": "train"}), tmp_path / "map.png")


def test_the_command_draws_records_alone(tmp_path, cube, capsys):
    write_records(tmp_path / "r")
    assert main(["info", str(cube), "--figure", str(tmp_path / "m.png")]) == 2
    assert "only records" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "r"), "--figure", str(tmp_path / "m.png")]) == 2
    assert "no positions" in capsys.readouterr().err
    assert main(["info", str(tmp_path / "r")]) == 0 and "without_position: 1" in capsys.readouterr().out


def test_a_model_is_described_without_its_code(tmp_path):
    head = {
        "eomm:kind": "model",
        "version": 1,
        "hash": "0123",
        "contracts": {"s2": SENTINEL2.to_dict()},
        "parts": {"s2": {"encoder": {"code": "elsewhere.not_installed", "dim": 8}, "decoder": {}}},
        "info": {"simulated": True, "steps": 10},
        "macs": {"s2": 100_000, "fusion": 38_000},
    }
    (tmp_path / "model.json").write_text(json.dumps(head))
    info = reopened(describe(tmp_path))
    assert not info["complete"] and "params.safetensors" in info["damaged"]
    save_file({"a": np.zeros((3, 4), np.float32), "b": np.zeros(5, np.float32)}, tmp_path / "params.safetensors")
    info = reopened(describe(tmp_path))
    assert info["complete"] and info["parameters"] == 17 and info["simulated"] is True
    assert info["multiply_adds_per_pixel_date"]["total"] == 138_000
    assert info["multiply_adds_per_pixel_date"]["share"] == 2e-5  # of the published model's
    assert "B02 B03" in format_info(info) and "elsewhere.not_installed" in format_info(info)


@pytest.mark.parametrize("complete", [True, False])
def test_an_embedding_cube_is_described_as_far_as_it_goes(tmp_path, complete):
    root = zarr.open_group(tmp_path / "e.zarr", mode="w", zarr_format=3)
    root.attrs.update({"eomm:kind": "embedding", "eomm:complete": complete, "site": "here", "eomm:model": "0123"})
    dims = ("time", "y", "x", "embedding")
    root.create_array("embedding", data=np.zeros((2, 4, 4, 8), np.float32), dimension_names=dims)
    valid = np.zeros((2, 4, 4), bool)
    valid[0] = True
    root.create_array("valid", data=valid, dimension_names=dims[:3])
    root.create_array("time", data=np.array([100, 130], np.int32), dimension_names=("time",))
    info = reopened(describe(tmp_path / "e.zarr"))
    assert info["kind"] == "embedding" and info["complete"] is complete and info["simulated"] is None
    assert info["arrays"]["embedding"] == "float32 [2 time, 4 y, 4 x, 8 embedding]"
    assert info["dates"] == ["1970-04-11", "1970-05-11"] and info["valid_fraction"] == 0.5 and info["model"] == "0123"
    assert ("NOT FINISHED" in format_info(info)) is not complete


def test_a_run_tells_how_far_it_got(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"steps": 20, "stage": "pretrain"}))
    lines = ['{"step": 10, "loss": 0.5}', '{"step": 15, "validation/loss": 0.6}', '{"step": 20, "lo']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    info = reopened(describe(tmp_path))
    assert (info["kind"], info["complete"], info["step"], info["checkpoints"]) == ("run", False, 15, [10])
    assert info["latest"] == {"step": 15, "loss": 0.5, "validation/loss": 0.6}
    (tmp_path / "checkpoints" / "20").mkdir()
    assert describe(tmp_path)["complete"]


def test_other_paths_are_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        describe(tmp_path / "none")
    with pytest.raises(DataError, match="none of eomm's stores; expected"):
        describe(tmp_path)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "manifest.json").write_text('{"eomm:kind": "export"}')
    with pytest.raises(DataError, match=r"in it lie maps \(an export\)"):
        describe(tmp_path)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"t\.csv: nothing in it or beside it says that eomm wrote it"):
        describe(tmp_path / "t.csv")
    shared = {"kind": "gpp", "simulated": True, "conclusions": ["It is so."], "tables": []}
    (tmp_path / "r.json").write_text(json.dumps(shared))
    assert "result of an evaluation, finished, simulated" in (said := format_info(describe(tmp_path / "r.json")))
    assert "It is so." in said
    (tmp_path / "t.csv").write_text("site,date,group,kind,tested,measured,ridge\n")
    assert describe(tmp_path / "t.csv")["of"].startswith("what `eomm evaluate gpp` predicted")
    zarr.open_group(tmp_path / "z.zarr", mode="w", zarr_format=3)
    with pytest.raises(DataError, match="eomm:kind is None"):
        describe(tmp_path / "z.zarr")
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        describe(tmp_path)


def test_text_leaves_out_what_only_programs_ask_for_and_says_where_it_is():
    bands = [{"name": "B02", "scale": 0.0001}]
    inner = {
        "simulated": False,
        "sources": [{"mapping": {"name": "m", "unit": "dB"}, "files": [{"name": "a.nc", "bytes": 3}]}],
    }
    info = {"path": "e.zarr", "kind": "embedding", "bytes": 1, "contracts": {"s2": bands}, "proj:code": "EPSG:32631"}
    info |= {"acquisitions": [{"day": 1}], "provenance": {"cube": {"name": "c.zarr", "provenance": inner}}}
    text = format_info(info)
    assert "c.zarr" in text and text.endswith("  in full: eomm info e.zarr --json")
    assert not any(word in text for word in ("B02", "proj:", "day", "a.nc"))
    text = format_info({"path": "c.zarr", "kind": "composite", "bytes": 1, "provenance": inner})
    assert "mapping: m" in text and "name a.nc, bytes 3" in text and "dB" not in text
    assert "in full" not in format_info({"path": "r", "kind": "run", "bytes": 1, "step": 3})
