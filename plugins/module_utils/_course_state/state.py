# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of all courses: what is wanted, what Helm's releases say, and what lives, brought together."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.compare import (
    Difference,
    confirmed,
    repair_patch,
    suspicions,
    unwanted,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import (
    CourseState,
    Finding,
    finding_of,
    redact,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.ownership import (
    ABSENT,
    OURS,
    Claim,
    Managers,
    Writer,
    last_writer,
    merge,
    read_claims,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import (
    STUCK,
    Chart,
    Decoder,
    Manifest,
    Parser,
    Release,
    StateError,
    decode,
    parse_manifest,
    value_differences,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api, Lists
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import NAMESPACE, SECRET, Kind
from ansible_collections.campus.hubs.plugins.module_utils._refusals import difference

COURSE = "campus.hubs/course"
MANAGED_BY = "app.kubernetes.io/managed-by"
# What happened, not what there is.
_RECORDS = frozenset({"events"})
# An object of these kinds holds people's data, or other objects that do: it is never recreated to repair it.
_DATA = frozenset({"PersistentVolumeClaim", "Namespace", "Secret"})
_WORKLOADS = frozenset({"Deployment", "DaemonSet", "StatefulSet"})
_RELEASE = "meta.helm.sh/release-name"
# The value that stands for the versions of the course's Secrets.
_SECRETS = "$.checksum.secrets"
_ATTEMPTS = 5
_RESTARTS = {
    "hub": "restarts the hub of {course}: {users} online, their servers keep running",
    "proxy": "restarts the proxy of {course}: {users} online, their connections break and come back within seconds",
    "exchange": "restarts the exchange of {course}: nothing is handed out or in for some seconds",
}


@dataclass(frozen=True)
class Wanted:
    """What the inventory says about one course.

    Attributes:
        namespace: where the course is to be.
        values: the release's values; None: they are not known, and not compared.
    """

    namespace: str
    values: Mapping[str, Any] | None = None


Key = tuple[str, str, str]  # group, kind, name


def key_of(manifest: Manifest) -> Key:
    """Return what identifies an object in its namespace, whatever its version."""
    group = manifest["apiVersion"].partition("/")[0] if "/" in manifest["apiVersion"] else ""
    return group, manifest["kind"], manifest["metadata"]["name"]


@dataclass
class Snapshot:
    """All that was read from the cluster.

    Attributes:
        kinds: by group and kind.
        releases: the newest revision of each, by namespace and name.
        broken: releases that cannot be read, and why.
        objects: whole objects that carry Helm's label, by namespace and key.
        others: metadata of all other objects, by namespace and key.
        namespaces: metadata by name.
        managers: who is a controller.
        unreadable: kinds that could not be listed, and why.
    """

    kinds: dict[tuple[str, str], Kind] = field(default_factory=dict)
    releases: dict[tuple[str, str], Release] = field(default_factory=dict)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)
    objects: dict[str, dict[Key, Manifest]] = field(default_factory=lambda: defaultdict(dict))
    others: dict[str, dict[Key, Manifest]] = field(default_factory=lambda: defaultdict(dict))
    namespaces: dict[str, Manifest] = field(default_factory=dict)
    managers: Managers = field(default_factory=Managers)
    unreadable: list[str] = field(default_factory=list)


def newest(secrets: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return the Secret of the newest revision of each release, by namespace and name."""
    latest: dict[tuple[str, str], Mapping[str, Any]] = {}
    for secret in secrets:
        labels = secret["metadata"]["labels"]
        place = secret["metadata"]["namespace"], labels["name"]
        known = latest.get(place)
        if known is None or int(labels["version"]) > int(known["metadata"]["labels"]["version"]):
            latest[place] = secret
    return latest


class Survey:
    """What is known of the cluster after one look at it, and what follows for each course."""

    def __init__(self, api: Api, chart: Chart, helm: str = "") -> None:
        """Begin with nothing known.

        Args:
            api: the API server.
            chart: the courses' chart as it is on disk.
            helm: the helm program; without it the consequences of new values are not known in detail.
        """
        self.api, self._chart, self._helm = api, chart, helm
        self.snapshot = Snapshot()
        self._manifests: dict[tuple[str, str], list[Manifest]] = {}

    def look(self, namespaces: Iterable[str]) -> None:
        """Read the cluster: as many lists as there are kinds, however many courses there are.

        Args:
            namespaces: the courses' namespaces; those of the chart's releases are added.

        Raises:
            ApiError: the API server refuses.
            StateError: a release's manifest cannot be read.
        """
        kinds = self.api.kinds()
        snapshot, self._manifests = Snapshot(), {}
        self.snapshot = snapshot
        snapshot.kinds = {(kind.group, kind.kind): kind for kind in kinds}
        left = {key: kind for key, kind in snapshot.kinds.items() if kind.namespaced and kind.plural not in _RECORDS}
        secrets = newest(self.api.objects(SECRET, labels="owner=helm,status!=superseded"))
        decoder, parser = Decoder(), Parser()
        with Lists(self.api) as lists:
            lists.ask(NAMESPACE, COURSE, metadata_only=True)
            # The API server makes the lists while the releases are read here; nearly all have the kinds of the first.
            while secrets:
                place, secret = secrets.popitem()
                for manifest in self._read(place, secret, decoder, parser):
                    if kind := left.pop(key_of(manifest)[:2], None):
                        lists.ask(kind, f"{MANAGED_BY}=Helm", metadata_only=False)
                        lists.ask(kind, f"{MANAGED_BY}!=Helm", metadata_only=True)
            for kind in left.values():
                lists.ask(kind, metadata_only=True)
            relevant = {*namespaces, *(namespace for namespace, _name in snapshot.releases)}
            for kind, metadata_only, found in lists.answers():
                if isinstance(found, ApiError):
                    snapshot.unreadable.append(f"{kind.plural}.{kind.group}".rstrip(".") + f": {found.message}")
                else:
                    self._sort(kind, found, snapshot.others if metadata_only else snapshot.objects, relevant)

    def _read(
        self, place: tuple[str, str], secret: Mapping[str, Any], decoder: Decoder, parser: Parser
    ) -> list[Manifest]:
        """Read one release; return what it consists of, nothing if it cannot be read or is another chart's."""
        try:
            release = decode(secret, decoder)
        except StateError as error:
            self.snapshot.broken[place] = str(error)
            return []
        if release.chart != self._chart.name:
            return []
        # A thousand of the texts that were read are a hundred megabytes.
        self.snapshot.releases[place] = replace(release, manifest="")
        return self._manifests.setdefault(place, release.objects(parser))

    def _sort(
        self, kind: Kind, found: Sequence[Manifest], places: dict[str, dict[Key, Manifest]], relevant: Container[str]
    ) -> None:
        """Keep what was listed where it is looked for."""
        for item in found:
            metadata = item["metadata"]
            self.snapshot.managers.learn(metadata)
            if kind.kind == "Namespace":
                self.snapshot.namespaces[metadata["name"]] = item
            elif metadata["namespace"] in relevant:
                places[metadata["namespace"]][kind.group, kind.kind, metadata["name"]] = item

    def judge(self, wanted: Mapping[str, Wanted], known: Iterable[str] = ()) -> list[CourseState]:
        """Judge all courses by what was seen.

        Args:
            wanted: what the inventory says, by course.
            known: all courses of the inventory, also those that are not asked for.

        Returns:
            The courses in the order in which they were given, then orphans.

        Raises:
            ApiError: the API server refuses.
        """
        states = [self._judge(name, course) for name, course in wanted.items()]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda state: self._foresee(state, wanted[state.course]), states))
        known = {*known, *wanted}
        for (namespace, name), release in sorted(self.snapshot.releases.items()):
            if name not in known:
                reason = (
                    f"it is deployed, and not in the inventory; playbooks/remove_course.yml -e course={name} removes it"
                )
                state = CourseState(name, namespace, "orphaned", [reason], users_online=self._users(namespace))
                state.revision, state.deployed = release.revision, release.time
                states.append(state)
        return states

    def _users(self, namespace: str) -> int:
        """Count the servers of people that run in a namespace."""
        return sum(
            key[1] == "Pod"
            and (item["metadata"].get("labels") or {}).get("component") == "singleuser-server"
            and not item["metadata"].get("deletionTimestamp")
            for key, item in self.snapshot.others[namespace].items()
        )

    def _judge(self, name: str, wanted: Wanted) -> CourseState:
        """Compare one course: its release, values and chart, then its objects."""
        state = CourseState(name, wanted.namespace, users_online=self._users(wanted.namespace))
        release = self.snapshot.releases.get((wanted.namespace, name))
        if release is None:
            broken = self.snapshot.broken.get((wanted.namespace, name))
            state.state = "stuck" if broken else "absent"
            state.reasons = [broken or "it is not deployed"]
            return state
        state.revision, state.deployed = release.revision, release.time
        if wanted.values is not None:
            state.outdated = [
                {
                    "path": path,
                    "wanted": redact(_json(want), path),
                    "found": redact(_json(have), path),
                    **(self._last_secret_writer(release) if path == _SECRETS else {}),
                }
                for path, want, have in value_differences(wanted.values, release.values)
            ]
        state.chart_files = self._chart.changed_files(release)
        if release.status in STUCK:
            state.state = "stuck"
            state.reasons = [f"revision {release.revision} of its release is {release.status} since {release.time}"]
            return state
        objects = self._manifests[wanted.namespace, name]
        found = self.snapshot.objects[wanted.namespace]
        state.unready = [key[2] for key in map(key_of, objects) if key[1] == "Deployment" and not ready(found.get(key))]
        state.findings = self._namespace_findings(state)
        state.findings += [finding for manifest in objects for finding in self._examine(manifest, wanted.namespace)]
        state.findings += self._strangers(release, objects)
        state.reasons = [self._value_sentence(value, release) for value in state.outdated]
        state.reasons += [f"chart file {file} is not the deployed one" for file in state.chart_files]
        state.reasons += [finding.sentence() for finding in state.findings]
        if state.outdated or state.chart_files:
            state.state = "outdated"
        elif state.findings:
            state.state = "drifted"
        return state

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
            (key[2], claim.writer)
            for key, item in sorted(self.snapshot.others[release.namespace].items())
            if key[1] == "Secret" and (item["metadata"].get("labels") or {}).get(MANAGED_BY) == "campus.hubs"
            for claim in read_claims(item["metadata"])
            if self.snapshot.managers.is_foreign(claim) and _time(claim.writer.time) >= deployed
        ]

    def _namespace_findings(self, state: CourseState) -> list[Finding]:
        """Compare the labels of the course's namespace: one of them keeps its pods restricted."""
        found = self.snapshot.namespaces.get(state.namespace)
        if found is None:  # it has lost the label that it was looked for by
            found = self.api.get(NAMESPACE, "", state.namespace)
        metadata = (found or {}).get("metadata") or {}
        labels = metadata.get("labels") or {}
        return [
            finding_of(
                "Namespace",
                state.namespace,
                Difference(path, value, labels.get(name, ABSENT), last_writer(read_claims(metadata), path)),
            )
            for name, value in namespace_labels(state.course).items()
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
        suspected = suspicions(manifest, found, self.snapshot.managers)
        if not suspected:
            return []
        try:
            after = self.api.patch(kind, namespace, name, repair_patch(suspected, found), dry=True)
        except ApiError as error:
            if error.status == 404:
                return [Finding(kind_name, name, "missing")]
            # What cannot be changed in place is recreated, unless it holds data.
            hopeless = kind_name in _DATA or error.status not in (409, 422)
            obstacle = f"it cannot be changed: {error.message}" if hopeless else ""
            return [finding_of(kind_name, name, difference, obstacle) for difference in suspected]
        return [finding_of(kind_name, name, difference) for difference in confirmed(suspected, after)]

    def _strangers(self, release: Release, objects: Sequence[Manifest]) -> list[Finding]:
        """Find what nobody of ours, no controller and no hub has made in a course's namespace."""
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
            claims = read_claims(metadata)
            # What nobody has set a field of: computed by an API server and not stored, or the default service account.
            if not claims or made_by_controller(claims, snapshot.managers):
                continue
            if used is None:
                used = {
                    *_texts(release.values),
                    *(text for manifest in objects for text in _texts(manifest.get("spec"))),
                }
            if key[1] in ("Secret", "ConfigMap") and key[2] in used:
                continue
            writer = min((claim.writer for claim in claims), key=lambda writer: (writer.subresource, writer.time))
            writer = replace(writer, time=metadata.get("creationTimestamp") or writer.time)
            found.append(Finding(key[1], key[2], "additional", writer=writer))
        return found

    # ---- what a change does to people ----

    def _foresee(self, state: CourseState, wanted: Wanted) -> None:
        """Add to a course's state what bringing it in sync does to people."""
        if (state.namespace, state.course) not in self._manifests:
            state.consequences = [f"installs {state.course}"]
            return
        restarted = {
            finding.name
            for finding in state.repairable()
            if finding.kind in _WORKLOADS and (finding.what == "missing" or finding.path.startswith("$.spec.template"))
        }
        if state.needs_deployment():
            restarted |= self._restarted_by_values(state, wanted)
        count = state.users_online
        people = "nobody" if not count else "1 user" if count == 1 else f"{count} users"
        for name in sorted(restarted):
            text = _RESTARTS.get(name, "restarts {name} of {course}")
            state.consequences.append(text.format(course=state.course, users=people, name=name))
        if not state.consequences and (state.needs_deployment() or state.repairable()):
            state.consequences = [f"restarts nothing of {state.course}"]

    def _restarted_by_values(self, state: CourseState, wanted: Wanted) -> set[str]:
        """Return the names of the workloads whose pods the wanted values change; all, if that is not known."""
        now = {key_of(manifest): manifest for manifest in self._manifests[state.namespace, state.course]}
        then = (
            render(self._helm, self._chart, state.course, wanted) if self._helm and wanted.values is not None else None
        )
        if then is None:
            return {key[2] for key in now if key[1] in _WORKLOADS}
        return {
            manifest["metadata"]["name"]
            for manifest in then
            if manifest["kind"] in _WORKLOADS
            and manifest["spec"]["template"] != now.get(key_of(manifest), {}).get("spec", {}).get("template")
        }

    # ---- repair ----

    def repair(self, state: CourseState) -> tuple[list[str], list[str]]:
        """Bring a drifted course's objects back to what its release says. One that fails does not stop the others.

        Returns:
            What was done, and what failed, one sentence each.
        """
        names = {(finding.kind, finding.name) for finding in state.repairable()}
        labels = namespace_labels(state.course)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": state.namespace, "labels": labels}}
        done, failed = [], []
        for manifest in [namespace, *self._manifests[state.namespace, state.course]]:
            group, kind_name, name = key_of(manifest)
            kind = self.snapshot.kinds.get((group, kind_name))
            if not kind or (kind_name, name) not in names:
                continue
            for attempt in range(_ATTEMPTS):
                try:
                    done.append(self._repair_object(manifest, kind, state.namespace))
                except ApiError as error:
                    # Controllers write as well: what they have changed meanwhile is read again.
                    if error.status == 409 and attempt + 1 < _ATTEMPTS:
                        continue
                    failed.append(f"{kind_name} {name}: {error.message}")
                break
        return done, failed

    def _repair_object(self, manifest: Manifest, kind: Kind, namespace: str) -> str:
        api, name = self.api, manifest["metadata"]["name"]
        if kind.kind == "Namespace":
            api.merge(kind, "", name, {"metadata": {"labels": manifest["metadata"]["labels"]}})
            return f"put the labels of {kind.kind} {name} right"
        found = api.get(kind, namespace, name)
        if found is None:
            api.apply(kind, namespace, manifest)
            return f"made {kind.kind} {name} again"
        suspected = suspicions(manifest, found, self.snapshot.managers)
        if suspected:
            try:
                api.patch(kind, namespace, name, repair_patch(suspected, found), dry=False)
            except ApiError as error:
                if error.status != 422 or kind.kind in _DATA:
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
        return f"put {kind.kind} {name} right"


def namespace_labels(course: str) -> dict[str, str]:
    """Return the labels of a course's namespace, as roles/course_hub/tasks/secrets.yml gives them."""
    return {MANAGED_BY: "campus.hubs", COURSE: course, "pod-security.kubernetes.io/enforce": "restricted"}


def ready(deployment: Manifest | None) -> bool:
    """Tell whether a Deployment runs as it is now, with all its pods."""
    if deployment is None:
        return False
    status = deployment.get("status") or {}
    wanted = (deployment.get("spec") or {}).get("replicas", 1)
    return (
        status.get("observedGeneration") == deployment["metadata"].get("generation")
        and status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == wanted
        and not status.get("unavailableReplicas")
    )


def made_by_controller(claims: Sequence[Claim], managers: Managers) -> bool:
    """Tell whether all fields of an object are a controller's, whoever else has written the same."""
    people = [claim for claim in claims if not managers.is_controller(claim.writer.manager)]
    controllers = merge(claim.fields for claim in claims if managers.is_controller(claim.writer.manager))
    return not any(next(unwanted(claim, {}, controllers), None) for claim in people)


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


def render(helm: str, chart: Chart, course: str, wanted: Wanted) -> list[Manifest] | None:
    """Render what would be deployed; None if the chart refuses the values (the deployment will say why)."""
    command = [helm, "template", course, str(chart.folder), f"--namespace={wanted.namespace}", "--values=-"]
    # Which is YAML, too; but helm's reader takes no pairs of escapes for a letter beyond U+FFFF.
    values = json.dumps(wanted.values, ensure_ascii=False)
    # Not a module's run_command: the action plugin has none.
    done = subprocess.run(  # noqa: S603 pylint: disable=ansible-bad-function
        command, input=values, capture_output=True, encoding="utf-8", check=False
    )
    return parse_manifest(done.stdout) if done.returncode == 0 else None


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
