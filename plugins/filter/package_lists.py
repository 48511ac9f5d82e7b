# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter `package_lists`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.campus.hubs.plugins.plugin_utils.course_servers import package_lists

DOCUMENTATION = r"""
name: package_lists
short_description: Distinct lists of packages, each with the key under which its image is published
version_added: 0.1.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Lists that differ in order or repetition only are the same list.
positional: _input
options:
  _input:
    description: Dictionaries with C(pip) and C(apt), each a list or left out. Those without any package are left out.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: One image is enough for both
  ansible.builtin.debug:
    msg: "{{ [{'pip': ['pandas', 'plotly']}, {'pip': ['plotly', 'pandas']}] | campus.hubs.package_lists }}"
"""

RETURN = r"""
_value:
  description: The lists, in the order of their keys.
  type: list
  elements: dict
  sample: [{"key": "0b9e34...", "pip": ["pandas", "plotly"], "apt": []}]
"""


class FilterModule:
    """See Ansible's filter plugins."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return filters by name."""
        return {"package_lists": package_lists}
