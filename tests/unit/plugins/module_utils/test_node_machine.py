"""What programs and files of a server say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.module_utils import _node_machine

SS = """\
LISTEN 0      4096         127.0.0.1:10248      0.0.0.0:*    users:(("kubelet",pid=700,fd=15))
LISTEN 0      128            0.0.0.0:22         0.0.0.0:*    users:(("sshd",pid=60,fd=3))
LISTEN 0      128               [::]:22            [::]:*    users:(("sshd",pid=60,fd=4))
LISTEN 0      4096                 *:6443             *:*    users:(("kube-apiserver",pid=1,fd=3),("x",pid=2,fd=1))
LISTEN 0      64             0.0.0.0:2049       0.0.0.0:*
LISTEN 0      4096     127.0.0.53%lo:53         0.0.0.0:*    users:(("systemd-resolve",pid=5,fd=14))
"""


def test_listeners() -> None:
    assert [(entry["port"], entry["program"]) for entry in _node_machine.listeners(SS)] == [
        (10248, "kubelet"),
        (22, "sshd"),
        (6443, "kube-apiserver"),
        (53, "systemd-resolve"),
    ]


def test_foreign_listeners() -> None:
    found = _node_machine.listeners(SS)
    assert _node_machine.foreign_listeners(found, [22, 6443, 10248]) == [{"port": 22, "program": "sshd"}]
    assert _node_machine.foreign_listeners(found, [6443, 80]) == []


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        *((name, True) for name in ("s1", "1", "s1.example.edu", "a-b", "s" * 63, "localhosts", "my.localhost")),
        *((name, False) for name in ("localhost", "localhost.localdomain", "s_1", "-s1", "s1-.example.edu", "s1..edu")),
        *((name, False) for name in ("s" * 64, "S1", "", "s1\n", "sä")),
    ],
)
def test_node_names(name: str, valid: bool) -> None:
    assert _node_machine.is_node_name(name) == valid


def test_machine_ids() -> None:
    assert _node_machine.is_machine_id("0123456789abcdef" * 2)
    for text in ("", "uninitialized", "0123456789ABCDEF" * 2, "0123456789abcdef" * 2 + "0", "0" * 31):
        assert not _node_machine.is_machine_id(text)


def test_network_configurations() -> None:
    names = ["10-calico.conflist", "calico-kubeconfig", "87-podman.conflist", "05-x.conf", "README", "nerdctl.json"]
    assert _node_machine.foreign_cni_files(names, is_node=False) == ["05-x.conf", "87-podman.conflist", "nerdctl.json"]
    assert _node_machine.foreign_cni_files(names, is_node=True) == ["05-x.conf"]


# As modprobe of kmod 30 and 33 says it.
MODPROBE = """\
insmod /lib/modules/6.1.0-13-amd64/kernel/fs/overlayfs/overlay.ko
builtin nf_conntrack
insmod /lib/modules/6.8.0-45-generic/kernel/net/802/stp.ko.zst
insmod /lib/modules/6.8.0-45-generic/kernel/net/bridge/br_netfilter.ko.xz brnf=1
install /sbin/modprobe --ignore-install other
insmod overlay
"""


def test_kernel_modules() -> None:
    assert _node_machine.modules_to_load(MODPROBE) == ["overlay", "stp", "br_netfilter", "overlay"]
    assert _node_machine.modules_to_load("builtin overlay\n") == []


def test_name_servers() -> None:
    text = "# nameserver 9.9.9.9\nsearch a.edu\nnameserver 127.0.0.1\nnameserver\tfe80::1%eth0\n;nameserver 8.8.8.8\n"
    assert _node_machine.name_servers(text) == ["127.0.0.1", "fe80::1%eth0"]


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        *((address, True) for address in ("127.0.0.1", "127.0.1.1", "127.0.0.53", "::1", "::1%lo")),
        *((address, False) for address in ("192.0.2.1", "10.127.0.1", "fe80::1%eth0", "ns.example.edu")),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert _node_machine.is_loopback(address) == loopback


@pytest.mark.parametrize(
    ("address", "ipv4"),
    [("192.0.2.1", True), ("2001:db8::1", False), ("fe80::1%eth0", False), ("ns.example.edu", False)],
)
def test_ipv4(address: str, ipv4: bool) -> None:
    assert _node_machine.is_ipv4(address) == ipv4


def test_the_interface_of_an_address() -> None:
    def interface(name: str, mtu: int, *addresses: str) -> dict[str, object]:
        return {
            "ifname": name,
            "mtu": mtu,
            "addr_info": [{"family": "inet", "local": address} for address in addresses],
        }

    ip = json.dumps([interface("eth0", 9000, "192.0.2.1"), interface("br-lan.7", 1450, "10.0.0.1", "10.0.0.2"), {}])
    assert _node_machine.interface_of(ip, "10.0.0.2") == {"name": "br-lan.7", "mtu": 1450}
    assert _node_machine.interface_of(ip, "192.0.2.1") == {"name": "eth0", "mtu": 9000}
    assert _node_machine.interface_of(ip, "192.0.2.10") is None


def chain(table: str, name: str, **more: object) -> dict[str, object]:
    return {"chain": {"family": "ip", "table": table, "name": name, **more}}


def rule(name: str, *expressions: dict[str, object]) -> dict[str, object]:
    return {"rule": {"family": "ip", "table": "filter", "chain": name, "handle": 7, "expr": list(expressions)}}


def dropping(*entries: dict[str, object]) -> list[str]:
    return _node_machine.dropping_chains(json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *entries]}))


INPUT = chain("filter", "INPUT", hook="input", policy="accept")
ESTABLISHED = rule("INPUT", {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "x"}}, {"accept": None})
COUNTER: dict[str, object] = {"counter": {"packets": 0, "bytes": 0}}


def test_chains_that_drop_by_policy() -> None:
    assert dropping(chain("filter", "KUBE-FORWARD"), INPUT) == []
    # Docker, too, has FORWARD drop; what Kubernetes forwards is accepted before.
    assert dropping(chain("filter", "FORWARD", hook="forward", policy="drop")) == []
    assert dropping(chain("site", "fw", hook="forward", policy="drop")) == ["ip site fw"]
    assert dropping(chain("filter", "in", hook="input", policy="drop"), INPUT) == ["ip filter in"]
    assert dropping(chain("filter", "out", hook="output", policy="drop")) == ["ip filter out"]
    assert dropping(chain("x", "pre", hook="prerouting", policy="drop"), chain("x", "user", policy="drop")) == []
    assert _node_machine.dropping_chains("") == []


@pytest.mark.parametrize(
    ("expressions", "drops"),
    [
        ([{"drop": None}], True),
        ([COUNTER, {"reject": {"type": "icmpx", "expr": "admin-prohibited"}}], True),
        ([{"log": {"prefix": "x"}}, COUNTER, {"drop": None}], True),
        ([COUNTER, {"xt": {"type": "target", "name": "REJECT"}}], True),
        ([{"xt": {"type": "match", "name": "comment"}}, COUNTER, {"drop": None}], True),
        ([{"limit": {"rate": 5, "per": "second"}}, COUNTER, {"drop": None}], False),
        ([{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth1"}}, {"drop": None}], False),
        ([COUNTER, {"xt": {"type": "target", "name": "LOG"}}], False),
        ([COUNTER, {"jump": {"target": "KUBE-FIREWALL"}}], False),
        ([], False),
    ],
)
def test_chains_that_drop_by_their_last_rule(expressions: list[dict[str, object]], drops: bool) -> None:
    last = rule("INPUT", *expressions)
    assert dropping(INPUT, ESTABLISHED, last) == (["ip filter INPUT"] if drops else [])
    assert dropping(INPUT, last, ESTABLISHED) == []


def test_base_chains() -> None:
    chains = [chain("a", "user"), INPUT, chain("b", "pre", hook="prerouting"), chain("c", "fw", hook="forward")]
    text = json.dumps({"nftables": [{"metainfo": {}}, *chains]})
    assert _node_machine.base_chains(text) == [("ip", "filter", "INPUT"), ("ip", "c", "fw")]
    assert _node_machine.base_chains("") == []


@pytest.mark.parametrize(
    ("text", "drops"),
    [
        ("table inet f {\n chain in {\n  type filter hook input priority filter; policy drop;\n }\n}\n", True),
        ("add chain inet f in { type filter hook input priority 0 ; policy drop ; }", True),
        ("table inet f {\n chain fw {\n  type filter hook forward priority 0\n  policy drop\n }\n}\n", True),
        # Debian's own file.
        (
            "flush ruleset\ntable inet filter {\n\tchain input {\n\t\ttype filter hook input priority filter;\n\t}\n}",
            False,
        ),
        ("chain in { type filter hook input priority 0; policy accept; }\nchain user { policy drop; }", False),
        ("chain in { type filter hook input priority 0; # policy drop;\n }", False),
        ("*filter\n:INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n", True),
        # Oracle's images of Ubuntu.
        (":INPUT ACCEPT [0:0]\n-A INPUT -j REJECT --reject-with icmp-host-prohibited\n", True),
        ("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n-A INPUT -s 192.0.2.1 -j DROP\n", False),
        ("-P INPUT DROP\n", True),
        ("-P INPUT ACCEPT\n-A INPUT -j KUBE-FIREWALL\n", False),
        ("", False),
    ],
)
def test_files_that_drop(text: str, drops: bool) -> None:
    assert _node_machine.dropping_rules(text) == drops


@pytest.mark.parametrize(
    ("text", "enabled"),
    [
        ("ENABLED=yes\n", True),
        ("#x\nENABLED = 'Yes'\n", True),
        ("ENABLED=no\n", False),
        ("#ENABLED=yes\n", False),
        ("", False),
    ],
)
def test_ufw(text: str, enabled: bool) -> None:
    assert _node_machine.ufw_is_enabled(text) == enabled


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.list", "deb https://d.example/u noble stable"),
        (
            "a.list",
            "# deb http://x y z\n\tdeb [arch=amd64 signed-by=/k/d.asc]  https://d.example/u/ noble a b # c\n",
        ),
        (
            "a.list",
            "deb [ signed-by=/k/d.gpg ] https://d.example/u noble stable\n#deb-src https://d.example/u jammy stable\n",
        ),
        ("a.sources", "Types: deb\nURIs: https://d.example/u/\nSuites: noble\nComponents: stable\nSigned-By: /k\n"),
        (
            "a.sources",
            "# c\nTypes: deb\nuris:\n https://d.example/u\nSuites:\n noble\nSigned-By:\n -----BEGIN\n .\n X\n# c\n",
        ),
        (
            "a.sources",
            "Enabled: no\nURIs: x://o\nSuites: x\n\n\nURIs: https://d.example/u\nSuites: noble\nEnabled: yes\n",
        ),
    ],
)
def test_apt_sources(name: str, text: str) -> None:
    assert _node_machine.apt_sources(name, text) == [{"file": name, "uri": "https://d.example/u", "suite": "noble"}]


def test_apt_sources_of_several() -> None:
    text = "URIs: https://a.example https://b.example\nSuites: noble noble-updates\n"
    assert len(_node_machine.apt_sources("a.sources", text)) == 4
    assert _node_machine.apt_sources(
        "a.list", "deb [trusted=yes] https://pkgs.example/core:/stable:/v1.36/deb/ /\n"
    ) == [{"file": "a.list", "uri": "https://pkgs.example/core:/stable:/v1.36/deb", "suite": ""}]


def test_foreign_sources() -> None:
    ours = [
        {"uri": "https://d.example/u/", "suite": "noble", "file": "/o/c.sources"},
        {"uri": "https://k.example/deb", "suite": "", "file": "/o/k.sources"},
    ]
    found = [
        *({"file": name, "uri": "https://d.example/u", "suite": "noble"} for name in ("/o/c.sources", "/o/a.list")),
        {"file": "/o/a.list", "uri": "https://k.example/deb", "suite": ""},
        {"file": "/o/b.list", "uri": "https://d.example/u", "suite": ""},
        {"file": "/o/b.list", "uri": "https://d.example/u", "suite": "jammy"},
    ]
    assert _node_machine.foreign_sources(found, ours, ["/o/c.sources", "/o/k.sources"]) == ["/o/a.list"]


@pytest.mark.parametrize(
    "line",
    [
        "/swapfile none swap sw 0 0",
        "UUID=a none swap sw",
        "UUID=a none swap",
        "  /dev/sda3\tnone\t\tswap  sw,nofail,x-systemd.device-timeout=1s 0 0   # comment",
        "LABEL=swap swap swap defaults,noauto 0 0",
        "/swap.img\tnone\tswap\tsw\t0\t0",
        "/dev/zram0 none swap defaults,pri=100 0 0",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_swap_in_fstab(line: str, end: str) -> None:
    before = "# /swap none swap sw 0 0\nUUID=1 / ext4 rw 0 1\n"
    after = _node_machine.without_swap(f"{before}{line}{end}")
    assert after == f"{before}# off, the kubelet wants no swap: {line}{end}"
    assert _node_machine.without_swap(after) == after


@pytest.mark.parametrize(
    "line",
    ["/srv/swap /srv/swap ext4 rw 0 0", "tmpfs /swap tmpfs size=1g 0 0", "#/a none swap sw", "", "swap", "a swap b"],
)
def test_no_swap_in_fstab(line: str) -> None:
    assert _node_machine.without_swap(f"{line}\n") == f"{line}\n"


def test_what_nft_has_no_json_for_drops_nothing() -> None:
    for said in ("jump {\n\t\t\ttcp dport 22 accept\n\t\t}", 'xt match "comment"'):
        texts: Any = [{"match": {"op": "=="}}, said]
        assert dropping(INPUT, rule("INPUT", *texts)) == []
    assert dropping(INPUT, rule("INPUT", {"xt": None})) == []
    assert dropping(INPUT, rule("INPUT", {"xt": None}, {"drop": None})) == []
    assert dropping(INPUT, rule("INPUT", COUNTER, {"drop": None})) == ["ip filter INPUT"]
