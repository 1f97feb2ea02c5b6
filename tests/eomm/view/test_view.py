"""The page in a real browser: its maps and series are the stores' numbers, and it asks nobody anything."""

import csv
import json
import shutil

import numpy as np
import pyproj
import pytest
from bokeh.palettes import Viridis256

from eomm.data.cube import open_cube
from eomm.embedding.blocks import days_of
from eomm.embedding.read import open_embedding
from eomm.evaluation.baselines import fit_pca
from eomm.evaluation.hidden.examples import green
from eomm.report.build import build
from eomm.view import budget
from eomm.view.content import LOOK
from eomm.view.run import write_view
from tests import zoo
from tests.eomm.embedding.test_store import write as write_store
from tests.eomm.site import SIZE
from tests.eomm.view import browser
from tests.eomm.view.browser import Page

SHAPE = (SIZE, SIZE)
HOSTILE = "</script><script>window.taken=1</script><img src=x onerror='window.taken=1'>$$\\TeX$$&\""
DEGREES = pyproj.Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True)
CLOUDED = [int(LOOK["clouded"][i : i + 2], 16) for i in (1, 3, 5)]
PALETTE = np.array([[int(h[i : i + 2], 16) for i in (1, 3, 5)] for h in Viridis256])


pytestmark = pytest.mark.whole  # a real browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("chromium")


@pytest.fixture(scope="module")
def driver(folder):
    with browser.start(folder) as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page of int8 vectors with their cube, whose vectors stand in blocks of three numbers."""
    out = tmp_path_factory.mktemp("view") / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "PREFIX", 3)
        return write_view(zoo.store("int8"), out, cube=zoo.cube())


@pytest.fixture(scope="module")
def page(driver, made):
    return Page(driver, made["page"])


@pytest.fixture(scope="module")
def store():
    """Dates, vectors [date, y, x, d] (NaN where there is none) and bands [date, y, x, c] of the zoo."""
    ds, group = open_embedding(zoo.store("int8")), zoo.cube()["s2"]
    values, clear = group.read(np.flatnonzero(np.isin(group.day, days_of(ds))))
    dates = [str(t)[:10] for t in ds["time"].values]
    bands = np.where(clear[..., None], group.modality.decode(values), np.nan)
    ndvi = np.where(clear, green(group, values), np.nan)
    return {
        "dates": dates,
        "vectors": ds["embedding"].values,
        "bands": bands,
        "ndvi": ndvi,
        "flags": ds["flags"].values,
    }


def series(values, dates):
    """{date: value} where there is one."""
    return {d: float(v) for d, v in zip(dates, values, strict=True) if np.isfinite(v)}


def assert_series(found, values, dates, **tolerance):
    want = series(values, dates)
    assert list(found) == list(want) and found == pytest.approx(want, **{"rel": 1e-5, "abs": 1e-6, **tolerance})


def cosine(vectors, vector):
    return (vectors * vector).sum(-1) / (np.linalg.norm(vectors, axis=-1) * np.linalg.norm(vector, axis=-1))


def assert_likeness(page, likeness, clear):
    """The third map's colours are those of these cosines, and clouds lie over them."""
    low, high = (float(e.text) for e in page.driver.find_elements("css selector", "#legend-answer .bar span"))
    found, known = page.image("answer"), np.isfinite(likeness) & clear
    assert low == pytest.approx(np.nanquantile(likeness, 0.02), abs=2e-3) and high == 1
    at = np.abs(PALETTE - found[..., None, :3].astype(int)).sum(-1).argmin(-1)
    want = 255 * (likeness - low) / (high - low)
    assert np.abs(at - np.clip(want, 0, 255))[known].max() < 1 + 255 * 5e-4 / (high - low)
    assert known.any() and not known.all() and (found[~known, :3] == CLOUDED).all()


def test_every_date_is_there_and_the_slider_shows_it(page, made, store):
    assert made["length"] == 8 and not made["left_out"] and made["dates"] == store["dates"]
    assert page.js("return document.querySelectorAll('#strip i').length") == len(store["dates"])
    ranges = json.loads(page.text("about"))["bands"]["range"]
    for date in (3, 0):
        page.to_date(date)
        day = np.datetime64(store["dates"][date]).item()
        assert page.text("date") == f"{day.day} {day:%B %Y}"
        rgb = store["bands"][date][..., [2, 1, 0]]
        want = np.clip(255 * (rgb - ranges[0]) / (ranges[1] - ranges[0]), 0, 255)
        found, clear = page.image("colour"), np.isfinite(rgb[..., 0])
        assert clear.any() and not clear.all() and np.abs(found[..., :3] - want)[clear].max() <= 0.51
        assert (found[~clear] == found[~clear][0]).all() and page.js("return document.title") == "Embedding of site one"


def test_a_click_gives_the_series_of_the_stores(page, store):
    page.click(5, 17, SHAPE)
    assert "row 5, column 17;" in page.text("chosen") and "50.8" in page.text("chosen")
    assert_series(page.series("observed", "A"), store["ndvi"][:, 5, 17], store["dates"])
    page.choose("band", "B8A (reflectance)")
    assert_series(page.series("observed", "A"), store["bands"][:, 5, 17, 7], store["dates"])
    page.choose("band", "NDVI")
    fitted = json.loads(page.text("about"))["vectors"]
    for k, direction in enumerate(fitted["components"]):
        want = (store["vectors"][:, 5, 17] - fitted["mean"]) @ direction
        assert_series(page.series(f"component{k}", "A"), want, store["dates"], abs=2e-5)
    rows = store["vectors"][np.isfinite(store["vectors"]).all(-1)]
    explained = fit_pca(rows, 3).transform(rows).var(0) / rows.var(0).sum()
    assert fitted["explained"] == pytest.approx(explained, abs=0.02)  # the page's are of a sample of the dates


def test_the_map_of_likeness_is_the_cosine(page, store):
    page.to_date(6)
    row, col = np.argwhere(np.isfinite(store["vectors"][6, ..., 0]))[40]
    page.click(row, col, SHAPE)
    clear = store["flags"][6] & 2 == 0
    assert_likeness(page, cosine(store["vectors"][6], store["vectors"][6, row, col]), clear)
    page.choose("question", "through time")
    with np.errstate(invalid="ignore"):
        each = cosine(store["vectors"], store["vectors"][:, row, col][:, None, None])
    counted = np.isfinite(each).sum(0)
    assert_likeness(page, np.where(counted > 0, np.nansum(each, 0) / np.maximum(counted, 1), np.nan), clear)
    page.choose("question", "at this date")


def test_a_second_pixel_is_compared(page, store):
    page.click(2, 3, SHAPE)
    page.pick("B")
    page.click(20, 11, SHAPE)
    page.pick("A")
    assert_series(page.series("observed", "A"), store["ndvi"][:, 2, 3], store["dates"])
    assert_series(page.series("observed", "B"), store["ndvi"][:, 20, 11], store["dates"])
    page.choose("band", "likeness to A")
    want = cosine(store["vectors"][:, 20, 11], store["vectors"][:, 2, 3])
    assert_series(page.series("observed", "B"), want, store["dates"])
    page.choose("band", "NDVI")


def test_a_polygon_gives_means_and_all_series_are_saved(page, store, folder):
    page.click(2, 3, SHAPE)
    page.pick("polygon")
    for row, col in ((3.5, 3.5), (3.5, 11.5), (11.5, 11.5), (11.5, 3.5)):  # corners between pixels
        page.click(row, col, SHAPE)
    page.press("finish")
    page.pick("A")
    inside = (slice(4, 12), slice(4, 12))
    assert "mean of 64 pixels" in page.text("chosen")
    want = np.nanmean(store["ndvi"][:, *inside], axis=(1, 2))
    assert_series(page.series("observed", "polygon"), want, store["dates"])
    lines = page.saved(folder, "csv", "*.csv").read_text().splitlines()
    table = list(csv.DictReader(lines))
    mean, a = ([r for r in table if r["pick"] == name] for name in ("polygon", "A"))
    for date, line in enumerate(mean):
        assert (line["date"], line["pixels"]) == (store["dates"][date], "64")
        bands = [float(line[b]) for b in zoo.cube()["s2"].modality.band_names]
        assert bands == pytest.approx(np.nanmean(store["bands"][date][inside], axis=(0, 1)), rel=1e-5)
        assert float(line["clear"]) == pytest.approx(np.isfinite(store["ndvi"][date][inside]).mean())
    assert [r["flags"] for r in a] == [words(f) for f in store["flags"][:, 2, 3]]
    like = [float(r["likeness_to_A"]) for r in a if r["likeness_to_A"]]
    assert like == pytest.approx([1] * np.isfinite(store["ndvi"][:, 2, 3]).sum()) and len(a) == len(store["dates"])


def words(flags):
    return " ".join(n for n, bit in {"edge": 1, "clouded": 2, "alone": 4, "sparse": 8}.items() if flags & bit)


def test_the_pointer_tells_date_position_and_flags(page, store):
    page.to_date(2)
    clouded = np.argwhere(np.isnan(store["vectors"][2, ..., 0]))[7].tolist()
    page.pointer(*clouded, SHAPE).perform()
    lines = page.text("tip").splitlines()
    assert lines[0] == page.text("date") and lines[2] == "row {}, column {}".format(*clouded)
    assert lines[3] == f"flags: {words(store['flags'][2][*clouded]).replace(' ', ', ')}" and "clouded" in lines[3]
    x, y = (int(v) for v in lines[1].split("(")[1].removesuffix(" m)").split(", "))
    assert (x, y) == (501600 + 10 * clouded[1] + 5, 5630080 - 10 * clouded[0] - 5)
    lat, lon = (float(v) for v in lines[1].replace("°", "").split()[:3:2])
    assert (lon, lat) == pytest.approx(DEGREES.transform(x, y), abs=2e-5)


def test_a_picture_is_saved(page, folder):
    head = page.saved(folder, "png", "*.png").read_bytes()[:24]
    width, height = np.frombuffer(head[16:24], ">u4")
    assert head.startswith(b"\x89PNG") and width > 2000 and height > 1000


def test_the_page_asks_nobody(page, made):
    assert page.js("return performance.getEntriesByType('resource').length") == 0
    assert page.js("return fetch('https://example.org').then(() => 'answered', () => 'refused')") == "refused"
    assert page.js("return document.querySelectorAll('[src]').length") == 0
    assert page.js("return [...document.querySelectorAll('link')].map((e) => e.href)") == ["data:,"]
    assert made["bytes"] < 25_000_000


def test_on_a_phone_nothing_lies_beside_the_screen(driver, made):
    size = {"width": browser.PHONE[0], "height": browser.PHONE[1], "deviceScaleFactor": 2, "mobile": True}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page = Page(driver, made["page"])
        assert page.js("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
        widths = page.js("return [...document.querySelectorAll('#maps .plot')].map((e) => e.clientWidth)")
        assert len(widths) == 3 and min(widths) > 350
        top = "return ['colour', 'answer', 'embedding'].map((n) => document.getElementById(`map-${n}`).offsetTop)"
        assert (tops := page.js(top)) == sorted(tops) and tops[1] < browser.PHONE[1]  # likeness begins on the screen
        assert page.find("series").rect["y"] < page.find("flags").rect["y"]
        page.click(7, 9, SHAPE)
        assert "row 7, column 9;" in page.text("chosen")
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_text_of_stores_is_text(driver, tmp_path):
    for path, copy in ((zoo.cube().path, tmp_path / "c.zarr"), (zoo.store("int8"), tmp_path / "e.zarr")):
        head = json.loads((shutil.copytree(path, copy) / "zarr.json").read_text())
        head["attributes"]["site"] = HOSTILE
        (copy / "zarr.json").write_text(json.dumps(head))
    made = write_view(tmp_path / "e.zarr", tmp_path / "page.html", cube=open_cube(tmp_path / "c.zarr"))
    page = Page(driver, made["page"])
    heading = page.js("return document.querySelector('h1').textContent")
    assert heading == f"Embedding of {HOSTILE}" == page.js("return document.title")
    assert page.js("return window.taken === undefined && document.querySelectorAll('img').length === 0")
    assert page.js("const s = document.createElement('script'); s.textContent = 'window.taken = 1'; "
                   "document.body.append(s); return window.taken === undefined")  # fmt: skip
    page.click(7, 9, SHAPE)
    assert "row 7, column 9;" in page.text("chosen")


def test_without_a_cube_there_are_vectors_flags_and_what_is_told_of_them(driver, tmp_path):
    """Of a site of 20 x 40 px."""
    stored, valid = write_store(tmp_path / "e.zarr")
    page = Page(driver, write_view(tmp_path / "e.zarr", tmp_path / "page.html")["page"])
    assert not page.find("card-colour").is_displayed() and page.find("card-told").is_displayed()
    page.click(13, 31, (20, 40))
    assert "row 13, column 31;" in page.text("chosen")
    dates = json.loads(page.text("about"))["dates"]
    assert_series(page.series("told", "A"), np.where(valid[:, 13, 31], 0.007, np.nan), dates)
    page.choose("question", "expected error instead")
    assert "mean absolute error (reflectance)" in page.text("legend-answer")
    assert list(page.series("component0", "A")) == [d for d, v in zip(dates, valid[:, 13, 31], strict=True) if v]
    assert stored.shape[-1] == json.loads(page.text("about"))["vectors"]["length"]
    assert not page.complaints()


def test_a_report_answers_too(driver, store, tmp_path):
    size = {"width": browser.PHONE[0], "height": browser.PHONE[1], "deviceScaleFactor": 2, "mobile": True}
    page = Page(driver, build(tmp_path / "report.html", cube=zoo.cube(), embedding=zoo.store("int8")))
    page.click(5, 17, SHAPE)
    assert_series(page.series("observed", "A"), store["ndvi"][:, 5, 17], store["dates"])
    assert not page.complaints()
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        assert page.js("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_has_nothing_to_complain_of(page, made):
    Page(page.driver, made["page"])
    assert not page.complaints()
