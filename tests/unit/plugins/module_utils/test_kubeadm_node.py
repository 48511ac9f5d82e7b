"""What a node is, and what on it differs from what kubeadm would write."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import node
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import CommandError, Commands

from tests.unit.plugins.kubeadm_machine import (
    CONFIG,
    CREDENTIALS,
    FLAGS,
    Machine,
    certificates,
    manifest,
    run_for_real,
    systemd_time,
)

REQUEST = node.Request(config=CONFIG, control_plane=True, packages={"kubeadm": "1.36.3-*"}, renew_certificates_days=90)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_bare_machine(machine: Machine) -> None:
    machine.answer("^dpkg-query", "", "dpkg-query: no packages found matching kubeadm", code=1)
    found = node.describe(machine.commands, REQUEST)
    assert not found["packages_are_current"]
    assert found["leftovers"] == []
    assert not any(found[name] for name in ("is_member", "has_credentials", "has_etcd_data", "is_compared"))
    assert machine.ran == [line for line in machine.ran if line.startswith("dpkg-query")]


@pytest.mark.parametrize("control_plane", [True, False])
def test_a_node_that_needs_nothing(machine: Machine, control_plane: bool) -> None:
    machine.become_node(control_plane=control_plane)
    found = node.describe(machine.commands, node.Request(**{**vars(REQUEST), "control_plane": control_plane}))
    assert found["is_member"]
    assert found["is_compared"]
    assert (found["static_pods"], found["expiring_certificates"], found["lacks_server_name"]) == ([], [], False)
    assert (found["kubelet"]["flags"], found["kubelet"]["is_current"]) == ([], True)
    assert "podPidsLimit: 4096" in found["kubelet"]["configuration"]
    assert found["packages_are_current"]


def test_a_node_is_compared_by_its_own_kubeadm_only(machine: Machine) -> None:
    machine.become_node()
    machine.install("1.36.2")
    found = node.describe(machine.commands, REQUEST)
    assert (found["is_member"], found["is_compared"], found["static_pods"]) == (True, False, [])


@pytest.mark.parametrize(
    ("files", "credentials", "worker", "control_plane"),
    [
        ([], False, False, False),
        (["pki/ca.crt"], False, False, False),
        (["pki/ca.crt", "manifests/etcd.yaml"], False, False, False),
        (["pki/ca.crt"], True, True, False),
        (["pki/ca.crt", "manifests/etcd.yaml"], True, True, True),
    ],
)
def test_what_a_stopped_run_leaves(
    machine: Machine, files: list[str], credentials: bool, worker: bool, control_plane: bool
) -> None:
    for name in files:
        machine.write(f"etc/kubernetes/{name}", "")
    machine.write("etc/kubernetes/kubelet.conf", CREDENTIALS if credentials else "client-certificate-data: Zm9v\n")
    assert node.leftovers(machine.root) == sorted(f"/etc/kubernetes/{name}" for name in ["kubelet.conf", *files])
    found = [node.is_member(machine.root, control_plane=is_control_plane) for is_control_plane in (False, True)]
    assert found == [worker, control_plane]


def test_files_that_are_not_kubeadm_s_are_no_leftovers(machine: Machine) -> None:
    machine.write("etc/kubernetes/pki/etcd/deep/ca.crt", "")
    machine.write("etc/kubernetes/README", "")
    assert node.leftovers(machine.root) == []
    machine.write("var/lib/etcd/member/snap", "")
    assert node.leftovers(machine.root) == ["/var/lib/etcd/member"]


@pytest.mark.parametrize(
    ("changed", "current", "compared"),
    [
        ("", True, True),
        ("kubelet hold installed 1.36.2-1.1", False, True),
        ("kubectl install installed 1.36.3-1.1", False, True),
        ("kubectl deinstall config-files 1.36.3-1.1", False, True),
        ("kubeadm install installed 1.36.30-1.1", False, False),
        ("kubeadm hold installed 1:1.36.3-1.1", False, False),
    ],
)
def test_packages(machine: Machine, changed: str, current: bool, compared: bool) -> None:
    machine.become_node()
    names = ("kubeadm", "kubelet", "kubectl")
    lines = {name: f"{name} hold installed 1.36.3-1.1" for name in names} | {changed.partition(" ")[0]: changed}
    machine.answer("^dpkg-query", "".join(f"{line}\n" for line in lines.values() if line))
    pins = dict.fromkeys(names, "1.36.3-*")
    found = node.describe(machine.commands, node.Request(**{**vars(REQUEST), "packages": pins}))
    assert (found["packages_are_current"], found["is_compared"]) == (current, compared)


@pytest.mark.parametrize(
    ("edited", "lines"),
    [
        (manifest("etcd"), []),
        (manifest("etcd") + "\n# by hand\n   # and this\n\n", []),
        (manifest("etcd", "--initial-cluster=cp2=https://192.0.2.12:2380", "--initial-cluster-state=existing"), []),
        (manifest("etcd", "--max-wals=6"), ["-    - --max-wals=6"]),
        ("", [f"+{line}" for line in manifest("etcd").splitlines()]),
    ],
)
def test_differences_of_a_manifest(edited: str, lines: list[str]) -> None:
    assert node.changed_lines(edited, manifest("etcd")) == lines


def test_edited_and_stale_static_pods_restart_in_order(machine: Machine) -> None:
    machine.become_node()
    machine.write(f"{node.MANIFESTS}/kube-scheduler.yaml", manifest("kube-scheduler", "--v=3"))
    machine.write("etc/kubernetes/controller-manager.conf", "renewed", age=600)
    found = node.describe(machine.commands, REQUEST)["static_pods"]
    assert found == [
        {"name": "kube-controller-manager", "reason": "it has not read its renewed certificates", "lines": []},
        {
            "name": "kube-scheduler",
            "reason": "its manifest is not as kubeadm writes it",
            "lines": ["-    - --v=3"],
        },
    ]


@pytest.mark.parametrize(
    ("age", "written", "stale"), [(1800, 3600, False), (1800, 600, True), (1800, 1799.5, False), (1800, 1790, True)]
)
def test_a_program_is_stale_if_it_started_before_its_certificates(
    machine: Machine, age: float, written: float, stale: bool
) -> None:
    machine.write("etc/kubernetes/scheduler.conf", "", age=written)
    # Of another name, of no node, and started since: all of no meaning.
    machine.start(7, "kube-scheduler-simulator", "--kubeconfig=/etc/kubernetes/scheduler.conf", age=4000)
    machine.start(8, "kube-scheduler", "--config=/home/x", age=4000)
    machine.start(9, "kube-scheduler", "--kubeconfig=/etc/kubernetes/scheduler.conf", age=age)
    machine.start(10, "kube-scheduler", "--kubeconfig=/etc/kubernetes/scheduler.conf", age=1)
    assert node.is_stale(machine.root, "kube-scheduler") is stale


def test_a_program_that_does_not_run_is_not_stale(machine: Machine) -> None:
    machine.write("etc/kubernetes/scheduler.conf", "", age=0)
    assert not node.is_stale(machine.root, "kube-scheduler")


def test_processes_have_names_that_hold_anything(machine: Machine) -> None:
    machine.start(7, "a) (b c", "x")
    machine.start(8, "kubeadm", "init")
    assert [process.pid for process in node.processes(machine.root, "kubeadm")] == [8]
    (found,) = node.processes(machine.root, "a) (b c")
    assert abs(time.time() - 1800 - found.started) < 5


def test_certificates_that_end_soon_restart_all_that_read_them(machine: Machine) -> None:
    machine.become_node()
    machine.answer("^kubeadm certs check-expiration", certificates(apiserver=90, etcd_server=91))
    found = node.describe(machine.commands, REQUEST)
    assert found["expiring_certificates"] == ["apiserver"]
    assert [pod["name"] for pod in found["static_pods"]] == list(node.STATIC_PODS)
    assert {pod["reason"] for pod in found["static_pods"]} == {"it has not read its renewed certificates"}
    machine.write(f"{node.MANIFESTS}/etcd.yaml", manifest("etcd", "--max-wals=6"))
    assert node.describe(machine.commands, REQUEST)["static_pods"][0]["reason"] == node.EDITED


def test_certificates_of_another_authority_are_not_kubeadm_s_to_renew(machine: Machine) -> None:
    document = json.loads(certificates(apiserver=10, etcd_server=10))
    document["certificates"][0]["externallyManaged"] = True
    machine.answer("^kubeadm certs check-expiration", json.dumps(document))
    assert node.expiring(machine.commands, CONFIG, 90) == ["etcd-server"]
    assert node.expiring(machine.commands, CONFIG, 0) == []
    assert machine.inputs == [CONFIG, CONFIG]


@pytest.mark.parametrize(
    ("server", "option"),
    [
        ("127.0.0.1", "-checkip"),
        ("2001:db8::1", "-checkip"),
        ("api.example.edu", "-checkhost"),
        ("host1.lab2", "-checkhost"),
    ],
)
def test_the_name_that_the_certificate_needs(server: str, option: str) -> None:
    assert node.name_check(server) == [option, server]


@pytest.mark.parametrize(
    ("server", "lacks"),
    [("", False), ("api.example.edu", False), ("192.0.2.11", False), ("b.example.edu", True), ("192.0.2.1", True)],
)
def test_names_of_a_real_certificate(tmp_path: Path, server: str, lacks: bool) -> None:
    commands = Commands(run_for_real, tmp_path)
    assert not node.lacks_server_name(commands, server), "there is none"
    folder = tmp_path / "etc/kubernetes/pki"
    folder.mkdir(parents=True)
    names = "subjectAltName=DNS:api.example.edu,IP:192.0.2.11"
    out = ["-keyout", f"{folder}/apiserver.key", "-out", f"{folder}/apiserver.crt"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    commands.run(["openssl", "req", "-x509", *key, "-subj", "/CN=x", "-addext", names, *out])
    assert node.lacks_server_name(commands, server) is lacks


def test_a_certificate_without_the_name_restarts_the_api_server(machine: Machine) -> None:
    machine.become_node()
    machine.answer("^openssl x509 .*-checkhost api.example.edu", "Hostname api.example.edu does NOT match certificate")
    found = node.describe(machine.commands, node.Request(**{**vars(REQUEST), "server_name": "api.example.edu"}))
    assert found["lacks_server_name"]
    assert [pod["name"] for pod in found["static_pods"]] == ["kube-apiserver"]


@pytest.mark.parametrize(
    ("state", "current"),
    [
        ({}, True),
        ({"ActiveState": "activating"}, False),
        ({"UnitFileState": "disabled"}, False),
        ({"UnitFileState": "static"}, True),
        ({"ExecMainStartTimestamp": ""}, False),
        ({"ExecMainStartTimestamp": systemd_time(1600000000)}, False),
    ],
)
def test_a_current_kubelet(machine: Machine, state: dict[str, str], current: bool) -> None:
    machine.become_node(control_plane=False)
    usual = {
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "ExecMainStartTimestamp": systemd_time(time.time()),
    }
    machine.answer(
        r"^systemctl show kubelet --property=\S+$",
        "".join(f"{name}={value}\n" for name, value in (usual | state).items()),
    )
    assert node.kubelet_is_current(machine.commands) is current
    (machine.root / node.KUBELET_CONFIG).unlink()
    assert not node.kubelet_is_current(machine.commands)


def test_edited_flags_of_the_kubelet(machine: Machine) -> None:
    machine.become_node(control_plane=False)
    machine.write(node.FLAGS, FLAGS.replace('"\n', ' --v=3"\n'))
    found = node.describe(machine.commands, node.Request(**{**vars(REQUEST), "control_plane": False}))
    assert found["kubelet"]["flags"] == [f'-{FLAGS[:-2]} --v=3"', f"+{FLAGS[:-1]}"]


def test_what_kubeadm_says_of_its_failure(machine: Machine) -> None:
    machine.become_node()
    machine.answer("^kubeadm certs", "", "open /etc/kubernetes/pki/ca.crt: no such file", code=1)
    with pytest.raises(CommandError, match=r"kubeadm certs check-expiration .* failed \(1\): open /etc/kubernetes"):
        node.describe(machine.commands, REQUEST)
