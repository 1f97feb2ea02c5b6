"""A simulated landscape as Sentinel-1 and Sentinel-2 sees it: the demo's default data and the tests' twin.

Not one curve behind everything: leaf area, chlorophyll, canopy water, structure, soil moisture, tillage,
frost and interception are separate processes with parameters drawn per site, so that each sensor knows
something the other does not. Nothing here is real, every file says so, and no score on it is a claim about
the Earth; what it offers is a known truth and two *null worlds* in which skill must vanish: a radar that does
not see the ground, and plants without stress.

Radar in the null world is independent of soil and buildings too: moisture and tillage go with the season and
the crops, and would tell of vegetation by another way.
"""

from data_prep.simulate.parameters import RANGES as RANGES
from data_prep.simulate.parameters import SiteParameters as SiteParameters
from data_prep.simulate.parameters import Streams as Streams
from data_prep.simulate.parameters import draw_parameters as draw_parameters
from data_prep.simulate.scenes import Revisit as Revisit
from data_prep.simulate.site import SiteOptions as SiteOptions
from data_prep.simulate.site import simulate_site as simulate_site
