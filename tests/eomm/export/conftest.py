"""Stores to export, and blocks so small that a site has many."""

import pytest

from eomm.export import frames as export_frames
from tests import zoo


@pytest.fixture(scope="module")
def stores():
    """Embeddings of a clouded site with and without vectors of clouded pixels, and of one without a position."""
    return {name: zoo.store(name) for name in ("clear", "cloudy", "int8", "local")}


@pytest.fixture
def small(monkeypatch):
    """Many blocks and groups of frames also on a small site."""
    monkeypatch.setattr("eomm.embedding.blocks.TILE", 16)
    monkeypatch.setattr(export_frames, "TOGETHER", 3)
