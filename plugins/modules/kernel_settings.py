#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_settings
short_description: Load kernel modules and set kernel parameters
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Loads modules that are missing, then sets the parameters that differ, in the running kernel. What holds at boot is
    in files below C(/etc/modules-load.d) and C(/etc/sysctl.d).
extends_documentation_fragment: [campus.hubs.on_node]
options:
  modules:
    description: Names of modules. What is built into the kernel counts as loaded.
    type: list
    elements: str
    default: []
  parameters:
    description:
      - Value by name, as of sysctl(8). A parameter whose module is not loaded yet counts as one that differs.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Let the kernel route packets of bridges
  campus.hubs.kernel_settings:
    modules: [br_netfilter]
    parameters:
      net.ipv4.ip_forward: 1
      net.bridge.bridge-nf-call-iptables: 1
"""

RETURN = r"""
loaded:
  description: Modules that were loaded; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [br_netfilter]
set:
  description: Parameters that were set; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [net.ipv4.ip_forward]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._node_machine import modules_to_load
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

PARAMETERS = Path("/proc/sys")


def missing_modules(module: AnsibleModule) -> list[str]:
    """Return the modules that are not loaded."""
    names = module.params["modules"]
    # A check comes before its package is installed.
    program = module.get_bin_path("modprobe", required=not module.check_mode)
    if not names or not program:
        return list(names)
    _code, out, _err = module.run_command([program, "--dry-run", "--verbose", "--all", *names], check_rc=True)
    return modules_to_load(out)


def value_of(name: str) -> str | None:
    """Return a parameter's value with single blanks; None if the kernel has no such parameter."""
    try:
        return " ".join((PARAMETERS / name.replace(".", "/")).read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return None


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "modules": {"type": "list", "elements": "str", "default": []},
            "parameters": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C"}
    loaded = missing_modules(module)
    expected = {name: str(value) for name, value in module.params["parameters"].items()}
    # What a module brings with it has its own value by then.
    before = {name: value_of(name) for name in expected}
    if loaded and not module.check_mode:
        module.run_command(
            [module.get_bin_path("modprobe", required=True), "--all", *module.params["modules"]], check_rc=True
        )
    current = {name: value_of(name) for name in expected}
    changed = [name for name, value in expected.items() if current[name] != value]
    for name in changed if not module.check_mode else ():
        try:
            (PARAMETERS / name.replace(".", "/")).write_text(f"{expected[name]}\n", encoding="utf-8")
        except OSError as error:
            found = f"{current[name] or 'no such parameter'}, which the kernel keeps ({error.strerror})"
            module.fail_json(msg=refusal(name, found, expected[name], "see what forbids it, for example a container"))
    lines = [(f"{name} not loaded\n", f"{name} loaded\n") for name in loaded]
    lines += [(f"{name} = {before[name]}\n", f"{name} = {expected[name]}\n") for name in changed]
    module.exit_json(
        changed=bool(lines),
        loaded=loaded,
        set=changed,
        diff={
            "before_header": "kernel",
            "after_header": "kernel",
            "before": "".join(line[0] for line in lines),
            "after": "".join(line[1] for line in lines),
        },
    )


if __name__ == "__main__":
    main()
