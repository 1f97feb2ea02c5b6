"""`eomm fit` and `eomm predict` on stores: labels and towers to heads, heads to maps and series."""

import json

import numpy as np
import pandas as pd
import pytest
import rasterio
import xarray as xr

import eomm
from eomm.cli import main
from eomm.data.grid import to_date
from eomm.embedding.store import open_embedding
from eomm.errors import ContractError, DataError, UsageError
from eomm.evaluation.gpp.features import read_embedding
from eomm.evaluation.gpp.flux_sites import Tower
from eomm.heads.head import load_head
from eomm.heads.maps import NO_VECTOR, OUTSIDE
from eomm.heads.options import FluxOptions, LabelOptions
from tests import zoo
from tests.eomm.site import DAYS, SIZE

DATE = to_date(DAYS[10])
WEIGHTS = np.linspace(-1, 1, 8)
TOWERS = {f"T{i}": (4 + 8 * (i // 3), 4 + 8 * (i % 3)) for i in range(6)}  # row, column


def write_raster(path, values, nodata):
    transform = rasterio.Affine(*zoo.GRID.transform)
    shape = {"height": SIZE, "width": SIZE, "count": 1, "dtype": values.dtype, "nodata": nodata}
    with rasterio.open(path, "w", driver="GTiff", crs=zoo.GRID.crs, transform=transform, **shape) as file:
        file.write(values, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labels and fluxes that follow from the vectors of the shared store."""
    folder = tmp_path_factory.mktemp("heads")
    data = open_embedding(zoo.store("cloudy"), masked=False)
    vectors = data["embedding"].values.astype(np.float64)
    amount = vectors[10] @ WEIGHTS
    write_raster(folder / "amount.tif", amount.astype(np.float32), np.nan)
    fields = np.kron((np.arange(36).reshape(6, 6) * 7) % 5 > 1, np.ones((4, 4))).astype(np.uint8)
    kinds = np.where(np.arange(SIZE) % 4 == 3, 0, 1 + fields)
    kinds[np.arange(SIZE) % 4 == 3] = 0
    write_raster(folder / "kinds.tif", kinds.astype(np.uint8), 0)
    grid = zoo.GRID
    for site, (row, col) in TOWERS.items():
        a, _, c, _, e, f = grid.transform
        place = {"x": c + a * (col + 0.5), "y": f + e * (row + 0.5)}
        about = {"classes": {"1": "GRA"}, "parameters": {"tower_cover": 1}, "simulated": True}
        (folder / f"{site}.json").write_text(json.dumps({"site": site, "tower": place, "crs": grid.crs, **about}))
        mean = vectors[:, row - 1 : row + 2, col - 1 : col + 2].mean((1, 2))
        table = pd.DataFrame({"TIMESTAMP": [f"{to_date(d):%Y%m%d}" for d in DAYS], "NEE_VUT_REF_QC": 1.0})
        table["GPP_NT_VUT_REF"] = 5 + 3 * mean @ WEIGHTS
        table.to_csv(folder / f"FLX_{site}_FLUXNET2015_FULLSET_DD_2018-2018_SIM.csv", index=False)
    return folder


def command(*arguments, capsys, status=0):
    assert main([str(a) for a in arguments]) == status
    printed = capsys.readouterr()
    return printed.err if status else json.loads(printed.out)


@pytest.fixture(scope="module")
def amount_head(folder):
    options = LabelOptions(regression=True, unit="t ha-1", groups="blocks", block_px=4, buffer_px=0, dates=[DATE])
    labels = folder / "amount.tif"
    return eomm.fit(zoo.store("cloudy"), labels=labels, out=folder / "amount-head", form="ridge", options=options)


def test_a_number_is_mapped_where_the_vectors_are_valid_and_known(folder, amount_head, capsys):
    assert amount_head.scores["r2"]["value"] > 0.99 and amount_head.contract["model"] == zoo.model().hash
    out = folder / "amount.zarr"
    result = command(
        "predict", "--head", folder / "amount-head", "--embedding", zoo.store("clear"), "--out", out, "--json",
        capsys=capsys,
    )  # fmt: skip
    half = f"{amount_head.interval.score:.3g} t ha-1 everywhere alike, a 90% conformal interval"
    assert result["simulated"] is True and result["interval"].startswith(f"low and high: prediction ± {half}")
    found, source = xr.open_zarr(out).load(), open_embedding(zoo.store("clear"))
    assert found["prediction"].attrs["units"] == "t ha-1" and found.attrs["eomm:head"] == amount_head.hash
    np.testing.assert_array_equal(found["time"].values, source["time"].values)
    valid = source["valid"].values.astype(bool)
    outside, flags = found["distance"].values > amount_head.seen.limit, found["flags"].values
    assert outside.any() and not valid.all()  # both are there to be masked
    np.testing.assert_array_equal(flags == NO_VECTOR, ~valid)
    np.testing.assert_array_equal(flags == OUTSIDE, outside & valid)
    np.testing.assert_array_equal(np.isfinite(found["prediction"].values), flags == 0)
    np.testing.assert_array_equal(np.isfinite(found["distance"].values), valid)
    truth = (source["embedding"].values[10].astype(np.float64) @ WEIGHTS)[flags[10] == 0]
    np.testing.assert_allclose(found["prediction"].values[10][flags[10] == 0], truth, atol=0.02)
    share = {name: result[name] for name in ("predicted", "outside", "without_vector")}
    assert share == {
        "predicted": (flags == 0).mean(),
        "outside": (flags == OUTSIDE).mean(),
        "without_vector": (~valid).mean(),
    }
    for path, kind in ((out, "prediction"), (folder / "amount-head", "head")):
        about = command("info", path, "--json", capsys=capsys)
        assert about["kind"] == kind and about["complete"] and about["simulated"] and about["target"] == "amount"
    assert command("verify", out, "--json", capsys=capsys)["intact"]
    with pytest.raises(UsageError, match="already exists"):
        eomm.predict(amount_head, zoo.store("clear"), out)
    eomm.predict(amount_head, zoo.store("clear"), out, dates=(DATE, DATE), overwrite=True)
    np.testing.assert_array_equal(xr.open_zarr(out)["prediction"].values[0], found["prediction"].values[10])


def test_geotiffs_hold_the_same_numbers(folder, amount_head):
    dates = (DATE, to_date(DAYS[11]))
    result = eomm.predict(amount_head, zoo.store("clear"), folder / "maps", dates=dates)
    eomm.predict(amount_head, zoo.store("clear"), folder / "two.zarr", dates=dates)
    store = xr.open_zarr(folder / "two.zarr")
    assert result["frames"] == 2
    for i, date in enumerate(dates):
        with rasterio.open(folder / "maps" / f"site_one_{date}_amount.tif") as file:
            assert file.descriptions == ("prediction", "low", "high", "distance")
            assert file.tags()["head"] == amount_head.hash and file.tags()["unit"] == "t ha-1"
            for band, name in enumerate(file.descriptions, 1):
                np.testing.assert_array_equal(file.read(band), store[name].values[i])
    assert not list((folder / "maps").glob("*.raw"))


def test_classes_are_mapped_by_number_with_their_names(folder, capsys):
    arguments = ["--embedding", zoo.store("clear"), "--labels", folder / "kinds.tif", "--buffer-px", 0, "--date", DATE]
    arguments += ["--classes", "1=sown grass", "2=maize", "--target", "crop"]
    for form in ("logistic", "boosting"):
        head = folder / f"{form}-head"
        result = command("fit", *arguments, "--head", form, "--out", head, "--json", capsys=capsys)
        assert result["classes"] == ["sown grass", "maize"] and result["fitted"]["dates"] == [str(DATE)]
        (store,) = result["fitted"]["stores"]
        assert store["site"] == "site one" and len(store["digest"]) == 16
        assert 0 < result["scores"]["balanced_accuracy"]["value"] < 1
    out = folder / "crop.zarr"
    command("predict", "--head", head, "--embedding", zoo.store("clear"), "--out", out, "--json", capsys=capsys)
    found = xr.open_zarr(out)
    assert found["prediction"].attrs["flag_meanings"] == "sown_grass maize"
    values, flags = found["prediction"].values, found["flags"].values
    np.testing.assert_array_equal(np.isfinite(values), flags == 0)
    assert set(np.unique(values[flags == 0])) <= {0, 1}
    eomm.predict(head, zoo.store("clear"), folder / "crops", dates=(DATE, DATE))
    with rasterio.open(folder / "crops" / f"site_one_{DATE}_crop.tif") as file:
        classes = file.read(1)
        assert file.nodata == 65535 and file.tags()["classes"] == "0 sown grass; 1 maize"
        np.testing.assert_array_equal(np.where(classes == 65535, np.nan, classes), values[10])
    assert main(["fit", *map(str, arguments), "--head", "ridge", "--out", str(folder / "x")]) == 2
    assert "the target is classes; choose logistic or boosting" in capsys.readouterr().err


def test_fluxes_of_towers_give_a_map_and_a_series(folder, capsys):
    towers = ["--site-info", *sorted(folder.glob("T*.json"))]
    arguments = ["--embedding", zoo.store("cloudy"), "--flux", *sorted(folder.glob("FLX_*.csv")), *towers]
    arguments += ["--unit", "gC m-2 d-1", "--head", "ridge", "--out", folder / "gpp-head"]
    result = command("fit", *arguments, "--json", capsys=capsys)
    assert result["fitted"]["folds"] == "site" and result["fitted"]["extract"] == "window:3"
    assert result["scores"]["head"]["r2"]["value"] > 0.8 and "climatology of the plant type" in result["scores"]
    assert (
        result["interval"]["level"] == pytest.approx(6 / 7) and "6 groups allow no 90%" in result["interval_in_words"]
    )
    assert main([str(a) for a in ("fit", *arguments, "--overwrite")]) == 0
    text = capsys.readouterr().out
    assert "SIMULATED" in text and "GPP in g C m-2 d-1 by ridge" in text and "r2 of anomalies" in text
    out = folder / "gpp.csv"
    of = ["--head", folder / "gpp-head", "--embedding", zoo.store("cloudy")]
    result = command("predict", *of, *towers, "--out", out, "--json", capsys=capsys)
    table, head = pd.read_csv(out), load_head(folder / "gpp-head")
    assert list(table) == ["site", "date", "prediction", "low", "high", "distance", "clear", "outside", "fitted"]
    day = {str(to_date(d)) for d in DAYS}
    assert set(table.date) == day and table.groupby("site").size().eq(len(day)).all()  # clouded dates too
    assert result["without_vector"] == (~table.clear).mean() > 0 and result["outside"] == table.outside.mean()
    assert result["fitted"] == table.fitted.sum() == head.fitted["rows"]
    np.testing.assert_array_equal(table.prediction.isna(), ~table.clear | table.outside)
    note = json.loads((folder / "gpp.csv.json").read_text())
    assert note["interval"] == head.interval_words == result["interval"] and list(note["columns"]) == list(table)
    about = command("info", out, "--json", capsys=capsys)
    assert about["kind"] == "series" and about["simulated"] and about["head"] == head.hash
    one = table[(table.site == "T4") & table.clear]
    row, col = TOWERS["T4"]
    a, _, c, _, e, f = zoo.GRID.transform
    tower = Tower(site="T4", x=c + a * (col + 0.5), y=f + e * (row + 0.5), crs=zoo.GRID.crs)
    vectors = read_embedding(zoo.store("cloudy"), tower, "window:3")
    assert one.date.tolist() == [str(to_date(d)) for d in vectors.day]
    expected = head.predict(vectors.drop(columns="day").to_numpy(np.float32))
    np.testing.assert_allclose(one.prediction, expected.layers["prediction"], rtol=1e-5)
    np.testing.assert_allclose(one.high - one.low, np.where(one.outside, np.nan, 2 * head.interval.score), rtol=1e-4)
    found = eomm.predict(head, zoo.store("clear"), folder / "gpp.zarr")
    assert "linear, fitted on means over window:3 round towers" in found["note"]
    with pytest.raises(UsageError, match="no place to predict at"):
        eomm.predict(head, zoo.store("clear"), folder / "none.csv")


def test_a_head_is_refused_on_other_vectors(folder, amount_head, capsys):
    words = f"{zoo.store('local')}: has vectors of model '{zoo.model('s2').hash}', the head of amount is of model"
    with pytest.raises(ContractError, match=words):
        eomm.predict(amount_head, zoo.store("local"), folder / "no.zarr")
    options = {"labels": [folder / "kinds.tif"] * 2, "form": "logistic", "out": folder / "no"}
    with pytest.raises(ContractError, match="has vectors of model"):
        eomm.fit([zoo.store("clear"), zoo.store("local")], **options)
    short = command(
        "fit", "--embedding", zoo.store("clear"), "--labels", folder / "kinds.tif", "--buffer-px", 0, "--length", 4,
        "--head", "logistic", "--out", folder / "short", "--json", capsys=capsys,
    )  # fmt: skip
    assert short["contract"]["length"] == 4
    eomm.predict(folder / "short", zoo.store("clear"), folder / "short.zarr", dates=(DATE, DATE))  # a prefix serves
    for out, error in (("a.tif", "ends in none of"), ("b.zarr", "places are for series")):
        options = {"site_info": [folder / "T0.json"]} if out == "b.zarr" else {}
        with pytest.raises(UsageError, match=error):
            eomm.predict(amount_head, zoo.store("clear"), folder / out, **options)
    with pytest.raises(UsageError, match="labels or fluxes"):
        eomm.fit(zoo.store("clear"), form="ridge", out=folder / "no")
    with pytest.raises(UsageError, match="has no vectors of 1999-01-01"):
        options = {"labels": folder / "kinds.tif", "form": "logistic", "out": folder / "no"}
        eomm.fit(zoo.store("clear"), options=LabelOptions(dates=[to_date(10592)]), **options)
    with pytest.raises(UsageError, match="labels are read by LabelOptions"):
        eomm.fit(zoo.store("clear"), options=FluxOptions(), **options)
    with pytest.raises(DataError, match="does not exist"):
        eomm.predict(folder / "nothing", zoo.store("clear"), folder / "no.zarr")
    assert not (folder / "no").exists() and not (folder / "no.zarr").exists()
