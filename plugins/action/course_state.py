# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare all courses of the inventory with what is wanted and what lives, in one step on the control machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.campus.hubs.plugins.module_utils.course_state.api import Api
from ansible_collections.campus.hubs.plugins.module_utils.course_state.certificates import (
    cluster_certificates,
    course_certificates,
)
from ansible_collections.campus.hubs.plugins.module_utils.course_state.outcome import course_states
from ansible_collections.campus.hubs.plugins.module_utils.course_state.release import Chart, StateError
from ansible_collections.campus.hubs.plugins.module_utils.course_state.report import metrics, page, report_document
from ansible_collections.campus.hubs.plugins.module_utils.course_state.state import Survey
from ansible_collections.campus.hubs.plugins.plugin_utils.api_connection import (
    NoConnectionError,
    plain_errors,
    task_connection,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.wanted_values import WantedValues

COLLECTION = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):  # type: ignore[misc]
    """Without `courses`, take all courses of the play with the values that the role course_hub would give them."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        if self._task.args.get("courses") is not None:
            return {**result, **self._execute_module(task_vars=variables)}
        try:
            with plain_errors():
                return {**result, **self._inventory(variables)}
        except StateError as error:
            return {**result, "failed": True, "changed": False, "msg": f"Courses: {error}"}
        except NoConnectionError as error:
            message = f"Courses: {error}"
            # With an exit code of its own: nobody knows whether there is drift.
            if self._task.check_mode and self._task.args.get("report_mode") != "report":
                return {**result, "changed": False, "api_answers": False, "msg": message}
            return {**result, "unreachable": True, "changed": False, "msg": message}

    def _inventory(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        hostvars, groups = variables["hostvars"], variables["groups"]
        connection = task_connection(self._task, self._templar)
        api = Api(connection)
        more = {"hostvars": hostvars, "groups": groups, "ansible_check_mode": self._task.check_mode}
        raw = {host: {**hostvars.raw_get(host), **more} for host in variables["ansible_play_hosts"]}
        wanted = WantedValues(COLLECTION, self._loader, api, raw)
        survey = Survey(api, Chart.read(wanted.chart), wanted.helm(wanted.variables(next(iter(raw)))))
        courses: dict[str, Any] = {}
        unknown: dict[str, str] = {}
        asked: set[str] = set()
        lti13: set[str] = set()
        # The API server takes about as long for its lists as the values take here.
        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(survey.look, [f"course-{host}" for host in raw])
            for host in raw:
                templar = wanted.variables(host)
                values, why = wanted.values(templar)
                courses[host] = {"values": values}
                if values is None:
                    unknown[host] = why
                # What only the role itself can tell or do, though the release is as it should be.
                rotates = int(wanted.option(templar, "course_hub_lti13_key_rotate_after_days") or 0)
                if rotates or boolean(wanted.option(templar, "course_hub_show_secret") or False):
                    asked.add(host)
                if wanted.option(templar, "course_hub_lti13_platform"):
                    lti13.add(host)
            looking.result()
        known = [*groups.get("courses", []), *self._task.args.get("known", [])]
        params = {**self._task.args, "courses": courses, "known": known}
        found = course_states(survey, params, check_mode=self._task.check_mode)
        for course in found["courses"]:
            name = course["course"]
            if name in unknown:
                course["deploy"] = True
                course["reasons"].append(f"its values are not known yet: {unknown[name]}")
            course["work"] = course["state"] != "orphaned" and bool(
                course["deploy"] or course["repair"] or course["unready"] or name in asked
            )
        said = [line for course in found["courses"] for line in lines(course)]
        if self._task.args.get("report"):
            mode = self._task.args.get("report_mode") or ("check" if self._task.check_mode else "apply")
            certificates = cluster_certificates(connection.server, connection.certificate)
            certificates += course_certificates(api, tls_secrets(found["courses"], courses))
            document = report_document(found["courses"], datetime.now(UTC), mode, certificates)
            said += [certificate_line(end) for end in document["certificates"] if end["soon"]]
            write_report(Path(self._task.args["report"]).expanduser(), document)
        work = [course["course"] for course in found["courses"] if course["work"]]
        return {
            **found,
            "api_answers": True,
            "work": work,
            "lines": said,
            "summary": summary(found["courses"], len(courses)),
            "rosters": [
                course["namespace"] for course in found["courses"] if course["course"] in lti13 and not course["work"]
            ],
        }


def write_report(folder: Path, document: Mapping[str, Any]) -> None:
    """Write the report's three forms; each file is there as a whole or not at all.

    Raises:
        StateError: the folder can not be written.
    """
    texts = {"json": json.dumps(document, indent=2) + "\n", "html": page(document), "prom": metrics(document)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for ending, text in texts.items():
            new = folder / f".drift.{ending}.new"
            new.write_text(text, encoding="utf-8")
            new.replace(folder / f"drift.{ending}")
    except OSError as error:
        message = f"report {folder}: {error}"
        raise StateError(message) from error


def tls_secrets(
    found: Sequence[Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, str], str]:
    """Return the courses by namespace and name of the Secret that their certificate is in."""
    names = {}
    for course in found:
        values = wanted.get(course["course"], {}).get("values") or {}
        name = ((values.get("proxy") or {}).get("https") or {}).get("secretName")
        if name:
            names[course["namespace"], name] = course["course"]
    return names


def certificate_line(end: Mapping[str, Any]) -> str:
    """Say that a certificate ends soon, and who renews it."""
    cure = f"put a new one into it: it is {end['course']}'s" if end["course"] else "playbooks/cluster.yml renews it"
    return f"the certificate of {end['name']} ends in {end['days']} days, {end['ends']}; {cure}"


def summary(courses: Sequence[Mapping[str, Any]], count: int) -> str:
    """Say how many courses are in sync."""
    good = sum(course["state"] == "in_sync" for course in courses)
    return f"{good} of {count} courses are in sync."


def lines(course: Mapping[str, Any]) -> list[str]:
    """Say what is to be done for a course, why, and what that does to people; nothing if there is nothing to say."""
    reasons = [*course["reasons"], *(f"{name} does not run, or not yet" for name in course["unready"])]
    if not reasons:
        return []
    done = course["consequences"] if course["deploy"] or course["repair"] else []
    return [
        f"{course['course']}: {course['state']}",
        *(f"  {text}" for text in reasons),
        *(f"  -> {text}" for text in done),
    ]
