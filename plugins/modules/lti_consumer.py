#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lti_consumer
short_description: Keep an LTI 1.1 consumer key and shared secret in a Kubernetes Secret
version_added: 0.1.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Makes the consumer key and the shared secret with which an LMS signs its LTI 1.1 launches, and adopts existing ones.
  - The Secret has the fields C(consumer_key) and C(shared_secret). A Secret with only one of them is an error.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - campus.hubs.secret
options:
  consumer_key:
    description:
      - The consumer key, printable ASCII without blanks. It is not secret.
      - If not given, an existing one is kept, and a new one is random.
      - If given and the Secret has another one, the key is changed and the shared secret is kept. The LMS must be told.
    type: str
  renew:
    description:
      - Make a new shared secret, so the module always reports a change. Launches fail until the LMS knows it.
    type: bool
    default: false
  return_secret:
    description:
      - Return the shared secret, for the person who has to paste it into the LMS. Do not let it get into a log that is
        kept.
    type: bool
    default: false
seealso:
  - module: campus.hubs.lti_key
  - module: campus.hubs.secret_token
  - name: LTI 1.1.1 implementation guide
    description: Section 4 has the signature that the two make possible.
    link: https://www.imsglobal.org/specs/ltiv1p1p1/implementation-guide
"""

EXAMPLES = r"""
- name: A course has an LTI 1.1 consumer
  campus.hubs.lti_consumer:
    namespace: course-stats-ws26
    name: lti11-consumer
    consumer_key: stats-ws26
  register: consumer

- name: The LMS admin reads the shared secret once
  campus.hubs.lti_consumer:
    namespace: course-stats-ws26
    name: lti11-consumer
    return_secret: true
  register: shown
"""

RETURN = r"""
consumer_key:
  description: The consumer key. Empty in check mode, if it would be generated, and with O(state=absent) not returned.
  returned: O(state=present)
  type: str
  sample: stats-ws26
shared_secret:
  description: The shared secret. Empty in check mode, if it would be generated.
  returned: O(state=present) and O(return_secret=true)
  type: str
  sample: 0a1b...
reasons:
  description: Why the Secret is, or in check mode would be, changed. Empty if it is not.
  returned: success
  type: list
  elements: str
  sample: ["there is no consumer yet"]
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._lti_consumer_secret import ConsumerBackend
from ansible_collections.campus.hubs.plugins.module_utils._secret_module import run

ARGUMENTS: dict[str, Any] = {
    "consumer_key": {"type": "str", "no_log": False},
    "renew": {"type": "bool", "default": False},
    "return_secret": {"type": "bool", "default": False, "no_log": False},
}


def make_backend(params: Mapping[str, Any]) -> ConsumerBackend:
    """Turn the module's parameters into its backend."""
    return ConsumerBackend(params["consumer_key"], renew=params["renew"], return_secret=params["return_secret"])


def main() -> None:
    run(make_backend, ARGUMENTS)


if __name__ == "__main__":
    main()
