"""Copies of a course's services without their guards: what the attacks of the tests are seen to succeed at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.waiting import wait_for

HUB = playbook.ROOT / "tests/unit/images/hub/opened_hub.py"
NAME = "opened-hub"
# The configuration of the copy: the course's own, then the guards taken away.
CONFIGURATION = """
import pathlib, sqlite3
from campus_hubs_hub.configuration import configure
source, copy = "/srv/real/jupyterhub.sqlite", "/srv/jupyterhub/jupyterhub.sqlite"
if not pathlib.Path(copy).exists():
    with sqlite3.connect(f"file:{{source}}?mode=ro", uri=True) as old, sqlite3.connect(copy) as new:
        old.backup(new)
c = get_config()
configure(c)
from jupyterhub.proxy import Proxy
class NoProxy(Proxy):
    should_start = False
    async def add_route(self, *arguments): pass
    async def delete_route(self, *arguments): pass
    async def get_all_routes(self): return {{}}
c.JupyterHub.proxy_class = NoProxy
{opened}
open_hub(c, {attacker!r})
"""
START = """
import os, pathlib, sys
pathlib.Path("/tmp/opened.py").write_text(sys.argv[1])
os.execvp("jupyterhub", ["jupyterhub", "-f", "/tmp/opened.py"])
"""


@contextmanager
def opened_hub(cluster: Cluster, course: str, attacker: str) -> Iterator[str]:
    """Give the URL of a copy of a course's hub at which the attacker may do everything; it is gone afterwards.

    The copy is a pod of its own with the hub's image, configuration and Secrets, and a copy of its database.
    """
    namespace = f"course-{course}"
    hub = cluster.apps.read_namespaced_deployment("hub", namespace)
    spec = cluster.apps.api_client.sanitize_for_serialization(hub.spec.template.spec)
    program = CONFIGURATION.format(
        opened=HUB.read_text().replace("from __future__ import annotations", ""), attacker=attacker
    )
    container = spec["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        container.pop(probe, None)
    container["command"] = ["python3", "-c", START, program]
    database = next(mount for mount in container["volumeMounts"] if mount["name"] == "db")
    container["volumeMounts"] += [
        {"name": "db", "mountPath": "/srv/real"},
        {"name": "copy", "mountPath": database["mountPath"]},
    ]
    container["volumeMounts"].remove(database)
    spec["volumes"].append({"name": "copy", "emptyDir": {"sizeLimit": "64Mi"}})
    body = {"metadata": {"name": NAME, "labels": {"component": NAME}}, "spec": {**spec, "restartPolicy": "Never"}}
    cluster.core.create_namespaced_pod(namespace, body)
    try:
        yield wait_for("the opened hub's address", lambda: _address(cluster, namespace), 60)
    finally:
        cluster.delete_pod(cluster.core.read_namespaced_pod(NAME, namespace))


def _address(cluster: Cluster, namespace: str) -> str:
    pod = cluster.core.read_namespaced_pod(NAME, namespace)
    return f"http://{pod.status.pod_ip}:8081" if pod.status.pod_ip else ""
