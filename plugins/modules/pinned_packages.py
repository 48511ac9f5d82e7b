#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pinned_packages
short_description: Install Debian packages in given versions and hold them
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Installs packages that are missing or have another version, also an older one, and sets their selection of dpkg to
    hold, so that C(apt upgrade) leaves them alone.
  - Completes an installation that was interrupted first. Configuration files that were edited stay.
  - Reads the state of all of them in one step. apt is asked only where something is to be installed, and needs no
    Python library.
extends_documentation_fragment: [campus.hubs.on_node]
attributes:
  check_mode:
    details: The repositories are not asked, so a version that they do not have is found without check mode only.
options:
  packages:
    description:
      - Version by name of the package, each a glob pattern, of which the newest version is installed that the
        repositories have. V(*) stands for any version, and leaves what is installed.
    type: dict
    required: true
  hold:
    description: Whether the packages are held. Those that are held stay so in both cases.
    type: bool
    default: true
  lock_timeout_seconds:
    description: How long to wait for another program that installs packages, for example unattended upgrades.
    type: int
    default: 300
"""

EXAMPLES = r"""
- name: Install and hold kubeadm
  campus.hubs.pinned_packages:
    packages:
      kubeadm: 1.36.3-*
      kubelet: 1.36.3-*

- name: Install a package in any version
  campus.hubs.pinned_packages:
    packages: {conntrack: "*"}
    hold: false
"""

RETURN = r"""
held:
  description: Packages whose selection was set to hold; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [kubeadm]
installed:
  description: Packages that were installed, or whose version was changed; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [kubeadm, kubelet]
is_current:
  description: Whether nothing was to be done.
  returned: success
  type: bool
is_repaired:
  description: Whether an interrupted installation was completed; in check mode, would be.
  returned: success
  type: bool
"""

import re
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils import _apt_packages
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

UPDATES = Path("/var/lib/dpkg/updates")
ENVIRONMENT = {"DEBIAN_FRONTEND": "noninteractive", "DEBIAN_PRIORITY": "critical", "LC_ALL": "C"}
# Seconds between two attempts.
PAUSE = 4
# deb-version(7) and Debian's policy, with the signs of a glob pattern.
NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
PATTERN = re.compile(r"[A-Za-z0-9.+:~*?\[\]!-]+")


class Apt:
    """apt and dpkg, which wait for others of their kind."""

    def __init__(self, module: AnsibleModule) -> None:
        """Begin to count the time that is waited for a lock."""
        self._module, self._seconds = module, module.params["lock_timeout_seconds"]
        self._deadline = time.monotonic() + self._seconds

    def run(self, *command: str, stdin: str | None = None) -> str:
        """Run a program and return what it prints; any failure is the module's."""
        while True:
            try:
                code, out, err = self._module.run_command(
                    list(command), data=stdin, environ_update=ENVIRONMENT, handle_exceptions=False
                )
            except BrokenPipeError:
                # So dpkg ends on a lock, before it reads anything.
                code, out, err = 1, "", "dpkg: error: the database is locked"
            if code == 0:
                return str(out)
            if not _apt_packages.is_locked(err) or time.monotonic() > self._deadline:
                self._module.fail_json(msg=f"{' '.join(command)} failed ({code}): {err.strip() or out.strip()}")
            time.sleep(PAUSE)

    def packages(self, names: list[str]) -> dict[str, _apt_packages.Package]:
        """Return what dpkg knows of packages."""
        _code, out, _err = self._module.run_command(_apt_packages.query(names), environ_update=ENVIRONMENT)
        return {name: _apt_packages.Package() for name in names} | _apt_packages.read_packages(out)

    def install(self, pins: dict[str, str]) -> None:
        """Install packages in the newest version of each pin's pattern."""
        lock = f"--option=DPkg::Lock::Timeout={self._seconds}"
        self.run("apt-get", lock, "--quiet", "update")
        wanted = []
        for name, pattern in pins.items():
            versions = (
                [] if pattern == _apt_packages.ANY else _apt_packages.candidates(self.run("apt-cache", "madison", name))
            )
            version = _apt_packages.newest(versions, pattern)
            if version is None and pattern != _apt_packages.ANY:
                found = f"{', '.join(versions) or 'no version'} in the package repositories"
                self._module.fail_json(
                    msg=refusal(name, found, pattern, "correct the version, or the repository that has it")
                )
            wanted.append(f"{name}={version}" if version else name)
        files = ["--option=Dpkg::Options::=--force-confdef", "--option=Dpkg::Options::=--force-confold"]
        allowed = ["--yes", "--no-install-recommends", "--allow-change-held-packages", "--allow-downgrades"]
        self.run("apt-get", lock, "--quiet", *files, *allowed, "install", *wanted)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "packages": {"type": "dict", "required": True},
            "hold": {"type": "bool", "default": True},
            "lock_timeout_seconds": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    pins: dict[str, str] = module.params["packages"]
    for name, pattern in pins.items():
        if not NAME.fullmatch(name) or not isinstance(pattern, str) or not PATTERN.fullmatch(pattern):
            module.fail_json(
                msg=refusal("packages", f"{name}: {pattern!r}", "a version, or a glob pattern, by package")
            )
    apt = Apt(module)
    names = list(pins)
    before = now = apt.packages(names)
    held = _apt_packages.to_hold(names, before) if module.params["hold"] else []
    is_interrupted = any(UPDATES.glob("*"))
    if is_interrupted and not module.check_mode:
        apt.run("dpkg", "--force-confdef", "--force-confold", "--configure", "--pending")
        now = apt.packages(names)
    installed = _apt_packages.to_install(pins, now)
    if module.check_mode:
        after = {
            name: _apt_packages.Package(
                pins[name] if name in installed else now[name].version, name in held or now[name].is_held
            )
            for name in names
        }
    else:
        if installed:
            apt.install({name: pins[name] for name in installed})
            now = apt.packages(names)
        # Another version has no hold, whether the one before had it or not.
        lost = [name for name in names if (name in held or before[name].is_held) and not now[name].is_held]
        if lost:
            apt.run("dpkg", "--set-selections", stdin="".join(f"{name} hold\n" for name in lost))
        after = apt.packages(names)
    diff = {
        when: "".join(f"{name} {states[name]}\n" for name in names)
        for when, states in (("before", before), ("after", after))
    }
    is_current = not (installed or held or is_interrupted)
    module.exit_json(
        changed=not is_current,
        held=held,
        installed=installed,
        is_current=is_current,
        is_repaired=is_interrupted,
        diff={"before_header": "packages", "after_header": "packages", **diff},
    )


if __name__ == "__main__":
    main()
