# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module course_state does and returns, for the module and for the action plugin of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import StateError
from ansible_collections.campus.hubs.plugins.module_utils._course_state.state import Survey, Wanted
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal


def read_wanted(courses: Mapping[str, Any]) -> dict[str, Wanted]:
    """Turn the module's option into what is wanted.

    Raises:
        StateError: it holds something else.
    """
    wanted = {}
    for name, options in courses.items():
        given = options or {}
        unknown = set(given) - {"namespace", "values"}
        if unknown:
            raise StateError(refusal(f"courses.{name}", ", ".join(sorted(unknown)), "namespace and values alone"))
        wanted[name] = Wanted(given.get("namespace") or f"course-{name}", given.get("values"))
    return wanted


def course_states(survey: Survey, params: Mapping[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Judge the courses, repair if that is asked for, and return the module's result.

    Args:
        survey: has looked at the cluster.
        params: the module's options.
        check_mode: change nothing.

    Raises:
        ApiError: the API server refuses.
        StateError: an option holds something else.
    """
    states = survey.judge(read_wanted(params["courses"]), params.get("known") or [])
    results, changed = [], False
    before, after = [], []
    for state in states:
        done: list[str] = []
        failed: list[str] = []
        if params.get("repair") and state.state in ("drifted", "outdated") and state.repairable():
            changed = True
            for finding in state.repairable():
                place = f"{state.course}: {finding.kind} {finding.name} {finding.path}".rstrip()
                before.append(f"{place}: {finding.found if finding.what == 'changed' else finding.what}\n")
                after.append(f"{place}: {finding.wanted if finding.what == 'changed' else 'present'}\n")
            if not check_mode:
                done, failed = survey.repair(state)
        results.append({**state.document(), "repaired": done, "failed": failed})
    return {
        "changed": changed,
        "courses": results,
        "unreadable": survey.snapshot.unreadable,
        "api_calls": survey.api.calls,
        "diff": {"before": "".join(before), "after": "".join(after)},
    }
