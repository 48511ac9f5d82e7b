# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a node is, and what on it differs from what kubeadm would write."""

from __future__ import annotations

import difflib
import ipaddress
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils import _apt_packages, _systemd
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import Commands, modified, read

KUBERNETES = "etc/kubernetes"
MANIFESTS = f"{KUBERNETES}/manifests"
FLAGS = "var/lib/kubelet/kubeadm-flags.env"
KUBELET_CONFIG = "var/lib/kubelet/config.yaml"
# Static pods of a control plane, in the order of restarts, and those of their certificates that a renewal writes last.
STATIC_PODS = {
    "etcd": ("pki/etcd/server.crt",),
    "kube-apiserver": ("pki/apiserver.crt", "pki/apiserver-kubelet-client.crt"),
    "kube-controller-manager": ("controller-manager.conf",),
    "kube-scheduler": ("scheduler.conf",),
}
EDITED = "its manifest is not as kubeadm writes it"
STALE = "it has not read its renewed certificates"
# What joins add to etcd's manifest is of no meaning once it has data.
_IGNORED = re.compile(r"^\s*$|^ *#|--initial-cluster")
_LEFT = ("*.conf", "*.yaml", "ca.crt", "ca.key")
DAY = 86400


def leftovers(root: Path) -> list[str]:
    """Return what kubeadm and etcd have written, as absolute paths; a stopped init or join leaves it, too."""
    folders = [root / KUBERNETES, root / "var/lib/etcd"]
    found = [path for folder in folders for name in _LEFT for depth in ("", "*/") for path in folder.glob(depth + name)]
    found += [path for path in [root / "var/lib/etcd/member"] if path.exists()]
    return sorted(f"/{path.relative_to(root)}" for path in found)


def has_credentials(root: Path) -> bool:
    """Tell whether the machine has a node's credentials.

    Init and join end with a kubelet.conf that names the certificate which the kubelet rotates.
    """
    return "kubelet-client-current.pem" in read(root / KUBERNETES / "kubelet.conf")


def has_etcd_data(root: Path) -> bool:
    """Tell whether the machine holds a cluster's data."""
    return (root / "var/lib/etcd/member").exists()


def is_member(root: Path, *, control_plane: bool) -> bool:
    """Tell whether the machine is a node, as a whole: a control plane has etcd's manifest as well."""
    return has_credentials(root) and (not control_plane or (root / MANIFESTS / "etcd.yaml").exists())


@dataclass(frozen=True)
class Process:
    """A process.

    Attributes:
        pid: its number.
        command: its program and arguments, with blanks between them.
        started: when, in seconds since 1970.
    """

    pid: int
    command: str
    started: float


def processes(root: Path, name: str = "") -> Iterator[Process]:
    """Return the machine's processes.

    Args:
        root: the machine's root.
        name: of those to return, as the kernel has it; all if empty.
    """
    up = float(read(root / "proc/uptime").split()[0])
    for folder in (root / "proc").glob("[0-9]*"):
        # proc(5): pid (name, which may hold anything) state ppid ...; field 22 is the start in ticks after boot.
        stat, command = read(folder / "stat"), read(folder / "cmdline")
        if not stat or (name and stat.partition("(")[2].rpartition(")")[0] != name):
            continue
        ticks = int(stat.rpartition(")")[2].split()[19])
        started = time.time() - (up - ticks / os.sysconf("SC_CLK_TCK"))
        yield Process(int(folder.name), command.replace("\0", " "), started)


def static_pod_processes(root: Path, pod: str) -> list[Process]:
    """Return the processes of a static pod of kubeadm's, the oldest first."""
    pattern = re.compile(rf"{re.escape(pod)} .*/etc/kubernetes/")
    return sorted((one for one in processes(root) if pattern.match(one.command)), key=lambda one: one.started)


def is_stale(root: Path, pod: str) -> bool:
    """Tell whether a static pod has started before its certificates were written."""
    running = static_pod_processes(root, pod)
    written = max(modified(root / KUBERNETES / name) for name in STATIC_PODS[pod])
    # Starts are known to a second.
    return bool(running) and written > running[0].started + 1


def render(commands: Commands, config: str, *, control_plane: bool) -> dict[str, str]:
    """Return what kubeadm would write: flags of the kubelet and manifests, by the files' names.

    It writes them into a folder of their own, which costs no more than reading.

    Raises:
        CommandError: kubeadm fails.
    """
    phases = [["kubelet-start"]] + ([["control-plane", "all"], ["etcd", "local"]] if control_plane else [])
    with tempfile.TemporaryDirectory() as folder:
        environment = {"KUBEADM_INIT_DRYRUN_DIR": folder}
        for phase in phases:
            commands.kubeadm("init", "phase", *phase, "--dry-run", config=config, environment=environment)
        return {path.name: read(path) for path in Path(folder).iterdir() if path.is_file()}


def changed_lines(found: str, expected: str) -> list[str]:
    """Compare two files but for comments, blank lines and etcd's first members.

    Returns:
        The lines that differ, as diff has them.
    """
    before, after = ([line for line in text.splitlines() if not _IGNORED.search(line)] for text in (found, expected))
    lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))
    return [line for line in lines[2:] if not line.startswith("@@")]


def manifest(root: Path, pod: str) -> Path:
    """Return the path of a static pod's manifest."""
    return root / MANIFESTS / f"{pod}.yaml"


def static_pods(root: Path, rendered: dict[str, str], renewed: list[str]) -> list[dict[str, Any]]:
    """Return the static pods that have to restart, in this order.

    Args:
        root: the machine's root.
        rendered: of `render`.
        renewed: those whose certificates are about to be written.

    Returns:
        Each with its ``name``, the ``reason``, and the ``lines`` of its manifest that differ.
    """
    found = []
    for pod in STATIC_PODS:
        lines = changed_lines(read(manifest(root, pod)), rendered[f"{pod}.yaml"])
        if lines:
            found.append({"name": pod, "reason": EDITED, "lines": lines})
        elif pod in renewed or is_stale(root, pod):
            found.append({"name": pod, "reason": STALE, "lines": []})
    return found


def expiring(commands: Commands, config: str, days: int) -> list[str]:
    """Return those of kubeadm's certificates that end soon and that it can renew.

    A certificate that kubeadm has no authority's key for is somebody else's to renew.

    Args:
        commands: run kubeadm.
        config: its configuration.
        days: those with fewer days left are returned.

    Raises:
        CommandError: kubeadm fails.
    """
    document = json.loads(commands.kubeadm("certs", "check-expiration", "--output", "json", config=config))
    return [
        one["name"]
        for one in document["certificates"]
        if not one["missing"] and not one["externallyManaged"] and one["residualTime"] < days * DAY
    ]


def name_check(server: str) -> list[str]:
    """Return the option of ``openssl x509`` that tells whether a certificate is for a server.

    Args:
        server: host name or address, without port and brackets.
    """
    try:
        ipaddress.ip_address(server)
    except ValueError:
        return ["-checkhost", server]
    return ["-checkip", server]


def lacks_server_name(commands: Commands, server: str) -> bool:
    """Tell whether the API server's certificate is there and not for a server (empty: for none in particular)."""
    path = commands.root / KUBERNETES / "pki/apiserver.crt"
    if not server or not path.exists():
        return False
    said = commands.try_run(["openssl", "x509", "-in", str(path), "-noout", *name_check(server)])[1]
    return "does match" not in said


def kubelet_is_current(commands: Commands) -> bool:
    """Tell whether the kubelet runs, will after a boot, and has started after its configuration was written."""
    command = ["systemctl", "show", "kubelet", _systemd.PROPERTIES]
    service = _systemd.read_service(commands.try_run(command, environment=_systemd.ENVIRONMENT)[1])
    written = modified(commands.root / KUBELET_CONFIG)
    return service.is_active and service.is_enabled and written > 0 and service.has_read(written)


@dataclass(frozen=True)
class Request:
    """What is asked about a node.

    Attributes:
        config: kubeadm's configuration, YAML; without it nothing is compared.
        control_plane: whether the node is a control plane, or will be.
        packages: versions of Debian packages, as glob patterns by name; without kubeadm's nothing is compared.
        renew_certificates_days: certificates with fewer days left are about to be renewed.
        server_name: what the API server's certificate has to be for, besides its usual names.
    """

    config: str = ""
    control_plane: bool = False
    packages: Mapping[str, str] = field(default_factory=dict)
    renew_certificates_days: int = 0
    server_name: str = ""


def describe(commands: Commands, request: Request) -> dict[str, Any]:
    """Return what the module kubeadm_info says of a node.

    Raises:
        CommandError: a command fails on a node that is whole.
    """
    root = commands.root
    pins = request.packages
    found = _apt_packages.read_packages(commands.try_run(_apt_packages.query(pins))[1] if pins else "")
    missing = _apt_packages.to_install(pins, found)
    member = is_member(root, control_plane=request.control_plane)
    has_kubeadm = "kubeadm" in pins and "kubeadm" not in missing
    facts: dict[str, Any] = {
        "expiring_certificates": [],
        "has_credentials": has_credentials(root),
        "has_etcd_data": has_etcd_data(root),
        "is_compared": bool(member and request.config and has_kubeadm),
        "is_member": member,
        "kubelet": {"flags": [], "configuration": "", "is_current": True},
        "lacks_server_name": False,
        "leftovers": leftovers(root),
        "packages_are_current": not (missing or _apt_packages.to_hold(pins, found)),
        "static_pods": [],
    }
    if not facts["is_compared"]:
        return facts
    rendered = render(commands, request.config, control_plane=request.control_plane)
    facts["kubelet"] = {
        "flags": changed_lines(read(root / FLAGS), rendered[Path(FLAGS).name]),
        "configuration": read(root / KUBELET_CONFIG),
        "is_current": kubelet_is_current(commands),
    }
    if request.control_plane:
        soon = expiring(commands, request.config, request.renew_certificates_days)
        unnamed = lacks_server_name(commands, request.server_name)
        renewed = list(STATIC_PODS) if soon else ["kube-apiserver"] if unnamed else []
        facts["expiring_certificates"], facts["lacks_server_name"] = soon, unnamed
        facts["static_pods"] = static_pods(root, rendered, renewed)
    return facts
