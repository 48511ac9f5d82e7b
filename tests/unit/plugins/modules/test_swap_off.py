"""Swap stays off at boot: real systemctl, on a folder that is a machine's root."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.modules import swap_off

UNIT = "[Swap]\nWhat=/swapfile\n[Install]\nWantedBy=multi-user.target\n"
SERVICE = "[Service]\nExecStart=/sbin/swapon /swapfile\n[Install]\nWantedBy=multi-user.target\n"
GPT = r"dev-disk-by\x2dpartuuid-ab.swap"


class Machine:
    """A folder with units."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the module work on it. Nothing runs there, so what is for running units is only noted."""
        self.root, self.site, self.vendor = root, root / "etc/systemd/system", root / "usr/lib/systemd/system"
        self.noted: list[str] = []
        for folder in (self.site, self.vendor):
            folder.mkdir(parents=True)
        (self.vendor / "swap.target").write_text("[Unit]\nDescription=Swaps\n")
        (root / "etc/fstab").write_text("UUID=1 / ext4 rw 0 1\n")
        (root / "swaps").write_text("Filename\tType\tSize\tUsed\tPriority\n")
        monkeypatch.setattr(swap_off, "SITE", self.site)
        monkeypatch.setattr(swap_off, "FSTAB", root / "etc/fstab")
        monkeypatch.setattr(swap_off, "SWAPS", root / "swaps")
        monkeypatch.setattr(swap_off, "SYSTEMCTL", ["systemctl", f"--root={root}"])
        real = swap_off.systemctl

        def systemctl(module: AnsibleModule, verb: str, *arguments: str) -> str:
            if verb in ("stop", "daemon-reload"):
                self.noted.append(" ".join((verb, *arguments)))
                return ""
            return real(module, verb, *arguments)

        monkeypatch.setattr(swap_off, "systemctl", systemctl)

    def enable(self, unit: str, text: str, folder: Path) -> None:
        """Have a unit that starts at boot."""
        (folder / unit).write_text(text)
        wants = self.site / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / unit).symlink_to(f"/{(folder / unit).relative_to(self.root)}")

    def starts_at_boot(self, unit: str) -> bool:
        """Tell whether something starts a unit, and it can be started."""
        wanted = any(self.site.glob(f"*.wants/{unit.replace(chr(92), '[' + chr(92) + ']')}"))
        return wanted and not swap_off.is_masked(unit)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def run(capsys: pytest.CaptureFixture[str], *, check: bool = False) -> dict[str, Any]:
    with patch_module_args({"_ansible_check_mode": check}), pytest.raises(SystemExit):
        swap_off.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert not result.get("failed"), result
    return result


@pytest.mark.parametrize(
    ("unit", "where"),
    [
        ("dev-zram0.swap", "vendor"),
        (GPT, "vendor"),
        ("swapfile.swap", "site"),
        ("zramswap.service", "vendor"),
        ("zram-config.service", "vendor"),
        ("dphys-swapfile.service", "site"),
    ],
)
def test_units(machine: Machine, capsys: pytest.CaptureFixture[str], unit: str, where: str) -> None:
    folder = machine.site if where == "site" else machine.vendor
    machine.enable(unit, SERVICE if unit.endswith(".service") else UNIT, folder)
    assert machine.starts_at_boot(unit)
    check = run(capsys, check=True)
    assert (check["changed"], check["units"]) == (True, sorted(["swap.target", unit]))
    assert machine.starts_at_boot(unit)
    assert machine.noted == []

    assert run(capsys)["units"] == sorted(["swap.target", unit])
    assert not machine.starts_at_boot(unit)
    assert swap_off.is_masked("swap.target")
    assert machine.noted == ([f"stop {unit}"] if unit.endswith(".service") else [])
    assert (folder / unit).read_text(), "the site's own file stays"
    assert not run(capsys)["changed"]
    assert not run(capsys, check=True)["changed"]

    # Undone by hand, or by another package: done once more.
    if where == "site":
        machine.enable(unit, (folder / unit).read_text(), folder)
    else:
        (machine.site / unit).unlink()
    assert run(capsys)["units"] == [unit]
    assert not machine.starts_at_boot(unit)


def test_fstab(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys)
    fstab = machine.root / "etc/fstab"
    fstab.write_text("UUID=1 / ext4 rw 0 1\n/swapfile none swap sw 0 0\n")
    fstab.chmod(0o664)
    check = run(capsys, check=True)
    assert "/swapfile" in fstab.read_text().splitlines()[1].split()
    result = run(capsys)
    assert result["diff"] == check["diff"]
    assert fstab.read_text() == "UUID=1 / ext4 rw 0 1\n# off, the kubelet wants no swap: /swapfile none swap sw 0 0\n"
    assert fstab.stat().st_mode & 0o777 == 0o664
    assert machine.noted == ["daemon-reload"]
    assert not run(capsys)["changed"]


def test_what_is_on_is_said_in_a_check(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys)
    with (machine.root / "swaps").open("a") as file:
        file.write("/dev/zram0 partition 100 0 5\n")
    check = run(capsys, check=True)
    assert (check["changed"], check["devices"], check["units"]) == (True, ["/dev/zram0"], [])


def test_a_machine_without_fstab_and_swap(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("etc/fstab", "swaps"):
        (machine.root / name).unlink()
    run(capsys)
    assert not run(capsys)["changed"]
    assert not (machine.root / "etc/fstab").exists()


def test_other_lines_of_fstab_stay_byte_for_byte(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    fstab = machine.root / "etc/fstab"
    fstab.write_bytes(b"# f\xfcr alle\r\nUUID=1 / ext4 rw 0 1\n/swapfile none swap sw 0 0\n")
    result = run(capsys)
    assert result["changed"]
    assert fstab.read_bytes().startswith(b"# f\xfcr alle\r\nUUID=1 / ext4 rw 0 1\n# off")
    json.dumps(result, ensure_ascii=False).encode()
