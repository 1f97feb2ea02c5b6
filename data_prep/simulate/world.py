"""What is true at a simulated site, which all sensors and the tower look at."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep.simulate.landscape import Landscape, make_landscape
from data_prep.simulate.parameters import SiteParameters, Streams, draw_parameters
from data_prep.simulate.states import States, simulate_states
from data_prep.simulate.weather import Weather, simulate_weather


@dataclass(frozen=True, kw_only=True)
class World:
    """A site and its years, day by day from a year before the first that is told."""

    parameters: SiteParameters
    streams: Streams
    land: Landscape
    weather: Weather
    states: States


def make_world(
    streams: Streams, *, size_px: int, years: range, held_out: bool, drought_year: int | None, stress: bool
) -> World:
    """Draw a site and let its years pass."""
    site = draw_parameters(streams, held_out=held_out)
    land = make_landscape(site, streams, size_px=size_px, years=years)
    weather = simulate_weather(site, streams, years=years, drought_year=drought_year)
    states = simulate_states(site, streams, land, weather, stress=stress)
    return World(parameters=site, streams=streams, land=land, weather=weather, states=states)
