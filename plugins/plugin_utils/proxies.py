# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The environment of programs on nodes and builders that reach the internet by a proxy, and the cluster without."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleError
from jinja2.exceptions import UndefinedError

# The defaults of role kubeadm; the registry is that of role course_images.
SUBNETS = {"kubeadm_pod_subnet": "10.244.0.0/16", "kubeadm_service_subnet": "10.96.0.0/16"}
ALWAYS = ("localhost", "127.0.0.1", "::1", ".svc", ".cluster.local", "registry.campus-hubs.internal")


def proxy_environment(proxy: Mapping[str, Any], hosts: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return environment variables, in both spellings; empty without a proxy.

    Args:
        proxy: `http`, `https` (URLs; one stands for both) and `no_proxy` (names, domains, addresses, networks).
        hosts: variables of all nodes.
    """
    urls = {kind: str(proxy.get(kind) or "") for kind in ("http", "https")}
    if not any(urls.values()):
        return {}
    exceptions = dict.fromkeys([*ALWAYS, *_of_cluster(hosts), *map(str, proxy.get("no_proxy") or ())])
    found = {f"{kind}_proxy": url or next(filter(None, urls.values())) for kind, url in urls.items()}
    found["no_proxy"] = ",".join(exceptions)
    return found | {name.upper(): value for name, value in found.items()}


def _of_cluster(hosts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    # By what the inventory says alone: a run with fewer hosts, or without facts, has the same.
    for host in hosts:
        for name in ("inventory_hostname", "ansible_host", "kubeadm_node_ip", *SUBNETS):
            yield from _value(host, name)
        for name in ("kubeadm_control_plane_endpoint", "kubeadm_kubeconfig_server"):
            for endpoint in _value(host, name):
                yield endpoint.rpartition(":")[0].strip("[]") or endpoint


def _value(host: Mapping[str, Any], name: str) -> Iterator[str]:
    try:
        value = str(host.get(name) or "")
    except (AnsibleError, UndefinedError):  # it depends on facts that are not there
        value = ""
    if value or name in SUBNETS:
        yield value or SUBNETS[name]
