# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a node is changed, by kubeadm: certificates, static pods, the kubelet."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import node
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import Commands, read
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

# The kubelet waits up to five minutes before it starts a program again that has ended often.
RESTART_TRIES, PAUSE_SECONDS = 180, 2
# What a kubelet that does not take its configuration needs at most to end.
SETTLE_SECONDS = 3
_CLUSTER = "kind: ClusterConfiguration\n"
# What a control plane that exists already makes kubeadm's checks say.
RESUME_ERRORS = (
    "DirAvailable--var-lib-etcd",
    *(f"FileAvailable--etc-kubernetes-manifests-{pod}.yaml" for pod in node.STATIC_PODS),
    *(f"Port-{port}" for port in (2379, 2380, 6443, 10250, 10257, 10259)),
)


class ChangeError(Exception):
    """A change did not come to its end; the message is a refusal."""


def initialise(commands: Commands, config: str) -> None:
    """Make this machine the first control plane.

    Init takes over the certificates, manifests and data that an earlier try has left: nothing is lost by doing it
    again.

    Raises:
        CommandError: kubeadm fails.
    """
    ignored = [f"--ignore-preflight-errors={','.join(RESUME_ERRORS)}"] if node.has_etcd_data(commands.root) else []
    commands.kubeadm("init", "--skip-phases=show-join-command", *ignored, config=config)


def must_reset(root: Path, *, control_plane: bool) -> bool:
    """Tell whether a stopped init or join has left files that stand in the way, and no data."""
    member = node.is_member(root, control_plane=control_plane)
    return bool(node.leftovers(root)) and not member and not node.has_etcd_data(root)


def with_certificates_dir(config: str, folder: str) -> str:
    """Return kubeadm's configuration with another folder for certificates."""
    if _CLUSTER not in config:
        raise ChangeError(refusal("config", "no ClusterConfiguration", "one"))
    return config.replace(_CLUSTER, f"{_CLUSTER}certificatesDir: {folder}\n", 1)


def renew_certificates(commands: Commands, config: str) -> None:
    """Renew all of kubeadm's certificates.

    Raises:
        CommandError: kubeadm fails.
    """
    commands.kubeadm("certs", "renew", "all", config=config)


def issue_server_certificate(commands: Commands, config: str) -> None:
    """Issue the API server's certificate for the names that the configuration has.

    In a folder of its own, so that a run that is stopped leaves the old pair in place.

    Raises:
        CommandError: kubeadm fails.
        OSError: a file cannot be written.
    """
    current = commands.root / node.KUBERNETES / "pki"
    new = current.with_name("pki.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    try:
        for name in ("ca.crt", "ca.key"):
            shutil.copy(current / name, new / name)
        changed = with_certificates_dir(config, str(new))
        commands.kubeadm("init", "phase", "certs", "apiserver", config=changed)
        for name in ("apiserver.key", "apiserver.crt"):
            (new / name).replace(current / name)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _container(commands: Commands, pod: str, node_name: str) -> tuple[bool, str]:
    """Return whether a static pod is ready, and which container it is; nothing if the API server does not answer."""
    status = ".status.containerStatuses[0]"
    command = commands.kubectl_command(
        "--request-timeout=5s",
        "--namespace=kube-system",
        "get",
        f"pod/{pod}-{node_name}",
        f"--output=jsonpath={{{status}.ready}} {{{status}.containerID}}",
    )
    found = commands.try_run(command)[1].split(" ")
    return found[0] == "true", found[-1]


def restart_static_pod(commands: Commands, pod: str, node_name: str, config: str, expected: str) -> None:
    """Restart a static pod, with its manifest as kubeadm writes it, and wait until it is ready.

    Args:
        commands: run on its node.
        pod: its name without the node's.
        node_name: the name with which the node is registered.
        config: kubeadm's configuration.
        expected: the manifest that kubeadm would write.

    Raises:
        CommandError: kubeadm fails.
        ChangeError: it does not become ready.
    """
    before = _container(commands, pod, node_name)[1]
    if node.changed_lines(read(node.manifest(commands.root, pod)), expected):
        phase = ["etcd", "local"] if pod == "etcd" else ["control-plane", pod[len("kube-") :]]
        commands.kubeadm("init", "phase", *phase, config=config)
    else:
        stop_static_pod(commands.root, pod)
    for left in range(RESTART_TRIES, 0, -1):
        is_ready, container = _container(commands, pod, node_name)
        if is_ready and container != before:
            return
        if left > 1:
            time.sleep(PAUSE_SECONDS)
    found = f"no new ready container after {RESTART_TRIES * PAUSE_SECONDS} s"
    fix = "look at journalctl --unit=kubelet and at the logs of its containers (crictl ps --all)"
    raise ChangeError(refusal(pod, found, "one", fix))


def stop_static_pod(root: Path, pod: str) -> None:
    """End a static pod's processes, which the kubelet then starts again.

    A controller manager that has lost its API server ends by itself: there may be none.
    """
    for process in node.static_pod_processes(root, pod):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)


def write_kubelet_files(commands: Commands, config: str, *, flags: bool) -> None:
    """Let kubeadm write the kubelet's files.

    Args:
        commands: run on its node.
        config: kubeadm's configuration.
        flags: whether its flags are written, too; the cluster's configuration always is.

    Raises:
        CommandError: kubeadm fails.
    """
    if flags:
        commands.kubeadm("init", "phase", "kubelet-start", config=config)
    # It takes the configuration of the cluster's ConfigMap.
    commands.run(["kubeadm", "upgrade", "node", "phase", "kubelet-config"])


def restart_kubelet(commands: Commands) -> None:
    """Start the kubelet again, now and at boot. Its pods go on running meanwhile.

    Raises:
        CommandError: systemd does not.
        ChangeError: the kubelet has ended at once.
    """
    commands.run(["systemctl", "enable", "kubelet"])
    commands.run(["systemctl", "restart", "kubelet"])
    time.sleep(SETTLE_SECONDS)
    code, state = commands.try_run(["systemctl", "is-active", "kubelet"])[:2]
    if code != 0:
        raise ChangeError(
            refusal("kubelet", f"{state.strip()} after its restart", "active", "look at journalctl --unit=kubelet")
        )
