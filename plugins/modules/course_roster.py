#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: course_roster
short_description: Bring a course's roster up to date from its LMS
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Has the course's exchange read the members from the LMS (LTI Names and Role Provisioning Services 2.0, all pages).
    Who is new joins, who is gone leaves, roles follow.
  - Who leaves keeps their home and what they handed in; their server is stopped and their session ends.
  - The keys for the LMS stay in the exchange's pod, where the work is done; this module runs a command in there.
  - A course that cannot read a roster (LTI 1.1, or the service's address is not known before the first launch) is no
    error, see RV(available).
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
      - How long to wait for the exchange's pod, in seconds.
    type: int
    default: 60
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - The LMS is asked, nothing is stored.
  diff_mode:
    description: Will return details on what has changed (or needs changing in C(check_mode)), when in diff mode.
    support: full
    details:
      - Shows the hub's user names of who joins and leaves, never names or addresses of people.
notes:
  - "Specification: U(https://www.imsglobal.org/spec/lti-nrps/v2p0)."
seealso:
  - module: campus.hubs.lti_key
"""

EXAMPLES = r"""
- name: The course knows its members
  campus.hubs.course_roster:
    namespace: course-python-ws26

- name: Say who would join and leave
  campus.hubs.course_roster:
    namespace: course-python-ws26
  check_mode: true
  diff: true
"""

RETURN = r"""
available:
  description: Whether the LMS offers a roster for this course.
  returned: success
  type: bool
reason:
  description: Why it does not; empty if it does.
  returned: success
  type: str
  sample: Nobody has come from the LMS yet, so its roster's address is not known.
joined:
  description: User names of who joins.
  returned: success
  type: list
  elements: str
left:
  description: User names of who leaves.
  returned: success
  type: list
  elements: str
role_changed:
  description: Whose role changes, each with user, before and after.
  returned: success
  type: list
  elements: dict
members:
  description: How many active members there are afterwards.
  returned: success
  type: int
"""

import json
import time
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils.secret_module import describe_api_error, fail
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.core import AnsibleK8SModule
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.exceptions import CoreException

try:
    from kubernetes.client import CoreV1Api
    from kubernetes.client.exceptions import ApiException
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.stream import stream
    from urllib3.exceptions import HTTPError
except ImportError:  # AnsibleK8SModule says so
    CoreV1Api = stream = None  # type: ignore[misc,assignment]
    ApiException = ConfigException = HTTPError = OSError  # type: ignore[misc,assignment]

NOTHING: dict[str, Any] = {"joined": [], "left": [], "role_changed": [], "members": 0}
# Seconds; a roster of thousands is many pages.
_SYNC_TIMEOUT = 300


class RosterError(Exception):
    """The roster could not be read; the text says why."""


def ready_pod(api: Any, namespace: str) -> str | None:  # noqa: ANN401 (the client is untyped)
    """Return the name of the exchange's ready pod, None if there is none."""
    for pod in api.list_namespaced_pod(namespace, label_selector="component=exchange").items:
        conditions = {condition.type: condition.status for condition in pod.status.conditions or []}
        if not pod.metadata.deletion_timestamp and conditions.get("Ready") == "True":
            name: str = pod.metadata.name
            return name
    return None


def synchronise(api: Any, namespace: str, pod: str, *, check: bool) -> dict[str, Any]:  # noqa: ANN401
    """Run the exchange's own command in its pod; return the document that it prints.

    Raises:
        RosterError: it failed, or printed something else.
        ApiException: the Kubernetes API refuses.

    """
    run = stream(
        api.connect_get_namespaced_pod_exec,
        pod,
        namespace,
        container="exchange",
        command=["campus-hubs-exchange", "roster", *(["--check"] if check else [])],
        stdout=True,
        stderr=True,
        _preload_content=False,
    )
    run.run_forever(timeout=_SYNC_TIMEOUT)
    if run.is_open():
        run.close()
        message = f"no answer within {_SYNC_TIMEOUT} s"
        raise RosterError(message)
    if run.returncode:
        raise RosterError(run.read_stderr().strip()[-500:] or f"exit code {run.returncode}")
    try:
        document = json.loads(run.read_stdout())
    except ValueError as error:
        message = "the exchange printed no JSON document"
        raise RosterError(message) from error
    if not isinstance(document, dict) or not {"changed", "available", "reason", *NOTHING} <= set(document):
        message = "the exchange printed an unexpected document; its image does not fit this collection's version"
        raise RosterError(message)
    return document


def diff_of(document: dict[str, Any]) -> dict[str, str]:
    """Return Ansible's diff: one line per person whose membership changes."""
    before = [*document["left"], *(f"{person['user']} {person['before']}" for person in document["role_changed"])]
    after = [*document["joined"], *(f"{person['user']} {person['after']}" for person in document["role_changed"])]
    return {
        side: "".join(f"{line}\n" for line in sorted(lines)) for side, lines in (("before", before), ("after", after))
    }


def main() -> None:
    arguments = {
        **AUTH_ARG_SPEC,
        "namespace": {"type": "str", "required": True},
        "wait_seconds": {"type": "int", "default": 60},
    }
    module = AnsibleK8SModule(argument_spec=arguments, supports_check_mode=True)
    namespace = module.params["namespace"]
    try:
        api = CoreV1Api(get_api_client(module).client.client)
        end = time.monotonic() + module.params["wait_seconds"]
        while not (pod := ready_pod(api, namespace)) and not module.check_mode and time.monotonic() < end:
            time.sleep(1)
        if not pod and not module.check_mode:
            fail(module, f"Roster of {namespace}: no exchange is ready after {module.params['wait_seconds']} s")
        if pod:
            document = synchronise(api, namespace, pod, check=module.check_mode)
        else:
            document = {"changed": False, "available": False, "reason": "The exchange does not run.", **NOTHING}
    except RosterError as error:
        fail(module, f"Roster of {namespace}: {error}")
    except (ApiException, HTTPError, ConfigException, CoreException) as error:
        fail(module, f"Roster of {namespace}: {describe_api_error(error)}")
    module.exit_json(**document, diff=diff_of(document))


if __name__ == "__main__":
    main()
