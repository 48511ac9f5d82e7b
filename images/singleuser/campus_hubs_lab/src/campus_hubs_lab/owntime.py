"""How long a program has run or waited by itself: the time on a clock, without what it waited for a processor.

On a busy node a second of work takes many seconds. What Linux counts as run delay (proc_pid_schedstat(5),
/proc/<pid>/task/<tid>/schedstat: time on a processor, time ready to run and waiting for one; nanoseconds) is the node's
doing; sleeping, waiting for a file and being stopped are the program's own.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
# Of the clock's time that always counts while processes come and go.
LEAST: Final = 0.1
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class OwnTime:
    """A clock for a kernel and what it has started; it goes on when it is looked at, so look at it often.

    It goes back where Linux says only afterwards that the time was a wait for a processor.

    Args:
        kernel: its process id.

    """

    def __init__(self, kernel: int) -> None:
        """Begin at 0."""
        self._kernel = kernel
        self._own = self._idle = 0.0
        self._tasks, self._ended = self._read()
        self._last = time.monotonic()

    def now(self) -> float:
        """Return the seconds until now."""
        (tasks, ended), now = self._read(), time.monotonic()
        passed, self._last = now - self._last, now
        ran = sum(run - self._tasks.get(task, (0.0, 0.0))[0] for task, (run, _) in tasks.items())
        # Of a new task only what it did since it is there: its whole life.
        waited = max((wait - self._tasks.get(task, (0.0, 0.0))[1] for task, (_, wait) in tasks.items()), default=0.0)
        # Many tasks that wait for each other make up for it by what they run.
        own = max(passed - waited, ran)
        if ended > self._ended:
            # With a process ends the count of how long it has waited, not that of how long it ran.
            own = min(own, max(ran + ended - self._ended, LEAST * passed))
        self._tasks, self._ended = tasks, ended
        # Waiting is booked when it is over: until then it has counted as idling, which it was not.
        own = min(passed, own)
        booked_late = min(max(waited - passed, 0.0), self._idle)
        self._own += own - booked_late
        self._idle += max(own - ran, 0.0) - booked_late
        return self._own

    def _counts(self, process: int) -> bool:
        # In a pod all others are the notebook's; elsewhere, those that have not left the kernel's session.
        return process != 1 if os.getpid() == 1 else os.getsid(process) == self._kernel

    def _read(self) -> tuple[dict[str, tuple[float, float]], float]:
        """Return time on a processor and time waiting for one, by task; and the former of children that have ended."""
        tasks: dict[str, tuple[float, float]] = {}
        ended = 0
        for process in _PROC.iterdir():
            try:
                if not (process.name.isdecimal() and self._counts(int(process.name))):
                    continue
                # Behind the command's name, which may hold anything: cutime and cstime.
                ended += sum(map(int, (process / "stat").read_bytes().rpartition(b")")[2].split()[13:15]))
                for task in (process / "task").iterdir():
                    run, wait, *_ = (task / "schedstat").read_text(encoding="ascii").split()
                    tasks[f"{process.name}/{task.name}"] = (int(run) / 1e9, int(wait) / 1e9)
            except (OSError, ValueError):
                continue
        return tasks, ended / _TICKS
