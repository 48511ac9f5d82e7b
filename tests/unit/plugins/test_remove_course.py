"""playbooks/remove_course.yml: one course at a time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("course", [None, "all", "courses", "python-*", "python-ws26,stats", "python-ws26:stats", ""])
def test_groups_and_patterns_are_refused(course: str | None, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.yml"
    hosts.write_text("all: {children: {courses: {hosts: {python-ws26: , stats: }}}}")
    command = ["ansible-playbook", "-i", str(hosts), "playbooks/remove_course.yml"]
    command += [] if course is None else ["-e", json.dumps({"course": course})]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 2, done.stdout + done.stderr
    assert "expected the id of one course. Fix: give -e course=ID" in done.stdout
    assert "TASK [Acquire the run lock" not in done.stdout
