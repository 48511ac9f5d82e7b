"""The modules that change what kubeadm has made: what a check says is what a run does, and a second run has no work."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import changes, cluster, node
from ansible_collections.campus.hubs.plugins.modules import (
    kubeadm_certificates,
    kubeadm_components,
    kubeadm_info,
    kubeadm_join_credentials,
    kubeadm_kubelet,
    kubeadm_marks,
    kubeadm_node,
    kubeadm_static_pods,
)

from tests.unit.plugins.kubeadm_machine import (
    CONFIG,
    CREDENTIALS,
    FLAGS,
    Machine,
    certificates,
    cluster_objects,
    manifest,
    node_object,
    systemd_time,
)

LABEL, EXCLUDED = cluster.CONTROL_PLANE_LABEL, cluster.EXCLUSION_LABEL
TOKEN = "abcdef.0123456789abcdef"
MODULES = (
    kubeadm_certificates,
    kubeadm_components,
    kubeadm_info,
    kubeadm_join_credentials,
    kubeadm_kubelet,
    kubeadm_marks,
    kubeadm_node,
    kubeadm_static_pods,
)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return the machine that the modules work on, whose clock does not stand in the way."""
    found = Machine(tmp_path)
    for module in MODULES:
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for module, name in ((changes, "PAUSE_SECONDS"), (changes, "SETTLE_SECONDS"), (cluster, "PAUSE_SECONDS")):
        monkeypatch.setattr(module, name, 0)
    monkeypatch.setattr(AnsibleModule, "run_command", lambda self, *args, **more: found.run_command(*args, **more))
    return found


class Call:
    """Runs a module with its arguments."""

    def __init__(self, capsys: pytest.CaptureFixture[str], module: ModuleType, **arguments: object) -> None:
        """Take them."""
        self._capsys, self._module, self._arguments = capsys, module, arguments

    def run(self, *, check: bool = False) -> dict[str, Any]:
        """Run it and return its result, which must hold no secret of its arguments."""
        arguments = {**self._arguments, "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            self._module.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return result

    def check(self) -> dict[str, Any]:
        """Run it in check mode."""
        return self.run(check=True)


def changing(machine: Machine) -> list[str]:
    """Return the commands so far that change something."""
    looks = ("dpkg-query", "systemctl show", "systemctl is-active", "kubeadm certs check-expiration", "openssl")
    return [line for line in machine.ran if not line.startswith(looks) and " get " not in line]


def test_a_kubelet_that_needs_nothing(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.become_node(control_plane=False)
    call = Call(capsys, kubeadm_kubelet, config=CONFIG)
    for result in (call.check(), call.run()):
        assert (result["changed"], result["written_files"], result["diff"]) == (False, [], [])
    assert changing(machine) == []


@pytest.mark.parametrize(("outdated", "edited"), [(True, False), (False, True), (True, True), (False, False)])
def test_a_kubelet_that_differs(
    machine: Machine, capsys: pytest.CaptureFixture[str], outdated: bool, edited: bool
) -> None:
    machine.become_node(control_plane=False)
    flags, configuration = machine.root / node.FLAGS, machine.root / node.KUBELET_CONFIG
    if edited:
        flags.write_text(FLAGS.replace("cp1", "cp1 --v=3"))
    elif not outdated:
        machine.answer(
            "^systemctl show", f"ActiveState=active\nUnitFileState=disabled\nExecMainStartTimestamp={systemd_time(1)}\n"
        )
    machine.do("^kubeadm init phase kubelet-start", lambda: flags.write_text(FLAGS))
    machine.do("^kubeadm upgrade node phase kubelet-config", lambda: configuration.write_text("podPidsLimit: 1\n"))
    call = Call(capsys, kubeadm_kubelet, config=CONFIG, outdated=outdated)
    check = call.check()
    assert check["changed"]
    assert changing(machine) == []

    result = call.run()
    assert (result["changed"], result["written_files"]) == (True, check["written_files"])
    assert result["written_files"] == [str(flags)] * edited + [str(configuration)] * (edited or outdated)
    assert changing(machine) == [
        *["kubeadm init phase kubelet-start --config /dev/stdin"] * edited,
        *["kubeadm upgrade node phase kubelet-config"] * (edited or outdated),
        "systemctl enable kubelet",
        "systemctl restart kubelet",
    ]
    # What a check cannot know is what the cluster's configuration becomes on this node.
    of_flags = [entry for entry in result["diff"] if entry["after_header"] == str(flags)]
    assert of_flags == check["diff"]
    assert len(result["diff"]) == edited + (edited or outdated)


def test_certificates(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.become_node()
    call = Call(capsys, kubeadm_certificates, config=CONFIG, renew_certificates_days=90)
    assert not call.run()["changed"]
    machine.answer("^kubeadm certs check-expiration", certificates(apiserver=10, etcd_server=300))
    check = call.check()
    assert (check["changed"], check["expiring"], check["issued"]) == (True, ["apiserver"], False)
    assert changing(machine) == []
    result = call.run()
    assert (result["changed"], result["diff"]) == (True, check["diff"])
    assert changing(machine) == ["kubeadm certs renew all --config /dev/stdin"]


def test_the_servers_name(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.become_node()
    machine.answer("^openssl", "Hostname api.example.edu does NOT match certificate\n")
    call = Call(capsys, kubeadm_certificates, config=CONFIG, server_name="api.example.edu")
    assert call.check()["issued"]
    assert changing(machine) == []
    failed = call.run()
    assert failed["failed"], "kubeadm has made nothing here"
    assert changing(machine) == ["kubeadm init phase certs apiserver --config /dev/stdin"]
    machine.answer("^openssl", "Hostname api.example.edu does match certificate\n")
    assert not call.run()["changed"]


def test_static_pods(machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    machine.become_node()
    machine.write(f"{node.MANIFESTS}/etcd.yaml", manifest("etcd", "--max-wals=6"))
    restarted: list[str] = []
    monkeypatch.setattr(changes, "restart_static_pod", lambda _, pod, *rest: restarted.append(pod))
    call = Call(capsys, kubeadm_static_pods, config=CONFIG, node_name="cp1", pods=["kube-scheduler", "etcd"])
    check = call.check()
    assert (check["changed"], check["restarted"]) == (True, ["etcd", "kube-scheduler"])
    (diff,) = check["diff"]
    assert "--max-wals=6" in diff["before"]
    assert diff["after"] == manifest("etcd")
    assert restarted == []
    result = call.run()
    assert (result["diff"], result["restarted"]) == (check["diff"], restarted)
    assert restarted == ["etcd", "kube-scheduler"]
    assert not Call(capsys, kubeadm_static_pods, config=CONFIG, node_name="cp1", pods=[]).run()["changed"]


def test_a_static_pod_that_does_not_come_up(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.become_node()
    monkeypatch.setattr(changes, "stop_static_pod", lambda root, pod: None)
    machine.answer("get pod/", "false x")
    result = Call(capsys, kubeadm_static_pods, config=CONFIG, node_name="cp1", pods=["kube-apiserver"]).run()
    assert result["failed"]
    assert result["msg"].startswith("kube-apiserver: found no new ready container")


class LiveCluster:
    """A cluster whose annotations stay."""

    def __init__(self, machine: Machine) -> None:
        """Have one that kubeadm init has just made."""
        self.machine, self.annotations = machine, dict[str, str]()
        machine.write("etc/kubernetes/admin.conf", "")
        machine.write("etc/kubernetes/kubelet.conf", CREDENTIALS)
        self.refresh()

    def refresh(self) -> None:
        """Answer with what was annotated."""
        for line in self.machine.ran:
            if " annotate " in line:
                name, note = line.split()[-2:]
                self.annotations[name] = note.partition("=")[2]
        self.machine.answer("kubectl .* get --output=json configmap", json.dumps(cluster_objects(self.annotations)))


def test_components(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    call = Call(capsys, kubeadm_components, config=CONFIG)
    assert call.run()["failed"], "there is no cluster"
    live = LiveCluster(machine)
    names = [component.name for component in cluster.COMPONENTS]
    check = Call(capsys, kubeadm_components, config=CONFIG, annotate_only=True).check()
    assert (check["changed"], check["applied"]) == (True, names)
    assert changing(machine) == []

    first = Call(capsys, kubeadm_components, config=CONFIG, annotate_only=True).run()
    assert first["applied"] == names
    assert [line.split()[3] for line in changing(machine)] == ["annotate"] * len(names)
    live.refresh()
    assert not call.run()["changed"]

    other = Call(capsys, kubeadm_components, config=CONFIG.replace("podPidsLimit: 4096", "podPidsLimit: 9"))
    machine.ran.clear()
    assert other.check()["applied"] == ["configmap/kubelet-config"]
    assert other.run()["applied"] == ["configmap/kubelet-config"]
    phase, note = changing(machine)
    assert phase == "kubeadm init phase upload-config kubelet --config /dev/stdin"
    assert "annotate --overwrite configmap/kubelet-config campus.hubs/applied=" in note
    live.refresh()
    assert not other.run()["changed"]


def test_marks(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    call = Call(capsys, kubeadm_marks, node_name="cp1", takes_pods=False)
    assert not call.check()["changed"], "it has not joined"
    assert Call(capsys, kubeadm_marks, node_name="cp1", takes_pods=True).check()["changed"]
    machine.write("etc/kubernetes/admin.conf", "")
    machine.answer("get nodes", json.dumps({"items": [node_object("cp1", LABEL)]}))
    check = call.check()
    assert (check["changed"], check["has_volumes"]) == (True, False)
    assert changing(machine) == []
    assert call.run()["diff"] == check["diff"]
    assert [line.partition("admin.conf ")[2] for line in changing(machine)] == [
        f"label node cp1 {EXCLUDED}=",
        f"taint node cp1 {LABEL}:NoSchedule",
    ]
    machine.answer("get nodes", json.dumps({"items": [node_object("cp1", LABEL, EXCLUDED, taints=(LABEL,))]}))
    assert not call.run()["changed"]
    assert not any("persistentvolumes" in line for line in machine.ran[-1:]), "they are of no meaning then"


def test_volumes_keep_the_taint_away(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.write("etc/kubernetes/admin.conf", "")
    machine.answer("get nodes", json.dumps({"items": [node_object("cp1", LABEL, EXCLUDED)]}))
    machine.answer("get persistentvolumes", "w1 cp1")
    result = Call(capsys, kubeadm_marks, node_name="cp1", takes_pods=False).run()
    assert (result["changed"], result["has_volumes"]) == (False, True)
    machine.answer("get persistentvolumes", "w1 cp10")
    result = Call(capsys, kubeadm_marks, node_name="cp1", takes_pods=False).run()
    assert (result["changed"], result["has_volumes"]) == (True, False)


def test_marks_of_a_node_that_is_not_registered(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.write("etc/kubernetes/admin.conf", "")
    machine.answer("get nodes", json.dumps({"items": [node_object("cp1")]}))
    result = Call(capsys, kubeadm_marks, node_name="cp2", takes_pods=False).run()
    assert result["msg"] == "node_name: found cp2, expected one of cp1."


def test_a_bare_machine_is_initialised_once(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    call = Call(capsys, kubeadm_node, config=CONFIG, control_plane=True, state="initialised")
    assert call.check()["changed"]
    assert machine.ran == []
    assert (call.run()["rc"], machine.ran) == (0, ["kubeadm init --skip-phases=show-join-command --config /dev/stdin"])
    LiveCluster(machine)
    assert not call.run()["changed"]


@pytest.mark.parametrize("control_plane", [True, False])
def test_a_server_joins_once(machine: Machine, capsys: pytest.CaptureFixture[str], control_plane: bool) -> None:
    config = f"kind: JoinConfiguration\ntoken: {TOKEN}\n"
    call = Call(capsys, kubeadm_node, config=config, control_plane=control_plane, state="joined")
    check, result = call.check(), call.run()
    assert check["changed"]
    assert result["changed"]
    assert machine.ran == ["kubeadm join --config /dev/stdin"]
    assert machine.inputs == [config]
    assert TOKEN not in json.dumps(result)
    machine.become_node(control_plane=control_plane)
    assert not call.run()["changed"]


def test_what_kubeadm_says_of_a_join_that_fails(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.answer("^kubeadm join", "[preflight] Running\n", "error: connection refused\n", code=3)
    result = Call(capsys, kubeadm_node, config=f"token: {TOKEN}", control_plane=False, state="joined").run()
    assert (result["failed"], result["rc"]) == (True, 3)
    assert result["msg"].startswith("[preflight] Running\nkubeadm join")
    assert result["msg"].endswith("failed (3): error: connection refused")
    assert TOKEN not in json.dumps(result)


def test_leftovers_are_reset(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    call = Call(capsys, kubeadm_node, control_plane=False, state="reset")
    assert not call.run()["changed"]
    machine.write("etc/kubernetes/pki/ca.crt", "")
    assert call.check()["changed"]
    assert machine.ran == []
    assert call.run()["changed"]
    assert machine.ran == ["kubeadm reset --force"]
    machine.become_node(control_plane=False)
    assert not call.run()["changed"], "a node"


def test_join_credentials(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.answer("^kubeadm token create", f"{TOKEN}\n")
    machine.answer("^openssl", "-----BEGIN PUBLIC KEY-----\nZm9v\n-----END PUBLIC KEY-----\n")
    machine.answer("upload-certs", f"[upload-certs] Using certificate key:\n{'ab' * 32}\n")
    call = Call(capsys, kubeadm_join_credentials, config=CONFIG, upload_certificates=True)
    check = call.check()
    assert (check["changed"], check["token"], machine.ran) == (True, "", [])
    made = call.run()
    assert (made["token"], made["certificate_key"]) == (TOKEN, "ab" * 32)
    assert made["authority_hash"].startswith("sha256:")
    assert Call(capsys, kubeadm_join_credentials).run()["certificate_key"] == ""

    machine.ran.clear()
    call = Call(capsys, kubeadm_join_credentials, state="absent", token=TOKEN)
    assert call.check()["changed"]
    assert machine.ran == []
    assert TOKEN not in json.dumps(call.run())
    assert [line.split()[-1] for line in machine.ran] == ["abcdef", "--ignore-not-found"]


def test_a_kubeadm_that_is_at_work_is_waited_for(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.start(77, "kubeadm", "init")
    monkeypatch.setattr(kubeadm_info, "WAIT_SECONDS", -1)
    call = Call(capsys, kubeadm_info, node_name="cp1")
    assert "kubeadm: found process 77 at work" in call.run()["msg"]

    def sleep(seconds: float) -> None:
        del seconds
        (machine.root / "proc/77/stat").unlink()

    monkeypatch.setattr(kubeadm_info, "WAIT_SECONDS", 300)
    monkeypatch.setattr("time.sleep", sleep)
    assert not call.run().get("failed")


def test_what_is_said_of_an_api_server_that_is_down(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.become_node()
    machine.write("etc/kubernetes/admin.conf", "")
    machine.answer("^kubectl", "", "connection refused", code=1)
    result = Call(capsys, kubeadm_info, config=CONFIG, control_plane=True, node_name="cp1").run()
    assert result["msg"].startswith(
        "cp1 is a control plane of a cluster, but its API server does not answer: connection refused Look at "
    )


def test_what_is_returned_is_what_is_documented(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.become_node()
    LiveCluster(machine)
    machine.answer("get nodes", json.dumps({"items": [node_object("cp1", LABEL, EXCLUDED, taints=(LABEL,))]}))
    given = {"config": CONFIG, "control_plane": True, "node_name": "cp1", "packages": {"kubeadm": "1.36.3-*"}}
    result = Call(capsys, kubeadm_info, **given).run()
    documented = yaml.safe_load(kubeadm_info.RETURN)
    assert set(result) - {"changed", "invocation"} == set(documented)
    for name in ("cluster", "kubelet"):
        always = {field for field, says in documented[name]["contains"].items() if "returned" not in says}
        assert set(result[name]) == always
    assert (result["is_marked"], result["is_compared"]) == (True, True)
    assert changing(machine) == []
