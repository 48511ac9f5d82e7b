"""The values of all courses are those that the role computes, and what is said about a course is short."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.campus.hubs.plugins.action.course_state import lines
from ansible_collections.campus.hubs.plugins.module_utils.course_state.api import ApiError, Kind
from ansible_collections.campus.hubs.plugins.plugin_utils.wanted_values import WantedValues, chart_files

ROOT = Path(__file__).resolve().parents[4]
CLUSTER: dict[str, dict[str, Any]] = {
    "endpointslices": {
        "kind": "EndpointSliceList",
        "items": [{"endpoints": [{"addresses": ["192.0.2.11"]}], "ports": [{"port": 6443}]}],
    },
    "nodes": {
        "kind": "NodeList",
        "items": [{"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}], "conditions": []}}],
    },
    "kubeadm-config": {
        "kind": "ConfigMap",
        "data": {"ClusterConfiguration": "networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12}"},
    },
    "course-images": {
        "kind": "ConfigMap",
        "data": {"hub": "r/hub@1", "singleuser": "r/su@1", "proxy": "r/proxy@1", "exchange": "r/exchange@1"},
    },
    "storageclasses": {"kind": "StorageClassList", "items": []},
}


class Answers:
    """Answers from memory; what is not there is a 404."""

    def request(self, method: str, url: str) -> dict[str, Any]:
        """See `Api`."""
        assert method == "GET"
        name = url.partition("?")[0].rpartition("/")[2]
        if name not in CLUSTER:
            raise ApiError(404, name)
        return CLUSTER[name]

    def objects(self, kind: Kind, **_: object) -> list[dict[str, Any]]:
        """See `Api`: one course's Secret, and its Service with an address."""
        metadata = {"name": "course-secrets", "namespace": "course-a", "resourceVersion": "7"}
        address = {"loadBalancer": {"ingress": [{"ip": "192.0.2.200"}]}}
        return [{"metadata": metadata}] if kind.kind == "Secret" else [{"metadata": metadata, "status": address}]


@pytest.fixture
def wanted() -> WantedValues:
    """Return the values' computer on a cluster of one node."""
    return WantedValues(ROOT, DataLoader(), Answers())  # type: ignore[arg-type]


def values(wanted: WantedValues, host: str, **variables: object) -> dict[str, Any]:
    raw = {"inventory_hostname": host, "ansible_check_mode": False, **variables}
    found, why = wanted.values(wanted.variables(host, raw))
    assert found is not None, why
    return found


def test_values_are_the_roles_with_what_the_cluster_says(wanted: WantedValues) -> None:
    found = values(wanted, "a", course_hub_title="Course A", course_hub_lms_url="https://lms.example.edu")
    assert found["hub"]["publicUrl"] == "http://192.0.2.200/"
    assert found["hub"]["image"] == {"name": "r/hub@1"}
    assert found["networkPolicy"]["apiServer"] == {"cidrs": ["192.0.2.11/32"], "port": 6443}
    assert "10.244.0.0/16" in found["networkPolicy"]["notInternet"]
    assert found["hub"]["config"]["CourseAuthenticator"]["course_title"] == "Course A"


def test_each_course_has_its_own_secrets_and_address(wanted: WantedValues) -> None:
    one, other = (values(wanted, host) for host in ("a", "b"))
    assert one["checksum"]["chart"] == other["checksum"]["chart"]
    assert one["checksum"]["secrets"] != other["checksum"]["secrets"]
    assert other["hub"]["publicUrl"] == ""


def test_what_can_not_be_computed_is_said(wanted: WantedValues) -> None:
    raw = {"inventory_hostname": "a", "ansible_check_mode": False, "course_hub_max_upload": "{{ nothing }}"}
    found, why = wanted.values(wanted.variables("a", raw))
    assert found is None
    assert "nothing" in why


def test_the_charts_files_are_those_that_find_finds() -> None:
    chart = ROOT / "charts" / "course-hub"
    arguments = {"paths": [str(chart)], "recurse": True, "get_checksum": True, "excludes": ["*.pyc"]}
    command = [str(Path(sys.executable).with_name("ansible")), "localhost", "-m", "ansible.builtin.find"]
    done = subprocess.run(  # noqa: S603
        [*command, "-o", "-a", json.dumps(arguments), "-e", f"ansible_python_interpreter={sys.executable}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    found = json.loads(done.stdout.partition("=>")[2])["files"]
    assert sorted((file["path"], file["checksum"]) for file in found) == [
        (file["path"], file["checksum"]) for file in chart_files(chart)
    ]


def test_nothing_is_said_about_a_course_in_sync() -> None:
    course = {"course": "a", "state": "in_sync", "reasons": [], "consequences": [], "unready": []}
    assert lines({**course, "deploy": False, "repair": False}) == []
    drifted = {**course, "state": "drifted", "reasons": ["why"], "consequences": ["then"]}
    assert lines({**drifted, "deploy": False, "repair": True}) == ["a: drifted", "  why", "  -> then"]
    assert lines({**drifted, "deploy": False, "repair": False}) == ["a: drifted", "  why"]
