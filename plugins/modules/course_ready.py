#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: course_ready
short_description: Wait until a course's hub, proxy and exchange run
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Waits until the Deployments of a course have rolled out their current specification, with all their pods.
  - Fails when the time is over, and before that when a program has ended four times and waits to be started again. It
    then says what Kubernetes warns of, and the program's last words.
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
      - How long to wait, in seconds.
    type: int
    default: 300
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
    details:
      - Changes nothing; waits in check mode, too.
  diff_mode:
    description: Will return details on what has changed (or needs changing in C(check_mode)), when in diff mode.
    support: none
seealso:
  - module: campus.hubs.course_state
"""

EXAMPLES = r"""
- name: Wait until the course runs
  campus.hubs.course_ready:
    namespace: course-python-ws26
    wait_seconds: 120
"""

RETURN = r"""
unready:
  description: The programs that do not run.
  returned: failure
  type: list
  elements: str
  sample: [hub]
"""

import time

from ansible_collections.campus.hubs.plugins.module_utils._course_readiness import Look
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api, connect
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import KubernetesError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import DEPLOYMENT, EVENT, POD, REPLICA_SET
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.module import fail, new_module

# Lines and characters of a program's last words.
_LINES = 5
_LONGEST = 600


class Course:
    """One course's namespace behind the API server."""

    def __init__(self, api: Api, namespace: str) -> None:
        """Take the API server and the place."""
        self._api, self._namespace = api, namespace

    def look(self) -> Look:
        """Read what there is now."""
        api, namespace = self._api, self._namespace
        return Look(
            api.objects(DEPLOYMENT, namespace=namespace),
            api.objects(REPLICA_SET, namespace=namespace),
            api.objects(POD, namespace=namespace, labels="component in (hub, proxy, exchange)"),
        )

    def warnings(self, look: Look) -> list[str]:
        """Return what Kubernetes warns of, as far as it has to do with programs that do not run."""
        return look.warnings(self._api.objects(EVENT, namespace=self._namespace, fields="type=Warning"))

    def last_words(self, pod: str, *, previous: bool) -> str:
        """Return the end of a pod's log, on one line.

        Args:
            pod: its name.
            previous: of the container before the one that runs or waits.
        """
        try:
            return one_line(self._api.log(self._namespace, pod, lines=_LINES, previous=previous))
        except KubernetesError:  # it has none yet, or its node does not answer
            return ""


def one_line(text: str) -> str:
    """Return the end of a log."""
    return " | ".join(line.strip() for line in text.splitlines() if line.strip())[-_LONGEST:]


def wait(course: Course, seconds: float) -> Look:
    """Look until all programs run, one of them never will, or the time is over; return what was seen last.

    Raises:
        KubernetesError: the API server still refuses, or does not answer, when the time is over.
    """
    end = time.monotonic() + seconds
    while True:
        over = time.monotonic() >= end
        try:
            look = course.look()
        except KubernetesError:
            if over:
                raise
        else:
            if over or not look.unready() or look.crashes():
                return look
        time.sleep(1)


def reason(course: Course, look: Look, namespace: str, seconds: int) -> str:
    """Say why a course does not come up."""
    unready, crashes = look.unready(), look.crashes()
    if crashes:
        parts = [
            f"In namespace {namespace} {crash.container} has ended {crash.restarts + 1} times ({crash.pod})."
            for crash in crashes
        ]
    else:
        parts = [f"After {seconds} seconds {', '.join(unready)} in namespace {namespace} not ready."]
    parts.append(f"Kubernetes warns: {' | '.join(course.warnings(look)) or 'of nothing'}.")
    ended = {crash.pod for crash in crashes}
    for pod in [item for name in unready for item in look.newest(name) if "containerStatuses" in item["status"]]:
        name = pod["metadata"]["name"]
        words = course.last_words(name, previous=name in ended)
        if words:
            parts.append(f"Last words of {name}: {words}")
    return " ".join(parts)


def main() -> None:
    arguments = {
        "namespace": {"type": "str", "required": True},
        "wait_seconds": {"type": "int", "default": 300},
    }
    module = new_module(arguments)
    namespace, seconds = module.params["namespace"], module.params["wait_seconds"]
    try:
        course = Course(connect(module.params), namespace)
        look = wait(course, seconds)
        if look.unready():
            module.fail_json(msg=reason(course, look, namespace, seconds), unready=look.unready())
    except KubernetesError as error:
        fail(module, f"Course in {namespace}: {error}")
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
