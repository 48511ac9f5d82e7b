"""What runs in a person's server reaches its own course, DNS and the internet, and nothing else.

The probe is a notebook cell, since that is what a person can run. Each target is tried again without the policies, so a
target that is silent because nobody listens there is found as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LMS_URL, LTI11_COURSE, LTI13_COURSE
from tests.e2e.lti import Lms, Person
from tests.e2e.waiting import wait_for

HOME, OTHER = LTI13_COURSE, LTI11_COURSE
Address = tuple[str, int]
# Nobody answers there in the lab. Without policies the network says so; with them nothing is heard.
METADATA: dict[str, Address] = {"metadata": ("169.254.169.254", 80)}
# Runs in the notebook, hence one text. A dropped packet is "silent": a policy's doing, not that of a missing listener.
PROBE = """
import concurrent.futures, json, socket, urllib.request
def connect(address):
    try:
        socket.create_connection(tuple(address), 3).close()
        return "open"
    except TimeoutError:
        return "silent"
    except OSError as error:
        return f"{type(error).__name__}: {error}"
def get(url):
    try:
        return urllib.request.urlopen(url, timeout=10).status
    except Exception as error:
        return f"{type(error).__name__}: {error}"
addresses, urls = json.loads('''%s''')
with concurrent.futures.ThreadPoolExecutor(len(addresses) + len(urls)) as pool:
    jobs = {name: pool.submit(connect, address) for name, address in addresses.items()}
    jobs |= {name: pool.submit(get, url) for name, url in urls.items()}
    print(json.dumps({name: job.result() for name, job in jobs.items()}))
"""


def probe(person: Person, addresses: dict[str, Address], urls: dict[str, str] | None = None) -> dict[str, Any]:
    """Try all addresses and URLs at once from a person's notebook.

    Returns:
        name -> "open", "silent" or the error for an address, the HTTP status or the error for a URL.

    """
    result: dict[str, Any] = json.loads(person.run_cell(PROBE % json.dumps([addresses, urls or {}])))
    return result


@pytest.fixture(scope="module")
def people(lms: Lms) -> tuple[Person, Person]:
    """Two people of one course with running servers."""
    return lms.enter_lab(HOME, "student-61"), lms.enter_lab(HOME, "student-62")


@pytest.fixture(scope="module")
def forbidden(cluster: Cluster, people: tuple[Person, Person]) -> dict[str, Address]:
    """Everything with a listener that is none of a person's business."""
    targets: dict[str, Address] = {}
    for part, port in (("hub", 8081), ("proxy", 8000), ("exchange", 8080)):
        targets[f"{OTHER}: {part}'s pod"] = (cluster.pod(f"course-{OTHER}", f"{part}-").status.pod_ip, port)
    for service in cluster.core.list_namespaced_service(f"course-{OTHER}").items:
        targets[f"{OTHER}: service {service.metadata.name}"] = (service.spec.cluster_ip, service.spec.ports[0].port)
    targets[f"{OTHER}: proxy's routing table"] = (cluster.pod(f"course-{OTHER}", "proxy-").status.pod_ip, 8001)
    targets[f"{OTHER}: load balancer"] = (str(urlsplit(cluster.course_url(OTHER)).hostname), 80)
    targets["own proxy's routing table"] = (cluster.pod(f"course-{HOME}", "proxy-").status.pod_ip, 8001)
    targets["another person's server"] = (cluster.user_pod(HOME, people[1].name).status.pod_ip, 8888)
    api = cluster.core.read_namespaced_service("kubernetes", "default")
    targets["API server: service"] = (api.spec.cluster_ip, 443)
    label = "node-role.kubernetes.io/control-plane"
    for node in cluster.core.list_node().items:
        address = next(item.address for item in node.status.addresses if item.type == "InternalIP")
        targets[f"{node.metadata.name}: kubelet"] = (address, 10250)
        targets[f"{node.metadata.name}: SSH"] = (address, 22)
        if label in node.metadata.labels:
            targets[f"{node.metadata.name}: API server"] = (address, 6443)
            targets[f"{node.metadata.name}: etcd"] = (address, 2379)
    targets["a server of the campus network"] = (str(urlsplit(LMS_URL).hostname), 80)
    return targets


@contextmanager
def no_policies(cluster: Cluster, *courses: str) -> Iterator[None]:
    """Take the policies of some courses away, and put back exactly what was there, as helm had put it."""
    saved = [
        policy
        for course in courses
        for policy in cluster.networking.list_namespaced_network_policy(f"course-{course}").items
    ]
    assert saved, f"there are no policies in {courses}"
    try:
        for policy in saved:
            cluster.networking.delete_namespaced_network_policy(policy.metadata.name, policy.metadata.namespace)
        yield
    finally:
        for policy in saved:
            meta, body = policy.metadata, cluster.networking.api_client.sanitize_for_serialization(policy)
            kept = {"name": meta.name, "labels": meta.labels, "annotations": meta.annotations}
            body |= {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": kept}
            cluster.networking.patch_namespaced_network_policy(
                meta.name, meta.namespace, body, field_manager="helm", _content_type="application/apply-patch+yaml"
            )


def test_a_person_reaches_the_own_course_only(
    cluster: Cluster, people: tuple[Person, Person], forbidden: dict[str, Address]
) -> None:
    own = {
        "own hub, by name": "http://hub:8081/hub/api",
        "own exchange, by name": "http://exchange:8080/healthz",
        "own course's address": f"{cluster.course_url(HOME)}/hub/health",
    }
    closed = forbidden | METADATA
    assert probe(people[0], closed, own) == dict.fromkeys(closed, "silent") | dict.fromkeys(own, 200)


def test_the_policies_are_what_keeps_a_person_in(
    cluster: Cluster, people: tuple[Person, Person], forbidden: dict[str, Address]
) -> None:
    def all_are(state: str) -> bool:
        seen = probe(people[0], forbidden)
        different = {name: result for name, result in seen.items() if result != state}
        assert not different, different
        return True

    with no_policies(cluster, HOME, OTHER):
        wait_for("everything open without policies", lambda: all_are("open"), 30)
        assert probe(people[0], METADATA)["metadata"] != "silent"
    wait_for("everything closed again", lambda: all_are("silent"), 30)
