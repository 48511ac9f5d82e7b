#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: service_info
short_description: Gather whether a service of systemd runs with its current configuration
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Compares the time when a service's process started with the files that it reads at start, so that a change of these
    leads to a restart also if the run that made it was interrupted.
  - Changes nothing.
extends_documentation_fragment: [campus.hubs.on_node.no_diff]
options:
  name:
    description: The service.
    type: str
    required: true
  files:
    description:
      - Files that it reads when it starts, as glob patterns. With a folder beside its files, a file that is gone is
        noticed as well.
    type: list
    elements: path
    default: []
  validate:
    description:
      - A command that fails where this configuration is wrong. It is run only if the service does not run with it, and
        only if the command is installed.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Gather the state of the containerd service
  campus.hubs.service_info:
    name: containerd
    files: [/etc/containerd/config.toml, /etc/containerd/conf.d, /etc/containerd/conf.d/*]
    validate: [containerd, config, dump]
  register: containerd

- name: Restart containerd
  ansible.builtin.systemd_service:
    name: containerd
    state: restarted
  when: not containerd.is_current and containerd.error == ""
"""

RETURN = r"""
error:
  description: The last line of what O(validate) says where it fails; empty otherwise.
  returned: success
  type: str
exists:
  description: Whether the service is installed.
  returned: success
  type: bool
is_active:
  description: Whether it runs.
  returned: success
  type: bool
is_current:
  description: Whether it runs, starts at boot, and none of O(files) is newer than its process.
  returned: success
  type: bool
is_enabled:
  description: Whether it starts at boot.
  returned: success
  type: bool
newer_files:
  description: Those of O(files) that are newer than its process.
  returned: success
  type: list
  elements: str
"""

import glob
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils import _systemd

SYSTEMCTL = ["systemctl"]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "files": {"type": "list", "elements": "path", "default": []},
            "validate": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = _systemd.ENVIRONMENT
    command = [*SYSTEMCTL, "show", module.params["name"], _systemd.PROPERTIES]
    service = _systemd.read_service(module.run_command(command, check_rc=True)[1])
    files = sorted({path for pattern in module.params["files"] for path in glob.glob(pattern)})  # noqa: PTH207 (absolute)
    newer = [path for path in files if not service.has_read(os.lstat(path).st_mtime)]
    is_current = service.is_active and service.is_enabled and not newer
    error = ""
    program = (
        module.get_bin_path(module.params["validate"][0]) if module.params["validate"] and not is_current else None
    )
    if program:
        code, out, err = module.run_command([program, *module.params["validate"][1:]])
        error = ((err.strip() or out.strip() or f"code {code}").splitlines()[-1]) if code else ""
    module.exit_json(
        error=error,
        exists=service.exists,
        is_active=service.is_active,
        is_current=is_current,
        is_enabled=service.is_enabled,
        newer_files=newer,
    )


if __name__ == "__main__":
    main()
