"""A program's own time, beside others that want all processors."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from campus_hubs_lab import owntime
from campus_hubs_lab.owntime import OwnTime

WORK = """
import subprocess, sys, time
for _ in range(8):
    subprocess.run([sys.executable, "-S", "-c", "sum(range(10**6))"])
end = time.process_time() + 0.5
while time.process_time() < end:
    pass
"""


@pytest.mark.parametrize(("source", "least"), [(WORK, 0.5), ("import time\ntime.sleep(1)", 0.9)])
def test_waiting_for_a_processor_is_not_its_own(source: str, least: float) -> None:
    """Nor is that of processes that come and go."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        work = subprocess.Popen([sys.executable, "-c", source], start_new_session=True)  # noqa: S603
        clock = OwnTime(work.pid)
        own = 0.0
        while not os.waitid(os.P_PID, work.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            own = clock.now()
            time.sleep(0.1)
        _, _, used = os.wait4(work.pid, 0)
    finally:
        for each in busy:
            each.kill()
            each.wait()
    assert least <= own <= 1.3 * (used.ru_utime + used.ru_stime) + least + 0.5


class Machine:
    """A /proc and a clock in which one program does as it is told, a tenth of a second at a time."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Start a program in a session of this process."""
        self._seconds, self._ran, self._waited = 1000.0, 0.0, 0.0
        self._files = root / str(os.getpid())
        self._stat = self._files / "task" / "1" / "schedstat"
        self._stat.parent.mkdir(parents=True)
        (self._files / "stat").write_text("1 (python) S" + " 0" * 20)
        monkeypatch.setattr(owntime, "_PROC", root)
        monkeypatch.setattr(time, "monotonic", lambda: self._seconds)
        self._book()
        self.clock = OwnTime(os.getsid(0))

    def _book(self) -> None:
        self._stat.write_text(f"{int(self._ran * 1e9)} {int(self._waited * 1e9)} 1")

    def spend(self, seconds: float, *, ran: float = 0, waited: float = 0) -> float:
        """Let time pass and look ten times a second; what Linux books, it books at the end."""
        for _ in range(round(seconds * 10) - 1):
            self._seconds += 0.1
            self.clock.now()
        self._ran, self._waited = self._ran + ran, self._waited + waited
        self._book()
        self._seconds += 0.1
        return self.clock.now()


def test_a_long_wait_is_booked_when_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has counted until then, and counts no more; what the program has idled and run stays."""
    machine = Machine(tmp_path, monkeypatch)
    assert machine.spend(2, ran=0.05) == pytest.approx(2)
    assert machine.spend(30, ran=0.05, waited=29.95) == pytest.approx(2.05, abs=0.1)
    assert machine.spend(1) == pytest.approx(3.05, abs=0.1)


def test_no_wait_gives_time_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what had counted as idling is taken back, and once."""
    machine = Machine(tmp_path, monkeypatch)
    for _ in range(10):
        machine.spend(0.1, ran=0.1)
    assert machine.spend(0.1, ran=0.1, waited=60) == pytest.approx(1.1)
    assert machine.spend(1) == pytest.approx(2.1)
