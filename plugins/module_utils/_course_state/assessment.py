# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether courses are in sync: what is desired, what Helm's releases say and what lives, compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_readiness import ready
from ansible_collections.campus.hubs.plugins.module_utils._course_state.compare import (
    Difference,
    candidate_drift,
    confirmed,
    repair_patch,
    unwanted,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import (
    Assessment,
    DesiredCourse,
    Finding,
    finding_of,
    redact,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.impact import impact
from ansible_collections.campus.hubs.plugins.module_utils._course_state.ownership import (
    ABSENT,
    OURS,
    ManagedFieldsEntry,
    Managers,
    Writer,
    last_writer,
    merge,
    read_entries,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import (
    STUCK,
    Manifest,
    Release,
    value_differences,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.snapshot import (
    COURSE,
    MANAGED_BY,
    Snapshot,
    key_of,
    namespace_labels,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import NAMESPACE
from ansible_collections.campus.hubs.plugins.module_utils._refusals import difference

# An object of these kinds holds people's data, or other objects that do: it is never recreated to repair it.
DATA = frozenset({"PersistentVolumeClaim", "Namespace", "Secret"})
_RELEASE = "meta.helm.sh/release-name"
# The value that stands for the versions of the course's Secrets.
_SECRETS = "$.checksum.secrets"


def assess_all(
    api: Api, snapshot: Snapshot, desired: Mapping[str, DesiredCourse], known: Iterable[str] = (), helm: str = ""
) -> list[Assessment]:
    """Assess all courses, with the impact of bringing each in sync.

    Args:
        api: the API server.
        snapshot: of the cluster.
        desired: what the inventory says, by course.
        known: all courses of the inventory, also those that are not asked for.
        helm: the helm program; without it the impact of new values is not known in detail.

    Returns:
        The courses in the order in which they were given, then orphans.

    Raises:
        KubernetesError: the API server refuses, or does not answer.
    """
    assessor = Assessor(api, snapshot)
    found = [assessor.assess(name, course) for name, course in desired.items()]
    with ThreadPoolExecutor(2) as pool:
        impacts = pool.map(lambda one: impact(one, desired[one.course], snapshot, helm), found)
        for assessment, consequences in zip(found, impacts, strict=True):
            assessment.consequences = consequences
    return [*found, *orphans(snapshot, {*known, *desired})]


def orphans(snapshot: Snapshot, known: Iterable[str]) -> Iterator[Assessment]:
    """Find the courses that are deployed and not in the inventory.

    Args:
        snapshot: of the cluster.
        known: ids of all courses of the inventory.
    """
    known = {*known}
    for (namespace, name), release in sorted(snapshot.releases.items()):
        if name not in known:
            reason = (
                f"it is deployed, and not in the inventory; playbooks/remove_course.yml -e course={name} removes it"
            )
            found = Assessment(name, namespace, "orphaned", [reason], users_online=snapshot.users_online(namespace))
            found.revision, found.deployed = release.revision, release.time
            yield found


class Assessor:
    """Assesses courses by a snapshot. What it takes for drift has been proven by a dry run on the API server."""

    def __init__(self, api: Api, snapshot: Snapshot) -> None:
        """Take the API server, and what was read from it."""
        self.api, self.snapshot = api, snapshot

    def assess(self, name: str, desired: DesiredCourse) -> Assessment:
        """Compare one course: its release, values and chart, then its objects.

        Args:
            name: its id.
            desired: what the inventory says.

        Raises:
            KubernetesError: the API server refuses, or does not answer.
        """
        assessment = Assessment(name, desired.namespace, users_online=self.snapshot.users_online(desired.namespace))
        release = self.snapshot.releases.get((desired.namespace, name))
        if release is None:
            broken = self.snapshot.broken.get((desired.namespace, name))
            assessment.state = "stuck" if broken else "absent"
            assessment.reasons = [broken or "it is not deployed"]
            return assessment
        assessment.revision, assessment.deployed = release.revision, release.time
        if desired.values is not None:
            assessment.outdated = [
                {
                    "path": path,
                    "wanted": redact(_json(want), path),
                    "found": redact(_json(have), path),
                    **(self._last_secret_writer(release) if path == _SECRETS else {}),
                }
                for path, want, have in value_differences(desired.values, release.values)
            ]
        assessment.chart_files = self.snapshot.chart.changed_files(release)
        if release.status in STUCK:
            assessment.state = "stuck"
            assessment.reasons = [
                f"revision {release.revision} of its release is {release.status} since {release.time}"
            ]
            return assessment
        objects = self.snapshot.manifests[desired.namespace, name]
        found = self.snapshot.objects[desired.namespace]
        assessment.unready = [
            key[2] for key in map(key_of, objects) if key[1] == "Deployment" and not ready(found.get(key))
        ]
        assessment.findings = self._namespace_findings(assessment)
        assessment.findings += [
            finding for manifest in objects for finding in self._examine(manifest, desired.namespace)
        ]
        assessment.findings += self._unmanaged_objects(release, objects)
        assessment.reasons = [self._value_sentence(value, release) for value in assessment.outdated]
        assessment.reasons += [f"chart file {file} is not the deployed one" for file in assessment.chart_files]
        assessment.reasons += [finding.sentence() for finding in assessment.findings]
        if assessment.outdated or assessment.chart_files:
            assessment.state = "outdated"
        elif assessment.findings:
            assessment.state = "drifted"
        return assessment

    def _value_sentence(self, value: Mapping[str, Any], release: Release) -> str:
        if value["path"] == "$.checksum.chart":
            return "the chart is not the deployed one"
        if value["path"] == _SECRETS:
            return "its Secrets have changed" + self._secret_writers(release)
        return difference(f"value {value['path']}", repr(value["found"]), repr(value["wanted"]))

    def _secret_writers(self, release: Release) -> str:
        """Say which Secrets of the course were written since it was deployed by somebody else, and who that was."""
        writers = [f"{name} by {who.manager}, {who.time}" for name, who in self._secrets_written(release)]
        return f" ({'; '.join(writers)})" if writers else ""

    def _last_secret_writer(self, release: Release) -> dict[str, str]:
        """Return who has written a Secret of the course last, and when, for the report; nothing if nobody is known."""
        last = max((writer for _name, writer in self._secrets_written(release)), key=lambda who: who.time, default=None)
        return {"manager": last.manager, "time": last.time} if last else {}

    def _secrets_written(self, release: Release) -> list[tuple[str, Writer]]:
        """Find the Secrets of the course that somebody else has written since it was deployed."""
        deployed = _time(release.time)
        return [
            (key[2], entry.writer)
            for key, item in sorted(self.snapshot.others[release.namespace].items())
            if key[1] == "Secret" and (item["metadata"].get("labels") or {}).get(MANAGED_BY) == "campus.hubs"
            for entry in read_entries(item["metadata"])
            if self.snapshot.managers.is_foreign(entry) and _time(entry.writer.time) >= deployed
        ]

    def _namespace_findings(self, assessment: Assessment) -> list[Finding]:
        """Compare the labels of the course's namespace: one of them keeps its pods restricted."""
        found = self.snapshot.namespaces.get(assessment.namespace)
        if found is None:  # it has lost the label that it was looked for by
            found = self.api.get(NAMESPACE, "", assessment.namespace)
        metadata = (found or {}).get("metadata") or {}
        labels = metadata.get("labels") or {}
        return [
            finding_of(
                "Namespace",
                assessment.namespace,
                Difference(path, value, labels.get(name, ABSENT), last_writer(read_entries(metadata), path)),
            )
            for name, value in namespace_labels(assessment.course).items()
            for path in [("f:metadata", "f:labels", f"f:{name}")]
            if labels.get(name) != value
        ]

    def _examine(self, manifest: Manifest, namespace: str) -> list[Finding]:
        """Compare one object of a release with what lives. What looks wrong is proven by a dry run."""
        group, kind_name, name = key = key_of(manifest)
        found = self.snapshot.objects[namespace].get(key)
        kind = self.snapshot.kinds.get((group, kind_name))
        if found is None and kind and key in self.snapshot.others[namespace]:
            found = self.api.get(kind, namespace, name)  # it has lost Helm's label
        if found is None or kind is None:
            return [Finding(kind_name, name, "missing")]
        if found["metadata"].get("deletionTimestamp"):
            writer = Writer("", "Delete", "", found["metadata"]["deletionTimestamp"])
            return [Finding(kind_name, name, "leaving", writer=writer, obstacle="that cannot be called back")]
        candidates = candidate_drift(manifest, found, self.snapshot.managers)
        if not candidates:
            return []
        try:
            after = self.api.patch(kind, namespace, name, repair_patch(candidates, found), dry=True)
        except ApiError as error:
            if error.status == 404:
                return [Finding(kind_name, name, "missing")]
            # What cannot be changed in place is recreated, unless it holds data.
            hopeless = kind_name in DATA or error.status not in (409, 422)
            obstacle = f"it cannot be changed: {error.message}" if hopeless else ""
            return [finding_of(kind_name, name, difference, obstacle) for difference in candidates]
        return [finding_of(kind_name, name, difference) for difference in confirmed(candidates, after)]

    def _unmanaged_objects(self, release: Release, objects: Sequence[Manifest]) -> list[Finding]:
        """Find what neither this collection nor a controller nor the hub has made in a course's namespace."""
        ours = {key_of(manifest) for manifest in objects}
        makes = hub_makes(objects)
        used: set[str] | None = None
        found = []
        snapshot, namespace = self.snapshot, release.namespace
        for key, item in [*snapshot.objects[namespace].items(), *snapshot.others[namespace].items()]:
            metadata = item["metadata"]
            labels = metadata.get("labels") or {}
            if key in ours or metadata.get("ownerReferences") or metadata.get("deletionTimestamp"):
                continue
            if labels.get(MANAGED_BY) in OURS and key[1] == "Secret":
                continue
            if labels.get("owner") == "helm" and labels.get("name") == release.name and key[1] == "Secret":
                continue
            made_by_hub = labels.get(COURSE) == release.name and labels.get(MANAGED_BY) != "Helm"
            if made_by_hub and snapshot.kinds[key[:2]].plural in makes:
                continue
            notes = metadata.get("annotations") or {}
            if notes.get(_RELEASE) == release.name and notes.get("helm.sh/resource-policy") == "keep":
                continue  # what an older chart has left on purpose: data
            entries = read_entries(metadata)
            # What nobody has set a field of: computed by an API server and not stored, or the default service account.
            if not entries or made_by_controller(entries, snapshot.managers):
                continue
            if used is None:
                used = {
                    *_texts(release.values),
                    *(text for manifest in objects for text in _texts(manifest.get("spec"))),
                }
            if key[1] in ("Secret", "ConfigMap") and key[2] in used:
                continue
            writer = min((entry.writer for entry in entries), key=lambda writer: (writer.subresource, writer.time))
            writer = replace(writer, time=metadata.get("creationTimestamp") or writer.time)
            found.append(Finding(key[1], key[2], "additional", writer=writer))
        return found


def made_by_controller(entries: Sequence[ManagedFieldsEntry], managers: Managers) -> bool:
    """Tell whether all fields of an object are a controller's, whoever else has written the same."""
    people = [entry for entry in entries if not managers.is_controller(entry.writer.manager)]
    controllers = merge(entry.fields for entry in entries if managers.is_controller(entry.writer.manager))
    return not any(next(unwanted(entry, {}, controllers), None) for entry in people)


def hub_makes(objects: Iterable[Manifest]) -> set[str]:
    """Return the resources that a release's own roles allow to be made: what its hub makes at run time."""
    return {
        resource
        for manifest in objects
        if manifest["kind"] == "Role"
        for rule in manifest.get("rules") or []
        if "create" in rule["verbs"]
        for resource in rule["resources"]
    }


def _time(text: str) -> datetime:
    """Read a time; Helm writes the zone of the machine it ran on, the API server UTC. Both are cut to whole seconds."""
    try:
        return datetime.fromisoformat(text).replace(microsecond=0)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _json(value: object) -> object:
    return None if value is ABSENT else value


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
