#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: container_image
short_description: Keep a container image in a registry, built when its tag is not there
version_added: 0.1.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Asks the registry for the tag. When it has it, nothing is built, pulled or pushed, and the digest is returned.
  - Otherwise builds the image from a folder and pushes it. So the tag should stand for the content, like a checksum.
  - A password is handed to the tools in memory. It is in no command line and in no file.
requirements:
  - C(buildah) >= 1.23
  - C(skopeo)
extends_documentation_fragment: [campus.hubs.on_node.no_diff]
options:
  name:
    description: Registry and repository, without a tag, for example V(10.0.0.5:5000/campus-hubs/hub).
    type: str
    required: true
  tag:
    description: The tag, which stands for the content.
    type: str
    required: true
  push_name:
    description: Registry and repository to push to, where the registry takes images under another address.
    type: str
  username:
    description:
      - Account of the registry, for pushing and for all that is read from it. Other logins of the machine stay usable.
      - Without one, the logins of the machine count, see C(containers-auth.json(5)).
    type: str
  password:
    description: Password of O(username).
    type: str
  push_htpasswd:
    description:
      - File with the accounts of a C(docker-registry) on the same machine. For the time of a push it has one more,
        with a new name and password; there is nothing that anybody could use before or after.
      - Needs C(libcrypt.so.1).
    type: path
  context:
    description: Folder on the target that the image is built from. Needed when the image has to be built.
    type: path
  containerfiles:
    description:
      - Paths of the Containerfiles below O(context). Several are read one after the other, like a single file, so that
        images can have their first stages in common. The last stage of the last one is the image.
    type: list
    elements: str
    default: [Containerfile]
  build_args:
    description: Build arguments by name.
    type: dict
    default: {}
  build_secrets:
    description:
      - Files on the target that the build may read, by the identifier that the C(Containerfile) gives them in
        C(--mount=type=secret). They do not become part of the image.
    type: dict
    default: {}
  build_options:
    description: More options of C(buildah build), for example V(--network=host).
    type: list
    elements: str
    default: []
  storage:
    description: Folder for the layers of the build, instead of the one that all images of the machine share.
    type: path
  tls_verify:
    description: Whether the registry must be reached by HTTPS with a certificate that is trusted.
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: The registry has the hub's image
  campus.hubs.container_image:
    name: registry.example.edu/campus-hubs/hub
    tag: 5f2c9a1e0d3b4c68
    context: /var/lib/campus-hubs/build/hub
    build_secrets:
      pip.conf: /etc/pip.conf
  register: hub
"""

RETURN = r"""
reference:
  description: The image by digest; in check mode, when it would be built, by tag.
  returned: success
  type: str
  sample: registry.example.edu/campus-hubs/hub@sha256:0f2b6f0b8f6d5f3a7c1e...
digest:
  description: The digest in the registry; empty in check mode when the image would be built.
  returned: success
  type: str
  sample: sha256:0f2b6f0b8f6d5f3a7c1e...
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._container_image import (
    Access,
    Image,
    ImageBackend,
    ImageError,
    Result,
)
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "tag": {"type": "str", "required": True},
            "push_name": {"type": "str"},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            # A path, which is no secret itself.
            "push_htpasswd": {"type": "path", "no_log": False},
            "context": {"type": "path"},
            "containerfiles": {"type": "list", "elements": "str", "default": ["Containerfile"]},
            "build_args": {"type": "dict", "default": {}},
            # Paths, which are no secrets themselves.
            "build_secrets": {"type": "dict", "default": {}, "no_log": False},
            "build_options": {"type": "list", "elements": "str", "default": []},
            "storage": {"type": "path"},
            "tls_verify": {"type": "bool", "default": True},
        },
        required_together=[("username", "password")],
        mutually_exclusive=[("username", "push_htpasswd")],
        supports_check_mode=True,
    )

    def run(command: list[str]) -> Result:
        returncode, stdout, stderr = module.run_command(command, encoding=None, handle_exceptions=False)
        return Result(returncode, stdout, stderr.decode(errors="replace"))

    params = {key: value for key, value in module.params.items() if value is not None}
    access = Access(params.pop("username", ""), params.pop("password", ""), params.pop("push_htpasswd", ""))
    backend = ImageBackend(Image(**params), run, access)
    tagged = backend.image.tagged
    digest: str | None = None
    try:
        digest = backend.digest()
    except (ImageError, OSError) as error:
        # A check before the first run: the tools or the role's own registry are not there yet.
        if not module.check_mode:
            module.fail_json(msg=str(error))
        module.warn(f"{tagged} counts as missing, because: {error}")

    changed = digest is None
    if changed and not module.check_mode:
        if not module.params["context"]:
            expected = f"the folder to build {tagged} from, as its registry does not have it"
            module.fail_json(msg=refusal("context", "nothing", expected))
        try:
            digest = backend.build()
        except (ImageError, OSError) as error:
            module.fail_json(msg=str(error))
    module.exit_json(
        changed=changed, digest=digest or "", reference=f"{module.params['name']}@{digest}" if digest else tagged
    )


if __name__ == "__main__":
    main()
