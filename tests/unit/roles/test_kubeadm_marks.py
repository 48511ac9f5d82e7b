"""Labels and taint of control planes: pods run on them, and they announce addresses, where there are no workers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.roles.role_variables import compute

LABEL = "node-role.kubernetes.io/control-plane"
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


def marks(*labels: str, taint: bool) -> str:
    """Return a node as kubectl's jsonpath prints it."""
    taints = [{"effect": "NoSchedule", "key": LABEL}] if taint else ""
    labelled = json.dumps({"kubernetes.io/hostname": "cp1"} | dict.fromkeys(labels, ""), separators=(",", ":"))
    return f"cp1 {labelled} {json.dumps(taints, separators=(',', ':')) if taints else ''} 10.0.0.1"


ALL, NONE, LABELLED = marks(LABEL, EXCLUDED, taint=True), marks(taint=False), marks(LABEL, taint=False)


def decide(node: str | None, *, workers: list[str] | None, volumes: str | None = None) -> tuple[bool, bool]:
    """Return whether the control plane is marked, and whether marks are removed."""
    groups = {"control_plane": ["cp1"]} | ({} if workers is None else {"workers": workers})
    variables: dict[str, Any] = {
        "ansible_facts": {"nodename": "cp1"},
        "ansible_play_hosts_all": ["cp1"],
        "groups": groups,
        "hostvars": {"cp1": {"_kubeadm_nodes": {"stdout_lines": [] if node is None else [node]}}},
        "inventory_hostname": "cp1",
    }
    if volumes is not None:
        variables["_kubeadm_volumes"] = {"stdout": volumes}
    must = [compute("kubeadm", name, variables) for name in ("_kubeadm_must_mark", "_kubeadm_must_unmark")]
    return bool(must[0]), bool(must[1])


@pytest.mark.parametrize(
    ("node", "mark"),
    [
        (ALL, False),
        (NONE, True),
        (LABELLED, True),
        (marks(LABEL, EXCLUDED, taint=False), True),
        (marks(LABEL, taint=True), True),
        # It has just joined: kubeadm has marked it.
        (None, False),
    ],
)
def test_with_workers(node: str | None, mark: bool) -> None:
    assert decide(node, workers=["w1"]) == (mark, False)


@pytest.mark.parametrize("workers", [[], None])
@pytest.mark.parametrize(
    ("node", "mark", "unmark"),
    [
        (LABELLED, False, False),
        (ALL, False, True),
        (marks(LABEL, EXCLUDED, taint=False), False, True),
        (marks(LABEL, taint=True), False, True),
        # kubeadm sets both labels, so one of them is removed after that.
        (NONE, True, True),
        (None, False, True),
    ],
)
def test_without_workers(node: str | None, workers: list[str] | None, mark: bool, unmark: bool) -> None:
    assert decide(node, workers=workers) == (mark, unmark)


def test_volumes_of_a_control_plane_are_not_cut_off_when_workers_come() -> None:
    assert decide(LABELLED, workers=["w1"], volumes="w1 w1") == (True, False)
    # The label all the same: workers announce the addresses.
    assert decide(LABELLED, workers=["w1"], volumes="w1 cp1") == (True, False)
    assert decide(marks(LABEL, EXCLUDED, taint=False), workers=["w1"], volumes="w1 cp1") == (False, False)
    assert decide(marks(LABEL, EXCLUDED, taint=False), workers=["w1"], volumes="cp10 w1") == (True, False)


@pytest.mark.parametrize(
    ("server", "check"),
    [
        ("127.0.0.1:6443", "-checkip 127.0.0.1"),
        ("[2001:db8::1]:443", "-checkip 2001:db8::1"),
        ("api.example.edu:6443", "-checkhost api.example.edu"),
        ("host1.lab2:6443", "-checkhost host1.lab2"),
    ],
)
def test_the_name_that_the_certificate_needs(server: str, check: str) -> None:
    assert compute("kubeadm", "_kubeadm_server_check", {"kubeadm_kubeconfig_server": server}) == check
