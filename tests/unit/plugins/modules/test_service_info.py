"""Whether a service runs with its files: what systemctl says is recorded, the files are real."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.modules import service_info

STARTED = 1796048980
# As systemd 249 (Ubuntu 22.04) and newer say it.
RUNS = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "ExecMainStartTimestamp": "Mon 2026-11-30 14:29:40 UTC",
}
BARE = {"LoadState": "not-found", "ActiveState": "inactive", "UnitFileState": "", "ExecMainStartTimestamp": ""}


class Service:
    """A service, and a folder with its files."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the module ask for it."""
        self.folder, self._capsys = folder / "conf.d", capsys
        self.program, self.script = folder / "systemctl", folder / "check"
        self.folder.mkdir()
        self.main = folder / "config.toml"
        self.write(self.main, -100)
        self.write(self.folder / "99-gpu.toml", -100)
        self.says(RUNS)
        monkeypatch.setattr(service_info, "SYSTEMCTL", [str(self.program)])

    def says(self, properties: dict[str, str]) -> None:
        """Have systemctl say this."""
        lines = "".join(f"echo '{name}={value}'\n" for name, value in properties.items())
        self.program.write_text(f"#!/bin/sh\n[ $TZ = UTC ] || exit 1\n{lines}")
        self.program.chmod(0o755)

    def write(self, path: Path, seconds: float) -> None:
        """Write a file so many seconds after the service has started."""
        path.write_text("x")
        for changed in (path, self.folder):
            os.utime(changed, (STARTED + seconds, STARTED + seconds))

    def look(self, script: str = "", validate: list[str] | None = None) -> dict[str, Any]:
        """Run the module, with a script or a command that validates."""
        self.script.write_text(f"#!/bin/sh\n{script}\n")
        self.script.chmod(0o755)
        files = [str(self.main), str(self.folder), f"{self.folder}/*"]
        arguments = {"name": "x", "files": files, "validate": validate or [str(self.script)]}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            service_info.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        # Only some releases of ansible-core say it by themselves.
        result.pop("invocation", None)
        return result


@pytest.fixture
def service(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Service:
    assert datetime.fromtimestamp(STARTED, UTC).strftime("%H:%M:%S") == "14:29:40"
    return Service(tmp_path, capsys, monkeypatch)


def test_a_service_that_has_read_its_files(service: Service) -> None:
    assert service.look("exit 1") == {
        "error": "",
        "exists": True,
        "is_active": True,
        "is_current": True,
        "is_enabled": True,
        "newer_files": [],
    }


def test_a_newer_file(service: Service) -> None:
    # Written in the second in which it started: nobody knows which was first.
    service.write(service.main, 0.9)
    assert service.look()["is_current"]
    service.write(service.main, 2)
    found = service.look()
    assert (found["is_current"], found["newer_files"]) == (False, sorted([str(service.main), str(service.folder)]))


def test_a_file_that_is_gone(service: Service) -> None:
    (service.folder / "99-gpu.toml").unlink()
    assert service.look()["newer_files"] == [str(service.folder)]


@pytest.mark.parametrize(
    ("properties", "facts"),
    [
        ({"ActiveState": "inactive"}, {"is_active": False, "is_enabled": True}),
        ({"ActiveState": "activating"}, {"is_active": False, "is_enabled": True}),
        ({"UnitFileState": "disabled"}, {"is_active": True, "is_enabled": False}),
        ({"UnitFileState": "masked"}, {"is_active": True, "is_enabled": False}),
        (BARE, {"is_active": False, "is_enabled": False, "exists": False}),
    ],
)
def test_a_service_that_does_not_run(service: Service, properties: dict[str, str], facts: dict[str, bool]) -> None:
    service.says(RUNS | properties)
    found = service.look()
    assert not found["is_current"]
    assert {name: found[name] for name in facts} == facts


@pytest.mark.parametrize(
    ("validate", "error"),
    [
        ("exit 0", ""),
        ("echo warning >&2", ""),
        (
            "echo level=info >&2; echo 'containerd: toml: expected a value' >&2; exit 1",
            "containerd: toml: expected a value",
        ),
        ("exit 7", "code 7"),
    ],
)
def test_a_configuration_is_validated_before_a_restart(service: Service, validate: str, error: str) -> None:
    service.write(service.main, 5)
    assert service.look(validate)["error"] == error


def test_a_program_that_is_not_installed_validates_nothing(service: Service) -> None:
    service.says(BARE)
    assert service.look(validate=["no-such-program", "config", "dump"])["error"] == ""


def test_systemd_that_does_not_answer_is_an_error(service: Service) -> None:
    service.program.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2; exit 1\n")
    assert service.look()["failed"]


def test_a_masked_service_is_there(service: Service) -> None:
    """What acts on it has to be told of in a check as well."""
    service.says({**BARE, "LoadState": "masked", "UnitFileState": "masked"})
    assert service.look()["exists"]
    service.says(BARE)
    assert not service.look()["exists"]
