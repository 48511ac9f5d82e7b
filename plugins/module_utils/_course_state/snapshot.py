# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the cluster says of all courses at one time: Helm's releases, the objects that live, and who writes them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.ownership import Managers
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import (
    Chart,
    Manifest,
    Parser,
    Release,
    StateError,
    decode,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api, Lists
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import NAMESPACE, SECRET, Kind

COURSE = "campus.hubs/course"
MANAGED_BY = "app.kubernetes.io/managed-by"
# What happened, not what there is.
_RECORDS = frozenset({"events"})

Key = tuple[str, str, str]  # group, kind, name


def key_of(manifest: Manifest) -> Key:
    """Return what identifies an object in its namespace, whatever its version."""
    group = manifest["apiVersion"].partition("/")[0] if "/" in manifest["apiVersion"] else ""
    return group, manifest["kind"], manifest["metadata"]["name"]


def namespace_labels(course: str) -> dict[str, str]:
    """Return the labels of a course's namespace, as roles/course_hub/tasks/secrets.yml gives them."""
    return {MANAGED_BY: "campus.hubs", COURSE: course, "pod-security.kubernetes.io/enforce": "restricted"}


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


@dataclass
class Snapshot:
    """All that was read from the cluster.

    Attributes:
        chart: the courses' chart as it is on disk.
        kinds: by group and kind.
        releases: the newest revision of each of the chart's releases, by namespace and name, without its manifest.
        manifests: what each of these releases consists of.
        broken: releases that cannot be read, and why.
        objects: whole objects that carry Helm's label, by namespace and key.
        others: metadata of all other objects, by namespace and key.
        namespaces: metadata by name.
        managers: who is a controller.
        unreadable: kinds that could not be listed, and why.
    """

    chart: Chart
    kinds: dict[tuple[str, str], Kind] = field(default_factory=dict)
    releases: dict[tuple[str, str], Release] = field(default_factory=dict)
    manifests: dict[tuple[str, str], list[Manifest]] = field(default_factory=dict)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)
    objects: dict[str, dict[Key, Manifest]] = field(default_factory=lambda: defaultdict(dict))
    others: dict[str, dict[Key, Manifest]] = field(default_factory=lambda: defaultdict(dict))
    namespaces: dict[str, Manifest] = field(default_factory=dict)
    managers: Managers = field(default_factory=Managers)
    unreadable: list[str] = field(default_factory=list)

    @classmethod
    def collect(cls, api: Api, chart: Chart, namespaces: Iterable[str]) -> Snapshot:
        """Read the cluster: as many lists as there are kinds, however many courses there are.

        Args:
            api: the API server.
            chart: the courses' chart as it is on disk.
            namespaces: the courses' namespaces; those of the chart's releases are added.

        Raises:
            KubernetesError: the API server refuses, or does not answer.
            StateError: a release's manifest cannot be read.
        """
        snapshot = cls(chart, {(kind.group, kind.kind): kind for kind in api.kinds()})
        left = {key: kind for key, kind in snapshot.kinds.items() if kind.namespaced and kind.plural not in _RECORDS}
        secrets = newest(api.objects(SECRET, labels="owner=helm,status!=superseded"))
        parser = Parser()
        with Lists(api) as lists:
            lists.ask(NAMESPACE, COURSE, metadata_only=True)
            # The API server makes the lists while the releases are read here; nearly all have the kinds of the first.
            while secrets:
                place, secret = secrets.popitem()
                for manifest in snapshot._read(place, secret, parser):
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
                    snapshot._sort(kind, found, snapshot.others if metadata_only else snapshot.objects, relevant)
        return snapshot

    def _read(self, place: tuple[str, str], secret: Mapping[str, Any], parser: Parser) -> list[Manifest]:
        """Read one release; return what it consists of, nothing if it cannot be read or is another chart's."""
        try:
            release = decode(secret)
        except StateError as error:
            self.broken[place] = str(error)
            return []
        if release.chart != self.chart.name:
            return []
        # A thousand of the texts that were read are a hundred megabytes.
        self.releases[place] = replace(release, manifest="")
        return self.manifests.setdefault(place, release.objects(parser))

    def _sort(
        self, kind: Kind, found: Sequence[Manifest], places: dict[str, dict[Key, Manifest]], relevant: Container[str]
    ) -> None:
        """Keep what was listed where it is looked for."""
        for item in found:
            metadata = item["metadata"]
            self.managers.learn(metadata)
            if kind.kind == "Namespace":
                self.namespaces[metadata["name"]] = item
            elif metadata["namespace"] in relevant:
                places[metadata["namespace"]][kind.group, kind.kind, metadata["name"]] = item

    def users_online(self, namespace: str) -> int:
        """Count the servers of people that run in a namespace."""
        return sum(
            key[1] == "Pod"
            and (item["metadata"].get("labels") or {}).get("component") == "singleuser-server"
            and not item["metadata"].get("deletionTimestamp")
            for key, item in self.others[namespace].items()
        )
