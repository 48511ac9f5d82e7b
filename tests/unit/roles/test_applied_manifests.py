"""What is applied has changed if its manifest has, and not if its status does meanwhile: a false alarm."""

from __future__ import annotations

import copy
from typing import Any

import yaml
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.service import diff_objects

from tests.unit.roles.role_variables import ROOT, flat

LIVE: dict[str, Any] = {
    "kind": "DaemonSet",
    "metadata": {"name": "speaker", "generation": 1, "resourceVersion": "7", "managedFields": [{"time": "1"}]},
    "spec": {"replicas": 2},
    "status": {"numberReady": 2},
}


def applied() -> dict[str, dict[str, Any]]:
    """Return the arguments of all tasks of roles for the platform that apply manifests, by file and name."""
    found = {}
    for path in (ROOT / "roles").glob("*/tasks/*.yml"):
        for task in flat(yaml.safe_load(path.read_text())):
            arguments = task.get("kubernetes.core.k8s", {})
            if arguments.get("apply") and "server_side_apply" not in arguments:
                found[f"{path.parents[1].name}: {task['name']}"] = arguments
    return found


def test_a_status_is_no_change() -> None:
    tasks = applied()
    assert len(tasks) >= 6
    later, edited = copy.deepcopy(LIVE), copy.deepcopy(LIVE)
    later["metadata"] |= {"resourceVersion": "8", "managedFields": [{"time": "2"}]}
    later["status"] = {"numberReady": 3}
    edited["spec"]["replicas"] = 3
    for name, arguments in tasks.items():
        hidden = arguments.get("hidden_fields", ["metadata.managedFields"])
        assert diff_objects(LIVE, later, hidden)[0], name
        assert not diff_objects(LIVE, edited, hidden)[0], name
