"""Which packages install, and as what; everything else is pyproject.toml.

`experiments/` and `benchmarks/` lie beside `eomm/` in a checkout, and install inside it: top-level packages of such
general names would stand in the way of other people's.
"""

from setuptools import find_packages, setup

INSIDE = {f"eomm.{name}": name.replace(".", "/") for name in find_packages(include=["experiments*", "benchmarks*"])}

setup(packages=[*find_packages(include=["eomm*", "data_prep*"]), *INSIDE], package_dir=INSIDE)
