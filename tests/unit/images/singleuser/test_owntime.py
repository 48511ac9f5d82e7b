"""A program's own time, beside others that want all processors."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
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
