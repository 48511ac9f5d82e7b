"""A server with kubeadm on it: a folder that is its root, and programs that answer as the real ones did."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import node
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import Commands

CONFIG = """apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: "lab"
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
podPidsLimit: 4096
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
"""
FLAGS = 'KUBELET_KUBEADM_ARGS="--hostname-override=cp1 --node-ip=192.0.2.11"\n'
CREDENTIALS = "    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n"
Answer = tuple[int, str, str]


def systemd_time(seconds: float) -> str:
    """Return a time, in seconds since 1970, as systemctl show says it in UTC."""
    return time.strftime("%a %Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def manifest(pod: str, *flags: str) -> str:
    """Return a static pod's manifest, shortened."""
    lines = ["apiVersion: v1", "kind: Pod", "spec:", "  containers:", "  - command:", f"    - {pod}"]
    return "\n".join([*lines, *(f"    - {flag}" for flag in ("--bind-address=127.0.0.1", *flags)), ""])


def certificates(**days: int) -> str:
    """Return what kubeadm 1.36 says of certificates, whose names have ``_`` for ``-``."""
    found = [
        {
            "name": name.replace("_", "-"),
            "expirationDate": "2027-11-30T14:36:41Z",
            "residualTime": left * 86400 - 1,
            "externallyManaged": False,
            "caName": "ca",
            "missing": False,
        }
        for name, left in days.items()
    ]
    absent = {"name": "super-admin.conf", "expirationDate": None, "residualTime": 0, "externallyManaged": False}
    return json.dumps({"kind": "CertificateExpirationInfo", "certificates": [*found, {**absent, "missing": True}]})


def run_for_real(args: list[str], data: str | None = None, environ_update: dict[str, str] | None = None) -> Answer:
    """Run a command as AnsibleModule does."""
    del environ_update
    done = subprocess.run(args, input=data, capture_output=True, text=True, check=False)  # noqa: S603 (our own)
    return done.returncode, done.stdout, done.stderr


class Machine:
    """A server.

    Attributes:
        root: folder that is its root.
        commands: runs its programs.
        ran: the command lines so far, but for kubeadm's renderings.
        inputs: what they read.
        rendered: what kubeadm would write, by file name.
    """

    def __init__(self, root: Path) -> None:
        """Have a bare one."""
        self.root = root
        self.commands = Commands(self.run_command, root)
        self.ran: list[str] = []
        self.inputs: list[str | None] = []
        self.rendered = {"kubeadm-flags.env": FLAGS} | {f"{pod}.yaml": manifest(pod) for pod in node.STATIC_PODS}
        self._answers: list[tuple[str, Answer | Callable[[], Answer]]] = []
        self.write("proc/uptime", "5000.00 9000.00\n")

    def write(self, path: str, text: str, *, age: float = 3600) -> Path:
        """Write a file, some seconds ago."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        os.utime(file, (time.time() - age,) * 2)
        return file

    def answer(self, pattern: str, out: str = "", err: str = "", *, code: int = 0) -> None:
        """Have commands that a pattern is found in answer from now on; the last pattern counts."""
        self._answers.insert(0, (pattern, (code, out, err)))

    def do(self, pattern: str, action: Callable[[], object]) -> None:
        """Have such commands do something, successfully."""

        def run() -> Answer:
            action()
            return 0, "", ""

        self._answers.insert(0, (pattern, run))

    def run_command(
        self, args: list[str], data: str | None = None, environ_update: dict[str, str] | None = None
    ) -> Answer:
        """Run a command as AnsibleModule does."""
        line = " ".join(args)
        if "--dry-run" in args:
            assert data == CONFIG
            folder = Path((environ_update or {})["KUBEADM_INIT_DRYRUN_DIR"])
            names = {"kubelet-start": ("kubeadm-flags.env",), "etcd": ("etcd.yaml",)}
            for name in names.get(args[3], [f"{pod}.yaml" for pod in node.STATIC_PODS if pod != "etcd"]):
                (folder / name).write_text(self.rendered[name])
            return 0, "", ""
        assert not line.startswith("systemctl show") or (environ_update or {})["TZ"] == "UTC"
        self.ran.append(line)
        self.inputs.append(data)
        for pattern, answer in self._answers:
            if re.search(pattern, line):
                return answer() if callable(answer) else answer
        return 0, "", ""

    def start(self, pid: int, *command: str, age: float = 1800) -> None:
        """Have a process since some seconds."""
        ticks = int((5000 - age) * os.sysconf("SC_CLK_TCK"))
        fields = " ".join(["S", "1", *["0"] * 17, str(ticks), "0"])
        self.write(f"proc/{pid}/stat", f"{pid} ({command[0][:15]}) {fields}\n")
        self.write(f"proc/{pid}/cmdline", "\0".join(command) + "\0")

    def install(self, version: str = "1.36.3") -> None:
        """Have kubeadm's packages, held."""
        names = ("kubeadm", "kubelet", "kubectl")
        self.answer("^dpkg-query", "".join(f"{name} hold installed {version}-1.1\n" for name in names))

    def become_node(self, *, control_plane: bool = True) -> None:
        """Be a node that needs nothing."""
        self.install()
        self.write("etc/kubernetes/kubelet.conf", CREDENTIALS)
        self.write(node.FLAGS, FLAGS)
        self.write(node.KUBELET_CONFIG, "podPidsLimit: 4096\nresolvConf: /run/systemd/resolve/resolv.conf\n")
        self.answer(
            # As systemd 249 (Ubuntu 22.04) takes it, which knows no --timestamp.
            r"^systemctl show kubelet --property=\S+$",
            f"ActiveState=active\nUnitFileState=enabled\nExecMainStartTimestamp={systemd_time(time.time() - 1800)}\n",
        )
        if not control_plane:
            return
        for pid, (pod, files) in enumerate(node.STATIC_PODS.items(), 100):
            self.write(f"{node.MANIFESTS}/{pod}.yaml", manifest(pod))
            self.start(pid, pod, "--kubeconfig=/etc/kubernetes/x")
            for name in files:
                self.write(f"etc/kubernetes/{name}", "PEM")
        self.write("etc/kubernetes/pki/ca.crt", "authority")
        self.write("etc/kubernetes/pki/ca.key", "authority's key")
        self.write("var/lib/etcd/member/x", "")
        self.answer("^kubeadm certs check-expiration", certificates(apiserver=300, etcd_server=300))


def cluster_objects(annotations: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a cluster's objects as kubectl does, with annotations by kind and name."""

    def named(kind: str, name: str, **more: object) -> dict[str, Any]:
        value = (annotations or {}).get(f"{kind.lower()}/{name}")
        extra = {"annotations": {"campus.hubs/applied": value}} if value else {}
        return {"kind": kind, "metadata": {"name": name, **extra}, **more}

    pods = {"template": {"metadata": {"labels": {"k8s-app": "x"}}, "spec": {"containers": [{"name": "x"}]}}}
    kubelet = "containerRuntimeEndpoint: ''\npodPidsLimit: 4096\n"
    items = [
        named("ConfigMap", "kubeadm-config", data={"ClusterConfiguration": "clusterName: lab\n"}),
        named("ConfigMap", "kubelet-config", data={"kubelet": kubelet}),
        named("ConfigMap", "kube-proxy", data={"config.conf": "mode: iptables\n"}),
        named("Deployment", "coredns", spec={"replicas": 2, **pods}),
        named("DaemonSet", "kube-proxy", spec=pods),
    ]
    return {"kind": "List", "items": items}


def node_object(name: str, *labels: str, address: str = "192.0.2.11", taints: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a node as kubectl does."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | dict.fromkeys(labels, "")},
        "spec": {"taints": [{"effect": "NoSchedule", "key": key} for key in taints]} if taints else {},
        "status": {"addresses": [{"type": "Hostname", "address": name}, {"type": "InternalIP", "address": address}]},
    }
