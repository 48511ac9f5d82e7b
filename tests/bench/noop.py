"""The whole of site.yml where nothing is to be done, by role, beside an empty play over the same hosts.

Needs the lab as site.yml left it, and fails if something changes.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e import playbook

_TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?:campus\.hubs\.(\w+) : )?")
_END = re.compile(r"^PLAY RECAP ")
# Connects to each node and reads its facts, as site.yml does.
EMPTY = "- {hosts: cluster, tasks: []}\n"


def stamped(path: str) -> tuple[playbook.Run, list[tuple[float, str]]]:
    """Run a playbook; return what it left, and each line with the second in which it came."""
    begin = time.monotonic()
    lines = []
    with playbook.start(path) as process:
        for line in process.stdout or ():
            lines.append((time.monotonic() - begin, line))
    output = "".join(line for _, line in lines)
    return playbook.Run(output, process.returncode, time.monotonic() - begin).assert_good(), lines


def by_role(lines: Iterable[tuple[float, str]]) -> dict[str, tuple[int, float]]:
    """Return for each role, in the order in which they came, how many tasks it had and how many seconds they took.

    Tasks of a playbook, and Ansible's start and gathering of facts, are under "playbooks".
    """
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    role, since = "playbooks", 0.0
    for second, line in lines:
        task = _TASK.match(line)
        if task or _END.match(line):
            count, seconds = found[role]
            found[role] = count, seconds + second - since
            role, since = (task[1] or "playbooks") if task else "playbooks", second
        if task:
            count, seconds = found[role]
            found[role] = count + 1, seconds
    return dict(found)


def main() -> None:
    """Print the table."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as empty:
        empty.write(EMPTY)
        empty.flush()
        floor = stamped(empty.name)[0].seconds
    run, lines = stamped("site.yml")
    assert not run.changed, run.changed_tasks()
    print(f"{'':<16}{'tasks':>6}{'wall':>10}")
    roles = by_role(lines)
    for role, (count, seconds) in roles.items():
        print(f"{role:<16}{count:>6}{seconds:>8.1f} s")
    print(f"{'site.yml':<16}{sum(count for count, _ in roles.values()):>6}{run.seconds:>8.1f} s")
    print(f"{'empty play':<16}{1:>6}{floor:>8.1f} s")


if __name__ == "__main__":
    main()
