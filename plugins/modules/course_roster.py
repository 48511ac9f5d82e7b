#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: course_roster
short_description: Bring courses' rosters up to date from their LMS
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Has the course's exchange read the members from the LMS (LTI Names and Role Provisioning Services 2.0, all pages).
    Who is new joins, who is gone leaves, roles follow.
  - Who leaves keeps their home and what they handed in; their server is stopped and their session ends.
  - The keys for the LMS stay in the exchange's pod, where the work is done; this module runs a command in there.
  - Works on the courses side by side. A course whose roster cannot be read does not fail the task and stops no other;
    it is in RV(lines). One that has none (LTI 1.1, or the service's address is not known before the first launch) is
    not.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  namespaces:
    description:
      - Namespaces of the courses.
    type: list
    elements: str
    required: true
  confirm_removals:
    description:
      - Whether people leave, too, where the roster would remove more than half of the members, and more than five. Else
        these stay until a lecturer confirms it on the course page, or this does.
    type: bool
    default: false
  wait_seconds:
    description:
      - How long to wait until all exchanges' pods are ready, in seconds. A check does not wait.
    type: int
    default: 0
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
- name: All courses know their members
  campus.hubs.course_roster:
    namespaces: [course-python-ws26, course-statistics-ws26]

- name: Say who would join and leave
  campus.hubs.course_roster:
    namespaces: [course-python-ws26]
  check_mode: true
  diff: true
"""

RETURN = r"""
courses:
  description: What became of each course.
  returned: success
  type: list
  elements: dict
  contains:
    namespace:
      description: Of the course.
      type: str
    msg:
      description: Why its roster could not be read. If it is not empty, nothing else is there.
      type: str
    changed:
      description: Whether its members have changed.
      type: bool
    available:
      description: Whether the LMS offers a roster for this course.
      type: bool
    reason:
      description: Why it does not; empty if it does.
      type: str
      sample: Nobody has come from the LMS yet, so its roster's address is not known.
    joined:
      description: User names of who joins.
      type: list
      elements: str
    left:
      description: User names of who leaves.
      type: list
      elements: str
    role_changed:
      description: Whose role changes, each with user, before and after.
      type: list
      elements: dict
    waiting:
      description: User names of who leaves once somebody confirms it, see O(confirm_removals).
      type: list
      elements: str
    notes:
      description: What of the roster could not be used, and what waits, in sentences.
      type: list
      elements: str
    context:
      description:
        - The LMS's course that this one is bound to, with its C(id), C(title), C(label), C(issuer) and
          C(deployment_id), which LTI 1.1 does not have.
        - Empty until staff have come from one.
      type: dict
    members:
      description: How many active members there are afterwards.
      type: int
lines:
  description: Which rosters have changed and which could not be read, for reading.
  returned: success
  type: list
  elements: str
  sample:
    - "course-python-ws26: 3 join, 1 leave, 0 have another role"
bound:
  description: To which course of the LMS each one is bound, if that is known.
  returned: success
  type: list
  elements: str
  sample:
    - "course-python-ws26: Python (PY26, id 57) of https://moodle.example.edu, deployment 1"
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import KubernetesError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import POD
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.library import (
    Ended,
    PodAccess,
    api_client,
    connection_of,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.module import fail, new_module

NOTHING: dict[str, Any] = {
    "joined": [],
    "left": [],
    "role_changed": [],
    "waiting": [],
    "notes": [],
    "context": {},
    "members": 0,
}
# Seconds; a roster of thousands is many pages.
_SYNC_TIMEOUT = 300
# Each is a process in a course's exchange, and a question to its LMS.
_PARALLEL = 16
NO_EXCHANGE = "its exchange is not ready"


class RosterError(Exception):
    """The roster could not be read; the text says why."""


def ready_pods(pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of the exchanges' ready pods, by namespace.

    Args:
        pods: of exchanges, as the API gives them.
    """
    found = {}
    for pod in pods:
        metadata = pod["metadata"]
        conditions = {item["type"]: item["status"] for item in (pod.get("status") or {}).get("conditions") or []}
        if not metadata.get("deletionTimestamp") and conditions.get("Ready") == "True":
            found[metadata["namespace"]] = metadata["name"]
    return found


def synchronise(run: Callable[[list[str]], Ended], *, check: bool, confirm: bool = False) -> dict[str, Any]:
    """Run the exchange's own command in its pod; return the document that it prints.

    Args:
        run: runs a command there.
        check: change nothing.
        confirm: have people leave although they are many.

    Raises:
        RosterError: it failed, or printed something else.
        KubernetesError: it could not be run.
    """
    options = [*(["--check"] if check else []), *(["--confirm-removals"] if confirm else [])]
    done = run(["campus-hubs-exchange", "roster", *options])
    if done.code is None:
        message = f"no answer within {_SYNC_TIMEOUT} s"
        raise RosterError(message)
    if done.code:
        raise RosterError(done.errors.strip()[-500:] or f"exit code {done.code}")
    try:
        document = json.loads(done.output)
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


def read_all(
    namespaces: Iterable[str], pods: Mapping[str, str], read: Callable[[str, str], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Bring the courses' rosters up to date, several at a time; one that fails stops no other.

    Args:
        namespaces: of the courses.
        pods: names of the exchanges' pods by namespace, where one is ready.
        read: brings one up to date, by namespace and pod; returns its document.

    Returns:
        One document for each, with namespace and `msg`, why it could not be read.
    """

    def one(namespace: str) -> dict[str, Any]:
        if namespace not in pods:
            return {"namespace": namespace, "msg": NO_EXCHANGE}
        try:
            document = read(namespace, pods[namespace])
        except (RosterError, KubernetesError) as error:
            return {"namespace": namespace, "msg": str(error)}
        return {"namespace": namespace, **document, "msg": ""}

    with ThreadPoolExecutor(_PARALLEL) as pool:
        return list(pool.map(one, namespaces))


def line_of(course: Mapping[str, Any]) -> str:
    """Say what became of a course; nothing if nothing did."""
    if course["msg"]:
        why = course["msg"].rstrip(".")
        return f"{course['namespace']}: {why}. The members are as before; the next run asks again."
    joined, left, other = (len(course[name]) for name in ("joined", "left", "role_changed"))
    changes = [f"{joined} join, {left} leave, {other} have another role"] if course["changed"] else []
    parts = [*changes, *course["notes"]]
    return f"{course['namespace']}: {'; '.join(parts)}" if parts else ""


def bound_of(namespace: str, context: Mapping[str, Any]) -> str:
    """Say to which course of the LMS one is bound.

    Args:
        namespace: of the course.
        context: as the exchange gives it; empty if it is bound to none.
    """
    if not context.get("id"):
        return f"{namespace}: not bound to a course of the LMS yet; the first launch by a lecturer does it"
    title, label, issuer, deployment = (context.get(key) or "" for key in ("title", "label", "issuer", "deployment_id"))
    ids = ", ".join(part for part in (label, f"id {context['id']}") if part)
    text = f"{title} ({ids})" if title else ids
    return f"{namespace}: {text}{f' of {issuer}' if issuer else ''}{f', deployment {deployment}' if deployment else ''}"


def result_of(courses: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the module's result."""
    diffs = {course["namespace"]: diff_of(course) for course in courses if not course["msg"]}
    diff = {
        side: "".join(
            f"{namespace}: {line}\n" for namespace, parts in diffs.items() for line in parts[side].splitlines()
        )
        for side in ("before", "after")
    }
    return {
        "changed": any(course.get("changed") for course in courses),
        "courses": courses,
        "lines": [line for course in courses if (line := line_of(course))],
        "bound": [bound_of(course["namespace"], course["context"]) for course in courses if not course["msg"]],
        "diff": diff,
    }


def find_exchanges(client: Any, namespaces: Iterable[str], seconds: int) -> dict[str, str]:  # noqa: ANN401 (the client is untyped)
    """Return the names of the exchanges' ready pods by namespace; wait for those of these courses."""
    end = time.monotonic() + seconds
    while True:
        pods = ready_pods(Api(connection_of(client)).objects(POD, labels="component=exchange"))
        if pods.keys() >= set(namespaces) or time.monotonic() >= end:
            return pods
        time.sleep(1)


def main() -> None:
    arguments = {
        "namespaces": {"type": "list", "elements": "str", "required": True},
        "confirm_removals": {"type": "bool", "default": False},
        "wait_seconds": {"type": "int", "default": 0},
    }
    module = new_module(arguments)
    namespaces, check, confirm = module.params["namespaces"], module.check_mode, module.params["confirm_removals"]

    def read(namespace: str, pod: str) -> dict[str, Any]:
        def run(command: list[str]) -> Ended:
            return PodAccess(client, namespace, pod).execute("exchange", command, _SYNC_TIMEOUT)

        return synchronise(run, check=check, confirm=confirm)

    try:
        client = api_client(module.params)
        pods = find_exchanges(client, namespaces, 0 if check else module.params["wait_seconds"])
    except KubernetesError as error:
        fail(module, f"The courses' exchanges: {error}")
    module.exit_json(**result_of(read_all(namespaces, pods, read)))


if __name__ == "__main__":
    main()
