"""Waiting with a deadline and a message: the only place in these tests that sleeps without an event to wait for."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for[T](what: str, probe: Callable[[], T | None], timeout: float, pause: float = 0.5) -> T:
    """Call ``probe`` until it returns something true, and return that.

    Args:
        what: what is waited for, for the message.
        probe: returns something true when it is there; an exception counts as "not yet" and is kept for the message.
        timeout: seconds.
        pause: seconds between two probes.

    Raises:
        AssertionError: after ``timeout``, with what the last probe returned or raised.

    """
    end = time.monotonic() + timeout
    while True:
        last: object
        try:
            value = probe()
            if value:
                return value
            last = value
        except Exception as error:  # whatever is wrong now may be right in a second
            last = f"{type(error).__name__}: {error}"
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout:.0f} s, last seen: {str(last)[:600]}")
        time.sleep(pause)


def seconds_until(what: str, probe: Callable[[], object], timeout: float, pause: float = 0.2) -> float:
    """Return how many seconds it took until ``probe`` was true; see :func:`wait_for`."""
    begin = time.monotonic()
    wait_for(what, probe, timeout, pause)
    return time.monotonic() - begin
