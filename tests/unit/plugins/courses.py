"""Courses of an API server of a few objects, as the API server stores them."""

from __future__ import annotations

import base64
import copy
import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.assessment import assess_all
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import DesiredCourse
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import Chart
from ansible_collections.campus.hubs.plugins.module_utils._course_state.snapshot import Snapshot
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import Kind

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
THEN, LATER = "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z"
CONTAINER = 'k:{"name":"hub"}'
HOME = 'k:{"name":"HOME"}'

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "hub", "labels": {"app.kubernetes.io/managed-by": "Helm"}},
    "spec": {
        "replicas": 1,
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "hub",
                        "image": "hub:1",
                        "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 (a value)
                        "resources": {"limits": {"cpu": 0.5, "memory": "1Gi"}},
                        "command": ["jupyterhub", "--upgrade-db"],
                    }
                ],
                "volumes": [],
            }
        },
    },
}


def entry(manager: str, fields: dict[str, Any], time: str = LATER, subresource: str = "") -> dict[str, Any]:
    found = {"manager": manager, "operation": "Apply" if manager == "helm" else "Update", "time": time}
    return {**found, "fieldsV1": fields, **({"subresource": subresource} if subresource else {})}


def live() -> dict[str, Any]:
    """Return the Deployment as it is stored right after helm has applied it."""
    found = copy.deepcopy(DEPLOYMENT)
    spec = found["spec"]["template"]["spec"]
    del spec["volumes"]
    spec["containers"][0]["resources"] = {"limits": {"cpu": "500m", "memory": "1024Mi"}}
    spec["containers"][0]["terminationMessagePath"] = "/dev/termination-log"
    spec["dnsPolicy"] = "ClusterFirst"
    found["metadata"] |= {"resourceVersion": "7", "annotations": {"deployment.kubernetes.io/revision": "1"}}
    pod: dict[str, Any] = {
        "f:containers": {
            CONTAINER: {
                ".": {},
                "f:name": {},
                "f:image": {},
                "f:command": {},
                "f:env": {HOME: {".": {}, "f:name": {}, "f:value": {}}},
                "f:resources": {"f:limits": {"f:cpu": {}, "f:memory": {}}},
            }
        }
    }
    helm = {
        "f:metadata": {"f:labels": {"f:app.kubernetes.io/managed-by": {}}},
        "f:spec": {"f:replicas": {}, "f:template": {"f:spec": pod}},
    }
    status: dict[str, Any] = {
        "f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}},
        "f:status": {},
    }
    found["metadata"]["managedFields"] = [
        entry("helm", helm, THEN),
        entry("kube-controller-manager", status, subresource="status"),
    ]
    return found


def container(found: dict[str, Any]) -> dict[str, Any]:
    item: dict[str, Any] = found["spec"]["template"]["spec"]["containers"][0]
    return item


MANIFEST = json.dumps(DEPLOYMENT)
KINDS = [
    Kind("", "v1", "Secret", "secrets", namespaced=True),
    Kind("", "v1", "Namespace", "namespaces", namespaced=False),
    Kind("", "v1", "Pod", "pods", namespaced=True),
    Kind("", "v1", "ConfigMap", "configmaps", namespaced=True),
    Kind("apps", "v1", "Deployment", "deployments", namespaced=True),
]


def secret(course: str, status: str = "deployed", version: int = 1, **record: Any) -> dict[str, Any]:  # noqa: ANN401
    chart = {"metadata": {"name": "course-hub"}, "templates": [], "files": [], "values": {}}
    namespace = f"course-{course}"
    document = {"name": course, "namespace": namespace, "version": version, "chart": chart, "config": {"a": 1}}
    document |= {"info": {"status": status, "last_deployed": THEN}, "manifest": MANIFEST, **record}
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(document).encode()))).decode()
    labels = {"owner": "helm", "name": course, "version": str(version), "status": status}
    return {
        "metadata": {"name": f"{course}.v{version}", "namespace": namespace, "labels": labels},
        "data": {"release": data},
    }


class FewObjects:
    """Answers lists from memory."""

    def __init__(self, *secrets: dict[str, Any]) -> None:
        """Take Helm's Secrets; each course has its Deployment."""
        self.secrets, self.calls = secrets, 0
        self.others: dict[str, list[dict[str, Any]]] = {kind.kind: [] for kind in KINDS}
        self.deployments = []
        for item in secrets:
            course = item["metadata"]["labels"]["name"]
            metadata = {"meta.helm.sh/release-name": course, "meta.helm.sh/release-namespace": f"course-{course}"}
            found = live()
            found["metadata"]["namespace"] = f"course-{course}"
            found["metadata"]["annotations"] |= metadata
            self.deployments.append(found)
            labels = {"campus.hubs/course": course, "app.kubernetes.io/managed-by": "campus.hubs"}
            labels["pod-security.kubernetes.io/enforce"] = "restricted"
            self.others["Namespace"].append({"metadata": {"name": f"course-{course}", "labels": labels}})

    def kinds(self) -> list[Kind]:
        """See `Api`."""
        return KINDS

    def objects(
        self, kind: Kind, *, labels: str = "", fields: str = "", metadata_only: bool = False
    ) -> list[dict[str, Any]]:
        """See `Api`."""
        assert fields in ("", "type=kubernetes.io/tls")
        self.calls += 1
        if kind.kind == "Secret" and "owner=helm" in labels:
            return list(self.secrets)
        if kind.kind == "Deployment" and not metadata_only:
            return self.deployments
        return self.others[kind.kind]

    def patch(self, *_: object, dry: bool) -> dict[str, Any]:
        """Answer as if the repair had worked."""
        assert dry
        return live()

    def add(self, kind: str, name: str, course: str = "a", **metadata: Any) -> None:  # noqa: ANN401
        """Put an object of kubectl's into a course's namespace."""
        entries = [entry("kubectl-create", {"f:data": {}})]
        place = {"name": name, "namespace": f"course-{course}", "creationTimestamp": LATER, "managedFields": entries}
        self.others[kind].append({"metadata": {**place, **metadata}})


def chart(tmp_path: Path) -> Chart:
    (tmp_path / "Chart.yaml").write_text("name: course-hub\n")
    (tmp_path / "values.yaml").write_text("{}\n")
    return Chart.read(tmp_path)


def states(tmp_path: Path, api: FewObjects, *courses: str, values: Any = None) -> dict[str, Any]:  # noqa: ANN401
    desired = {course: DesiredCourse(f"course-{course}", values or {"a": 1}) for course in courses}
    namespaces = [course.namespace for course in desired.values()]
    snapshot = Snapshot.collect(api, chart(tmp_path), namespaces)  # type: ignore[arg-type]
    return {state.course: state for state in assess_all(api, snapshot, desired)}  # type: ignore[arg-type]
