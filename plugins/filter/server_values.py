# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filter `server_values`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.campus.hubs.plugins.plugin_utils.course_servers import server_values

DOCUMENTATION = r"""
name: server_values
short_description: Values of the chart course-hub for a course's servers
version_added: 0.1.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Chooses images, limits and profiles out of a course's variables.
positional: _input, image, packaged
options:
  _input:
    description: >-
      The course's C(image), C(packages), C(memory), C(cpu), C(gpu), C(gpu_resource), C(profiles) and C(volumes).
    type: dict
    required: true
  image:
    description: Reference of the image of all courses.
    type: str
    required: true
  packaged:
    description: References of the images with packages, by the keys of P(campus.hubs.package_lists#filter).
    type: dict
    required: true
  missing:
    description: What stands for an image with packages that is not built yet. If it is empty, that is an error.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: What the chart gets
  ansible.builtin.debug:
    msg: "{{ course | campus.hubs.server_values('registry.example.edu/singleuser@sha256:aa', {}) }}"
  vars:
    course:
      memory: {guarantee: 512M, limit: 2G}
      cpu: {guarantee: 0.1, limit: 2}
      gpu: 0
      gpu_resource: nvidia.com/gpu
      profiles: []
      volumes: []
"""

RETURN = r"""
_value:
  description: Values C(singleuser) and C(prePuller) of the chart.
  type: dict
  sample: {"singleuser": {"image": {"name": "registry.example.edu/lab@sha256:aa"}}, "prePuller": {"extraImages": {}}}
"""


def values(course: Mapping[str, Any], image: str, packaged: Mapping[str, str], missing: str = "") -> dict[str, Any]:
    """Return the values, see `server_values`."""
    try:
        return server_values(course, image, packaged, missing)
    except KeyError as error:
        message = (
            f"course_hub_packages: the image with {error.args[0]} is not built; wanted: one that playbooks/images.yml"
            " has built for this course. Run it, or site.yml, with this course in --limit."
        )
        raise AnsibleFilterError(message) from error


class FilterModule:
    """See Ansible's filter plugins."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return filters by name."""
        return {"server_values": values}
