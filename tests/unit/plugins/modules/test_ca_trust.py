"""The system's bundle of certificate authorities is made anew where the site's are newer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.modules import ca_trust


class System:
    """Folders of certificates."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the module work on them, with a program that makes the bundle."""
        self.local, self.bundle, self._capsys = root / "local", root / "bundle.crt", capsys
        self.local.mkdir()
        (root / "bin").mkdir()
        self.program = root / "bin/update-ca-certificates"
        self.program.write_text(f"#!/bin/sh\ncat {self.local}/* > {self.bundle}; echo >> {root}/calls\n")
        self.program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
        monkeypatch.setattr(ca_trust, "AUTHORITIES", self.local)
        monkeypatch.setattr(ca_trust, "BUNDLE", self.bundle)
        self.calls = root / "calls"
        self.write("site.crt", "old")
        self.bundle.write_text("public")
        self.age()

    def age(self) -> None:
        """Let an hour pass."""
        for path in (*self.local.iterdir(), self.local, self.bundle):
            then = path.stat().st_mtime - 3600
            os.utime(path, (then, then))

    def write(self, name: str, text: str) -> None:
        """Write a certificate."""
        (self.local / name).write_text(text)

    def have(self, *, check: bool = False) -> dict[str, Any]:
        """Run the module."""
        with patch_module_args({"_ansible_check_mode": check}), pytest.raises(SystemExit):
            ca_trust.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        assert not result.get("failed"), result
        return result


@pytest.fixture
def system(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> System:
    return System(tmp_path, capsys, monkeypatch)


def test_a_certificate_that_is_newer(system: System) -> None:
    system.have()
    system.age()
    system.write("campus-hubs.crt", "new")
    check = system.have(check=True)
    assert (check["changed"], check["newer_files"]) == (
        True,
        [str(system.local), str(system.local / "campus-hubs.crt")],
    )
    assert "new" not in system.bundle.read_text()
    assert system.have()["diff"] == check["diff"]
    assert "new" in system.bundle.read_text()
    calls = system.calls.read_text()
    for check_mode in (False, True):
        assert not system.have(check=check_mode)["changed"]
    assert system.calls.read_text() == calls


def test_a_certificate_that_is_gone(system: System) -> None:
    system.have()
    system.age()
    (system.local / "site.crt").unlink()
    system.write("other.crt", "other")
    assert system.have()["changed"]
    assert system.bundle.read_text() == "other"


def test_a_system_without_a_bundle_gets_one(system: System) -> None:
    system.bundle.unlink()
    assert system.have()["changed"]
    assert not system.have()["changed"]


def test_a_system_without_the_package_or_the_folder(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ca_trust, "UPDATE", "no-such-program")
    system.write("new.crt", "new")
    assert not system.have()["changed"]
    monkeypatch.setattr(ca_trust, "UPDATE", "update-ca-certificates")
    monkeypatch.setattr(ca_trust, "AUTHORITIES", system.local / "none")
    assert not system.have()["changed"]
