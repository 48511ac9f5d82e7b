"""The values of all courses are those that the role computes, and what is said about a course is short."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.plugins.loader import connection_loader
from ansible.template import Templar, trust_as_template
from ansible_collections.campus.hubs.plugins.action import course_state, release_values
from ansible_collections.campus.hubs.plugins.action.course_state import lines, room
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import StateError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import (
    ApiError,
    NoAnswerError,
    NoKubeconfigError,
    WrongKubeconfigError,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import Kind
from ansible_collections.campus.hubs.plugins.plugin_utils.course_inputs import InventoryCourses
from ansible_collections.campus.hubs.plugins.plugin_utils.release_values import chart_checksum

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


class Answers(Api):
    """Answers from memory; what is not there is a 404."""

    def __init__(self) -> None:
        """There is no connection."""

    def request(self, method: str, url: str, *_: object, **__: object) -> dict[str, Any]:
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


def inventory(courses: dict[str, dict[str, Any]]) -> InventoryCourses:
    """Return courses of an inventory, on a cluster of one node."""
    own = {name: {"inventory_hostname": name, **raw} for name, raw in courses.items()}
    return InventoryCourses(own, DataLoader(), Answers(), check=False)


def values(courses: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    found, wanted = {}, inventory(courses)
    for name in courses:
        course = wanted.course(name)
        assert course.values is not None, course.why
        found[name] = course.values
    return found


def test_values_are_the_roles_with_what_the_cluster_says() -> None:
    found = values({"a": {"course_hub_title": "Course A", "course_hub_lms_url": "https://lms.example.edu"}})["a"]
    assert found["hub"]["publicUrl"] == "http://192.0.2.200/"
    assert found["hub"]["image"] == {"name": "r/hub@1"}
    assert found["networkPolicy"]["apiServer"] == {"cidrs": ["192.0.2.11/32"], "port": 6443}
    assert "10.244.0.0/16" in found["networkPolicy"]["notInternet"]
    assert found["hub"]["config"]["CourseAuthenticator"]["course_title"] == "Course A"


def test_each_course_has_its_own_secrets_and_address() -> None:
    found = values({"a": {}, "b": {}})
    assert found["a"]["checksum"]["chart"] == found["b"]["checksum"]["chart"]
    assert found["a"]["checksum"]["secrets"] != found["b"]["checksum"]["secrets"]
    assert found["b"]["hub"]["publicUrl"] == ""


def test_what_can_not_be_computed_is_said() -> None:
    course = inventory({"a": {"course_hub_max_upload": trust_as_template("{{ nothing }}")}, "b": {}}).course("a")
    assert course.values is None
    assert "nothing" in course.why


@pytest.mark.parametrize("wrong", ["hub: {}", trust_as_template("{{ nothing }}"), ["a"]])
def test_values_that_do_not_combine_stop_their_own_course_only(wrong: object) -> None:
    courses = inventory({"a": {"course_hub_values": wrong}, "b": {}})
    assert courses.course("a").values is None
    assert courses.course("a").why
    assert courses.course("b").values is not None


def test_a_variable_that_decides_what_is_done_is_named_with_its_course() -> None:
    courses = inventory({"a": {"course_hub_show_secret": trust_as_template("{{ nothing }}")}})
    with pytest.raises(StateError, match=r"a: .*'nothing' is undefined"):
        courses.course("a")


@pytest.mark.parametrize(
    ("own", "needs_role", "lti13"),
    [
        ({}, False, False),
        ({"course_hub_show_secret": "true"}, True, False),
        ({"course_hub_lti13_key_rotate_after_days": "30"}, True, False),
        ({"course_hub_lti13_platform": "moodle"}, False, True),
    ],
)
def test_what_more_is_to_be_done(own: dict[str, Any], needs_role: bool, lti13: bool) -> None:
    course = inventory({"a": own}).course("a")
    assert (course.needs_role, course.lti13) == (needs_role, lti13)


PLATFORM = {"issuer": "https://lms.example.edu", "token_endpoint": "https://lms.example.edu/token"}
PLATFORM |= {"jwks_uri": "https://lms.example.edu/jwks"}
# What one course has, and how it says it.
SETTINGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "title": {"course_hub_title": "Title: {{ no template }}"},
    "template": {"course_hub_title": trust_as_template("{{ inventory_hostname | upper }} {{ term }}"), "term": "w"},
    "platform": {"course_hub_lti_platforms": {"moodle": PLATFORM}, "course_hub_lti13_platform": "moodle"},
    "memory": {"course_hub_memory": {"guarantee": "1G", "limit": "3G"}, "course_hub_cpu": {"guarantee": 1, "limit": 2}},
    "values": {"course_hub_values": {"hub": {"config": {"Spawner": {"start_timeout": 99}}}}},
    "unrelated": {"course_hub_title": trust_as_template("Starts within {{ course_hub_wait_seconds }} s")},
    "indirect": {"course_hub_home_size": trust_as_template("{{ size }}Gi"), "size": 7},
    "another variable": {"course_hub_title": trust_as_template("{{ vars['te' ~ 'rm'] }}"), "term": "w"},
    "other delimiters": {
        "course_hub_title": trust_as_template(
            "#jinja2: variable_start_string:'[[', variable_end_string:']]'\n[[ t ]]{{ }}"
        ),
        "t": "w",
    },
    "material": {
        "course_hub_material": {"git": "git@192.0.2.7:a/b.git"},
        "course_hub_environment": {"A": 1, "b": "\\d"},
    },
}


@pytest.mark.parametrize("common", [{}, SETTINGS["memory"], SETTINGS["platform"], SETTINGS["template"]])
def test_a_course_has_the_same_values_beside_others_as_alone(common: dict[str, Any]) -> None:
    courses = {name: {**common, **own} for name, own in SETTINGS.items()}
    assert values(courses) == {name: values({name: own})[name] for name, own in courses.items()}


def test_values_are_those_that_the_role_hands_to_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the role calls, with the variables that a task has."""
    monkeypatch.setattr(release_values, "task_api", lambda *_: Answers())
    loader = DataLoader()
    defaults = loader.load_from_file(str(ROOT / "roles/course_hub/defaults/main.yml"), trusted_as_template=True)
    for course, own in {**SETTINGS, "a": {}}.items():
        variables = {**defaults, "inventory_hostname": course, **own}
        variables["vars"] = {**variables}
        task = Task.load({"name": "x", "campus.hubs.release_values": {}})
        templar = Templar(loader=loader, variables=variables)
        context = PlayContext()
        connection = connection_loader.get("ansible.builtin.local", context)
        action = release_values.ActionModule(task, connection, context, loader, templar, None)
        made = action.run(None, variables)
        assert made["release_values"] == values({course: own})[course]
        assert made["public_url"] == made["release_values"]["hub"]["publicUrl"]
        file = Path(made["values_file"])
        assert yaml.safe_load(file.read_text()) == made["release_values"]
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent == Path(constants.DEFAULT_LOCAL_TMP)


def test_a_chart_with_another_file_or_content_has_another_checksum(tmp_path: Path) -> None:
    chart = tmp_path / "chart"
    shutil.copytree(ROOT / "charts" / "course-hub", chart)
    before = chart_checksum(chart)
    assert before == chart_checksum(ROOT / "charts" / "course-hub")
    (chart / ".hidden").write_text("x")
    assert chart_checksum(chart) == before
    (chart / "values.yaml").write_text("x")
    changed = chart_checksum(chart)
    (chart / "templates" / "more.yaml").write_text("")
    assert len({before, changed, chart_checksum(chart)}) == 3


def test_nothing_is_said_about_a_course_in_sync() -> None:
    course = {"course": "a", "state": "in_sync", "reasons": [], "consequences": [], "unready": []}
    assert lines({**course, "deploy": False, "repair": False}) == []
    drifted = {**course, "state": "drifted", "reasons": ["why"], "consequences": ["then"]}
    assert lines({**drifted, "deploy": False, "repair": True}) == ["a: drifted", "  why", "  -> then"]
    assert lines({**drifted, "deploy": False, "repair": False}) == ["a: drifted", "  why"]


SERVER = "https://192.0.2.11:6443"


@pytest.mark.parametrize(
    ("error", "check", "found"),
    [
        (NoKubeconfigError("/k"), True, "changed"),
        (NoKubeconfigError("/k"), False, "unreachable"),
        (NoAnswerError(SERVER, "refused"), True, "unreachable"),
        (NoAnswerError(SERVER, "refused"), False, "unreachable"),
        (WrongKubeconfigError("no current context"), True, "unreachable"),
        (ApiError(403, "not for you"), True, "failed"),
    ],
)
def test_only_without_a_kubeconfig_a_check_says_that_there_is_no_cluster_yet(
    monkeypatch: pytest.MonkeyPatch, error: Exception, check: bool, found: str
) -> None:
    def refuse(*_: object) -> Api:
        raise error

    monkeypatch.setattr(course_state, "task_api", refuse)
    task = Task.load({"name": "x", "campus.hubs.course_state": {}, "check_mode": check})
    loader, context = DataLoader(), PlayContext()
    connection = connection_loader.get("ansible.builtin.local", context)
    action = course_state.ActionModule(task, connection, context, loader, Templar(loader=loader), None)
    result = action.run(None, {"hostvars": {}, "groups": {}, "ansible_play_hosts": []})
    assert [name for name in ("changed", "unreachable", "failed") if result.get(name)] == [found]
    assert result["msg"] == f"Courses: {error}"
    assert ("summary" in result) is (found == "changed")


def test_how_full_the_cluster_is() -> None:
    """By the values that the inventory gives; of a course without them nothing is known."""
    ready = {"type": "Ready", "status": "True"}
    allocatable = {"cpu": "2", "memory": "4Gi", "pods": "110"}
    node = {"metadata": {"name": "w1"}, "status": {"allocatable": allocatable, "conditions": [ready]}}

    class Cluster(Answers):
        """One node, without pods."""

        def objects(self, kind: Kind, **options: object) -> list[dict[str, Any]]:
            """See `Api`."""
            assert kind.kind == "Node" or options == {"fields": "status.phase!=Succeeded,status.phase!=Failed"}
            return [node] if kind.kind == "Node" else []

    class Refuses(Answers):
        """An account that may not list nodes."""

        def objects(self, kind: Kind, **_: object) -> list[dict[str, Any]]:
            """See `Api`."""
            raise ApiError(403, f"cannot list {kind.plural}")

    courses = {"a": values({"a": {}})["a"], "b": None}
    said = room(Cluster(), courses)
    assert said[0] == "1 node takes servers; requested there: 0.0 of 2.0 cores, 0.0 of 4.0 GiB of memory."
    assert said[1:] == ["8 more servers fit, of 0.1 cores, 512 MiB of memory each (a)."]
    assert room(Refuses(), courses) == ["How full the cluster is, is not known: cannot list nodes"]
