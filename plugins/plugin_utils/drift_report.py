# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the drift report: what was found of all courses, and certificates that end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.certificates import (
    cluster_certificates,
    course_certificates,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import StateError
from ansible_collections.campus.hubs.plugins.module_utils._course_state.report import metrics, page, report_document
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api


def write_report(
    folder: Path, mode: str, api: Api, found: Sequence[Mapping[str, Any]], wanted: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Write the report's three forms; each file is there as a whole or not at all.

    Args:
        folder: of the report.
        mode: what is done about what was found, as in the document.
        api: the API server, whose certificates are looked at, too.
        found: the module's results.
        wanted: the values of each course.

    Returns:
        What is to be said of certificates, for reading.

    Raises:
        ApiError: the API server refuses.
        StateError: the folder cannot be written.
    """
    certificates = cluster_certificates(api.connection.server, api.connection.certificate)
    certificates += course_certificates(api, tls_secrets(found, wanted))
    document = report_document(found, datetime.now(UTC), mode, certificates)
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
    return [certificate_line(end) for end in document["certificates"] if end["soon"]]


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
