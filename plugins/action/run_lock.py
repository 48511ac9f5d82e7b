# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Take the lock that keeps two runs from changing the campus at once."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.campus.hubs.plugins.plugin_utils import run_lock_holder
from ansible_collections.campus.hubs.plugins.plugin_utils.kubeconfig_path import kubeconfig_path
from ansible_collections.campus.hubs.plugins.plugin_utils.run_lock_holder import Request


class ActionModule(ActionBase):  # type: ignore[misc]
    """Start the process that holds the lock; it ends with ansible-playbook."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"kubeconfig"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.validate_argument_spec({"kubeconfig": {"type": "path"}})[1]
        result["changed"] = False
        if self._task.check_mode:
            return {**result, "msg": "A check changes nothing and needs no lock."}
        answer = ask_holder(Path(arguments["kubeconfig"] or kubeconfig_path(task_vars or {})))
        if "error" in answer:
            return {**result, "failed": True, "msg": f"The lock cannot be taken: {answer['error']}."}
        if "holder" in answer:
            holder, since = answer["holder"], answer["since"].partition(".")[0].rstrip("Z") + "Z"
            return {**result, "failed": True, "msg": refusal(holder, since), "holder": holder, "since": since}
        if answer["why"]:
            msg = f"Only your runs on this machine are kept out until the cluster can be asked ({answer['why']})."
            return {**result, "msg": msg}
        return {**result, "msg": "No other run changes anything until this one has ended."}


def refusal(holder: str, since: str) -> str:
    """Say who is at work and what to do."""
    return (
        f"Another run is under way: {holder}, since {since}.\n"
        "Wait for its end, then run again; a check (--check) is possible at any time. "
        "If its machine has died, the lock is free within a minute.\n"
        "Nothing was changed."
    )


def ask_holder(kubeconfig: Path) -> dict[str, Any]:
    """Start the holder and return its answer.

    Args:
        kubeconfig: of the cluster; names what is locked, and leads to the cluster if it is there.
    """
    # A task's process is a child of ansible-playbook.
    pid = os.getppid()
    request = Request(
        file=str(lock_path(kubeconfig)),
        kubeconfig=str(kubeconfig),
        pid=pid,
        holder=f"{user()}@{socket.gethostname()} (process {pid})",
        since=datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    )
    collection = str(Path(run_lock_holder.__file__).parents[2])
    # The task's process ends soon, and leaves the holder to the system.
    holder = subprocess.Popen(
        [sys.executable, "-P", "-m", "plugins.plugin_utils.run_lock_holder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [collection, os.environ.get("PYTHONPATH")]))},
        start_new_session=True,
        text=True,
    )
    if not holder.stdin or not holder.stdout:
        raise AssertionError("subprocess has made no pipes")
    holder.stdin.write(json.dumps(asdict(request)) + "\n")
    holder.stdin.close()
    try:
        answer: dict[str, Any] = json.loads(holder.stdout.read())
    except ValueError:
        return {"error": f"{run_lock_holder.__file__} does not answer"}
    return answer


def lock_path(kubeconfig: Path) -> Path:
    """Return the file that stands for this inventory on this machine, in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(str(kubeconfig.parent.resolve() / kubeconfig.name).encode()).hexdigest()[:16]
    return cache / "campus-hubs" / f"run-{name}.lock"


def user() -> str:
    """Return the name of who runs this, or the number of who has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
