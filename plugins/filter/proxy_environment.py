# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter `proxy_environment`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.campus.hubs.plugins.plugin_utils.proxies import proxy_environment

DOCUMENTATION = r"""
name: proxy_environment
short_description: Environment of programs on nodes that reach the internet by a proxy
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - The exceptions always have the cluster's own networks, nodes and names.
positional: _input, hosts
options:
  _input:
    description: The proxy's C(http) and C(https) (URLs; one stands for both), and further exceptions in C(no_proxy).
    type: dict
    required: true
  hosts:
    description: Variables of all nodes.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: What containerd gets
  ansible.builtin.debug:
    msg: "{{ proxy | campus.hubs.proxy_environment(groups['cluster'] | map('extract', hostvars)) }}"
  vars:
    proxy: {http: "http://proxy.example.edu:3128"}
"""

RETURN = r"""
_value:
  description: C(http_proxy), C(https_proxy) and C(no_proxy), and the same in capitals; empty without a proxy.
  type: dict
  sample: {"http_proxy": "http://proxy.example.edu:3128", "no_proxy": "localhost,10.244.0.0/16"}
"""


class FilterModule:
    """See Ansible's filter plugins."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return filters by name."""
        return {"proxy_environment": proxy_environment}
