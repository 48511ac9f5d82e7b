#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ca_trust
short_description: Have the system trust the certificate authorities of the site
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Runs C(update-ca-certificates) if something below C(/usr/local/share/ca-certificates) was changed since it ran last,
    so that a change is made effective also if the run that made it was interrupted.
  - Does nothing where package C(ca-certificates) is not installed, as its installation does the same.
extends_documentation_fragment: [campus.hubs.on_node]
"""

EXAMPLES = r"""
- name: Write the certificate
  campus.hubs.config_files:
    files: {/usr/local/share/ca-certificates/campus.crt: "{{ lookup('ansible.builtin.file', 'campus-ca.pem') }}"}

- name: Have the system trust it
  campus.hubs.ca_trust:
"""

RETURN = r"""
newer_files:
  description: What was changed since the last update.
  returned: success
  type: list
  elements: str
  sample: [/usr/local/share/ca-certificates/campus.crt]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

AUTHORITIES = Path("/usr/local/share/ca-certificates")
BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
UPDATE = "update-ca-certificates"


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    program = module.get_bin_path(UPDATE)
    last = BUNDLE.stat().st_mtime if BUNDLE.exists() else 0
    # The folder is newer where a file was removed.
    found = [AUTHORITIES, *sorted(AUTHORITIES.iterdir())] if AUTHORITIES.is_dir() else []
    newer = [str(path) for path in found if path.lstat().st_mtime > last] if program else []
    if newer and not module.check_mode:
        module.run_command([program], check_rc=True)
    diff = {"before_header": str(BUNDLE), "after_header": str(BUNDLE), "before": ""}
    module.exit_json(
        changed=bool(newer),
        newer_files=newer,
        diff={**diff, "after": "".join(f"updated with {path}\n" for path in newer)},
    )


if __name__ == "__main__":
    main()
