#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is only the documentation; the work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: objects_info
short_description: Read several objects of a Kubernetes cluster in one step
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Returns objects and lists of objects.
  - It asks in the process of the task itself. Each use of M(kubernetes.core.k8s_info) takes a process of its own,
    which imports the Kubernetes client and reads which kinds there are.
  - Of Secrets only the metadata is read.
extends_documentation_fragment: [campus.hubs.on_controller, campus.hubs.on_controller.api]
options:
  queries:
    description:
      - What to read, a name of one's own to a query.
      - A query is a dictionary of V(resource) (the name of the resource in the API, such as V(configmaps); needed),
        V(api_version) (by default V(v1)), V(namespace), V(name) (of one object; without it, all are listed) and
        V(label_selectors) (a list, as of M(kubernetes.core.k8s_info)).
      - Of V(secrets) there are lists only.
    type: dict
    required: true
seealso:
  - module: kubernetes.core.k8s_info
"""

EXAMPLES = r"""
- name: Know nodes and claims
  campus.hubs.objects_info:
    queries:
      nodes: {resource: nodes}
      claims:
        resource: persistentvolumeclaims
        namespace: course-python-ws26
        label_selectors: [component=home]
  register: found
"""

RETURN = r"""
objects:
  description: The names of O(queries), each with a list of manifests. It is empty for what is not there.
  returned: success
  type: dict
  sample: {nodes: [{metadata: {name: n1}}], claims: []}
"""
