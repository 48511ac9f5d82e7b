#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lti_key
short_description: Keep an LTI 1.3 key pair in a Kubernetes Secret
version_added: 0.1.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Makes the RSA key pair with which a tool identifies itself to an LMS in LTI 1.3, adopts one that exists, and rotates
    it.
  - The Secret has the fields C(private.pem) (the current private key, PKCS 8), C(jwks.json) (the public key set, to be
    served to the LMS) and C(rotation.json) (the times that decide rotation). A Secret with only C(private.pem) is
    adopted.
  - At a rotation the old private key is forgotten, and the old public key stays in the key set for O(overlap_days), so
    that what was signed with it can still be verified. When that is over, the next run removes it.
  - A key's C(kid) is its RFC 7638 thumbprint.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
  - campus.hubs.secret
options:
  size:
    description:
      - Bits of a key that is made from now on. Existing keys are kept, if they have V(2048) bits or more.
    type: int
    choices: [2048, 3072, 4096]
    default: 2048
  rotate_after_days:
    description:
      - Age in days at which a run replaces the key. If not given, keys are never replaced by themselves.
      - The age of an adopted key is that of its Secret.
    type: int
  overlap_days:
    description:
      - Days for which a replaced key stays in the public key set. V(0) removes it at once, as after a leak.
    type: int
    default: 30
  rotate:
    description:
      - Replace the key now, so the module always reports a change.
    type: bool
    default: false
requirements:
  - cryptography (Python)
seealso:
  - module: campus.hubs.lti_consumer
  - module: campus.hubs.secret_token
  - name: 1EdTech Security Framework
    description: Sections 5 and 6 have the keys and key sets of LTI 1.3.
    link: https://www.imsglobal.org/spec/security/v1p0/
  - name: JSON Web Key Thumbprint
    description: How C(kid) follows from the key.
    link: https://www.rfc-editor.org/rfc/rfc7638
"""

EXAMPLES = r"""
- name: A course has an LTI 1.3 key that is replaced once a year
  campus.hubs.lti_key:
    namespace: course-python-ws26
    name: lti13-key
    rotate_after_days: 365
  register: key

- name: The public key set
  ansible.builtin.debug:
    var: key.jwks

- name: After a leak the old key is worth nothing at once
  campus.hubs.lti_key:
    namespace: course-python-ws26
    name: lti13-key
    rotate: true
    overlap_days: 0
"""

RETURN = r"""
kid:
  description: Id of the current key. Empty in check mode, if there is none yet.
  returned: O(state=present)
  type: str
  sample: NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs
jwks:
  description: The public key set (RFC 7517), current key first.
  returned: O(state=present)
  type: dict
  sample: {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "Nzb...", "n": "0vx...", "e": "AQAB"}]}
public_key_pem:
  description: The current public key, for an LMS that cannot fetch a key set.
  returned: O(state=present)
  type: str
  sample: "-----BEGIN PUBLIC KEY-----..."
created:
  description: When the current key was made (UTC).
  returned: O(state=present)
  type: str
  sample: "2026-10-01T06:00:00Z"
retired:
  description: Old keys that are still in the key set, id to the time at which they leave it (UTC).
  returned: O(state=present)
  type: dict
  sample: {"8YK...": "2026-10-31T06:00:00Z"}
reasons:
  description: Why the Secret is, or in check mode would be, changed. Empty if it is not.
  returned: success
  type: list
  elements: str
  sample: ["the key is of 2025-10-01T06:00:00Z, older than 365 days"]
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.campus.hubs.plugins.module_utils._lti_keys import HAS_CRYPTOGRAPHY, KeyBackend
from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import SecretError
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal
from ansible_collections.campus.hubs.plugins.module_utils._secret_module import run

ARGUMENTS: dict[str, Any] = {
    "size": {"type": "int", "choices": [2048, 3072, 4096], "default": 2048},
    "rotate_after_days": {"type": "int"},
    "overlap_days": {"type": "int", "default": 30},
    "rotate": {"type": "bool", "default": False},
}


def make_backend(params: Mapping[str, Any]) -> KeyBackend:
    """Turn the module's parameters into its backend."""
    if not HAS_CRYPTOGRAPHY:
        raise SecretError(missing_required_lib("cryptography"))
    after, overlap = params["rotate_after_days"], params["overlap_days"]
    if after is not None and after < 1:
        raise SecretError(refusal("rotate_after_days", after, "1 or more", "leave it out to never rotate"))
    if overlap < 0:
        raise SecretError(refusal("overlap_days", overlap, "0 or more"))
    return KeyBackend(size=params["size"], rotate_after_days=after, overlap_days=overlap, rotate=params["rotate"])


def main() -> None:
    run(make_backend, ARGUMENTS)


if __name__ == "__main__":
    main()
