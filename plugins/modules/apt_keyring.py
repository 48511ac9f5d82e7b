#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apt_keyring
short_description: Have the signing key of a package repository, if it is the right one
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Fetches a file of OpenPGP public keys for C(Signed-By) of an apt source, and trusts it only if each key in it has
    one of the given fingerprints. So neither the connection nor the server that it comes from needs to be trusted.
  - What is there already is kept as long as its keys are the right ones and have not expired.
  - Only the keys are written, whatever else the file held. GnuPG is not needed.
extends_documentation_fragment: [campus.hubs.on_node.no_diff]
attributes:
  check_mode:
    details:
      - The key is fetched and compared, but not written.
      - A server whose certificate is not trusted is a warning, as a run may trust its authority before it comes here.
options:
  url:
    description: Where the ASCII-armoured file is.
    type: str
    required: true
  path:
    description: Where to write it, root's and readable for all. Its name ends with C(.asc).
    type: path
    required: true
  fingerprints:
    description: Fingerprints of the keys that may be in it, with or without blanks.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Have the key of Docker's repository
  campus.hubs.apt_keyring:
    url: https://download.docker.com/linux/debian/gpg
    path: /etc/apt/keyrings/docker.asc
    fingerprints: [9DC8 5822 9FC7 DD38 854A E2D8 8D81 803C 0EBF CD88]
"""

RETURN = r"""
fingerprints:
  description: Those of the keys in the file.
  returned: success
  type: list
  elements: str
"""

import http.client
import os
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url
from ansible_collections.campus.hubs.plugins.module_utils import _openpgp_keys
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

OWNER = "root"
# Such files have some kilobytes.
LARGEST = 2**20
# OpenSSL's word, in the messages of Python's ssl.
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


def fetch(module: AnsibleModule) -> str:
    """Return what the URL has; a failure is the module's."""
    url = module.params["url"]
    response, info = fetch_url(module, url, timeout=30)
    if info["status"] != 200:
        message = f"The signing key cannot be fetched from {url}: {info['status']} {info['msg']}"
        if module.check_mode and UNTRUSTED in info["msg"]:
            module.warn(message)
            module.exit_json(changed=True, fingerprints=[])
        module.fail_json(msg=message)
    content = b""
    try:
        content = response.read(LARGEST)
    except (OSError, http.client.HTTPException) as error:
        module.fail_json(msg=f"The signing key cannot be fetched from {url}: {error}")
    return str(content.decode("utf-8", "replace"))


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "fingerprints": {"type": "list", "elements": "str", "required": True, "no_log": False},
        },
        supports_check_mode=True,
    )
    path = Path(module.params["path"])
    expected = {"".join(text.split()).upper() for text in module.params["fingerprints"]}

    def keys_of(text: str) -> list[_openpgp_keys.Key]:
        keys = _openpgp_keys.read_keys(_openpgp_keys.read_packets(text))
        foreign = [key.fingerprint for key in keys if key.fingerprint not in expected]
        if foreign:
            raise _openpgp_keys.KeyFileError(f"it has the key {', '.join(foreign)}")
        return keys

    before = path.read_text("utf-8", "replace") if path.exists() else ""
    content = before
    try:
        keys = keys_of(before)
        is_good = all(key.expires == 0 or key.expires > time.time() for key in keys)
    except _openpgp_keys.KeyFileError:
        is_good = False
    if not is_good:
        text = fetch(module)
        try:
            keys = keys_of(text)
        except _openpgp_keys.KeyFileError as error:
            fix = (
                "compare with what the repository's owner publishes; if that has changed, change the fingerprint in "
                "the inventory. Nothing was trusted"
            )
            only = f"only {', '.join(sorted(expected))}"
            module.fail_json(msg=refusal(module.params["url"], f"no key to trust: {error}", only, fix))
        content = _openpgp_keys.write_armor(_openpgp_keys.read_packets(text))
    changed = content != before
    if changed and not module.check_mode:
        os.umask(0o022)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", delete=False) as file:
            file.write(content)
        module.atomic_move(file.name, str(path))
    if path.exists():
        wanted_attributes = {"owner": OWNER, "group": OWNER, "mode": "0644"}
        attributes = module.load_file_common_arguments(wanted_attributes, path=str(path))
        changed = module.set_fs_attributes_if_different(attributes, changed)
    module.exit_json(changed=changed, fingerprints=[key.fingerprint for key in keys])


if __name__ == "__main__":
    main()
