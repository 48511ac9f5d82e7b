"""Templates, facts and the command line, through Ansible's own loader."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils import variable_specs
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import report
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_reader import needs_facts

from tests.unit.plugins.inventories import mistakes_of

INVENTORY = """
all:
  children:
    control_plane: {hosts: {one: {ansible_host: 192.0.2.1}}}
    cluster:
      children: {control_plane: {}}
      vars:
        load_balancer_addresses: [192.0.2.8/30]
CLUSTER
    courses:
      hosts:
        python-ws26:
          course_hub_title: Python
COURSE
"""


def indent(text: str, width: int) -> str:
    return "\n".join(" " * width + line for line in text.splitlines())


def sentences(
    tmp_path: Path,
    cluster: str = "",
    course: str = "",
    extra: dict[str, object] | None = None,
) -> str:
    path = tmp_path / "hosts.yml"
    path.write_text(INVENTORY.replace("CLUSTER", indent(cluster, 8)).replace("COURSE", indent(course, 10)))
    found = mistakes_of(path, extra)
    return report(found) if found else ""


@pytest.mark.parametrize(
    "line",
    [
        'kubeadm_node_ip: "{{ ansible_facts.default_ipv4.address }}"',
        'kubeadm_node_ip: "{{ ansible_default_ipv4.address }}"',
        "kubeadm_node_ip: \"{{ hostvars['one'].ansible_facts.eth1.ipv4.address }}\"",
        'campus_ip: "{{ ansible_facts.eth1.ipv4.address }}"\nkubeadm_node_ip: "{{ campus_ip }}"',
        'containerd_mirrors: {"docker.io": {url: "http://{{ ansible_facts.hostname }}:5000"}}',
    ],
)
def test_what_depends_on_facts_is_left_to_the_roles(tmp_path: Path, line: str) -> None:
    assert sentences(tmp_path, cluster=line) == ""


def test_templates_are_computed(tmp_path: Path) -> None:
    line = 'campus_net: "192.0.2"\nkubeadm_node_ip: "{{ campus_net }}.9"'
    assert "without that of a node (one, kubeadm_node_ip 192.0.2.9)" in sentences(tmp_path, cluster=line)


def test_template_of_another_host_is_computed(tmp_path: Path) -> None:
    line = "course_hub_cpu: {guarantee: 1, limit: \"{{ hostvars['one'].ansible_host | length - 8.5 }}\"}"
    assert "course_hub_cpu.limit: found 0.5" in sentences(tmp_path, course=line)


def test_expression_with_a_typing_error_is_refused(tmp_path: Path) -> None:
    text = sentences(tmp_path, cluster='kubeadm_cluster_name: "{{ campus_nmae }}"')
    assert "kubeadm_cluster_name: found an expression that fails" in text
    assert "campus_nmae" in text


@pytest.mark.parametrize("name", sorted(variable_specs.COMMAND_LINE_ONLY))
def test_decisions_belong_on_the_command_line(tmp_path: Path, name: str) -> None:
    value = "python-ws26" if name == "course_hub_delete_data" else "true"
    assert f"{name}: found a value in the inventory" in sentences(tmp_path, course=f"{name}: {value}")
    assert sentences(tmp_path, extra={name: value}) == ""


def test_renamed_variable_gets_its_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(variable_specs.RENAMED, "course_hub_ram", "course_hub_memory")
    text = sentences(tmp_path, course="course_hub_ram: {limit: 2G}")
    assert "python-ws26: course_hub_ram: found an old name, expected course_hub_memory. Fix: rename it." in text
    assert "1 mistake:" in text


@pytest.mark.parametrize("line", ["node_exporter_version: 1.2.3", "storage_admin_mail: x@example.edu", "campus_x: 1"])
def test_variables_of_others_are_not_ours(tmp_path: Path, line: str) -> None:
    assert sentences(tmp_path, cluster=line) == ""


@pytest.mark.parametrize(
    ("raw", "variables", "answer"),
    [
        ("{{ ansible_facts.x }}", {}, True),
        ("{{ ansible_eth0.x }}", {}, True),
        ("{{ ansible_host }}", {}, False),
        ("{{ a }}", {"a": "{{ b }}", "b": "{{ ansible_facts.x }}"}, True),
        ("{{ a }}", {"a": "{{ b }}", "b": "{{ a }}"}, False),
        (["{{ a.b }}"], {"a": {"b": "{{ hostvars }}"}}, True),
        ("{{ nothing }}", {}, False),
    ],
)
def test_needs_facts(raw: object, variables: dict[str, object], *, answer: bool) -> None:
    assert needs_facts(raw, variables) is answer


def test_a_course_has_no_facts_but_servers_have() -> None:
    assert not needs_facts("{{ ansible_facts.x }} {{ ansible_eth0 }}", {}, is_server=False)
    assert needs_facts("{{ hostvars.cp1.ansible_facts.x }}", {}, is_server=False)
