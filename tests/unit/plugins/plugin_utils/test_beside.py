"""What is computed in a process of its own comes back, whatever becomes of it."""

from __future__ import annotations

import os
import signal
import time

import pytest
from ansible_collections.campus.hubs.plugins.module_utils.course_state.release import StateError
from ansible_collections.campus.hubs.plugins.plugin_utils.beside import Beside


def test_it_is_computed_in_another_process_and_however_large_comes_back() -> None:
    large = "x" * 10_000_000
    with Beside(lambda: (os.getpid(), large)) as computed:
        pid, text = computed.result()
    assert pid != os.getpid()
    assert text == large
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_error_is_raised_where_the_result_is_waited_for() -> None:
    with Beside(lambda: int("seven")) as computed, pytest.raises(ValueError, match="seven"):
        computed.result()


def fail(error: Exception) -> None:
    raise error


class Unportable(Exception):  # noqa: N818
    """Can be written and not read."""

    def __init__(self, *, source: str) -> None:
        """Take something that is not an argument of exceptions."""
        super().__init__(f"about {source}")


def test_of_an_error_that_does_not_come_through_the_text_does() -> None:
    with Beside(lambda: fail(Unportable(source="this"))) as computed, pytest.raises(StateError, match="about this"):
        computed.result()


def test_a_signal_ends_it_whatever_the_process_before_has_set() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with Beside(lambda: os.kill(os.getpid(), signal.SIGTERM)) as computed, pytest.raises(StateError, match="-15"):
            computed.result()
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_that_ends_without_a_result_is_an_error() -> None:
    with Beside(lambda: os._exit(3)) as computed, pytest.raises(StateError, match="ended with 3"):
        computed.result()


def test_nobody_waits_for_what_is_not_wanted_any_more() -> None:
    begin = time.monotonic()
    with pytest.raises(KeyError), Beside(lambda: time.sleep(60)):
        raise KeyError
    assert time.monotonic() - begin < 10
