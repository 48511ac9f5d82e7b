"""Make the collection importable under its own name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
# A checkout has the collection below .collections; the other collections come from the environment.
_AnsibleCollectionFinder(paths=[str(ROOT / ".collections")])._install()

from tests.unit.plugins.memory_store import MemoryStore  # noqa: E402 (needs the finder)


@pytest.fixture
def store() -> MemoryStore:
    """Return an empty store."""
    return MemoryStore()
