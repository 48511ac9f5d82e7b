# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the values of courses are made of: variables out of the inventory, and what the API server says."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import StateError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import SECRET, SERVICE, Query
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal
from ansible_collections.campus.hubs.plugins.plugin_utils.release_values import (
    PREFIX,
    Cluster,
    Live,
    Options,
    Values,
    ValuesError,
    chart_checksum,
    release_values,
)

COLLECTION = Path(__file__).resolve().parents[2]
CHART = COLLECTION / "charts" / "course-hub"
CLUSTER = {
    "endpoints": Query(
        "endpointslices", "discovery.k8s.io/v1", "default", label_selectors=["kubernetes.io/service-name=kubernetes"]
    ),
    "nodes": Query("nodes"),
    "kubeadm_config": Query("configmaps", namespace="kube-system", name="kubeadm-config"),
    "images": Query("configmaps", namespace="campus-hubs", name="course-images"),
    "packaged": Query("configmaps", namespace="campus-hubs", name="course-packages"),
    "dns": Query("services", namespace="kube-system", name="kube-dns"),
}
# What of a course's variables says more than its values.
ASKED = ("lti13_key_rotate_after_days", "show_secret", "lti13_platform")
# Not for values: where helm is, and what is only done.
_OTHERS = ("helm_", "wait_seconds", "canary", "delete_data", "confirm_removals")


def read_cluster(api: Api, *, check: bool) -> Cluster:
    """Read what the values of all courses need of the cluster.

    Args:
        api: the API server.
        check: whether nothing is deployed, so that images need not be built yet.

    Raises:
        ApiError: the API server refuses.
    """
    return Cluster.parse({name: api.read(query) for name, query in CLUSTER.items()}, check=check)


def read_live(api: Api, namespace: str = "") -> Mapping[str, Live]:
    """Read what the values of courses need of what lives.

    Args:
        api: the API server.
        namespace: of one course; without it, of all.

    Returns:
        Namespace to what lives there; also for one in which there is nothing.

    Raises:
        ApiError: the API server refuses.
    """
    ours = "app.kubernetes.io/managed-by=campus.hubs"
    secrets = _by_namespace(api.objects(SECRET, namespace=namespace, labels=ours, metadata_only=True))
    services = _by_namespace(api.objects(SERVICE, namespace=namespace, fields="metadata.name=proxy"))
    nothing = Live.parse([], [])
    found = {each: Live.parse(secrets[each], services[each]) for each in {*secrets, *services}}
    return defaultdict(lambda: nothing, found)


def course_options(variables: Mapping[str, Any], templar: Templar, names: Iterable[str] = ()) -> Options:
    """Return a course's variables without templates.

    Args:
        variables: those of the role course_hub, not templated, the role's defaults among them.
        templar: knows all of the host's variables.
        names: those that are asked for, without `course_hub_`; if there are none, all that values are made of.

    Raises:
        ValuesError: a template cannot be rendered, or its value is nothing that a chart could have.
    """
    ours = (name.removeprefix(PREFIX) for name in variables if name.startswith(PREFIX))
    raw = {name: variables[PREFIX + name] for name in names or (each for each in ours if not each.startswith(_OTHERS))}
    plain = {}
    for name, value in raw.items():
        try:
            rendered = templar.template(value) if _needs_templar(value) else value
            # Ansible marks texts with where they come from; values are plain.
            plain[name] = json.loads(json.dumps(rendered))
        except AnsibleError as error:
            why = " ".join(str(error.message).split())
            message = f"{PREFIX}{name}: found a template that fails ({why}), expected one that can be rendered"
            raise ValuesError(message) from error
        except TypeError as error:
            message = refusal(f"{PREFIX}{name}", error, "text, numbers, lists and dictionaries")
            raise ValuesError(message) from error
    return Options(plain)


class InventoryCourse(NamedTuple):
    """What the inventory says of a course: values, why they are not known, and more that decides what is done."""

    values: Values | None
    why: str
    # What only the role itself can tell or do, though the release is as it should be.
    needs_role: bool
    lti13: bool


class InventoryCourses:
    """The courses of the inventory; reads what their values depend on once."""

    def __init__(
        self,
        courses: Mapping[str, Mapping[str, Any]],
        loader: DataLoader,
        api: Api,
        *,
        check: bool,
        collection: Path = COLLECTION,
    ) -> None:
        """Read the role's defaults and the cluster.

        Args:
            courses: the variables of each course's host, not templated.
            loader: reads the role's files, so that they count as trusted templates.
            api: the API server.
            check: whether nothing is deployed, so that images need not be built yet.
            collection: folder of the collection.

        Raises:
            ApiError: the API server refuses.
        """
        role = collection / "roles" / "course_hub"
        defaults, own = (
            loader.load_from_file(str(role / part / "main.yml"), trusted_as_template=True)
            for part in ("defaults", "vars")
        )
        self._courses = {host: {**defaults, **variables} for host, variables in courses.items()}
        self._role = {**own, "role_path": str(role)}
        self._templar = Templar(loader=loader)
        self._cluster, self._live = read_cluster(api, check=check), read_live(api)
        self._chart = chart_checksum(collection / "charts" / "course-hub")

    def course(self, host: str) -> InventoryCourse:
        """Return what the inventory says of a course.

        Raises:
            StateError: a variable that decides what is done cannot be computed.
        """
        variables = self._courses[host]
        # Of all variables of a play, hostvars lack only this one.
        self._templar.available_variables = {**variables, "vars": variables}
        try:
            asked = course_options(variables, self._templar, ASKED)
            needs_role = bool(asked.number("lti13_key_rotate_after_days")) or asked.flag("show_secret")
            lti13 = bool(asked.text("lti13_platform"))
        except ValuesError as error:
            message = f"{host}: {error}"
            raise StateError(message) from error
        try:
            options = course_options(variables, self._templar)
            live = self._live[f"course-{host}"]
            values = release_values(host, options, self._cluster, live, self._chart)
        except ValuesError as error:
            return InventoryCourse(None, str(error), needs_role, lti13)
        return InventoryCourse(values, "", needs_role, lti13)

    def helm(self, host: str) -> str:
        """Return the helm program of the cache, empty if it is not there yet."""
        self._templar.available_variables = {**self._courses[host], **self._role}
        path = str(self._templar.template(self._role["_course_hub_helm"]))
        return path if os.access(path, os.X_OK) else ""


def _needs_templar(value: object) -> bool:
    """Tell whether a value is or holds what may be a template, or what only Ansible reads (ansible-vault's)."""
    if isinstance(value, str):
        return "{" in value or value.startswith("#jinja2:")
    if isinstance(value, (Mapping, list)):
        return any(map(_needs_templar, value.values() if isinstance(value, Mapping) else value))
    return not (value is None or isinstance(value, (bool, int, float)))


def _by_namespace(items: Iterable[dict[str, Any]]) -> Mapping[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for item in items:
        found[item["metadata"]["namespace"]].append(item)
    return found
