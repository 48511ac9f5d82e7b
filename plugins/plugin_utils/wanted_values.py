# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values of all courses' releases, computed in one step as the role course_hub computes them for each.

The role's own defaults, variables and template are used, with what its tasks would have registered; so there is one
place that says what a course's values are.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.campus.hubs.plugins.module_utils.course_state.api import Api, ApiError, Kind

_ROLE = "course_hub"
_WORDS = {"secrets": f"_{_ROLE}_secrets", "service": f"_{_ROLE}_service"}
_SECRETS = Kind("", "v1", "Secret", "secrets", namespaced=True, verbs=frozenset())
_SERVICES = Kind("", "v1", "Service", "services", namespaced=True, verbs=frozenset())
# What can differ between courses, or is known only later; and what is like it.
_VARIABLE = re.compile(f"_?{_ROLE}_.*|ansible_.*|inventory_.*|hostvars|groups|vars|role_path|lookup|query|q|now")
# What roles/course_hub/tasks/cluster.yml reads.
_CLUSTER = {
    f"_{_ROLE}_endpoints": (
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name%3Dkubernetes"
    ),
    f"_{_ROLE}_node_list": "/api/v1/nodes",
    f"_{_ROLE}_kubeadm_config": "/api/v1/namespaces/kube-system/configmaps/kubeadm-config",
    f"_{_ROLE}_images": "/api/v1/namespaces/campus-hubs/configmaps/course-images",
    f"_{_ROLE}_packaged": "/api/v1/namespaces/campus-hubs/configmaps/course-packages",
    f"_{_ROLE}_classes": "/apis/storage.k8s.io/v1/storageclasses",
}


class WantedValues:
    """Computes the values of courses; reads what they depend on once."""

    def __init__(self, collection: Path, loader: DataLoader, api: Api) -> None:
        """Read the role and the cluster.

        Args:
            collection: folder of the collection.
            loader: reads the role's files, so that they count as trusted templates.
            api: the API server.

        Raises:
            ApiError: the API server refuses.
        """
        self._role = collection / "roles" / _ROLE
        self.chart = (collection / "charts" / "course-hub").resolve()
        self._loader = loader
        self._defaults = loader.load_from_file(str(self._role / "defaults" / "main.yml"), trusted_as_template=True)
        self._vars = loader.load_from_file(str(self._role / "vars" / "main.yml"), trusted_as_template=True)
        self._registered: dict[str, Any] = {name: {"resources": _read(api, url)} for name, url in _CLUSTER.items()}
        self._registered[f"_{_ROLE}_chart_files"] = {"files": chart_files(self.chart)}
        self._shared = self._compute_shared()
        self._secrets = _by_namespace(
            api.objects(_SECRETS, labels="app.kubernetes.io/managed-by=campus.hubs", metadata_only=True)
        )
        self._services = _by_namespace(api.objects(_SERVICES, fields="metadata.name=proxy"))

    def _compute_shared(self) -> dict[str, Any]:
        """Return the role's variables that depend on the cluster only: the same for all courses, so computed once."""
        known = {**self._registered, "role_path": str(self._role)}
        shared: dict[str, Any] = {}
        while True:
            ready = {
                name: raw
                for name, raw in self._vars.items()
                if name not in shared
                and {word for word in _words(raw) if _VARIABLE.fullmatch(word)} <= {*known, *shared}
            }
            if not ready:
                return shared
            templar = Templar(loader=self._loader, variables={**known, **shared, **ready})
            for name, raw in ready.items():
                try:
                    shared[name] = templar.template(raw)
                except AnsibleError:
                    shared[name] = raw  # each course says it

    def variables(self, host: str, raw: Mapping[str, Any]) -> Templar:
        """Return a templar with all that the role's variables mean for one course.

        Args:
            host: the course's id.
            raw: the host's variables, not templated.
        """
        namespace = f"course-{host}"
        variables = {
            **self._defaults,
            **raw,
            **self._vars,
            **self._registered,
            **self._shared,
            _WORDS["secrets"]: {"resources": self._secrets[namespace]},
            _WORDS["service"]: {"resources": self._services[namespace]},
            "role_path": str(self._role),
            "ansible_search_path": [str(self._role)],
            "ansible_facts": {"system": platform.system(), "architecture": platform.machine()},
        }
        return Templar(loader=self._loader, variables=variables)

    def values(self, templar: Templar) -> tuple[dict[str, Any] | None, str]:
        """Return a course's values, or None and why they can not be computed (its deployment will say the same)."""
        try:
            values = templar.template(self._vars[f"_{_ROLE}_release_values"])
            # Without Ansible's marks on each text.
            plain: dict[str, Any] = json.loads(json.dumps(values))
            return plain, ""
        except AnsibleError as error:
            return None, " ".join(str(error.message).split())

    def option(self, templar: Templar, name: str) -> Any:  # noqa: ANN401 (a variable can be anything)
        """Return the value of one of the role's variables."""
        return templar.template(templar.available_variables[name])

    def helm(self, templar: Templar) -> str:
        """Return the helm program of the cache, empty if it is not there yet."""
        path = str(templar.template(self._vars[f"_{_ROLE}_helm"]))
        return path if os.access(path, os.X_OK) else ""


def _words(raw: object) -> set[str]:
    if isinstance(raw, str):
        return set(re.findall(r"\w+", raw))
    parts = raw.values() if isinstance(raw, Mapping) else raw if isinstance(raw, list) else ()
    return {word for part in parts for word in _words(part)}


def chart_files(chart: Path) -> list[dict[str, str]]:
    """Return path and checksum of a chart's files, as the role has them from ansible.builtin.find."""
    return [
        {"path": str(path), "checksum": hashlib.sha1(path.read_bytes()).hexdigest()}  # noqa: S324 (find's own)
        for path in sorted(chart.rglob("*"))
        if path.is_file()
        and path.suffix != ".pyc"
        and not any(part.startswith(".") for part in path.relative_to(chart).parts)
    ]


def _read(api: Api, url: str) -> list[dict[str, Any]]:
    """Return the objects of a list, one object, or nothing if it is not there."""
    try:
        found = api.request("GET", url)
    except ApiError as error:
        if error.status == 404:
            return []
        raise
    return list(found.get("items") or []) if found["kind"].endswith("List") else [found]


def _by_namespace(items: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = defaultdict(list)
    for item in items:
        found[item["metadata"]["namespace"]].append(item)
    return found
