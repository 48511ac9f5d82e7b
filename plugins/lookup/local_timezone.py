# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lookup `local_timezone`."""

from __future__ import annotations

DOCUMENTATION = r"""
name: local_timezone
short_description: The control machine's time zone
version_added: 0.1.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Returns the name of the control machine's time zone in the IANA's database, as the variable E(TZ), C(/etc/localtime)
    or C(/etc/timezone) says it, and V(UTC) if they say none.
options: {}
"""

EXAMPLES = r"""
- name: Show in which zone due dates are
  ansible.builtin.debug:
    msg: "{{ lookup('campus.hubs.local_timezone') }}"
"""

RETURN = r"""
_raw:
  description: The name, in a list of one.
  type: list
  elements: str
  sample: [Europe/Berlin]
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.campus.hubs.plugins.plugin_utils.timezones import local_timezone


class LookupModule(LookupBase):  # type: ignore[misc] # ansible-core has no types
    """See Ansible's lookup plugins."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: object) -> list[str]:
        """Return the zone's name."""
        return [local_timezone()]
