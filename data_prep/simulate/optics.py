"""Reflectance of leaves, canopies, soil, water and roofs in the ten Sentinel-2 bands.

- leaf: the plate model of PROSPECT (Jacquemoud and Baret 1990, Remote Sensing of Environment 34, 75), with
  absorption of chlorophyll, carotenoids, brown pigment, water and dry matter per band; the coefficients are
  band averages rounded from the published spectra (Feret et al. 2008, RSE 112, 3030);
- canopy: the two-stream solution for spherical leaves (Dickinson 1983; Sellers 1985, International Journal
  of Remote Sensing 6, 1335) at a sun zenith of 45 degrees;
- direction: Ross-thick and Li-sparse kernels (Wanner et al. 1995, JGR 100, 21077) with the mean Sentinel-2
  weights of Roy et al. (2017, RSE 199, 25), as a factor on the reference geometry;
- wet soil: exponential darkening (Lobell and Asner 2002, Soil Science Society of America Journal 66, 722).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import exp1

from data_prep.simulate.covers import BARE, SETTLEMENT, WATER, cover_column
from data_prep.simulate.world import World

Array = NDArray[np.float64]
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
WAVELENGTH_NM = np.array([492, 560, 665, 704, 740, 783, 833, 865, 1614, 2202], np.float64)


def _spectrum(*values: float) -> Array:
    return np.array(values, np.float64)[:, None]


CHLOROPHYLL = _spectrum(0.031, 0.0125, 0.046, 0.0135, 0.0008, 0, 0, 0, 0, 0)  # cm2 ug-1
CAROTENOID = _spectrum(0.10, 0.002, 0, 0, 0, 0, 0, 0, 0, 0)  # cm2 ug-1
BROWN = _spectrum(0.49, 0.33, 0.175, 0.13, 0.10, 0.07, 0.045, 0.03, 0, 0)
WATER_CM = _spectrum(0, 0, 0.003, 0.007, 0.026, 0.022, 0.037, 0.05, 6.8, 20.0)  # cm-1
DRY_MATTER = _spectrum(7.0, 4.0, 2.2, 2.0, 1.8, 1.6, 1.5, 1.4, 3.0, 10.0)  # cm2 g-1
REFRACTION = _spectrum(1.51, 1.49, 1.47, 1.465, 1.46, 1.455, 1.45, 1.45, 1.39, 1.34)

SOIL_DRY = _spectrum(0.090, 0.125, 0.165, 0.185, 0.200, 0.217, 0.235, 0.248, 0.335, 0.285)
SOIL_WET = 0.52 * SOIL_DRY * _spectrum(1, 1, 1, 1, 1, 1, 1, 1, 0.82, 0.66)
STRAW = _spectrum(0.105, 0.155, 0.205, 0.235, 0.262, 0.285, 0.300, 0.315, 0.360, 0.265)
FLOWER = _spectrum(0.05, 0.30, 0.29, 0.36, 0.42, 0.45, 0.47, 0.48, 0.28, 0.16)
ROOFS = _spectrum(0.105, 0.125, 0.150, 0.162, 0.172, 0.182, 0.190, 0.198, 0.235, 0.225)
OPEN_WATER = _spectrum(0.030, 0.034, 0.022, 0.018, 0.011, 0.010, 0.008, 0.007, 0.003, 0.002)
ALGAE = _spectrum(0.003, 0.028, 0.010, 0.022, 0.010, 0.009, 0.006, 0.005, 0, 0)

VOLUME = _spectrum(0.48, 0.44, 0.34, 0.405, 0.43, 0.46, 0.495, 0.495, 0.335, 0.24)  # over isotropic
SURFACE = _spectrum(0.10, 0.135, 0.135, 0.125, 0.12, 0.113, 0.107, 0.107, 0.13, 0.145)
STEMS = 0.11  # share of stems and dead tissue in the plant area, opaque and straw-coloured
GAPS = 0.08  # share of a pixel that stays open: tramlines, tracks, bare spots
SUN_REFERENCE = np.cos(np.radians(45))


def interface_transmittance(cone_deg: float, index: Array) -> Array:
    """Mean transmittance of a dielectric surface for light within a cone (Fresnel, integrated numerically)."""
    nodes, weights = np.polynomial.legendre.leggauss(24)
    top = np.sin(np.radians(cone_deg)) ** 2
    sin2 = 0.5 * top * (nodes + 1)
    cos_in, cos_out = np.sqrt(1 - sin2), np.sqrt(1 - sin2 / index**2)
    across = (cos_in - index * cos_out) / (cos_in + index * cos_out)
    along = (index * cos_in - cos_out) / (index * cos_in + cos_out)
    return np.asarray(np.sum((1 - 0.5 * (across**2 + along**2)) * weights, axis=1, keepdims=True) / 2)


FRESNEL_40 = interface_transmittance(40, REFRACTION)
FRESNEL_90 = interface_transmittance(90, REFRACTION)


def leaf(
    *, layers: Array, chlorophyll: Array, brown: Array, water_cm: Array, dry_matter: float = 0.004
) -> tuple[Array, Array]:
    """Leaf reflectance and transmittance [band, leaf] from contents [leaf] (PROSPECT's plate model)."""
    carotenoid = 2.0 + 0.16 * chlorophyll
    absorption = chlorophyll * CHLOROPHYLL + carotenoid * CAROTENOID + brown * BROWN
    k = (absorption + water_cm * WATER_CM + dry_matter * DRY_MATTER) / layers + 1e-4
    plate = (1 - k) * np.exp(-k) + k**2 * exp1(k)
    out = FRESNEL_90 / REFRACTION**2
    inner = 1 - out
    trapped = 1 - (inner * plate) ** 2
    top_t = FRESNEL_40 * plate * out / trapped
    top_r = 1 - FRESNEL_40 + top_t * inner * plate
    t = FRESNEL_90 * plate * out / trapped
    r = 1 - FRESNEL_90 + t * inner * plate
    root = np.sqrt(np.maximum((1 + r + t) * (1 + r - t) * (1 - r + t) * (1 - r - t), 1e-12))
    a = (1 + r**2 - t**2 + root) / (2 * r)
    b = ((1 - r**2 + t**2 + root) / (2 * t)) ** (layers - 1)
    below = a**2 * b**2 - 1
    stack_r, stack_t = a * (b**2 - 1) / below, b * (a**2 - 1) / below
    bounce = 1 - stack_r * r
    return top_r + top_t * stack_r * t / bounce, top_t * stack_t / bounce


def canopy(*, reflectance: Array, transmittance: Array, lai: Array, soil: Array) -> Array:
    """Two-stream reflectance of a canopy of spherical leaves over soil; arrays broadcast to [band, pixel]."""
    mu = SUN_REFERENCE
    scatter = np.minimum(reflectance + transmittance, 0.995)
    back = 0.5 * (scatter + (reflectance - transmittance) / 4)  # omega * beta
    single = back * (1 - mu * np.log((1 + mu) / mu))
    extinction = 0.5 / mu
    b, c = 1 - scatter + back, back
    h = np.sqrt(b**2 - c**2)
    # the closed form is 0/0 where the beam and the diffuse light decay alike: step aside there
    beam = np.where(np.abs(extinction - h) < 3e-3, extinction * 1.01, extinction)
    d = (1 + beam) * single
    f = scatter * beam - d
    sigma = beam**2 - h**2
    s1, s2 = np.exp(-h * lai), np.exp(-beam * lai)
    u1, p1, p2 = b - c / soil, b + h, b - h
    p3, p4 = b + beam, b - beam
    d1 = p1 * (u1 - h) / s1 - p2 * (u1 + h) * s1
    h1 = (-d * p4 - c * f) / sigma
    rest = d - h1 * p3
    ground = (d - c - h1 * (u1 + beam)) * s2
    h2 = (rest * (u1 - h) / s1 - p2 * ground) / d1
    h3 = -(rest * (u1 + h) * s1 - p1 * ground) / d1
    return np.asarray(h1 + h2 + h3)


def kernels(*, sun_zenith_deg: float, view_zenith_deg: float, relative_azimuth_deg: float) -> tuple[float, float]:
    """Ross-thick and Li-sparse-reciprocal (h/b = 2, b/r = 1) kernels."""
    s, v, a = np.radians([sun_zenith_deg, view_zenith_deg, relative_azimuth_deg])
    phase = np.arccos(np.clip(np.cos(s) * np.cos(v) + np.sin(s) * np.sin(v) * np.cos(a), -1, 1))
    volume = ((np.pi / 2 - phase) * np.cos(phase) + np.sin(phase)) / (np.cos(s) + np.cos(v)) - np.pi / 4
    secants = 1 / np.cos(s) + 1 / np.cos(v)
    distance2 = np.tan(s) ** 2 + np.tan(v) ** 2 - 2 * np.tan(s) * np.tan(v) * np.cos(a)
    cross = (np.tan(s) * np.tan(v) * np.sin(a)) ** 2
    t = np.arccos(np.clip(2 * np.sqrt(distance2 + cross) / secants, -1, 1))
    overlap = (t - np.sin(t) * np.cos(t)) * secants / np.pi
    surface = overlap - secants + 0.5 * (1 + np.cos(phase)) / (np.cos(s) * np.cos(v))
    return float(volume), float(surface)


VOLUME_REFERENCE, SURFACE_REFERENCE = kernels(sun_zenith_deg=45, view_zenith_deg=0, relative_azimuth_deg=0)


def direction_factor(cover: Array, volume: float, surface: float) -> Array:
    """Reflectance over that at sun 45 degrees and nadir, [band, pixel], from canopy cover [pixel]."""
    v, g = VOLUME * (0.4 + 0.6 * cover), SURFACE * (1.2 - 0.4 * cover)
    return np.asarray((1 + v * volume + g * surface) / (1 + v * VOLUME_REFERENCE + g * SURFACE_REFERENCE))


def soil_reflectance(world: World, t: int) -> Array:
    """Reflectance of the soil surface [band, unit]: moist, shaded by clods, partly under straw."""
    site, states = world.parameters, world.states
    tint = 1 + site.soil_redness * (WAVELENGTH_NM[:, None] - 700) / 400
    tint = np.clip(tint, 0.85, 1.15) * site.soil_brightness
    wet = np.exp(-10.0 * (states.surface_moisture[t] - 0.07))
    soil = (SOIL_WET + (SOIL_DRY - SOIL_WET) * wet) * tint
    soil = soil * (1 - 0.07 * (states.roughness_cm[t] - 0.9))
    straw = STRAW * (0.72 + 0.28 * wet)
    return np.asarray(soil + (straw - soil) * states.residue[t])


def surface_reflectance(world: World, t: int, *, view: tuple[float, float], algae: float) -> Array:
    """Noise-free surface reflectance [band, y, x] at 10 m on day index t; view holds the two kernels."""
    land, states = world.land, world.states
    where = land.unit.ravel() - 1
    cover = states.cover[t]
    layers = cover_column("leaf_layers")[cover]
    film = 0.1 * states.interception[t] / np.maximum(states.lai[t], 0.1)  # rain on the leaves, cm
    leaf_r, leaf_t = leaf(
        layers=layers, chlorophyll=states.chlorophyll[t], brown=states.brown[t], water_cm=states.leaf_water_cm[t] + film
    )
    leaf_r, leaf_t = (1 - STEMS) * leaf_r + STEMS * STRAW, (1 - STEMS) * leaf_t
    lai = (states.lai[t] * cover_column("clumping")[cover])[where] * land.vigour.ravel()
    soil = soil_reflectance(world, t)[:, where] * land.soil_dry.ravel()
    plants = canopy(reflectance=leaf_r[:, where], transmittance=leaf_t[:, where], lai=np.minimum(lai, 8), soil=soil)
    closed = 1 - np.exp(-0.6 * lai)
    shade = np.where(cover == BARE, 1.0, cover_column("shade")[cover])[where]
    plants *= (1 - (1 - shade) * closed) * land.greenness.ravel()
    plants += (FLOWER - plants) * states.flowers[t][where]
    plants += (soil - plants) * GAPS
    plants *= direction_factor(closed, *view)
    kind = land.cover[where]
    built = land.built.ravel()
    town = kind == SETTLEMENT
    plants[:, town] += (ROOFS * land.built_tone.ravel()[town] - plants[:, town]) * built[town]
    lake = kind == WATER
    plants[:, lake] = OPEN_WATER + algae * ALGAE
    return plants.reshape(len(BANDS), *land.unit.shape)
