#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: secret_token
short_description: Keep random tokens in a Kubernetes Secret
version_added: 0.1.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Makes the random tokens that are missing in a Secret and never changes the ones that are there.
  - For what the parts of a hub use among themselves, such as cookie secret, proxy token and service tokens. Nobody has
    to know them, so they exist in the cluster only and are not returned.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - campus.hubs.secret
options:
  keys:
    description:
      - The fields, either a list of names, or a dictionary of name to options.
      - The only option is C(bytes), the number of random bytes, V(16) to V(512), by default V(32). A field holds twice
        as many hexadecimal digits.
      - A field that exists must hold that many hexadecimal digits, else it is an error. Other fields are left alone.
      - Needed for O(state=present).
    type: raw
seealso:
  - module: campus.hubs.lti_key
  - module: campus.hubs.lti_consumer
  - module: kubernetes.core.k8s
"""

EXAMPLES = r"""
- name: A course has its internal tokens
  campus.hubs.secret_token:
    namespace: course-python-ws26
    name: course-secrets
    keys: [cookie-secret, crypt-key, proxy-token, exchange-token]

- name: A token of another length
  campus.hubs.secret_token:
    namespace: course-python-ws26
    name: webhook
    keys:
      token: {bytes: 64}

- name: To renew one token, remove its field and run again
  kubernetes.core.k8s_json_patch:
    api_version: v1
    kind: Secret
    namespace: course-python-ws26
    name: course-secrets
    patch:
      - {op: remove, path: /data/proxy-token}
"""

RETURN = r"""
reasons:
  description: Why the Secret is, or in check mode would be, changed. Empty if it is not.
  returned: success
  type: list
  elements: str
  sample: ["proxy-token is missing"]
"""

from collections.abc import Mapping
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import SecretError
from ansible_collections.campus.hubs.plugins.module_utils._secret_module import run
from ansible_collections.campus.hubs.plugins.module_utils._secret_tokens import TokenBackend, parse_keys


def make_backend(params: Mapping[str, Any]) -> TokenBackend:
    """Turn the module's parameters into its backend."""
    if params["keys"] is None:
        if params["state"] == "absent":
            return TokenBackend({})
        message = "state is present but all of the following are missing: keys"
        raise SecretError(message)
    return TokenBackend(parse_keys(params["keys"]))


def main() -> None:
    run(make_backend, {"keys": {"type": "raw", "no_log": False}})


if __name__ == "__main__":
    main()
