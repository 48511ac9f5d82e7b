"""The cluster as its operator sees it: through the kubeconfig that site.yml has left."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import requests
from kubernetes import client, config
from kubernetes.stream import stream

from tests.e2e.waiting import wait_for


class Cluster:
    """A few questions to the API server."""

    def __init__(self, kubeconfig: Path) -> None:
        """Connect with the operator's kubeconfig."""
        assert kubeconfig.exists(), f"{kubeconfig} is not there: has site.yml run on this inventory?"
        api = config.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]
        self.core: Any = client.CoreV1Api(api)
        self.apps: Any = client.AppsV1Api(api)
        self.storage: Any = client.StorageV1Api(api)
        self.networking: Any = client.NetworkingV1Api(api)
        self.custom: Any = client.CustomObjectsApi(api)
        self.version: Any = client.VersionApi(api)

    def workers(self) -> set[str]:
        """Names of the nodes that are not control planes."""
        label = "node-role.kubernetes.io/control-plane"
        return {node.metadata.name for node in self.core.list_node().items if label not in (node.metadata.labels or {})}

    def pods(self, namespace: str, prefix: str = "") -> list[Any]:
        """Pods of a namespace whose names begin with ``prefix``, without those that are being deleted."""
        return [
            pod
            for pod in self.core.list_namespaced_pod(namespace).items
            if pod.metadata.name.startswith(prefix) and pod.metadata.deletion_timestamp is None
        ]

    def pod(self, namespace: str, prefix: str) -> Any:  # noqa: ANN401
        """Return the one pod whose name begins with ``prefix``."""
        found = self.pods(namespace, prefix)
        assert len(found) == 1, f"{namespace}: want one pod {prefix}*, found {[pod.metadata.name for pod in found]}"
        return found[0]

    def user_pod(self, course: str, user: str) -> Any:  # noqa: ANN401
        """Return the pod of a person's server."""
        found = [
            pod
            for pod in self.pods(f"course-{course}")
            if (pod.metadata.annotations or {}).get("hub.jupyter.org/username") == user
        ]
        assert len(found) == 1, f"{course}: want one server of {user}, found {[pod.metadata.name for pod in found]}"
        return found[0]

    def stop_servers(self, course: str) -> None:
        """Delete the pods of all people's servers of a course; homes stay."""
        for pod in self.pods(f"course-{course}"):
            if (pod.metadata.labels or {}).get("component") == "singleuser-server":
                self.delete_pod(pod)

    def delete_pod(self, pod: Any) -> None:  # noqa: ANN401
        """Delete a pod at once and wait until it is gone."""
        name, namespace, uid = pod.metadata.name, pod.metadata.namespace, pod.metadata.uid
        self.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)

        def gone() -> bool:
            return all(item.metadata.uid != uid for item in self.core.list_namespaced_pod(namespace).items)

        wait_for(f"end of pod {namespace}/{name}", gone, 60)

    def run(self, pod: Any, *command: str, timeout: float = 30.0) -> str:  # noqa: ANN401
        """Run a command in a pod and return what it prints.

        Raises:
            AssertionError: if it fails or is not ready after ``timeout`` seconds, with what it says.

        """
        execute, where = self.core.connect_get_namespaced_pod_exec, (pod.metadata.name, pod.metadata.namespace)
        connection = stream(execute, *where, command=[*command], stdout=True, stderr=True, _preload_content=False)
        connection.run_forever(timeout=timeout)
        printed: str = connection.read_stdout()
        assert not connection.is_open(), f"{where}: {command[0]} has not ended after {timeout:.0f} s: {printed}"
        assert connection.returncode == 0, f"{where}: {command[0]}: {connection.read_stderr()}"
        return printed

    def ready(self, namespace: str, prefix: str) -> bool:
        """Tell whether the pods with this prefix are there and all ready."""
        pods = self.pods(namespace, prefix)
        return bool(pods) and all(
            condition.status == "True"
            for pod in pods
            for condition in pod.status.conditions or []
            if condition.type == "Ready"
        )

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """Return a Secret's data, decoded."""
        data = self.core.read_namespaced_secret(name, namespace).data or {}
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def course_url(self, course: str) -> str:
        """Return the address at which the load balancer offers a course's hub."""
        services = self.core.list_namespaced_service(f"course-{course}").items
        addresses = [
            ingress.ip
            for service in services
            if service.spec.type == "LoadBalancer"
            for ingress in service.status.load_balancer.ingress or []
        ]
        assert len(addresses) == 1, f"course-{course}: want one LoadBalancer address, found {addresses}"
        return f"http://{addresses[0]}"


def hub_answers(url: str) -> bool:
    """Tell whether the hub behind this course address answers its health check."""
    return requests.get(f"{url}/hub/health", timeout=3).status_code == 200
