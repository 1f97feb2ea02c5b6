"""Shared fixtures. Real data lie beside the checkout; without them tests skip, in CI they fail."""

import os
from pathlib import Path

import pytest

from tests import environment, shapes

COMMON_FOLDER = environment.set_up()
shapes.check(["eomm", "data_prep"])
# Files by what they cost, the dearest first: what runs long must not begin when the other workers are done.
LONG = (
    "test_units",
    "test_append",
    "test_embedding",
    "test_windows",
    "test_stages",
    "test_coherence",
    "test_evaluate",
    "test_new_modality",
    "test_train",
    "test_context",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(LONG)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if COMMON_FOLDER and (changed := environment.changed(COMMON_FOLDER)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        raise pytest.UsageError(f"tests wrote into what all of them share: {', '.join(changed)}; copy it first")


def pytest_unconfigure(config: pytest.Config) -> None:
    if COMMON_FOLDER:
        environment.tear_down(COMMON_FOLDER)


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
