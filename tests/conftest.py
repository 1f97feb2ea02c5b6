"""Shared fixtures. Real data lie beside the checkout; without them tests skip, in CI they fail."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{path}: the real data are missing; CI must have them")
        pytest.skip("the real data beside the checkout are absent")
    return path


@pytest.fixture(scope="session")
def flanders(shared: Path) -> Path:
    return shared / "data" / "flanders_s1s2"
