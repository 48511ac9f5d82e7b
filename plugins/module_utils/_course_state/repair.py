# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bring the objects of one course back to what its release says."""

from __future__ import annotations

from ansible_collections.campus.hubs.plugins.module_utils._course_state.assessment import DATA
from ansible_collections.campus.hubs.plugins.module_utils._course_state.compare import candidate_drift, repair_patch
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import Assessment
from ansible_collections.campus.hubs.plugins.module_utils._course_state.ownership import Managers
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import Manifest
from ansible_collections.campus.hubs.plugins.module_utils._course_state.snapshot import (
    Snapshot,
    key_of,
    namespace_labels,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import Kind

_ATTEMPTS = 5


def planned_diff(assessment: Assessment) -> dict[str, str]:
    """Return Ansible's diff of what a repair changes: one line per field or object."""
    before, after = [], []
    for finding in assessment.repairable():
        place = f"{assessment.course}: {finding.kind} {finding.name} {finding.path}".rstrip()
        before.append(f"{place}: {finding.found if finding.what == 'changed' else finding.what}\n")
        after.append(f"{place}: {finding.wanted if finding.what == 'changed' else 'present'}\n")
    return {"before": "".join(before), "after": "".join(after)}


def repair(api: Api, snapshot: Snapshot, assessment: Assessment) -> tuple[list[str], list[str]]:
    """Bring a course's objects back to what its release says. One that fails does not stop the others.

    Args:
        api: the API server.
        snapshot: that the course was assessed by.
        assessment: of the course.

    Returns:
        What was done, and what failed, one sentence each.
    """
    names = {(finding.kind, finding.name) for finding in assessment.repairable()}
    labels, place = namespace_labels(assessment.course), assessment.namespace
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place, "labels": labels}}
    done, failed = [], []
    for manifest in [namespace, *snapshot.manifests[place, assessment.course]]:
        group, kind_name, name = key_of(manifest)
        kind = snapshot.kinds.get((group, kind_name))
        if not kind or (kind_name, name) not in names:
            continue
        for attempt in range(_ATTEMPTS):
            try:
                done.append(_repair_object(api, snapshot.managers, manifest, kind, place))
            except ApiError as error:
                # Controllers write as well: what they have changed meanwhile is read again.
                if error.status == 409 and attempt + 1 < _ATTEMPTS:
                    continue
                failed.append(f"{kind_name} {name}: {error.message}")
            break
    return done, failed


def _repair_object(api: Api, managers: Managers, manifest: Manifest, kind: Kind, namespace: str) -> str:
    name = manifest["metadata"]["name"]
    if kind.kind == "Namespace":
        api.merge(kind, "", name, {"metadata": {"labels": manifest["metadata"]["labels"]}})
        return f"repaired the labels of {kind.kind} {name}"
    found = api.get(kind, namespace, name)
    if found is None:
        api.apply(kind, namespace, manifest)
        return f"created {kind.kind} {name} again"
    candidates = candidate_drift(manifest, found, managers)
    if candidates:
        try:
            api.patch(kind, namespace, name, repair_patch(candidates, found), dry=False)
        except ApiError as error:
            if error.status != 422 or kind.kind in DATA:
                raise
            api.delete_wholly(kind, namespace, name, found["metadata"]["uid"])
            api.apply(kind, namespace, manifest)
            return f"recreated {kind.kind} {name}, since it cannot be changed"
    # The fields are helm's again, and not ours: it removes what a later chart does not have any more.
    after = api.apply(kind, namespace, manifest)
    entries = after["metadata"].get("managedFields") or []
    leftover = [index for index, entry in enumerate(entries) if entry.get("manager") == "campus.hubs"]
    if leftover:
        version = after["metadata"]["resourceVersion"]
        operations = [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}]
        operations += [{"op": "remove", "path": f"/metadata/managedFields/{index}"} for index in reversed(leftover)]
        api.patch(kind, namespace, name, operations, dry=False)
    return f"repaired {kind.kind} {name}"
