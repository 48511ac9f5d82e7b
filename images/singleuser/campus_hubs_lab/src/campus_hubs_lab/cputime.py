"""An end for work on what strangers have written: some of it takes a parser hours."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# One limit may stand in another of another kind (getitimer(2)).
PART: Final = (signal.ITIMER_VIRTUAL, signal.SIGVTALRM)
WHOLE: Final = (signal.ITIMER_PROF, signal.SIGPROF)
# Seconds.
LEAST: Final = 0.001


def _first_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


@contextmanager
def cpu_limit(seconds: float, kind: tuple[int, int] = PART) -> Iterator[None]:
    """Limit the processor's time, which does not depend on what else a node does.

    Without effect outside of a process's first thread.

    Args:
        seconds: of this process.
        kind: PART or WHOLE.

    Raises:
        TimeoutError: they are over.

    """

    def over(_number: int, _frame: object) -> None:
        raise TimeoutError(f"it takes more than {seconds:g} seconds to work on")

    if not _first_thread():
        yield
        return
    timer, number = kind
    before = signal.signal(number, over)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before)


class Budget:
    """Processor's time for all texts of one page, whose server does nothing else meanwhile.

    Outside of a page, and of a process's first thread, each text has its own limit alone, as by `cpu_limit`.

    Args:
        seconds: of this process.

    """

    def __init__(self, seconds: float) -> None:
        """No page is being made."""
        self.seconds = seconds
        self._left: float | None = None

    @contextmanager
    def page(self) -> Iterator[None]:
        """Make a page."""
        if not _first_thread():
            yield
            return
        self._left = self.seconds
        try:
            yield
        finally:
            self._left = None

    @contextmanager
    def part(self, most: float) -> Iterator[None]:
        """Limit the work on one text.

        Args:
            most: seconds for it alone.

        Raises:
            TimeoutError: they are over, or those of the page.

        """
        if self._left is None or not _first_thread():
            with cpu_limit(most):
                yield
            return
        left = self._left
        over = f"the page's texts take more than {self.seconds:g} seconds to work on"
        # A timer of no microseconds would be none.
        if left < LEAST:
            raise TimeoutError(over)
        began = time.process_time()
        try:
            with cpu_limit(min(most, left)):
                yield
        except TimeoutError as error:
            raise TimeoutError(over if left < most else str(error)) from None
        finally:
            self._left = left - (time.process_time() - began)


TEXTS: Final = Budget(30)
