"""The YAML that the module has found is read on the control machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.plugins.action import ActionBase
from ansible_collections.campus.hubs.plugins.action import kubeadm_info

KUBELET = "containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\npodPidsLimit: 4096\nresolvConf: /x\n"


def run(monkeypatch: pytest.MonkeyPatch, returned: dict[str, Any]) -> dict[str, Any]:
    """Run the action with what the module returns."""
    monkeypatch.setattr(ActionBase, "run", lambda self, tmp, task_vars: {})
    monkeypatch.setattr(ActionBase, "_execute_module", lambda self, **_: dict(returned))
    action = kubeadm_info.ActionModule(*[SimpleNamespace()] * 6)
    found: dict[str, Any] = action.run(task_vars={})
    return found


@pytest.mark.parametrize(("text", "expected"), [("a: 1\n", {"a": 1}), ("a: [\n", {}), ("", {}), ("- a\n", {})])
def test_a_document_is_what_its_yaml_says_or_empty(text: str, expected: dict[str, Any]) -> None:
    assert kubeadm_info.document(text) == expected


def test_what_differs_from_node_to_node_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = {
        "configuration": "clusterName: lab\n",
        "kubelet_configuration": "podPidsLimit: 4096\n",
        "nodes": {"x": 1},
    }
    found = run(
        monkeypatch, {"cluster": cluster, "kubelet": {"configuration": KUBELET, "flags": []}, "is_member": True}
    )
    kubelet = {"podPidsLimit": 4096}
    assert found == {
        "cluster": {"configuration": {"clusterName": "lab"}, "kubelet_configuration": kubelet, "nodes": {"x": 1}},
        "kubelet": {"configuration": kubelet, "flags": []},
        "is_member": True,
    }


def test_where_there_is_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(monkeypatch, {"cluster": {}, "kubelet": {"configuration": "", "flags": []}})
    assert found == {"cluster": {}, "kubelet": {"configuration": {}, "flags": []}}


def test_a_failure_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, {"failed": True, "msg": "x"}) == {"failed": True, "msg": "x"}
