"""Packages get their versions and holds: real dpkg and apt, on a folder that is a machine's root."""

from __future__ import annotations

import fcntl
import hashlib
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.modules import pinned_packages

APT = """\
Dir "{root}";
Dir::State::status "{root}/var/lib/dpkg/status";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "{root}/none";
Dir::Etc::parts "{root}/none";
Dir::Etc::main "{root}/none";
Dir::Log "{root}/log";
APT::Sandbox::User "root";
APT::Architectures {{ "amd64"; }};
"""


class Machine:
    """A folder with packages, and a repository."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Have dpkg and apt work on it."""
        self.root, self.dpkg, self.repository, self._capsys = root, root / "var/lib/dpkg", root / "repository", capsys
        for folder in ("info", "updates", "triggers"):
            (self.dpkg / folder).mkdir(parents=True)
        for folder in ("repository", "build", "log", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
            (root / folder).mkdir(parents=True)
        (self.dpkg / "status").touch()
        (root / "sources.list").write_text(f"deb [trusted=yes] file:{self.repository} ./\n")
        (root / "apt.conf").write_text(APT.format(root=root))
        monkeypatch.setenv("APT_CONFIG", str(root / "apt.conf"))
        monkeypatch.setenv("DPKG_ADMINDIR", str(self.dpkg))
        monkeypatch.setenv("DPKG_ROOT", str(root))
        monkeypatch.setattr(pinned_packages, "UPDATES", self.dpkg / "updates")
        monkeypatch.setattr(pinned_packages, "PAUSE", 0.1)

    def publish(self, name: str, version: str, conffile: str = "") -> None:
        """Put a package into the repository."""
        tree = self.root / "build" / f"{name}-{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "etc").mkdir()
        (tree / f"etc/{name}.version").write_text(version)
        if conffile:
            (tree / "DEBIAN/conffiles").write_text(f"/etc/{name}.conf\n")
            (tree / f"etc/{name}.conf").write_text(conffile)
        control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x\nDescription: x\n"
        (tree / "DEBIAN/control").write_text(control)
        deb = self.repository / f"{name}_{version.replace(':', '%3a')}_amd64.deb"
        subprocess.run(["dpkg-deb", "--build", str(tree), str(deb)], check=True, capture_output=True)  # noqa: S603, S607
        content = deb.read_bytes()
        entry = f"Filename: ./{deb.name}\nSize: {len(content)}\nSHA256: {hashlib.sha256(content).hexdigest()}\n"
        with (self.repository / "Packages").open("a") as index:
            index.write(f"{control}{entry}\n")

    def have(self, packages: dict[str, Any], **options: object) -> dict[str, Any]:
        """Run the module."""
        with patch_module_args({"packages": packages, **options}), pytest.raises(SystemExit):
            pinned_packages.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return result

    def states(self) -> list[str]:
        """Return what dpkg says of all packages."""
        command = ["dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Want} ${db:Status-Status}\n"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()  # noqa: S603

    def version(self, name: str) -> str:
        """Return the version whose files are there."""
        return (self.root / f"etc/{name}.version").read_text()


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path, capsys, monkeypatch)
    for version in ("1.35.2-1.1", "1.36.1-1.1", "1.36.10-1.1", "1.36.2-1.1"):
        made.publish("kubeadm", version)
    made.publish("kubelet", "1.36.2-1.1")
    return made


def test_packages_are_installed_and_held_once(machine: Machine) -> None:
    pins = {"kubeadm": "1.36.2-*", "kubelet": "1.36.2-*"}
    check = machine.have(pins, _ansible_check_mode=True)
    assert (check["changed"], check["installed"], check["held"]) == (True, list(pins), list(pins))
    assert check["diff"]["before"] == "kubeadm absent\nkubelet absent\n"
    assert check["diff"]["after"] == "kubeadm 1.36.2-* (held)\nkubelet 1.36.2-* (held)\n"
    assert machine.states() == []

    result = machine.have(pins)
    assert (result["changed"], result["installed"], result["held"]) == (True, list(pins), list(pins))
    assert (result["is_current"], result["is_repaired"]) == (False, False)
    assert result["diff"]["after"] == "kubeadm 1.36.2-1.1 (held)\nkubelet 1.36.2-1.1 (held)\n"
    assert machine.states() == [f"{name} 1.36.2-1.1 hold installed" for name in pins]

    for options in ({}, {"_ansible_check_mode": True}):
        again = machine.have(pins, **options)
        assert (again["changed"], again["is_current"], again["installed"], again["held"]) == (False, True, [], [])
        assert again["diff"]["before"] == again["diff"]["after"]


def test_the_newest_version_of_a_pattern_is_taken(machine: Machine) -> None:
    assert machine.have({"kubeadm": "1.36.*"})["installed"] == ["kubeadm"]
    assert machine.version("kubeadm") == "1.36.10-1.1"
    machine.publish("kubeadm", "1.36.11-1.1")
    assert not machine.have({"kubeadm": "1.36.*"})["changed"]


def test_a_held_package_gets_another_version_and_stays_held(machine: Machine) -> None:
    machine.have({"kubeadm": "1.36.1-*"})
    for version in ("1.36.10-*", "1.35.2-1.1"):
        result = machine.have({"kubeadm": version})
        assert (result["installed"], result["held"]) == (["kubeadm"], [])
        assert machine.version("kubeadm") == version.replace("*", "1.1")
    assert machine.states() == ["kubeadm 1.35.2-1.1 hold installed"]


def test_a_hold_that_was_taken_away_is_set_again(machine: Machine) -> None:
    pins = {"kubeadm": "1.36.2-*", "kubelet": "*"}
    machine.have(pins)
    subprocess.run(["apt-mark", "unhold", "kubelet"], check=True, capture_output=True)  # noqa: S607
    check = machine.have(pins, _ansible_check_mode=True)
    assert (check["changed"], check["installed"], check["held"]) == (True, [], ["kubelet"])
    assert "kubelet 1.36.2-1.1 install installed" in machine.states()
    result = machine.have(pins)
    assert (result["installed"], result["held"], result["diff"]) == ([], ["kubelet"], check["diff"])
    assert "kubelet 1.36.2-1.1 hold installed" in machine.states()


def test_any_version_without_a_hold(machine: Machine) -> None:
    machine.have({"kubelet": "*"}, hold=False)
    assert machine.states() == ["kubelet 1.36.2-1.1 install installed"]
    machine.publish("kubelet", "1.36.9-1.1")
    assert not machine.have({"kubelet": "*"}, hold=False)["changed"]
    # One that is held by somebody stays so.
    machine.have({"kubelet": "*"})
    assert not machine.have({"kubelet": "*"}, hold=False)["changed"]
    assert machine.have({"kubelet": "1.36.9-*"}, hold=False)["held"] == []
    assert machine.states() == ["kubelet 1.36.9-1.1 hold installed"]


def test_a_configuration_that_was_there_before_stays(machine: Machine) -> None:
    """As role containerd writes it before the package."""
    for version in ("2.4.1-1", "2.4.2-1"):
        machine.publish("containerd.io", version, conffile=f"# of {version}\n")
    (machine.root / "etc").mkdir()
    (machine.root / "etc/containerd.io.conf").write_text("# ours\n")
    for version in ("2.4.1-*", "2.4.2-*"):
        assert machine.have({"containerd.io": version})["changed"]
        assert (machine.root / "etc/containerd.io.conf").read_text() == "# ours\n"


def test_a_version_that_nobody_has_is_refused(machine: Machine) -> None:
    result = machine.have({"kubeadm": "1.37.0-*"})
    assert result["failed"]
    found = "kubeadm: found 1.36.10-1.1, 1.36.2-1.1, 1.36.1-1.1, 1.35.2-1.1 in the package repositories"
    assert result["msg"].startswith(f"{found}, expected 1.37.0-*. Fix: ")
    assert "no-such: found no version in" in machine.have({"no-such": "1-*"})["msg"]
    assert "apt-get" in machine.have({"no-such": "*"})["msg"]
    assert machine.states() == []


@pytest.mark.parametrize("packages", [{"--x": "1"}, {"kubeadm": 1}, {"kubeadm": ""}, {"kubeadm": "1 x"}, {"a=1": "*"}])
def test_what_is_no_package_is_refused(machine: Machine, packages: dict[str, Any]) -> None:
    result = machine.have(packages)
    assert result["failed"]
    assert "expected a version, or a glob pattern, by package" in result["msg"]


def test_an_interrupted_installation_is_completed(machine: Machine) -> None:
    machine.have({"kubeadm": "1.36.2-*"})
    entry = (machine.dpkg / "status").read_text().replace("hold ok installed", "hold ok half-configured")
    assert "half-configured" in entry
    # As dpkg leaves it when it is killed.
    (machine.dpkg / "updates/0000").write_text(entry)
    check = machine.have({"kubelet": "*"}, _ansible_check_mode=True)
    assert (check["changed"], check["is_repaired"], check["is_current"]) == (True, True, False)
    assert (machine.dpkg / "updates/0000").exists()
    assert machine.have({"kubelet": "*"})["is_repaired"]
    assert "kubeadm 1.36.2-1.1 hold installed" in machine.states()
    assert not machine.have({"kubelet": "*"})["changed"]


@pytest.mark.parametrize("lock", ["var/lib/dpkg/lock-frontend", "var/lib/apt/lists/lock"])
def test_others_that_install_are_waited_for(machine: Machine, lock: str) -> None:
    with (machine.root / lock).open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        refused = machine.have({"kubeadm": "1.36.2-*"}, lock_timeout_seconds=0)
        assert refused["failed"]
        assert "lock" in refused["msg"]
        assert machine.states() == []
        released = threading.Timer(2, fcntl.lockf, (file, fcntl.LOCK_UN))
        released.start()
        assert machine.have({"kubeadm": "1.36.2-*"}, lock_timeout_seconds=60)["changed"]
        released.join()
    assert machine.states() == ["kubeadm 1.36.2-1.1 hold installed"]


def test_holds_wait_for_others(machine: Machine) -> None:
    machine.have({"kubeadm": "1.36.2-*"}, hold=False)
    with (machine.dpkg / "lock").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        released = threading.Timer(1, fcntl.lockf, (file, fcntl.LOCK_UN))
        released.start()
        result = machine.have({"kubeadm": "1.36.2-*"}, lock_timeout_seconds=60)
        assert result.get("held") == ["kubeadm"], result
        released.join()
    assert machine.states() == ["kubeadm 1.36.2-1.1 hold installed"]
