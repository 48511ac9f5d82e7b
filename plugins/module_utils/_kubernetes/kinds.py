# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kinds of objects, and where the API server has them."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of object, in the version that the API server prefers.

    Attributes:
        group: of the API; empty for the core group.
        version: of the group.
        kind: as in a manifest.
        plural: name of the resource.
        namespaced: whether its objects are in namespaces.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True

    def url(self, namespace: str = "", name: str = "") -> str:
        """Return the path of all objects, of a namespace's, or of one."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [self.plural, *([urllib.parse.quote(name, safe="")] if name else [])]
        return "/" + "/".join(parts)


CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments")
EVENT = Kind("", "v1", "Event", "events")
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
NODE = Kind("", "v1", "Node", "nodes", namespaced=False)
POD = Kind("", "v1", "Pod", "pods")
REPLICA_SET = Kind("apps", "v1", "ReplicaSet", "replicasets")
SECRET = Kind("", "v1", "Secret", "secrets")
SERVICE = Kind("", "v1", "Service", "services")
VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", namespaced=False)


@dataclass(frozen=True)
class Query:
    """A question for one object, or for a list of them.

    Attributes:
        resource: name of the resource in the API, such as `configmaps`.
        api_version: group and version, or the version alone of the core group.
        namespace: where to look; empty for all namespaces, and for what is in none.
        name: of one object; empty for a list.
        label_selectors: requirements on the labels of a list, as `kubectl get --selector` takes them.
    """

    resource: str
    api_version: str = "v1"
    namespace: str = ""
    name: str = ""
    label_selectors: Sequence[str] = ()

    @property
    def path(self) -> str:
        """Return the path on the API server, with selectors."""
        group, _separator, version = self.api_version.rpartition("/")
        path = Kind(group, version, "", self.resource, bool(self.namespace)).url(self.namespace, self.name)
        labels = ",".join(self.label_selectors)
        return f"{path}?{urllib.parse.urlencode({'labelSelector': labels})}" if labels else path
