"""The campus around a cluster: its proxy, its certificate authority, its folders; and all of it taken back again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.lti import Lms
from tests.e2e.nodes import on_node

COURSE = "surroundings-demo"
NODES = ("cp1", "w1", "w2")
MIRROR = "10.89.7.5"
# Nobody listens there: what asks it fails.
PROXY = "http://10.89.7.1:9"
SETTINGS = {
    "course_hub_volumes": [
        {"name": "tools", "mount_path": "/tools", "host_path": "/srv/tools", "writable_by": ["instructor"]},
    ],
}
TRUSTED = "openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt /tmp/server.pem 2>&1 || true"
FILES = (
    "ls /etc/apt/apt.conf.d/90campus-hubs-proxy /usr/local/share/ca-certificates/campus-hubs.crt 2>/dev/null || true"
)
RUNTIME = "systemctl show --property=Environment containerd"
WRITE = """
try:
    print(open("/tools/word").read(), end=" ")
    open("/tools/mine", "w").close()
    print("written")
except OSError as error:
    print(error.strerror)
"""


@pytest.fixture
def authority(tmp_path: Path) -> tuple[str, str]:
    """Return the certificates of an authority and of a server that it vouches for, in PEM."""
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    ca, key, server = (str(tmp_path / name) for name in ("ca.pem", "ca.key", "server.pem"))
    made = ["-subj", "/CN=Campus CA", "-keyout", key, "-out", ca]
    by_it = ["-subj", "/CN=git.example.edu", "-CA", ca, "-CAkey", key, "-keyout", "/dev/null", "-out", server]
    for arguments in (made, by_it):
        subprocess.run([*new, *arguments], check=True, capture_output=True)  # noqa: S603
    return Path(ca).read_text(), Path(server).read_text()


@pytest.fixture
def inventory(lms: Lms, tmp_path: Path, authority: tuple[str, str]) -> Iterator[Path]:
    """Copy the lab's inventory with all of it; afterwards the courses are as before. The test puts the rest back."""
    assert lms  # it must have been started
    copy = playbook.inventory_with(tmp_path, COURSE, SETTINGS)
    variables = copy / "group_vars/cluster.yml"
    proxy = {"http": PROXY, "no_proxy": [MIRROR]}
    more = yaml.safe_dump({"node_proxy": proxy, "node_ca_certificates": [authority[0]]})
    variables.write_text(f"{variables.read_text()}\n{more}")
    for node in NODES:
        on_node(
            node,
            "install -d -o 1000 /srv/tools; echo hammer > /srv/tools/word; cat > /tmp/server.pem",
            stdin=authority[1],
        )
    yield copy
    playbook.remove_course(COURSE, copy)
    playbook.run("lab/lms.yml").assert_good()
    for node in NODES:
        on_node(node, "rm -rf /srv/tools /tmp/server.pem")


@pytest.mark.full
def test_proxy_authority_and_folders(cluster: Cluster, lms: Lms, inventory: Path) -> None:
    playbook.run("site.yml", inventory=inventory).assert_good()
    again = playbook.run("site.yml", inventory=inventory).assert_good()
    assert again.changed == {}, again.changed_tasks()
    for node in NODES:
        assert PROXY in on_node(node, RUNTIME)
        assert on_node(node, TRUSTED).strip().endswith(": OK")
        # Packages still come from the mirror, which the proxy is not asked for; all else asks it.
        on_node(node, "apt-get update")
        assert PROXY in on_node(node, "apt-config dump Acquire::http::Proxy")

    playbook.run("lab/lms.yml", inventory=inventory).assert_good()
    assert lms.enter_lab(COURSE, "lecturer").run_cell(WRITE).split("\n")[0] == "hammer"
    written = [on_node(node, "ls /srv/tools") for node in NODES]
    assert sum("mine" in listed for listed in written) == 1
    assert "Read-only file system" in lms.enter_lab(COURSE, "student-1").run_cell(WRITE)

    # What the inventory names no more is taken back.
    playbook.run("playbooks/cluster.yml").assert_good()
    again = playbook.run("playbooks/cluster.yml").assert_good()
    assert again.changed == {}, again.changed_tasks()
    for node in NODES:
        assert PROXY not in on_node(node, RUNTIME)
        assert on_node(node, FILES) == ""
        assert not on_node(node, TRUSTED).strip().endswith(": OK")
    cluster.stop_servers(COURSE)
