#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: swap_off
short_description: Switch swap off, now and at boot
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Makes the lines of swap in C(/etc/fstab) comments. Masks C(swap.target), systemd's swap units (also those that a
    generator makes, of a GPT partition or of zram) and the services that make swap by themselves. What the site has in
    C(/etc/systemd/system) is disabled.
  - Then switches off what is on. Deletes neither files nor partitions.
extends_documentation_fragment: [campus.hubs.on_node]
"""

EXAMPLES = r"""
- name: Switch swap off, now and at boot
  campus.hubs.swap_off:
"""

RETURN = r"""
devices:
  description: What was switched off; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [/dev/zram0]
units:
  description: Units of systemd that were masked or disabled; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [swap.target, dev-zram0.swap]
"""

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._node_machine import without_swap

# Of packages zram-tools (Debian), zram-config (Ubuntu), dphys-swapfile, swapspace and systemd-swap.
SERVICES = ("zramswap", "zram-config", "dphys-swapfile", "swapspace", "systemd-swap")
PATTERNS = ("*.swap", "swap.target", *(f"{name}.service" for name in SERVICES))
FSTAB = Path("/etc/fstab")
SWAPS = Path("/proc/swaps")
SITE = Path("/etc/systemd/system")
SYSTEMCTL = ["systemctl"]


def systemctl(module: AnsibleModule, *arguments: str) -> str:
    """Run systemctl and return what it prints; any failure is the module's."""
    code: int
    out: str
    err: str
    code, out, err = module.run_command([*SYSTEMCTL, *arguments], environ_update={"LC_ALL": "C"})
    if code != 0:
        module.fail_json(msg=f"systemctl {' '.join(arguments)} failed ({code}): {err.strip() or out.strip()}")
    return out


def change_fstab(module: AnsibleModule) -> dict[str, str] | None:
    """Make lines of swap comments; return what that changes, None for nothing."""
    before = FSTAB.read_bytes().decode("utf-8", "surrogateescape") if FSTAB.exists() else ""
    after = without_swap(before)
    if after == before:
        return None
    if not module.check_mode:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="surrogateescape", newline="", delete=False
        ) as file:
            file.write(after)
        module.atomic_move(file.name, str(FSTAB))
        # Its lines of swap are units, until systemd reads it again.
        systemctl(module, "daemon-reload")
    shown = [text.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for text in (before, after)]
    return {"before_header": str(FSTAB), "after_header": str(FSTAB), "before": shown[0], "after": shown[1]}


def is_masked(unit: str) -> bool:
    """Tell whether a unit is masked for good, and not until the next boot."""
    path = SITE / unit
    return path.is_symlink() and str(path.readlink()) == "/dev/null"


def change_units(module: AnsibleModule) -> list[str]:
    """Stop and mask what brings swap, or disable it where the site has its own; return what that changes."""
    lines = systemctl(module, "list-unit-files", "--no-legend", "--full", *PATTERNS).splitlines()
    found = [line.split()[:2] for line in lines if line and "@." not in line.split()[0]]
    own = [
        unit for unit, state in found if state.startswith("enabled") and (SITE / unit).exists() and not is_masked(unit)
    ]
    others = [unit for unit, dummy in found if not os.path.lexists(SITE / unit)]
    if not module.check_mode:
        services = [unit for unit in own + others if unit.endswith(".service")]
        # Stopped before they are masked, as afterwards systemd does not know how.
        for verb, units in (("stop", services), ("disable", own), ("mask", others)):
            if units:
                systemctl(module, verb, *units)
    return sorted(own + others)


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    devices = [line.split()[0] for line in SWAPS.read_text("utf-8").splitlines()[1:]] if SWAPS.exists() else []
    fstab = change_fstab(module)
    units = change_units(module)
    if devices and not module.check_mode:
        module.run_command(["swapoff", "--all"], check_rc=True)
    diffs = [fstab] if fstab else []
    for title, before in ((str(SWAPS), devices), ("units that bring swap", units)):
        if before:
            diffs.append(
                {"before_header": title, "after_header": title, "before": "\n".join([*before, ""]), "after": ""}
            )
    module.exit_json(changed=bool(diffs), units=units, devices=devices, diff=diffs)


if __name__ == "__main__":
    main()
