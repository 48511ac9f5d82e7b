"""A sudo whose prompt Ansible does not know is named before Ansible waits for it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.unit.roles.role_variables import ROOT

PLAY = f"""
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.import_tasks: {ROOT}/playbooks/tasks/become.yml
"""
REFUSED: dict[str, dict[str, Any]] = {
    "usual": {},
    "named": {"ansible_become_exe": "sudo-rs"},
    "ignoring-others": {"node_ignore_checks": ["firewall"]},
}
TAKEN: dict[str, dict[str, Any]] = {
    "another-sudo": {"ansible_become_exe": "sudo.ws"},
    "without-password": {"ansible_become_exe": "free/cargo/bin/sudo"},
    "root": {"ansible_user": "root"},
    "another-method": {"ansible_become_method": "su"},
    "not-there": {"ansible_become_exe": "no-such-sudo"},
    "ignored": {"node_ignore_checks": ["become"]},
}


def test_sudo_rs_with_a_password(tmp_path: Path) -> None:
    # What it says of a password is its exit code.
    for name, code in (("cargo/bin/sudo", 1), ("free/cargo/bin/sudo", 0), ("bin/sudo.ws", 1)):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\nexit {code}\n")
        path.chmod(0o755)
    for name in ("sudo", "sudo-rs"):
        (tmp_path / "bin" / name).symlink_to("../cargo/bin/sudo")
    TAKEN["without-password"]["ansible_become_exe"] = str(tmp_path / "free/cargo/bin/sudo")
    common = {"ansible_connection": "local", "ansible_user": "admin"}
    (tmp_path / "hosts.json").write_text(
        json.dumps({"all": {"hosts": {name: common | more for name, more in (REFUSED | TAKEN).items()}}})
    )
    (tmp_path / "play.yml").write_text(PLAY)
    done = subprocess.run(  # noqa: S603 (our own arguments)
        [sys.executable, "-m", "ansible.cli.playbook", "-i", str(tmp_path / "hosts.json"), str(tmp_path / "play.yml")],
        env={**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    recap = dict(re.findall(r"^(\S+) +: .*failed=(\d)", done.stdout, re.MULTILINE))
    assert recap == dict.fromkeys(REFUSED, "1") | dict.fromkeys(TAKEN, "0"), done.stdout + done.stderr
    words = " ".join(done.stdout.split())
    for name in REFUSED:
        assert f"{name}: become: found sudo-rs, which asks for a password" in words
