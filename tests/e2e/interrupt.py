"""Break off runs of site.yml: start one, kill it and all its processes without warning at a place chosen at random.

The place is a role, a number of tasks into it and a fraction of a second. It is printed with the seed that chooses it
again: ``INTERRUPT_SEED=... python tests/e2e/interrupt.py``. ``INTERRUPT_KILLS`` runs (1 unless given) are killed one
after the other, each in a later role: it has to complete what the one before left. Ends with an error if a run ended
before it was killed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e import playbook

ROLES = ("node", "containerd", "kubeadm", "calico", "storage", "load_balancer", "course_images", "course_hub")


def children() -> dict[int, list[int]]:
    """Return the process ids of this machine by their parent's."""
    found: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            # proc(5): pid (name, which may hold anything) state ppid ...
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            found.setdefault(parent, []).append(int(stat.parent.name))
    return found


def kill_tree(root: int) -> None:
    """Kill a process and everything it has started, whatever the session: Ansible's workers have sessions of their own.

    All are stopped first, so that none starts another one unseen.
    """
    stopped: list[int] = []
    tree = [root]
    while new := [pid for pid in tree if pid not in stopped]:
        for pid in new:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped += new
        found = children()
        tree = [child for pid in stopped for child in found.get(pid, [])]
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def interrupt(role: str, chance: random.Random) -> str:
    """Run site.yml, kill all its processes somewhere in ``role``, and return the name of the task that it was at.

    Raises:
        RuntimeError: if the run ended by itself.

    """
    tasks_left, delay = chance.randint(0, 6), chance.random() * 2
    run = playbook.start("site.yml", start_new_session=True)
    assert run.stdout
    seen: list[str] = []
    reached = False
    for line in run.stdout:
        seen.append(line)
        if not line.startswith("TASK ["):
            continue
        reached = reached or line.startswith(f"TASK [campus.hubs.{role} :")
        if reached and (tasks_left := tasks_left - 1) < 0:
            time.sleep(delay)
            kill_tree(run.pid)
            run.wait()
            return line.removeprefix("TASK [").split("]")[0]
    run.wait()
    raise RuntimeError(
        f"site.yml ended by itself (code {run.returncode}) before it came to {role}:\n{''.join(seen[-40:])}"
    )


def main() -> None:
    """Interrupt runs in roles chosen at random."""
    kills = int(os.environ.get("INTERRUPT_KILLS") or 1)
    seed = os.environ.get("INTERRUPT_SEED") or str(random.SystemRandom().randrange(10**6))
    chance = random.Random(seed)  # noqa: S311  a place to break off, not a secret
    roles = sorted(chance.sample(ROLES, kills), key=ROLES.index)
    print(f"INTERRUPT_SEED={seed} INTERRUPT_KILLS={kills}: to be killed in {', '.join(roles)}", flush=True)
    for role in roles:
        print(f"killed at: {interrupt(role, chance)}", flush=True)


if __name__ == "__main__":
    main()
