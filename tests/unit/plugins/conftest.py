"""Make the collection importable under its own name."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.plugins.loader import init_plugin_loader

ROOT = Path(__file__).resolve().parents[3]
# A checkout has the collection below .collections; the other collections come from the environment.
init_plugin_loader([str(ROOT / ".collections")])

from tests.unit.plugins.memory_store import MemoryStore  # noqa: E402 (needs the loader)


@pytest.fixture
def store() -> MemoryStore:
    """Return an empty store."""
    return MemoryStore()
