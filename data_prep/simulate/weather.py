"""Daily weather of a site: cloud, rain, radiation, temperature, vapour-pressure deficit, wind.

A stochastic generator in the manner of Richardson (1981, Water Resources Research 17, 182): one synoptic
latent series drives cloud and rain, a second one temperature. Radiation and saturation pressure follow
FAO-56 (Allen et al. 1998, equations 11, 21, 24, 37). No snow is simulated.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.special import ndtr

from data_prep.simulate.parameters import SiteParameters, Streams

Array = NDArray[np.float64]
EPOCH = date(1970, 1, 1).toordinal()
DROUGHT_DOY = (112.0, 248.0)


@dataclass(frozen=True, kw_only=True)
class Weather:
    """Daily series [time].

    Attributes:
        day: days since 1970-01-01.
        doy: day of year, 1 January = 1.
        cloud: cover in 0..1.
        rain_mm, radiation_w_m2, temperature_c, minimum_c, vpd_hpa: as in FLUXNET's daily files.
        anomaly_c: temperature less its climatology.
        wind_from_deg, wind_m_s: direction the wind comes from, clockwise from north, and speed.
    """

    day: NDArray[np.int32]
    doy: Array
    cloud: Array
    rain_mm: Array
    radiation_w_m2: Array
    temperature_c: Array
    minimum_c: Array
    anomaly_c: Array
    vpd_hpa: Array
    wind_from_deg: Array
    wind_m_s: Array


def day_number(when: date) -> int:
    """Days since 1970-01-01."""
    return when.toordinal() - EPOCH


def saturation_hpa(temperature_c: Array) -> Array:
    """Saturation vapour pressure (FAO-56 equation 11) in hPa."""
    return 6.108 * np.exp(17.27 * temperature_c / (temperature_c + 237.3))


def clear_sky_w_m2(doy: Array, latitude_deg: float) -> Array:
    """Daily mean clear-sky radiation, 0.75 of the extraterrestrial (FAO-56 equations 21 and 37)."""
    latitude = np.radians(latitude_deg)
    angle = 2 * np.pi * doy / 365.25
    declination = 0.409 * np.sin(angle - 1.39)
    sunset = np.arccos(np.clip(-np.tan(latitude) * np.tan(declination), -1, 1))
    geometry = sunset * np.sin(latitude) * np.sin(declination)
    geometry = geometry + np.cos(latitude) * np.cos(declination) * np.sin(sunset)
    return 0.75 * 1367.0 / np.pi * (1 + 0.033 * np.cos(angle)) * geometry


def red_noise(innovations: Array, memory: float) -> Array:
    """Stationary first-order autoregressive series of unit variance along axis 0."""
    driven = innovations * np.sqrt(1 - memory**2)
    driven[0] = innovations[0]
    return np.asarray(lfilter([1.0], [1.0, -memory], driven, axis=0))


def drought_window(day: NDArray[np.int32], doy: Array, year: int | None) -> Array:
    """0..1: how much of the drought acts on a day (spring onset, late-summer end, soft edges)."""
    if year is None:
        return np.zeros_like(doy)
    inside = (day >= day_number(date(year, 1, 1))) & (day < day_number(date(year + 1, 1, 1)))
    ramp = np.clip((doy - DROUGHT_DOY[0]) / 15, 0, 1) * np.clip((DROUGHT_DOY[1] - doy) / 15, 0, 1)
    return np.where(inside, ramp, 0.0)


def simulate_weather(site: SiteParameters, streams: Streams, *, years: range, drought_year: int | None) -> Weather:
    """Daily weather of whole calendar years; the same random numbers with and without a drought."""
    noise, doys = [], []
    for year in years:
        length = date(year + 1, 1, 1).toordinal() - date(year, 1, 1).toordinal()
        noise.append(streams(f"weather/{year}").random((length, 7)))
        doys.append(np.arange(1.0, length + 1))
    uniform = np.clip(np.concatenate(noise), 1e-6, 1 - 1e-6)
    doy = np.concatenate(doys)
    day = np.arange(day_number(date(years[0], 1, 1)), day_number(date(years[-1] + 1, 1, 1)), dtype=np.int32)
    radius, angle = np.sqrt(-2 * np.log(uniform[:, :2])), 2 * np.pi * uniform[:, 2:4]
    normal, other = radius * np.cos(angle), radius * np.sin(angle)
    dry = drought_window(day, doy, drought_year)
    summer = np.cos(2 * np.pi * (doy - 200) / 365.25)

    synoptic = red_noise(normal[:, 0].copy(), 0.62)
    unsettled = ndtr(synoptic - 0.3 * summer + site.cloud_bias - 0.7 * dry)
    ramp = np.clip((unsettled - 0.38) / 0.36, 0, 1)
    cloud = ramp * ramp * (3 - 2 * ramp)
    wet = unsettled + 0.35 * (uniform[:, 4] - 0.5) > 0.54
    amount = -site.rain_mm_per_wet_day * np.log(uniform[:, 5]) * (0.3 + 0.8 * ramp)
    rain = np.where(wet, amount, 0.0) * (1 - (1 - site.drought_rain_factor) * dry)

    warm = np.cos(2 * np.pi * (doy - 205) / 365.25)
    anomaly = 3.0 * red_noise(normal[:, 1].copy(), 0.82) - 1.5 * (cloud - 0.5) * summer + 2.5 * dry
    temperature = site.temperature_mean_c + site.temperature_amplitude_c * warm + anomaly
    spread = 2.5 + 4.0 * (1 - cloud) * (0.7 + 0.3 * summer)
    dewpoint = temperature - spread - 0.8 - 4.0 * dry
    saturation = 0.5 * (saturation_hpa(temperature + spread) + saturation_hpa(temperature - spread))
    vpd = np.maximum(saturation - saturation_hpa(dewpoint), 0.2) * (1.1 - 0.4 * cloud)

    radiation = clear_sky_w_m2(doy, site.latitude_deg) * (1 - 0.72 * cloud**1.3)
    turning = 240 + 70 * red_noise(other[:, 0].copy(), 0.7)  # westerlies
    return Weather(
        day=day, doy=doy, cloud=cloud, rain_mm=rain, radiation_w_m2=radiation, temperature_c=temperature,
        minimum_c=temperature - spread, anomaly_c=anomaly, vpd_hpa=vpd,
        wind_from_deg=np.mod(turning + 90 * (uniform[:, 6] - 0.5), 360),
        wind_m_s=1.5 - 2.2 * np.log(1 - 0.9 * uniform[:, 6]),
    )  # fmt: skip
