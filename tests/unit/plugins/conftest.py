"""What tests of plugins share."""

from __future__ import annotations

import pytest

from tests.unit.plugins.memory_store import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    """Return an empty store."""
    return MemoryStore()
