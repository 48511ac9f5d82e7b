"""Kernel modules and parameters: modprobe is a stand-in with recorded words, the parameters are files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.modules import kernel_settings

# Loads what it is asked for by making the parameters that come with it.
MODPROBE = """#!/bin/sh
echo "$*" >> {root}/called
case $1 in
  --dry-run) [ -e {root}/loaded ] || echo 'insmod /lib/modules/6.1.0-13-amd64/kernel/net/bridge/br_netfilter.ko' ;;
  *) touch {root}/loaded; mkdir -p {root}/net/bridge; echo {default} > {root}/net/bridge/nf-call ;;
esac
"""
MODULES = ["overlay", "br_netfilter"]
PARAMETERS = {"net.ip_forward": 1, "net.bridge.nf-call": 1}


class Kernel:
    """A folder with parameters."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the module work on it."""
        self.root, self._capsys = root, capsys
        (root / "net").mkdir()
        (root / "net/ip_forward").write_text("0\n")
        (root / "net/ports").write_text("32768\t60999\n")
        (root / "bin").mkdir()
        self.install()
        monkeypatch.setenv("PATH", f"{root}/bin:{os.environ['PATH']}")
        monkeypatch.setattr(kernel_settings, "PARAMETERS", root)

    def install(self, text: str = MODPROBE, default: int = 1) -> None:
        """Have a modprobe."""
        (self.root / "bin/modprobe").write_text(text.format(root=self.root, default=default))
        (self.root / "bin/modprobe").chmod(0o755)

    def have(self, *, check: bool = False, **arguments: object) -> dict[str, Any]:
        """Run the module."""
        arguments = arguments or {"modules": MODULES, "parameters": PARAMETERS}
        with patch_module_args(arguments | {"_ansible_check_mode": check}), pytest.raises(SystemExit):
            kernel_settings.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return result


@pytest.fixture
def kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, capsys, monkeypatch)


def test_what_is_missing_is_loaded_and_set_once(kernel: Kernel) -> None:
    check = kernel.have(check=True)
    assert (check["changed"], check["loaded"], check["set"]) == (True, ["br_netfilter"], list(PARAMETERS))
    assert check["diff"]["before"] == "br_netfilter not loaded\nnet.ip_forward = 0\nnet.bridge.nf-call = None\n"
    assert (kernel.root / "called").read_text() == "--dry-run --verbose --all overlay br_netfilter\n"
    assert (kernel.root / "net/ip_forward").read_text() == "0\n"

    result = kernel.have()
    # The module brings the other one with it.
    assert (result["changed"], result["loaded"], result["set"]) == (True, ["br_netfilter"], ["net.ip_forward"])
    assert result["diff"]["after"] == "br_netfilter loaded\nnet.ip_forward = 1\n"
    assert (kernel.root / "called").read_text().splitlines()[-1] == "--all overlay br_netfilter"
    assert (kernel.root / "net/ip_forward").read_text() == "1\n"
    for check_mode in (False, True):
        assert not kernel.have(check=check_mode)["changed"]


def test_a_parameter_that_comes_with_another_value(kernel: Kernel) -> None:
    kernel.install(default=0)
    assert kernel.have()["set"] == list(PARAMETERS)
    assert (kernel.root / "net/bridge/nf-call").read_text() == "1\n"


def test_values_of_several_words(kernel: Kernel) -> None:
    assert not kernel.have(parameters={"net.ports": "32768 60999"})["changed"]
    assert kernel.have(parameters={"net.ports": "1024 60999"})["set"] == ["net.ports"]
    assert not kernel.have(parameters={"net.ports": "1024 60999"})["changed"]


def test_a_parameter_that_cannot_be_set_is_refused(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    result = kernel.have(parameters={"net.no.such": 1})
    assert result["failed"]
    assert result["msg"].startswith("net.no.such: found no such parameter, which the kernel keeps")
    # One of this machine that nobody can change.
    monkeypatch.setattr(kernel_settings, "PARAMETERS", Path("/proc/sys"))
    result = kernel.have(parameters={"kernel.ostype": "Windows"})
    assert "kernel.ostype: found Linux, which the kernel keeps (Permission denied), expected Windows. " in result["msg"]


def test_a_module_that_does_not_exist_is_an_error(kernel: Kernel) -> None:
    kernel.install("#!/bin/sh\necho 'modprobe: FATAL: Module overlay not found' >&2; exit 1\n")
    for check in (True, False):
        result = kernel.have(check=check)
        assert result["failed"]
        assert "Module overlay not found" in result["msg"]


def test_a_check_on_a_machine_without_modprobe(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package comes with the run."""
    (kernel.root / "bin/modprobe").unlink()
    real = AnsibleModule.get_bin_path

    def get_bin_path(module: Any, name: str, *, required: bool = False) -> str | None:  # noqa: ANN401
        path: str | None = real(module, name, required=required, opt_dirs=[]) if required else None
        return path

    monkeypatch.setattr(AnsibleModule, "get_bin_path", get_bin_path)
    assert kernel.have(check=True)["loaded"] == MODULES
