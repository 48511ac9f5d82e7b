"""The memory of used launches."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from campus_hubs_login import handlers, lti11, lti13, replay
from campus_hubs_login.replay import ReplayStore
from ltiauthenticator.lti13.validator import LTI13LaunchValidator


def test_a_launch_is_spent_once(tmp_path: Path) -> None:
    store = ReplayStore(tmp_path / "used.sqlite")
    assert store.spend("lti13", "iss", "nonce")
    assert not store.spend("lti13", "iss", "nonce")
    assert store.spend("lti13", "iss", "other")
    assert store.spend("lti11", "iss", "nonce")


def test_a_restart_forgets_nothing(tmp_path: Path) -> None:
    first = ReplayStore(tmp_path / "used.sqlite")
    first.spend("lti13", "iss", "nonce")
    assert not ReplayStore(tmp_path / "used.sqlite").spend("lti13", "iss", "nonce")


def test_parts_are_not_glued_together() -> None:
    store = ReplayStore(":memory:")
    assert store.spend("ab", "c")
    assert store.spend("a", "bc")


def test_old_launches_are_dropped_when_they_are_no_longer_valid(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = ReplayStore(tmp_path / "used.sqlite")
    now = time.time()
    store.spend("a")
    monkeypatch.setattr(time, "time", lambda: now + replay.KEEP_SECONDS - 1)
    assert not store.spend("a")
    monkeypatch.setattr(time, "time", lambda: now + replay.KEEP_SECONDS + 2)
    store.spend("b")
    count = sqlite3.connect(tmp_path / "used.sqlite").execute("SELECT count(*) FROM used").fetchone()
    assert count == (1,)


def test_a_database_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        ReplayStore(tmp_path / "missing" / "used.sqlite")


def test_it_remembers_for_longer_than_any_launch_is_valid() -> None:
    oldest_token = LTI13LaunchValidator().max_age + 2 * lti13.LEEWAY_SECONDS
    assert max(oldest_token, handlers.STATE_SECONDS, 2 * lti11.WINDOW_SECONDS) < replay.KEEP_SECONDS
