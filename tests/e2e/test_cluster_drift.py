"""What was edited by hand on a node or in the cluster is put right by the next run, and the one after has no work."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.nodes import CONTROL_PLANE, kubectl, on_node
from tests.e2e.waiting import wait_for

# What site.yml does to the servers: courses and images have tests of their own.
CLUSTER = "playbooks/cluster.yml"
WORKER = "w1"
SYSTEM = "kube-system"
MANIFESTS = "/etc/kubernetes/manifests"
CERTIFICATES = "kubeadm certs check-expiration --output json"


@dataclass(frozen=True)
class Edit:
    """One edit by hand.

    Attributes:
        node: on which it is made; the control plane for what is made with kubectl.
        line: of shell that makes it.
        look: line of shell that prints what was edited.
        right: a part of what it prints when it is right, and not when it is edited.
    """

    node: str
    line: str
    look: str
    right: str

    def state(self) -> bool:
        """Tell whether what was edited is right."""
        printed = kubectl(self.look, SYSTEM) if self.node == CONTROL_PLANE else on_node(self.node, self.look)
        return self.right in printed

    def make(self) -> None:
        """Make it."""
        if self.node == CONTROL_PLANE:
            kubectl(self.line, SYSTEM)
        else:
            on_node(self.node, self.line)


# None of these may disturb what runs while it is wrong.
EDITS = {
    "kernel parameter": Edit(
        WORKER, "sysctl --write fs.inotify.max_user_instances=512", "sysctl fs.inotify.max_user_instances", "1024"
    ),
    "kernel parameters at boot": Edit(
        WORKER,
        "sed -i s/ip_forward.*/ip_forward=0/ /etc/sysctl.d/90-campus-hubs.conf",
        "cat /etc/sysctl.d/90-campus-hubs.conf",
        "net.ipv4.ip_forward = 1",
    ),
    "kernel modules at boot": Edit(
        WORKER,
        "rm /etc/modules-load.d/campus-hubs.conf",
        "cat /etc/modules-load.d/campus-hubs.conf || true",
        "br_netfilter",
    ),
    "holds": Edit(
        WORKER,
        "apt-mark unhold kubelet containerd.io",
        "apt-mark showhold | grep -c -e kubelet -e containerd.io || true",
        "2",
    ),
    "containerd": Edit(
        WORKER,
        "sed -i /SystemdCgroup/d /etc/containerd/config.toml",
        "cat /etc/containerd/config.toml",
        "SystemdCgroup = true",
    ),
    "kubelet configuration": Edit(
        WORKER,
        "sed -i 's/^podPidsLimit: .*/podPidsLimit: 9999/' /var/lib/kubelet/config.yaml",
        "cat /var/lib/kubelet/config.yaml",
        "podPidsLimit: 4096",
    ),
    "kubelet flags": Edit(
        WORKER,
        "sed -i 's/\"$/ --v=3\"/' /var/lib/kubelet/kubeadm-flags.env",
        "grep --invert-match -e --v= /var/lib/kubelet/kubeadm-flags.env || true",
        "--node-ip=",
    ),
    "kubelet configuration of the cluster": Edit(
        CONTROL_PLANE,
        "kubectl get configmap/kubelet-config --output=yaml | sed 's/podPidsLimit: 4096/podPidsLimit: 8192/'"
        " | kubectl replace --filename=-",
        "kubectl get configmap/kubelet-config --output=yaml",
        "podPidsLimit: 4096",
    ),
    "kubeadm's configuration": Edit(
        CONTROL_PLANE,
        "kubectl get configmap/kubeadm-config --output=yaml"
        " | sed 's/certificateValidityPeriod: .*/certificateValidityPeriod: 24h0m0s/' | kubectl replace --filename=-",
        "kubectl get configmap/kubeadm-config --output=yaml",
        "certificateValidityPeriod: 8760h0m0s",
    ),
    "kube-proxy": Edit(
        CONTROL_PLANE,
        "kubectl set env daemonset/kube-proxy BY_HAND=1",
        "kubectl get daemonset/kube-proxy --output=yaml | grep -c BY_HAND || true",
        "0",
    ),
    "CoreDNS": Edit(
        CONTROL_PLANE,
        "kubectl set resources deployment/coredns --limits=memory=200Mi",
        "kubectl get deployment/coredns --output=jsonpath='{..resources.limits.memory}'",
        "170Mi",
    ),
    "swap at boot": Edit(
        WORKER,
        "rm /etc/systemd/system/swap.target",
        "systemctl is-enabled swap.target || true",
        "masked",
    ),
    "control plane's label": Edit(
        CONTROL_PLANE,
        f"kubectl label node/{CONTROL_PLANE} node.kubernetes.io/exclude-from-external-load-balancers-",
        f"kubectl get node/{CONTROL_PLANE} --output=jsonpath={{.metadata.labels}}",
        "exclude-from-external-load-balancers",
    ),
    "control plane's taint": Edit(
        CONTROL_PLANE,
        f"kubectl taint node {CONTROL_PLANE} node-role.kubernetes.io/control-plane-",
        f"kubectl get node/{CONTROL_PLANE} --output=jsonpath={{.spec.taints}}",
        "node-role.kubernetes.io/control-plane",
    ),
    "scheduler": Edit(
        CONTROL_PLANE,
        f"sed -i 's/^    - --leader-elect=true/&\\n    - --v=3/' {MANIFESTS}/kube-scheduler.yaml",
        f"grep -c -e --v=3 {MANIFESTS}/kube-scheduler.yaml || true",
        "0",
    ),
}


def converge(*options: str) -> playbook.Run:
    """Put the cluster right."""
    return playbook.run(CLUSTER, *options).assert_good()


@pytest.fixture(autouse=True, scope="module")
def in_sync(cluster: Cluster) -> Iterator[None]:
    """Begin with a cluster that needs nothing, and keep people's pods off the control plane while it has no taint.

    Where one of them has got a volume, the taint would keep it away from its pod, so it stays off.
    """
    del cluster  # there is one
    kubectl(f"kubectl cordon {CONTROL_PLANE}", SYSTEM)
    converge()
    yield
    kubectl(f"kubectl uncordon {CONTROL_PLANE}", SYSTEM)


def test_edits_by_hand_are_said_in_a_check_and_put_right() -> None:
    for name, edit in EDITS.items():
        assert edit.state(), name
        edit.make()
        assert not edit.state(), name
    edited = {edit.node for edit in EDITS.values()}

    check = converge("--check")
    assert edited <= set(check.changed), check.changed_tasks()
    assert f"{CONTROL_PLANE}: kube-scheduler restarts: its manifest is not as kubeadm writes it" in check.output
    wrong = [name for name, edit in EDITS.items() if edit.state()]
    assert wrong == [], f"a check has put right: {wrong}"

    run = converge()
    assert edited <= set(run.changed), run.changed_tasks()
    assert [name for name, edit in EDITS.items() if not edit.state()] == []

    again = converge()
    assert not again.changed, again.changed_tasks()
    again = converge("--check")
    assert not again.changed, again.changed_tasks()


@pytest.fixture
def changed_inventory(tmp_path: Path) -> Callable[..., Path]:
    """Copy the inventory, without some groups and with other variables of the cluster."""

    def copy(*, without: str = "", **variables: object) -> Path:
        folder = tmp_path / f"inventory-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(playbook.INVENTORY, folder)
        hosts = yaml.safe_load((folder / "hosts.yml").read_text())
        hosts["all"]["children"]["cluster"]["children"].pop(without, None)
        hosts["all"]["children"]["cluster"]["vars"] = variables
        (folder / "hosts.yml").write_text(yaml.safe_dump(hosts))
        return folder

    return copy


@pytest.mark.full
def test_control_planes_run_pods_where_there_are_no_workers(changed_inventory: Callable[..., Path]) -> None:
    inventory = changed_inventory(without="workers")
    marks = ("control plane's label", "control plane's taint")
    check = playbook.run(CLUSTER, "--check", inventory=inventory).assert_good()
    assert check.changed
    assert all(EDITS[name].state() for name in marks), "a check has changed something"
    try:
        playbook.run(CLUSTER, inventory=inventory).assert_good()
        assert not any(EDITS[name].state() for name in marks)
        again = playbook.run(CLUSTER, inventory=inventory).assert_good()
        assert not again.changed, again.changed_tasks()
    finally:
        back = converge()
    assert set(back.changed) == {CONTROL_PLANE}, back.changed_tasks()
    assert all(EDITS[name].state() for name in marks)


@pytest.mark.full
def test_the_site_s_own_settings_of_containerd_hold() -> None:
    """As nvidia-ctk writes them."""
    section = "plugins.'io.containerd.cri.v1.runtime'.containerd"
    drop_in = f"version = 3\n[{section}]\n  default_runtime_name = 'gpu'\n[{section}.runtimes.gpu]\n"
    drop_in += "  runtime_type = 'io.containerd.runc.v2'\n"
    path, dump = "/etc/containerd/conf.d/99-gpu.toml", "containerd config dump 2>/dev/null"
    try:
        on_node(WORKER, f"mkdir -p /etc/containerd/conf.d && cat >{path}", stdin="x = [\n")
        refused = playbook.run(CLUSTER, "--limit", f"{CONTROL_PLANE},{WORKER}")
        assert refused.returncode != 0
        assert "/etc/containerd/conf.d: found" in refused.output
        on_node(WORKER, "systemctl is-active containerd")

        on_node(WORKER, f"cat >{path}", stdin=drop_in)
        run = converge()
        assert run.changed_tasks() == [f"{WORKER}: campus.hubs.containerd : Restart containerd"]
        settings = on_node(WORKER, dump)
        assert "default_runtime_name = 'gpu'" in settings
        assert "SystemdCgroup = true" in settings
        again = converge()
        assert not again.changed, again.changed_tasks()
        assert on_node(WORKER, f"cat {path}") == drop_in
    finally:
        on_node(WORKER, f"rm -f {path}; systemctl restart containerd")


@pytest.mark.full
def test_the_control_machine_has_its_own_address_of_the_api_server(changed_inventory: Callable[..., Path]) -> None:
    certificate = "openssl x509 -in /etc/kubernetes/pki/apiserver.crt -noout -ext subjectAltName"
    inventory = changed_inventory(kubeadm_kubeconfig_server="api.lab.example:6443")
    run = playbook.run(CLUSTER, inventory=inventory).assert_good()
    assert "kube-apiserver restarts" in run.output
    assert "DNS:api.lab.example" in on_node(CONTROL_PLANE, certificate)
    assert "server: https://api.lab.example:6443\n" in playbook.KUBECONFIG.read_text()
    again = playbook.run(CLUSTER, inventory=inventory).assert_good()
    assert not again.changed, again.changed_tasks()
    # A certificate that kubeadm renews keeps the name; without the variable it stays there and disturbs nobody.
    converge()
    again = converge()
    assert not again.changed, again.changed_tasks()


@pytest.mark.full
def test_static_pods_are_as_kubeadm_writes_them_and_know_their_certificates() -> None:
    """Three have another manifest; the certificate of the fourth was renewed by hand, and nothing restarted."""
    flags = {"etcd": "--max-wals=6", "kube-apiserver": "--v=3", "kube-controller-manager": "--v=3"}
    manifests = f"cd {MANIFESTS} && cat {' '.join(f'{program}.yaml' for program in flags)}"
    before = on_node(CONTROL_PLANE, manifests)
    for program, flag in flags.items():
        edit = f"sed -i 's/^    - {program}$/&\\n    - {flag}/' {MANIFESTS}/{program}.yaml"
        look = f"pgrep --full '^{program} .*{flag}'"
        on_node(CONTROL_PLANE, edit)
        wait_for("the kubelet to see it", partial(on_node, CONTROL_PLANE, look), 120, pause=2)
        wait_for("the API server", lambda: "ok" in kubectl("kubectl get --raw=/readyz"), 120, pause=2)
    on_node(CONTROL_PLANE, "kubeadm certs renew scheduler.conf")
    run = converge()
    assert set(run.changed) == {CONTROL_PLANE}, run.changed_tasks()
    for program in flags:
        assert f"{program} restarts: its manifest is not as kubeadm writes it" in run.output
    assert "kube-scheduler restarts: it has not read its renewed certificates" in run.output
    assert on_node(CONTROL_PLANE, manifests) == before
    again = converge()
    assert not again.changed, again.changed_tasks()


@pytest.mark.full
def test_certificates_are_renewed_before_they_end(cluster: Cluster) -> None:
    def ends() -> dict[str, str]:
        found = json.loads(on_node(CONTROL_PLANE, CERTIFICATES))["certificates"]
        return {item["name"]: item["expirationDate"] for item in found if not item["missing"]}

    everything = "--extra-vars=kubeadm_renew_certificates_days=365"
    before, kubeconfig = ends(), playbook.KUBECONFIG.read_text()
    check = converge("--check", everything)
    assert check.changed
    assert "are renewed" in check.output
    assert ends() == before

    run = converge(everything)
    after = ends()
    assert after.keys() == before.keys()
    assert [name for name in before if after[name] <= before[name]] == []
    for program in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"):
        assert f"{program} restarts: it has not read its renewed certificates" in run.output
    assert playbook.KUBECONFIG.read_text() != kubeconfig
    assert Cluster(playbook.KUBECONFIG).ready(SYSTEM, "kube-")
    assert cluster.core.list_node().items  # the old kubeconfig is good as long as its certificate

    again = converge()
    assert not again.changed, again.changed_tasks()
