#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: config_files
short_description: Have several configuration files with their content, in one step
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Writes each file that does not have the given content, and makes the folders that it lacks.
  - Removes each file whose content is V(null).
  - All of them are root's, and everybody may read them (mode C(0644)). So the content is no place for secrets.
  - M(ansible.builtin.copy) takes two steps for each file and host, even where nothing is to be done.
extends_documentation_fragment: [campus.hubs.on_node]
options:
  files:
    description: Content by absolute path.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Have the kernel modules and parameters set at boot
  campus.hubs.config_files:
    files:
      /etc/modules-load.d/example.conf: "overlay\n"
      /etc/sysctl.d/90-example.conf: "{{ lookup('ansible.builtin.template', 'sysctl.conf.j2') }}"
"""

RETURN = r"""
changed_files:
  description: Those that were written or removed, or whose owner or mode was corrected; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [/etc/sysctl.d/90-example.conf]
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

OWNER = "root"


def read(path: Path) -> str | None:
    """Return what is in a file; None if there is none."""
    try:
        # With its line ends; what is no UTF-8 is another text than any that is wanted, and can be shown.
        return path.read_bytes().decode("utf-8", "backslashreplace")
    except FileNotFoundError:
        return None


def write(module: AnsibleModule, path: Path, content: str) -> None:
    """Replace a file by a whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", delete=False) as file:
        file.write(content)
    module.atomic_move(file.name, str(path))


def have(module: AnsibleModule, path: Path, content: str | None) -> dict[str, Any] | None:
    """Bring one file up to what is wanted; return what that changes, None for nothing."""
    before = read(path)
    diff: dict[str, Any] = {"before_header": str(path), "after_header": str(path)}
    changed = before != content
    if changed:
        diff |= {"before": before or "", "after": content or ""}
        if not module.check_mode and content is None:
            path.unlink()
        elif not module.check_mode and content is not None:
            write(module, path, content)
    if content is not None and path.exists():
        wanted = {"owner": OWNER, "group": OWNER, "mode": "0644"}
        attributes = module.load_file_common_arguments(wanted, path=str(path))
        changed = module.set_fs_attributes_if_different(attributes, changed, diff=None if "after" in diff else diff)
    return diff if changed else None


def main() -> None:
    module = AnsibleModule(
        argument_spec={"files": {"type": "dict", "required": True}},
        supports_check_mode=True,
    )
    files: dict[str, str | None] = module.params["files"]
    for path, content in files.items():
        if not Path(path).is_absolute() or not isinstance(content, (str, type(None))):
            module.fail_json(msg=refusal("files", f"{path}: {content!r}", "text, or null, by absolute path"))
    os.umask(0o022)
    try:
        diffs = {path: have(module, Path(path), content) for path, content in files.items()}
    except OSError as error:
        module.fail_json(msg=f"A file could not be written: {error}")
    changed = {path: diff for path, diff in diffs.items() if diff is not None}
    module.exit_json(changed=bool(changed), changed_files=list(changed), diff=list(changed.values()))


if __name__ == "__main__":
    main()
