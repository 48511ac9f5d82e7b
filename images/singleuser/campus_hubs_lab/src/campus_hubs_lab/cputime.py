"""An end for work on what strangers have written: some of it takes a parser hours."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# One limit may stand in another of another kind (getitimer(2)).
PART: Final = (signal.ITIMER_VIRTUAL, signal.SIGVTALRM)
WHOLE: Final = (signal.ITIMER_PROF, signal.SIGPROF)


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

    if threading.current_thread() is not threading.main_thread():
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
