"""How a node is changed, by kubeadm, and what a run that is stopped leaves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import changes, node
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import CommandError

from tests.unit.plugins.kubeadm_machine import CONFIG, CREDENTIALS, Machine, manifest

SCHEDULER = "kube-scheduler"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(changes, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(changes, "SETTLE_SECONDS", 0)
    return Machine(tmp_path)


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the processes that were ended; process 103 has ended by itself."""
    found: list[int] = []

    def kill(pid: int, number: int) -> None:
        assert number == signal.SIGTERM
        found.append(pid)
        if pid == 103:
            raise ProcessLookupError

    monkeypatch.setattr(os, "kill", kill)
    return found


def containers(machine: Machine, *answers: str) -> list[str]:
    """Have the API server answer, one after another, what the container is; the last answer stays."""
    left = list(answers)

    def next_answer() -> tuple[int, str, str]:
        text = left.pop(0) if len(left) > 1 else left[0]
        return (0, text, "") if text else (1, "", "connection refused")

    machine._answers.insert(0, ("get pod/", next_answer))
    return left


def restart(machine: Machine, pod: str = SCHEDULER) -> None:
    """Restart a pod."""
    changes.restart_static_pod(machine.commands, pod, "cp1", CONFIG, machine.rendered[f"{pod}.yaml"])


def test_a_stale_program_is_ended_and_waited_for(machine: Machine, killed: list[int]) -> None:
    machine.become_node()
    # Ready once more with the old container, then the API server is away, then there is a new one.
    left = containers(machine, "true old", "true old", "", "false new", "true new")
    restart(machine)
    assert killed == [103]
    assert left == ["true new"]
    assert [line for line in machine.ran if line.startswith("kubeadm")] == []
    line = machine.ran[-1]
    assert "--request-timeout=5s --namespace=kube-system get pod/kube-scheduler-cp1 --output=jsonpath={.status" in line
    assert line.endswith("{.status.containerStatuses[0].ready} {.status.containerStatuses[0].containerID}")


@pytest.mark.parametrize(
    ("pod", "phase"),
    [("etcd", "etcd local"), ("kube-apiserver", "control-plane apiserver"), (SCHEDULER, "control-plane scheduler")],
)
def test_an_edited_manifest_is_written_by_kubeadm(machine: Machine, killed: list[int], pod: str, phase: str) -> None:
    machine.become_node()
    machine.write(f"{node.MANIFESTS}/{pod}.yaml", manifest(pod, "--v=3"))
    containers(machine, "true old", "true new")
    restart(machine, pod)
    assert killed == []
    written = [place for place, line in enumerate(machine.ran) if line.startswith("kubeadm")]
    assert [machine.ran[place] for place in written] == [f"kubeadm init phase {phase} --config /dev/stdin"]
    assert [machine.inputs[place] for place in written] == [CONFIG]


def test_a_pod_that_does_not_come_up_stops_the_run(machine: Machine, killed: list[int]) -> None:
    machine.become_node()
    containers(machine, "true old", "false new")
    with pytest.raises(changes.ChangeError, match=r"^kube-scheduler: found no new ready container after .*\. Fix: "):
        restart(machine)
    assert killed == [103]
    assert len([line for line in machine.ran if "get pod/" in line]) == changes.RESTART_TRIES + 1


def test_the_servers_certificate_is_issued_beside_the_old_one(machine: Machine) -> None:
    machine.become_node()
    folder = machine.root / "etc/kubernetes/pki"
    (folder.with_name("pki.new")).mkdir()
    (folder.with_name("pki.new") / "of a stopped run").write_text("x")
    for name in ("apiserver.crt", "apiserver.key"):
        machine.write(f"etc/kubernetes/pki/{name}", "old")

    def issue() -> None:
        new = folder.with_name("pki.new")
        assert sorted(path.name for path in new.iterdir()) == ["ca.crt", "ca.key"]
        assert new.stat().st_mode & 0o777 == 0o700
        assert {(folder / name).read_text() for name in ("apiserver.crt", "apiserver.key")} == {"old"}
        for name in ("apiserver.crt", "apiserver.key"):
            (new / name).write_text("new")

    machine.do("^kubeadm init phase certs apiserver", issue)
    changes.issue_server_certificate(machine.commands, CONFIG)
    assert {(folder / name).read_text() for name in ("apiserver.crt", "apiserver.key")} == {"new"}
    assert not folder.with_name("pki.new").exists()
    assert machine.inputs[-1] == CONFIG.replace(
        "kind: ClusterConfiguration\n", f"kind: ClusterConfiguration\ncertificatesDir: {folder}.new\n"
    )


def test_a_certificate_that_is_not_issued_leaves_the_old_one(machine: Machine) -> None:
    machine.become_node()
    machine.answer("^kubeadm init phase certs apiserver", "", "no", code=1)
    before = (machine.root / "etc/kubernetes/pki/apiserver.crt").read_text()
    with pytest.raises(CommandError):
        changes.issue_server_certificate(machine.commands, CONFIG)
    assert (machine.root / "etc/kubernetes/pki/apiserver.crt").read_text() == before
    assert not (machine.root / "etc/kubernetes/pki.new").exists()


def test_a_folder_for_certificates_needs_the_clusters_document() -> None:
    with pytest.raises(changes.ChangeError, match="config: found no ClusterConfiguration"):
        changes.with_certificates_dir("kind: InitConfiguration\n", "/x")


def test_an_init_goes_on_with_what_is_there(machine: Machine) -> None:
    changes.initialise(machine.commands, CONFIG)
    machine.write("var/lib/etcd/member/x", "")
    changes.initialise(machine.commands, CONFIG)
    usual = "kubeadm init --skip-phases=show-join-command"
    ignored = (
        "DirAvailable--var-lib-etcd,FileAvailable--etc-kubernetes-manifests-etcd.yaml,"
        "FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml,"
        "FileAvailable--etc-kubernetes-manifests-kube-controller-manager.yaml,"
        "FileAvailable--etc-kubernetes-manifests-kube-scheduler.yaml,"
        "Port-2379,Port-2380,Port-6443,Port-10250,Port-10257,Port-10259"
    )
    assert machine.ran == [
        f"{usual} --config /dev/stdin",
        f"{usual} --ignore-preflight-errors={ignored} --config /dev/stdin",
    ]
    assert machine.inputs == [CONFIG, CONFIG]


def test_what_may_be_reset(machine: Machine) -> None:
    assert not changes.must_reset(machine.root, control_plane=True)
    machine.write("etc/kubernetes/pki/ca.crt", "")
    assert changes.must_reset(machine.root, control_plane=True)
    machine.write("etc/kubernetes/kubelet.conf", CREDENTIALS)
    assert changes.must_reset(machine.root, control_plane=True)
    assert not changes.must_reset(machine.root, control_plane=False), "it is a node"
    machine.write("var/lib/etcd/member/x", "")
    assert not changes.must_reset(machine.root, control_plane=True), "it holds data"


@pytest.mark.parametrize("flags", [True, False])
def test_the_kubelets_files(machine: Machine, flags: bool) -> None:
    changes.write_kubelet_files(machine.commands, CONFIG, flags=flags)
    wanted = [("kubeadm init phase kubelet-start --config /dev/stdin", CONFIG)] if flags else []
    assert list(zip(machine.ran, machine.inputs, strict=True)) == [
        *wanted,
        ("kubeadm upgrade node phase kubelet-config", None),
    ]


def test_a_kubelet_that_does_not_stay_up_stops_the_run(machine: Machine) -> None:
    changes.restart_kubelet(machine.commands)
    assert machine.ran == ["systemctl enable kubelet", "systemctl restart kubelet", "systemctl is-active kubelet"]
    machine.answer("is-active", "activating\n", code=3)
    expected = (
        r"^kubelet: found activating after its restart, expected active\. Fix: look at journalctl --unit=kubelet\.$"
    )
    with pytest.raises(changes.ChangeError, match=expected):
        changes.restart_kubelet(machine.commands)
