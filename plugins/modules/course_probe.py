#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: course_probe
short_description: Prove that a course takes a launch and starts a server
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Comes into a course as a student who does not exist, starts their server, asks it for its state through the course's
    proxy, and removes server, person and home again.
  - With LTI 1.1 it is a launch, signed with the course's own consumer key. With LTI 1.3, which only the LMS can sign,
    it goes as far as the redirect to the LMS, and looks whether the course's public keys are served.
  - The student is a member of nothing, so neither roster nor gradebook know them. Nobody else can have that name.
  - Connects by the API server (port forwarding to the course's proxy).
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  namespace:
    description:
      - Namespace of the course.
    type: str
    required: true
  wait_seconds:
    description:
      - How long the server may take to start, in seconds.
    type: int
    default: 300
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - Does nothing in check mode.
  diff_mode:
    description: Will return details on what has changed (or needs changing in C(check_mode)), when in diff mode.
    support: none
notes:
  - Reports no change, since nothing stays.
seealso:
  - module: campus.hubs.course_ready
"""

EXAMPLES = r"""
- name: Prove that the course works
  campus.hubs.course_probe:
    namespace: course-python-ws26
"""

RETURN = r"""
seconds:
  description: How long it took from the launch to the server's answer.
  returned: success
  type: float
"""

import base64
import json
import ssl
import time
from contextlib import suppress
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_probe import Course, Probe, ProbeError, Site
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError, KubernetesError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import (
    CLAIM,
    CONFIG_MAP,
    POD,
    SECRET,
    VOLUME,
    Kind,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.library import (
    PodAccess,
    api_client,
    connection_of,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.module import fail, new_module
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal


def data(api: Api, kind: Kind, namespace: str, name: str) -> dict[str, str]:
    """Return the fields of a ConfigMap or a Secret.

    Raises:
        ProbeError: it is not there.
    """
    found = api.get(kind, namespace, name)
    if found is None:
        raise ProbeError(refusal(f"{kind.kind} {name}", "nothing", "the one that the role course_hub makes"))
    return found.get("data") or {}


def secret(api: Api, namespace: str, name: str) -> dict[str, str]:
    """Return a Secret's fields."""
    return {key: base64.b64decode(value).decode().strip() for key, value in data(api, SECRET, namespace, name).items()}


def read_course(api: Api, namespace: str) -> tuple[str, Course]:
    """Return a course's public URL, and what else the probe has to know of it.

    Raises:
        ProbeError: its release is older than the probe.
    """
    values = json.loads(data(api, CONFIG_MAP, namespace, "hub")["values.json"])
    login = values["config"].get("CourseAuthenticator", {})
    platform = login.get("lti13_platform") or {}
    token = secret(api, namespace, "course-secrets").get("probe-token")
    if not token:
        raise ProbeError(refusal("Secret course-secrets", "no probe-token", "the one that the role course_hub makes"))
    consumer = {} if platform else secret(api, namespace, "lti11-consumer")
    course = Course(
        platform=platform,
        issuer=login.get("issuer") or "",
        key=consumer.get("consumer_key", ""),
        secret=consumer.get("shared_secret", ""),
        token=token,
    )
    return values["publicUrl"] or f"http://proxy.{namespace}{values['baseUrl']}", course


def reach(api: Api, client: Any, namespace: str) -> Any:  # noqa: ANN401 (the client is untyped; a socket)
    """Return a connection to the port of the course's proxy that people use.

    Raises:
        ProbeError: no proxy is ready.
    """
    for pod in api.objects(POD, namespace=namespace, labels="component=proxy"):
        if pod["status"]["phase"] == "Running" and not pod["metadata"].get("deletionTimestamp"):
            boxes = pod["spec"]["containers"]
            ports = {port.get("name"): port["containerPort"] for box in boxes for port in box.get("ports") or []}
            plain = PodAccess(client, namespace, pod["metadata"]["name"]).dial(ports.get("https", ports["http"]))
            if "https" not in ports:
                return plain
            # By the API server, so there is no name to compare with the certificate's.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            return context.wrap_socket(plain)
    message = "no proxy runs"
    raise ProbeError(message)


def remove_home(api: Api, namespace: str, user: str) -> None:
    """Delete the home, and the volume with it: volumes are else retained when their claim goes."""
    claim = api.get(CLAIM, namespace, f"home-{user}")
    if claim is None:
        return
    try:
        if volume := claim["spec"].get("volumeName"):
            api.merge(VOLUME, "", volume, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
        api.delete(CLAIM, namespace, f"home-{user}")
    except ApiError as error:
        if error.status != 404:
            raise


def main() -> None:
    arguments = {
        "namespace": {"type": "str", "required": True},
        "wait_seconds": {"type": "int", "default": 300},
    }
    module = new_module(arguments)
    namespace = module.params["namespace"]
    if module.check_mode:
        module.exit_json(changed=False, seconds=0.0)
    begin = time.monotonic()
    try:
        client = api_client(module.params)
        api = Api(connection_of(client))
        url, course = read_course(api, namespace)
        probe = Probe(Site(url, lambda: reach(api, client, namespace)), course, module.params["wait_seconds"])
        try:
            # A run that was stopped may have left something.
            probe.leave()
            probe.login()
            probe.server()
            seconds = time.monotonic() - begin
        except ProbeError:
            with suppress(ProbeError):
                probe.leave()
            raise
        else:
            probe.leave()
        finally:
            remove_home(api, namespace, course.user)
    except (ProbeError, KubernetesError) as error:
        fail(module, f"Probe of {namespace}: {error}")
    module.exit_json(changed=False, seconds=round(seconds, 1))


if __name__ == "__main__":
    main()
