"""Nodes ask a proxy for the internet, and never for their own cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import getproxies, proxy_bypass

import pytest
import yaml
from ansible_collections.campus.hubs.plugins.plugin_utils.proxies import SUBNETS, proxy_environment
from jinja2.exceptions import UndefinedError

from tests.unit.roles.role_variables import compute, render

ROOT = Path(__file__).resolve().parents[4]
FACTS = {"default_ipv4": {"address": "192.0.2.11"}}
HOSTS: list[dict[str, Any]] = [
    {
        "inventory_hostname": "cp1",
        "ansible_host": "cp1.example.edu",
        "kubeadm_control_plane_endpoint": "api.example.edu:6443",
    },
    {"inventory_hostname": "w1", "ansible_host": "192.0.2.12", "kubeadm_node_ip": "10.0.0.12"},
]
REACHED = [
    *("localhost", "127.0.0.1", "cp1", "cp1.example.edu", "api.example.edu", "192.0.2.12", "10.0.0.12"),
    *("hub.course-a.svc", "hub.course-a.svc.cluster.local", "registry.campus-hubs.internal", "git.intern.example.edu"),
]
PROXY = {"http": "http://proxy.example.edu:3128", "no_proxy": [".intern.example.edu"]}


def test_the_subnets_are_the_role_s() -> None:
    defaults = yaml.safe_load((ROOT / "roles/kubeadm/defaults/main.yml").read_text())
    assert {name: defaults[name] for name in SUBNETS} == SUBNETS


def test_no_proxy_no_environment() -> None:
    assert proxy_environment({}, HOSTS) == proxy_environment({"no_proxy": ["a"]}, HOSTS) == {}


@pytest.mark.parametrize("kind", ["http", "https"])
def test_one_url_stands_for_both(kind: str) -> None:
    made = proxy_environment({kind: "http://proxy.example.edu:3128"}, HOSTS)
    assert {made[name] for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")} == {PROXY["http"]}


def test_the_cluster_is_always_excepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python's own programs read it."""
    for name, value in proxy_environment(PROXY, HOSTS).items():
        monkeypatch.setenv(name, value)
    assert getproxies()["https"] == PROXY["http"]
    for host in REACHED:
        assert proxy_bypass(host), host
    assert not proxy_bypass("download.docker.com")
    assert set(SUBNETS.values()) < set(proxy_environment(PROXY, HOSTS)["no_proxy"].split(","))


def test_what_depends_on_facts_that_are_not_there_is_left_out() -> None:
    class Late(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:  # noqa: ANN401
            if name == "kubeadm_node_ip":
                raise UndefinedError
            return HOSTS[0][name]

        def __iter__(self) -> Iterator[str]:
            return iter(HOSTS[0])

        def __len__(self) -> int:
            return len(HOSTS[0])

    assert proxy_environment(PROXY, [Late()]) == proxy_environment(PROXY, [HOSTS[0]])


def variables(**own: Any) -> dict[str, Any]:  # noqa: ANN401
    groups = {"cluster": ["cp1", "w1"], "control_plane": ["cp1"]}
    hostvars = {host["inventory_hostname"]: {**host, **own} for host in HOSTS}
    return {"groups": groups, "hostvars": hostvars, "inventory_hostname": "cp1", "ansible_facts": FACTS, **own}


def test_containerd_and_apt_have_it() -> None:
    given = variables(node_proxy=PROXY)
    unit = render("containerd", "proxy.conf.j2", given)
    assert unit.startswith("# Ansible managed\n[Service]\n")
    assert 'Environment="https_proxy=http://proxy.example.edu:3128"\n' in unit
    assert (
        'Environment="no_proxy=localhost,127.0.0.1,::1,.svc,.cluster.local,registry.campus-hubs.internal,cp1,' in unit
    )
    apt = render("node", "apt.conf.j2", given)
    assert 'Acquire::https::Proxy "http://proxy.example.edu:3128";' in apt
    assert 'Acquire::http::Proxy::192.0.2.12 "DIRECT";' in apt
    assert "10.244.0.0" not in apt
    for role, expression in (("kubeadm", "_kubeadm_proxy"), ("course_images", "_course_images_environment")):
        assert compute(role, expression, given)["https_proxy"] == PROXY["http"]


def test_without_a_proxy_there_is_nothing() -> None:
    for role, expression in (
        *(("containerd", "_containerd_proxy"), ("node", "_node_proxy")),
        *(("kubeadm", "_kubeadm_proxy"), ("course_images", "_course_images_environment")),
    ):
        assert compute(role, expression, variables()) == {}, role


def test_what_the_builder_is_given_counts_most() -> None:
    given = variables(node_proxy=PROXY, course_images_build_environment={"https_proxy": "http://other:1"})
    assert compute("course_images", "_course_images_environment", given)["https_proxy"] == "http://other:1"
