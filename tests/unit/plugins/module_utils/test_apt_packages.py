"""What dpkg and apt say of packages."""

from __future__ import annotations

import pytest
from ansible_collections.campus.hubs.plugins.module_utils import _apt_packages
from ansible_collections.campus.hubs.plugins.module_utils._apt_packages import Package

QUERY = """\
containerd.io hold installed 2.4.2-1~debian.12~bookworm
kubeadm install installed 1.36.3-1.1
kubelet hold config-files 1.35.0-1.1
kubectl deinstall half-installed 1.36.3-1.1
runc unknown not-installed
"""
MADISON = """\
containerd.io | 2.4.2-1~debian.12~bookworm | https://download.docker.com/linux/debian bookworm/stable amd64 Packages
containerd.io | 2.4.2-1~debian.12~bookworm | https://mirror.example.edu/docker bookworm/stable amd64 Packages
containerd.io | 2.4.1-1~debian.12~bookworm | https://download.docker.com/linux/debian bookworm/stable amd64 Packages
containerd.io | 2.4.9-1 | https://deb.debian.org/debian bookworm/main Sources
"""


def test_packages_are_installed_and_held_as_pinned() -> None:
    found = _apt_packages.read_packages(QUERY)
    assert found == {
        "containerd.io": Package("2.4.2-1~debian.12~bookworm", is_held=True),
        "kubeadm": Package("1.36.3-1.1"),
        "kubelet": Package("", is_held=True),
        "kubectl": Package(),
        "runc": Package(),
    }
    pins = {"containerd.io": "2.4.2-*", "kubeadm": "1.36.*", "kubelet": "1.35.0-*", "runc": "*"}
    assert _apt_packages.to_install(pins, found) == ["kubelet", "runc"]
    assert _apt_packages.to_hold(pins, found) == ["kubeadm", "runc"]
    assert [str(found[name]) for name in ("containerd.io", "kubeadm", "kubelet", "runc")] == [
        "2.4.2-1~debian.12~bookworm (held)",
        "1.36.3-1.1",
        "absent (held)",
        "absent",
    ]


@pytest.mark.parametrize(
    ("version", "pattern", "has"),
    [
        ("1.35.10-1.1", "1.35.*", True),
        ("1.35.1-1.1", "1.35.1-*", True),
        ("1.35.10-1.1", "1.35.1-*", False),
        ("1.35.1-1.1", "1.35.1", False),
        ("5:28.0-1", "*", True),
        ("", "*", False),
    ],
)
def test_patterns(version: str, pattern: str, has: bool) -> None:
    assert Package(version).has(pattern) == has


def test_versions_in_the_repositories() -> None:
    found = _apt_packages.candidates(MADISON)
    assert found == ["2.4.2-1~debian.12~bookworm", "2.4.1-1~debian.12~bookworm"]
    assert _apt_packages.newest(found, "2.4.*") == found[0]
    assert _apt_packages.newest(found, "2.4.1-*") == found[1]
    assert _apt_packages.newest(found, "2.4.9-*") is None
    assert _apt_packages.candidates("") == []


@pytest.mark.parametrize(
    ("stderr", "locked"),
    [
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (unattended-upgr)", True),
        ("W: x\nE: Unable to lock directory /var/lib/apt/lists/", True),
        ("dpkg: error: dpkg frontend lock was locked by another process with pid 7", True),
        ("dpkg: error: dpkg frontend is locked by another process", True),
        ("E: Unable to locate package lock", True),
        ("E: Unable to locate package no-such", False),
        ("E: Some packages could not be authenticated\nI: the lock", False),
        ("", False),
    ],
)
def test_locks(stderr: str, locked: bool) -> None:
    assert _apt_packages.is_locked(stderr) == locked
