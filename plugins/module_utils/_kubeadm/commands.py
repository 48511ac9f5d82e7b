# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""kubeadm, kubectl and what else a node has, run by a module."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

ADMIN_KUBECONFIG = "etc/kubernetes/admin.conf"
# kubeadm reads its configuration from there, so that it is neither on a disk nor in a list of processes.
_CONFIG = ["--config", "/dev/stdin"]


class CommandError(Exception):
    """A command failed.

    Attributes:
        returncode: its exit code.
        stdout: what it printed.
        stderr: what it printed as errors.
    """

    def __init__(self, command: list[str], returncode: int, stdout: str, stderr: str) -> None:
        """Say which command, without its configuration, and its own words."""
        self.returncode, self.stdout, self.stderr = returncode, stdout, stderr
        super().__init__(f"{' '.join(command)} failed ({returncode}): {stderr.strip() or stdout.strip()}")


class Commands:
    """Runs commands on this machine.

    Attributes:
        root: folder that is the machine's root.
    """

    def __init__(self, run_command: Callable[..., tuple[int, str, str]], root: Path = Path("/")) -> None:
        """Take what runs a command.

        Args:
            run_command: as the method of AnsibleModule.
            root: see `Commands`.
        """
        self._run_command = run_command
        self.root = root

    def try_run(
        self, command: list[str], *, data: str | None = None, environment: dict[str, str] | None = None
    ) -> tuple[int, str, str]:
        """Run a command; return its exit code, standard output and standard error."""
        variables = {"LC_ALL": "C", **(environment or {})}
        code, out, err = self._run_command(command, data=data, environ_update=variables)
        return code, out, err

    def run(self, command: list[str], *, data: str | None = None, environment: dict[str, str] | None = None) -> str:
        """Run a command and return its standard output.

        Raises:
            CommandError: its exit code is not 0.
        """
        code, out, err = self.try_run(command, data=data, environment=environment)
        if code != 0:
            raise CommandError(command, code, out, err)
        return out

    def kubeadm(self, *arguments: str, config: str, environment: dict[str, str] | None = None) -> str:
        """Run kubeadm with a configuration and return what it prints.

        Args:
            arguments: the command and its options.
            config: the documents of its configuration, YAML.
            environment: more variables.

        Raises:
            CommandError: it fails.
        """
        return self.run(["kubeadm", *arguments, *_CONFIG], data=config, environment=environment)

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl as the cluster's administrator and return what it prints.

        Raises:
            CommandError: it fails.
        """
        return self.run(self.kubectl_command(*arguments))

    def kubectl_command(self, *arguments: str) -> list[str]:
        """Return the command for `kubectl`."""
        return ["kubectl", f"--kubeconfig={self.root / ADMIN_KUBECONFIG}", *arguments]


def read(path: Path) -> str:
    """Return a file's text; nothing if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def modified(path: Path) -> float:
    """Return when a file was written, in seconds since 1970; 0 if there is none."""
    try:
        return os.stat(path).st_mtime  # noqa: PTH116 (one call that can fail)
    except OSError:
        return 0.0
