"""What the module says of the machine that the tests run on."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.module_utils import _node_machine
from ansible_collections.campus.hubs.plugins.modules import node_info

ROOT = Path(__file__).resolve().parents[4]


def run(capsys: pytest.CaptureFixture[str], **arguments: object) -> dict[str, Any]:
    with patch_module_args(arguments), pytest.raises(SystemExit):
        node_info.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_this_machine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 127.0.0.1\nnameserver 192.0.2.53\n")
    sources = [path for path in Path("/etc/apt").rglob("*") if path.suffix in (".list", ".sources")]
    known = [source for path in sources for source in _node_machine.apt_sources(str(path), path.read_text("utf-8"))]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        found = run(
            capsys,
            address="127.0.0.1",
            packages=["dpkg", "no-such"],
            ports=[port],
            repositories=[{"uri": source["uri"], "suite": source["suite"], "file": "/our.list"} for source in known],
            resolv_conf=str(resolv_conf),
            services=["no-such"],
            time=time.time() - 1000,
        )
    assert found["interface"]["name"] == "lo"
    assert found["interface"]["mtu"] == int(Path("/sys/class/net/lo/mtu").read_text())
    assert (found["packages"], found["services"]) == (["dpkg"], [])
    assert (found["name_servers"], found["loopback_name_servers"]) == (["127.0.0.1", "192.0.2.53"], ["127.0.0.1"])
    assert found["ipv4_name_servers"] == found["name_servers"]
    assert found["foreign_listeners"] == [{"port": port, "program": Path("/proc/self/comm").read_text().strip()}]
    disk = os.statvfs("/var/lib")
    assert abs(found["free_mb"] - disk.f_bavail * disk.f_frsize / 2**20) < 1000
    assert known
    assert set(found["foreign_sources"]) == {source["file"] for source in known}
    assert (found["host_name"], found["node_name"]) == (socket.gethostname(), socket.gethostname().lower())
    assert found["machine_id"] == Path("/etc/machine-id").read_text().strip()
    assert 1000 <= found["clock_offset_seconds"] < 1200
    assert set(found) - {"invocation"} == set(yaml.safe_load(node_info.RETURN))


def test_an_address_of_another_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, address="192.0.2.77")["interface"] == {}


# Does not change this machine: the filters are those of a network of the process's own.
@pytest.mark.parametrize(
    ("program", "rules", "found"),
    [
        ("iptables-nft", [["-P", "INPUT", "DROP"]], "ip filter INPUT"),
        ("iptables-nft", [["-A", "INPUT", "-j", "REJECT", "--reject-with", "icmp-host-prohibited"]], "ip filter INPUT"),
        ("iptables-nft", [["-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP"]], ""),
        ("ip6tables-nft", [["-P", "INPUT", "DROP"]], "ip6 filter INPUT"),
        ("iptables-legacy", [["-P", "INPUT", "DROP"]], "iptables-legacy"),
        ("iptables-legacy", [["-A", "INPUT", "-j", "REJECT"]], "iptables-legacy"),
        ("iptables-legacy", [["-A", "INPUT", "-s", "192.0.2.1", "-j", "DROP"]], ""),
    ],
)
def test_real_filters(program: str, rules: list[list[str]], found: str) -> None:
    script = "\n".join(shlex.join([program, *rule]) for rule in rules)
    code = (
        "import json, sys; from ansible.module_utils.testing import patch_module_args\n"
        "from ansible.plugins.loader import init_plugin_loader; init_plugin_loader([sys.argv[1]])\n"
        "from ansible_collections.campus.hubs.plugins.modules import node_info\n"
        "with patch_module_args({'address': '127.0.0.1'}): node_info.main()\n"
    )
    inner = f"set -e\n{script}\nexec {shlex.join([sys.executable, '-c', code, str(ROOT / '.collections')])}"
    command = ["/usr/bin/unshare", "--net", "/bin/sh", "-c", inner]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (our own arguments)
    assert done.stdout, done.stderr
    assert [name for name in json.loads(done.stdout)["firewalls"] if name != "ufw"] == ([found] if found else [])
