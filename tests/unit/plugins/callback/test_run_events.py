"""What a run changes, as programs read it; by ansible-playbook itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[4]
PLAY = """
- hosts: localhost
  gather_facts: false
  connection: local
  tasks:
    - name: Change a thing
      ansible.builtin.debug: {msg: "{{ lookup('ansible.builtin.env', 'A_SECRET') }}"}
      changed_when: true
    - name: Change many
      ansible.builtin.debug: {msg: "{{ item }}"}
      changed_when: true
      loop: [a, b]
    - name: Change it elsewhere
      ansible.builtin.debug: {msg: a}
      changed_when: true
      delegate_to: elsewhere
    - name: Change nothing
      ansible.builtin.debug: {msg: a}
    - name: Run a role
      ansible.builtin.include_role: {name: thing}
    - name: Fail
      ansible.builtin.fail: {msg: a}
      ignore_errors: true
"""
ROLE = "- name: Set the thing\n  ansible.builtin.debug: {msg: a}\n  changed_when: true\n"


def play(folder: Path, text: str, **variables: str) -> list[dict[str, Any]]:
    """Run a play and return its events."""
    (folder / "play.yml").write_text(text)
    (folder / "roles/thing/tasks").mkdir(parents=True, exist_ok=True)
    (folder / "roles/thing/tasks/main.yml").write_text(ROLE)
    subprocess.run(  # noqa: S603
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "localhost,elsewhere,",
            str(folder / "play.yml"),
        ],
        env={
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
            "ANSIBLE_CALLBACKS_ENABLED": "campus.hubs.run_events",
            "A_SECRET": "S3CRET",
            **variables,
        },
        cwd=folder,
        check=False,
        stdout=subprocess.DEVNULL,
    )
    path = folder / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_task_that_changes_something_is_written_once(tmp_path: Path) -> None:
    events = play(tmp_path, PLAY, CAMPUS_HUBS_RUN_EVENTS=str(tmp_path / "events.jsonl"))
    shape = ("role", "task", "delegate_to")
    assert {(event["event"], event["host"]) for event in events} == {("changed", "localhost")}
    assert [tuple(event[name] for name in shape) for event in events] == [
        ("", "Change a thing", ""),
        ("", "Change many", ""),
        ("", "Change it elsewhere", "elsewhere"),
        ("thing", "Set the thing", ""),
    ]
    assert "S3CRET" not in (tmp_path / "events.jsonl").read_text()


def test_without_a_file_nothing_is_written(tmp_path: Path) -> None:
    assert play(tmp_path, PLAY) == []


LOCKED = """
- hosts: localhost
  gather_facts: false
  connection: local
  tasks:
    - name: Keep out other runs
      campus.hubs.run_lock: {kubeconfig: "{{ lookup('ansible.builtin.env', 'FOLDER') }}/kubeconfig"}
    - name: Run another one meanwhile
      ansible.builtin.command: "{{ lookup('ansible.builtin.env', 'OTHER') }}"
      when: lookup('ansible.builtin.env', 'OTHER') != ''
      changed_when: false
"""


def test_a_run_that_is_kept_out_says_by_whom(tmp_path: Path) -> None:
    inner = tmp_path / "inner.yml"
    inner.write_text(LOCKED)
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    where = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "FOLDER": str(tmp_path)}
    other = f"env OTHER= CAMPUS_HUBS_RUN_EVENTS={tmp_path}/events.jsonl {program} -i localhost, -c local {inner}"
    events = play(tmp_path, LOCKED, OTHER=other, **where)
    (event,) = events
    assert (event["event"], event["host"], event["task"]) == ("busy", "localhost", "Keep out other runs")
    assert "(process " in event["holder"]
    assert event["since"].endswith("Z")
