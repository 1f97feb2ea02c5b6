"""The simulator: its files, its determinism, its physics and its two null worlds."""

import hashlib
import json
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio

from data_prep.simulate import RANGES, Revisit, SiteOptions, Streams, draw_parameters, simulate_site
from data_prep.simulate import site as site_module
from data_prep.simulate.atmosphere import sun_angles
from data_prep.simulate.optics import SOIL_DRY, canopy, leaf
from data_prep.simulate.radar import speckle
from eomm.errors import UsageError

YEAR = {"site": "SIM-T1", "seed": 4, "size_px": 32, "start": date(2020, 1, 1), "end": date(2020, 12, 31)}
SHORT = {"site": "SIM-T2", "seed": 5, "size_px": 24, "start": date(2020, 6, 1), "end": date(2020, 6, 30)}
SPARSE = Revisit(s2_days=10, s1_days=12)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_site(tmp_path_factory.mktemp("w") / "drought", SiteOptions(drought_year=2020, **YEAR))


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both null worlds at once; the switches act on different files."""
    out = tmp_path_factory.mktemp("w") / "null"
    switches = {"drought_year": 2020, "radar_sees_vegetation": False, "stress": False}
    return simulate_site(out, SiteOptions(revisit=Revisit(s2_days=10), **switches, **YEAR))


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_site(tmp_path_factory.mktemp("w") / "normal", SiteOptions(revisit=SPARSE, **YEAR))


def states(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "truth" / "states.npz") as file:
        return dict(file)


def units(folder: Path) -> np.ndarray:
    with rasterio.open(folder / "truth" / "fields.tif") as file:
        return file.read(1)


def classes(folder: Path) -> np.ndarray:
    with rasterio.open(folder / "truth" / "classes.tif") as file:
        return file.read(1)


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    one = digest(simulate_site(tmp_path / "a", SiteOptions(**SHORT)))
    two = digest(simulate_site(tmp_path / "b", SiteOptions(**SHORT)))
    other = digest(simulate_site(tmp_path / "c", SiteOptions(**{**SHORT, "seed": 6})))
    assert len(one) > 20 and one == two
    assert one["truth/fields.tif"] != other["truth/fields.tif"]


def test_dates_do_not_shift_the_random_numbers(tmp_path: Path) -> None:
    """A landscape stays itself when another period is simulated."""
    one = simulate_site(tmp_path / "a", SiteOptions(**SHORT))
    two = simulate_site(tmp_path / "b", SiteOptions(**{**SHORT, "start": date(2020, 6, 20), "end": date(2020, 7, 5)}))
    assert np.array_equal(units(one), units(two)) and np.array_equal(classes(one), classes(two))
    shared = {p.name for p in (one / "s1").iterdir()} & {p.name for p in (two / "s1").iterdir()}
    assert shared and all((one / "s1" / n).read_bytes() == (two / "s1" / n).read_bytes() for n in shared)


def test_sentinel2_files(world: Path) -> None:
    tens = sorted((world / "s2").glob("*_10m.tif"))
    assert 72 <= len(tens) <= 74 and len(list((world / "s2").iterdir())) == 3 * len(tens)
    seen = set()
    for path in tens[::12]:
        with rasterio.open(path) as ten:
            assert ten.dtypes == ("uint16",) * 4 and ten.descriptions == ("B02", "B03", "B04", "B08")
            assert ten.nodata == 0 and ten.res == (10, 10) and ten.shape == (32, 32)
            assert 32601 <= ten.crs.to_epsg() <= 32660
            assert ten.bounds.left % 20 == 0 and ten.bounds.top % 20 == 0
            tags, bounds = ten.tags(), ten.bounds
            assert ten.read().max() < 65535
        assert tags["SIMULATED"] == "YES" and tags["PROCESSING_LEVEL"] == "L2A" and tags["BOA_OFFSET"] == "0"
        assert path.name.split("_")[1] == tags["DATETIME"].replace("-", "").replace(":", "").rstrip("Z")
        assert tags["PLATFORM"] == path.name[:3] and path.name.split("_")[2] == f"R{int(tags['RELATIVE_ORBIT']):03d}"
        assert 20 < float(tags["SUN_ZENITH"]) < 80 and 130 < float(tags["SUN_AZIMUTH"]) < 200
        assert {"VIEW_ZENITH", "VIEW_AZIMUTH"} <= tags.keys()
        with rasterio.open(str(path).replace("10m", "20m")) as twenty:
            assert twenty.descriptions == ("B05", "B06", "B07", "B8A", "B11", "B12")
            assert twenty.dtypes == ("uint16",) * 6 and twenty.res == (20, 20) and twenty.bounds == bounds
        with rasterio.open(str(path).replace("10m", "SCL")) as scl:
            values = scl.read(1)
            assert scl.dtypes == ("uint8",) and scl.nodata == 0 and scl.bounds == bounds
            cloudy = np.isin(values, (8, 9, 10)).sum() / max((values > 0).sum(), 1)
            assert float(tags["CLOUD_FRACTION"]) == pytest.approx(cloudy, abs=1e-4)
            seen |= set(np.unique(values))
    assert seen <= {0, 3, 4, 5, 6, 8, 9, 10} and len(seen) >= 5


def test_sentinel1_files(world: Path) -> None:
    paths = sorted((world / "s1").glob("*.tif"))
    assert 120 <= len(paths) <= 124
    directions = set()
    for path in paths[::15]:
        with rasterio.open(path) as file:
            assert file.dtypes == ("float32", "float32") and file.descriptions == ("VV", "VH")
            assert np.isnan(file.nodata) and file.res == (10, 10)
            tags, values = file.tags(), file.read()
        name = path.stem.split("_")[2]
        assert name == tags["ORBIT_DIRECTION"][0] + f"{int(tags['RELATIVE_ORBIT']):03d}"
        assert tags["CALIBRATION"] == "gamma0_rtc" and tags["SIMULATED"] == "YES" and tags["PLATFORM"] == path.name[:3]
        assert 30 < float(tags["INCIDENCE_DEG"]) < 46
        assert np.nanmin(values) > 0
        land = np.isin(classes(world), range(1, 8))
        vv, vh = (10 * np.log10(np.nanmean(values[i][land])) for i in (0, 1))
        assert -15 < vv < -6 and -22 < vh < -12
        directions.add(name[0])
    assert directions == {"A", "D"}


def test_site_json_truth_and_flux(world: Path) -> None:
    about = json.loads((world / "site.json").read_text())
    assert about["simulated"] is True and about["site"] == "SIM-T1" and about["seed"] == 4
    assert about["switches"]["drought_year"] == 2020 and set(about["parameters"]) >= set(RANGES)
    assert set(np.unique(classes(world))) <= {int(code) for code in about["classes"]}
    s = states(world)
    assert s["day"].size == 366 and s["lai"].shape == (366, s["unit"].size) == s["gpp"].shape
    assert set(np.unique(units(world))) == set(s["unit"])
    tower = about["tower"]
    with rasterio.open(world / "truth" / "classes.tif") as file:
        assert file.descriptions == ("2020",) and file.index(tower["x"], tower["y"]) == (tower["row"], tower["col"])
        assert about["crs"] == file.crs.to_string()
    info, path = sorted((world / "flux").iterdir())
    told = pd.read_csv(info).groupby("GROUP_ID").DATAVALUE.agg(list)
    assert ["GPP_NT_VUT_REF", "gC m-2 d-1"] in told.tolist()
    assert path.name == "FLX_SIM-T1_FLUXNET2015_FULLSET_DD_2020-2020_SIM.csv"
    table = pd.read_csv(path)
    assert list(table.columns) == [
        "TIMESTAMP", "TA_F", "SW_IN_F", "VPD_F", "P_F", "SWC_F_MDS_1", "NEE_VUT_REF", "NEE_VUT_REF_QC",
        "RECO_NT_VUT_REF", "GPP_NT_VUT_REF", "GPP_DT_VUT_REF",
    ]  # fmt: skip
    assert table.TIMESTAMP.iloc[0] == 20200101 and len(table) == 366
    truth = pd.read_csv(world / "truth" / "flux_truth.csv")
    measured = table[table.GPP_NT_VUT_REF > -9999]
    assert measured.NEE_VUT_REF_QC.between(0, 1).all() and (measured.NEE_VUT_REF_QC < 0.5).any()
    errors = measured.GPP_NT_VUT_REF - truth.GPP_TRUE[measured.index]
    assert 0.2 < errors.std() < 2 and np.corrcoef(measured.GPP_NT_VUT_REF, truth.GPP_TRUE[measured.index])[0, 1] > 0.9
    assert truth.FOOTPRINT_X.std() > 5 and truth.FOOTPRINT_Y.std() > 5


def test_greenness_of_covers(world: Path, normal: Path) -> None:
    """NDVI of clear pixels at the height of summer is where each cover should be."""
    with np.load(normal / "truth" / "clouds.npz") as file:
        masks, stems = file["mask"], file["stem"]
    cover = classes(normal)
    found: dict[int, list[float]] = {}
    for stem, mask in zip(stems, masks, strict=True):
        if not 5 <= int(stem[8:10]) <= 8:
            continue
        with rasterio.open(normal / "s2" / f"{stem}_10m.tif") as file:
            _, _, red, nir = file.read() / 1e4
        for code in np.unique(cover):
            pixels = (cover == code) & (mask == 0)
            if pixels.sum() > 5:
                found.setdefault(int(code), []).append(float(np.median((nir - red)[pixels] / (nir + red)[pixels])))
    assert np.median(found[6]) > 0.75 and np.median(found[7]) > 0.7 and np.max(found[5]) > 0.75
    assert np.median(found[8]) < 0.1 and 0.1 < np.median(found[9]) < 0.65
    crop = next(code for code in (1, 2, 3, 4) if code in found)
    assert max(found[crop]) > 0.6


def test_ripening_decouples_chlorophyll_from_leaf_area(normal: Path) -> None:
    s = states(normal)
    fields = np.flatnonzero(np.isin(s["unit_class"][0], (1, 4)))
    links = []
    for field in fields:
        lai, chlorophyll = s["lai"][:, field], s["chlorophyll"][:, field]
        season = s["cover"][:, field] == s["unit_class"][0, field]
        season[:90] = season[250:] = False
        links.append(np.corrcoef(lai[season], chlorophyll[season])[0, 1])
        pale = chlorophyll[season] < 0.3 * chlorophyll[season].max()
        assert lai[season][pale].max() > 0.35 * lai[season].max()  # still standing when the green is gone
        assert s["height_m"][:, field][season][-1] == pytest.approx(s["height_m"][:, field][season].max(), rel=0.05)
    assert np.mean(links) < 0.85


def test_scl_misses_some_of_the_truth(world: Path) -> None:
    with np.load(world / "truth" / "clouds.npz") as file:
        masks, stems = file["mask"], file["stem"]
    called = np.stack([rasterio.open(world / "s2" / f"{stem}_SCL.tif").read(1) for stem in stems])
    hidden = np.isin(called.repeat(2, 1).repeat(2, 2), (3, 8, 9, 10))
    assert 0.3 < hidden.mean() < 0.7
    assert 0.002 < (~hidden[masks == 1]).mean() < 0.1
    assert 0.1 < (~hidden[masks == 2]).mean() < 0.7
    assert (~hidden[masks == 3]).mean() > 0.2
    assert hidden[masks == 0].mean() < 0.1
    assert ((~hidden).mean(axis=(1, 2)) >= 0.9).mean() > 0.25


def test_speckle_is_gamma_and_correlated() -> None:
    noise = np.concatenate([speckle(np.random.default_rng(i), (2, 64, 64)) for i in range(8)])
    assert noise.mean() == pytest.approx(1, abs=0.02) and 1 / noise.var() == pytest.approx(4, rel=0.1)

    def lag(pixels: int) -> float:
        return float(np.corrcoef(noise[..., pixels:].ravel(), noise[..., :-pixels].ravel())[0, 1])

    assert 0.25 < lag(1) < 0.6 and lag(4) < 0.05


def seasonal_link(folder: Path) -> float:
    """Mean absolute correlation over fields between VH in dB of one orbit and leaf area."""
    s, unit = states(folder), units(folder)
    paths = sorted((folder / "s1").glob("*_A088.tif"))
    days = [(date.fromisoformat(p.name[4:12]) - date(1970, 1, 1)).days - int(s["day"][0]) for p in paths]
    images = np.stack([rasterio.open(p).read(2) for p in paths])
    whole = np.isfinite(images).all(axis=(1, 2))
    links = []
    for field in np.flatnonzero(np.isin(s["unit_class"][0], (1, 2, 3, 4))):
        power = images[whole][:, unit == field + 1].mean(axis=1)
        links.append(abs(np.corrcoef(10 * np.log10(power), s["lai"][np.array(days)[whole], field])[0, 1]))
    return float(np.mean(links))


def test_null_radar_is_independent_of_vegetation(world: Path, blind: Path) -> None:
    assert seasonal_link(world) > 0.4
    assert seasonal_link(blind) < 0.2
    cover = classes(blind)
    stack = np.stack([rasterio.open(p).read(2) for p in sorted((blind / "s1").glob("*_A088.tif"))[::6]])
    level = 10 * np.log10(np.nanmean(stack, axis=0))
    assert abs(level[cover == 8].mean() - level[cover != 8].mean()) < 4  # not even a lake shows


def test_null_stress(world: Path, blind: Path) -> None:
    dry, free = (pd.read_csv(f / "truth" / "flux_truth.csv") for f in (world, blind))
    columns = ["STRESS_TEMPERATURE", "STRESS_VPD", "STRESS_SOIL_WATER"]
    assert np.allclose(free[columns], 1) and (dry[columns].min() < 0.7).all()
    assert free.GPP_TRUE.sum() > 1.2 * dry.GPP_TRUE.sum()
    assert (states(blind)["lai"] >= states(world)["lai"] - 1e-5).all()


def test_drought_hits_photosynthesis_before_greenness(world: Path, normal: Path) -> None:
    dry, wet = states(world), states(normal)
    lasting = np.flatnonzero(np.isin(dry["unit_class"][0], (5, 6)))
    leads = []
    for unit in lasting:
        window = slice(100, 260)
        gpp = dry["stress_soil"][window, unit] / np.maximum(wet["stress_soil"][window, unit], 0.05)
        green = (dry["lai"] * dry["chlorophyll"])[window, unit] / (wet["lai"] * wet["chlorophyll"])[window, unit]
        first = [int(np.argmax(x < limit)) if (x < limit).any() else 999 for x, limit in ((gpp, 0.8), (green, 0.8))]
        assert first[0] < 999
        leads.append(first[1] - first[0])
    assert min(leads) >= 5


def test_held_out_sites_draw_other_parameters() -> None:
    for index, held_out in enumerate((False, True)):
        for seed in range(20):
            drawn = asdict(draw_parameters(Streams(seed=seed, site="S"), held_out=held_out))
            for name, ranges in RANGES.items():
                assert ranges[index][0] <= drawn[name] <= ranges[index][1]
    apart = [n for n, (a, b) in RANGES.items() if a[1] < b[0] or b[1] < a[0]]
    assert len(apart) > 0.85 * len(RANGES)


def test_revisit_options(tmp_path: Path) -> None:
    out = simulate_site(tmp_path / "a", SiteOptions(revisit=Revisit(s2_orbits=2, s1_days=12), **SHORT))
    assert {p.name.split("_")[2] for p in (out / "s2").iterdir()} == {"R051", "R008"}
    assert len(list((out / "s2").glob("*SCL.tif"))) == 12 and len(list((out / "s1").iterdir())) in (5, 6)


def test_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for change, message in (
        ({"seed": -1}, "seed"),
        ({"size_px": 33}, "even"),
        ({"site": "../x"}, "site name"),
        ({"end": date(2019, 1, 1)}, "period"),
        ({"drought_year": 2013}, "drought_year"),
        ({"revisit": Revisit(s2_days=3)}, "s2_days"),
    ):
        with pytest.raises(UsageError, match=message):
            SiteOptions(**{**SHORT, **change})
    with pytest.raises(UsageError, match="not empty"):
        simulate_site(tmp_path / "full", SiteOptions(**SHORT))


def test_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(what: str, done: int, total: int) -> None:
        if "Sentinel-1" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_site(tmp_path / "a", SiteOptions(**SHORT), progress=stop)
    assert list(tmp_path.iterdir()) == []
    # a kill cannot clean up: what it leaves is not under the site's name and does not hinder the next run
    (tmp_path / "a.partial" / "s2").mkdir(parents=True)
    (tmp_path / "a.partial" / "eomm.json").write_text("{}")
    monkeypatch.setattr(site_module, "VERSION", 99)
    assert json.loads((simulate_site(tmp_path / "a", SiteOptions(**SHORT)) / "site.json").read_text())["version"] == 99
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_canopy_limits() -> None:
    contents = {"chlorophyll": np.array([40.0]), "brown": np.array([0.0]), "water_cm": np.array([0.015])}
    r, t = leaf(layers=np.array([1.5]), **contents)
    assert (r > 0).all() and (t > 0).all() and (r + t < 1).all()
    stand = canopy(reflectance=r, transmittance=t, lai=np.array([[0.0, 1.0, 6.0, 9.0]]), soil=SOIL_DRY)
    assert np.allclose(stand[:, :1], SOIL_DRY, atol=1e-3)  # no leaves: the soil
    change = np.abs(stand[:, 3] - stand[:, 2])
    assert change[[0, 2, 9]].max() < 1e-3 and change.max() < 0.05  # deep: only the near infrared still gains
    lossless = canopy(
        reflectance=np.array([[0.4975]]), transmittance=np.array([[0.4975]]), lai=np.array([[3.0]]),
        soil=np.array([[0.999]]),
    )  # fmt: skip
    assert 0.95 < lossless.item() <= 1.0  # nothing absorbs: what comes in goes out


def test_sun_angles() -> None:
    """Noon at the June solstice: latitude less 23.4 degrees, due south."""
    day = (date(2020, 6, 21) - date(1970, 1, 1)).days
    zenith, azimuth = sun_angles(day=day, seconds=12 * 3600 + 110, latitude_deg=50.0, longitude_deg=0.0)
    assert zenith == pytest.approx(26.6, abs=0.3) and azimuth == pytest.approx(180, abs=1.5)
