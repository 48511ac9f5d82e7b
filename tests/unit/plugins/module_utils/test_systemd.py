"""What systemd says of services, as data."""

from __future__ import annotations

import pytest
from ansible_collections.campus.hubs.plugins.module_utils import _systemd


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("Mon 2026-11-30 14:29:40 UTC", 1796048980), ("Thu 1970-01-01 00:00:01 UTC", 1), ("", 0), ("n/a", 0)],
)
def test_start_of_a_process(time: str, seconds: int) -> None:
    assert _systemd.started_at(time) == seconds


def test_nothing_said_is_no_service() -> None:
    assert _systemd.read_service("") == _systemd.Service(exists=False, is_active=False, is_enabled=False, started=0)
