# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drift report: one JSON document (docs/drift.md), and the same as a web page and as metrics."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.plugin_utils.certificates import (
    Certificate,
    cluster_certificates,
    course_certificates,
)
from jinja2 import Environment, FileSystemLoader, StrictUndefined

SCHEMA = 1
STATES = ("in_sync", "absent", "stuck", "outdated", "drifted", "orphaned")
HAND_EDIT, INVENTORY, VERSION, SECRET, INTERRUPTED, ORPHAN = (
    "hand edit",
    "inventory change",
    "version",
    "secret",
    "interrupted deployment",
    "orphan",
)


def write_report(folder: Path, mode: str, api: Api, courses: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write the report's three forms; each file is there as a whole or not at all.

    Args:
        folder: of the report.
        mode: what is done about what was found, see `report_document`.
        api: the API server, whose certificates are looked at, too.
        courses: as the module course_state returns them.

    Returns:
        What is to be said of certificates, for reading.

    Raises:
        KubernetesError: the API server refuses, or does not answer.
        OSError: the folder cannot be written.
    """
    names = {
        (course["namespace"], course["tls_secret"]): course["course"] for course in courses if course["tls_secret"]
    }
    certificates = cluster_certificates(api.connection.server, api.connection.certificate)
    certificates += course_certificates(api, names)
    document = report_document(courses, datetime.now(UTC), mode, certificates)
    texts = {"json": json.dumps(document, indent=2) + "\n", "html": page(document), "prom": metrics(document)}
    folder.mkdir(parents=True, exist_ok=True)
    for ending, text in texts.items():
        new = folder / f".drift.{ending}.new"
        new.write_text(text, encoding="utf-8")
        new.replace(folder / f"drift.{ending}")
    return [certificate_line(end) for end in document["certificates"] if end["soon"]]


def certificate_line(end: Mapping[str, Any]) -> str:
    """Say that a certificate ends soon, and who renews it."""
    cure = f"put a new one into it: it is {end['course']}'s" if end["course"] else "playbooks/cluster.yml renews it"
    return f"the certificate of {end['name']} ends in {end['days']} days, {end['ends']}; {cure}"


def report_document(
    courses: Sequence[Mapping[str, Any]], now: datetime, mode: str, certificates: Sequence[Certificate] = ()
) -> dict[str, Any]:
    """Write the report on the result of course_state.

    Args:
        courses: as the module returns them.
        now: when that was, with time zone.
        mode: `report` (nothing is done about it), `check` (what would be done), or `apply`.
        certificates: of the cluster and the courses.
    """
    ends = [certificate.document(now) for certificate in certificates]
    counts = Counter(course["state"] for course in courses)
    found = [_course(course, mode) for course in courses if course["state"] != "in_sync"]
    return {
        "schema": SCHEMA,
        "time": now.isoformat(timespec="seconds"),
        "mode": mode,
        "clean": not found and not any(end["soon"] for end in ends),
        "states": {state: counts[state] for state in STATES},
        "courses": found,
        "certificates": ends,
    }


def _course(course: Mapping[str, Any], mode: str) -> dict[str, Any]:
    kept = ("course", "namespace", "state", "revision", "deployed", "users_online", "consequences")
    action = "deploy" if course["deploy"] else "repair" if course["repair"] else "none"
    return {
        **{name: course[name] for name in kept},
        "action": "none" if mode == "report" else action,
        "entries": _entries(course),
    }


def _entries(course: Mapping[str, Any]) -> list[dict[str, Any]]:
    nothing = {"kind": "", "name": "", "what": "changed", "path": "", "wanted": None, "found": None}
    nothing |= {"manager": "", "time": "", "note": ""}
    release = {**nothing, "kind": "Release", "name": course["course"]}
    reason = "; ".join(course["reasons"][:1])
    if course["state"] == "orphaned":
        return [{**release, "class": ORPHAN, "what": "additional", "time": course["deployed"], "note": reason}]
    if course["state"] == "absent":
        return [{**release, "class": INVENTORY, "what": "missing", "note": reason}]
    entries = []
    if course["state"] == "stuck":
        entries.append({**release, "class": INTERRUPTED, "time": course["deployed"], "note": reason})
    entries += [{**release, "class": _class_of_value(value["path"]), **value} for value in course["outdated"]]
    chart = {**nothing, "class": VERSION, "kind": "Chart file"}
    entries += [{**chart, "name": name} for name in course["chart_files"]]
    for item in course["drifted"]:
        shared = {name: item[name] for name in ("kind", "name", "what", "path", "wanted", "found", "manager", "time")}
        entries.append({**nothing, **shared, "class": HAND_EDIT, "note": item["obstacle"]})
    return entries


def _class_of_value(path: str) -> str:
    if path == "$.checksum.secrets":
        return SECRET
    # References of images hold their digests.
    return VERSION if path == "$.checksum.chart" or ".image" in path.lower() else INVENTORY


def metrics(document: Mapping[str, Any]) -> str:
    """Write the report as metrics for Prometheus' textfile collector (text exposition format 0.0.4)."""
    lines = [
        "# HELP campus_hubs_courses Courses by state.",
        "# TYPE campus_hubs_courses gauge",
        *(f'campus_hubs_courses{{state="{state}"}} {count}' for state, count in document["states"].items()),
        "# HELP campus_hubs_course_findings What is not in sync, by course and class.",
        "# TYPE campus_hubs_course_findings gauge",
    ]
    for course in document["courses"]:
        for name, count in sorted(Counter(entry["class"] for entry in course["entries"]).items()):
            lines.append(f'campus_hubs_course_findings{{course="{course["course"]}",class="{name}"}} {count}')
    lines += [
        "# HELP campus_hubs_certificate_end_timestamp_seconds When a certificate of the cluster or of a course ends.",
        "# TYPE campus_hubs_certificate_end_timestamp_seconds gauge",
    ]
    for end in document["certificates"]:
        labels = f'name="{end["name"]}",course="{end["course"]}"'
        value = datetime.fromisoformat(end["ends"]).timestamp()
        lines.append(f"campus_hubs_certificate_end_timestamp_seconds{{{labels}}} {value:.0f}")
    time = datetime.fromisoformat(document["time"]).timestamp()
    lines += [
        "# HELP campus_hubs_drift_report_timestamp_seconds When the courses were compared.",
        "# TYPE campus_hubs_drift_report_timestamp_seconds gauge",
        f"campus_hubs_drift_report_timestamp_seconds {time:.0f}",
    ]
    return "\n".join(lines) + "\n"


def page(document: Mapping[str, Any]) -> str:
    """Write the report as one HTML page that needs nothing else. What people have written into objects is escaped."""
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["json"] = partial(json.dumps, ensure_ascii=False)
    return environment.get_template("drift_report.html.j2").render(document)
