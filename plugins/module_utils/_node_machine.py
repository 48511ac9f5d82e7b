# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What programs and files of a server say, as data."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Any


def listeners(ss: str) -> list[dict[str, Any]]:
    """Return port and program of what listens, from ``ss --no-header --numeric --listening --tcp --processes``."""
    found = re.findall(r'^LISTEN .*?\S+:(\d+)\s+\S+\s+users:\(\("([^"]+)"', ss, re.MULTILINE)
    return [{"port": int(port), "program": program} for port, program in dict.fromkeys(found)]


# Programs of a node, as the kernel names them: 15 characters. Role course_images runs the registry.
_COMPONENTS = frozenset(
    ("docker-registry", "etcd", "kube-apiserver", "kube-controller", "kube-proxy", "kube-scheduler", "kubelet")
)


def foreign_listeners(found: list[dict[str, Any]], ports: list[int]) -> list[dict[str, Any]]:
    """Return those of `listeners` that have one of a node's ports and are none of its components."""
    return [entry for entry in found if entry["port"] in ports and entry["program"] not in _COMPONENTS]


def is_node_name(name: str) -> bool:
    """Tell whether a host name can be a node's: as a DNS subdomain of RFC 1123, short enough for a label's value."""
    label = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    return (
        len(name) <= 63
        and re.fullmatch(rf"{label}([.]{label})*", name) is not None
        and name.partition(".")[0] != "localhost"
    )


def is_machine_id(text: str) -> bool:
    """Tell whether a text is a machine-id(5)."""
    return re.fullmatch("[0-9a-f]{32}", text) is not None


def foreign_cni_files(names: list[str], is_node: bool) -> list[str]:
    """Return the network configurations that containerd would take instead of Calico's.

    It takes the first by name; before Calico has written its own, any.
    """
    others = [name for name in names if Path(name).suffix in (".conf", ".conflist", ".json") and "calico" not in name]
    return sorted(name for name in others if not is_node or name < "10-calico.conflist")


def name_servers(resolv_conf: str) -> list[str]:
    """Return the addresses in a resolv.conf(5)."""
    return re.findall(r"^nameserver\s+(\S+)", resolv_conf, re.MULTILINE)


def is_loopback(address: str) -> bool:
    """Tell whether an address, perhaps with a zone, never leaves the machine."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def is_ipv4(address: str) -> bool:
    """Tell whether an address is one of IPv4."""
    try:
        return ipaddress.ip_address(address).version == 4
    except ValueError:
        return False


def interface_of(ip: str, address: str) -> dict[str, Any] | None:
    """Return name and MTU of the interface that has an address, from ``ip -json address``; None if none has it."""
    for interface in json.loads(ip or "[]"):
        if any(entry.get("local") == address for entry in interface.get("addr_info", ())):
            return {"name": interface["ifname"], "mtu": interface["mtu"]}
    return None


def dropping_chains(nft: str) -> list[str]:
    """Return the chains that drop packets which no rule accepts, from ``nft --json list ruleset`` or parts of it.

    By their policy, or by a last rule that drops or rejects everything. The chain FORWARD of iptables is left out: what
    Kubernetes forwards is accepted in that very chain, while a table of its own drops it whatever others accept.
    """
    entries = json.loads(nft or "{}").get("nftables", ())
    rules: dict[tuple[str, ...], list[Any]] = {}
    for rule in (entry["rule"] for entry in entries if "rule" in entry):
        rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule.get("expr", []))
    found = []
    for chain in (entry["chain"] for entry in entries if "chain" in entry):
        name = chain["family"], chain["table"], chain["name"]
        last = rules.get(name, [[]])[-1]
        drops = chain.get("policy") == "drop" or _drops_all(last)
        if chain.get("hook") in ("input", "forward", "output") and drops and name not in _FORWARD:
            found.append(" ".join(name))
    return found


_FORWARD = (("ip", "filter", "FORWARD"), ("ip6", "filter", "FORWARD"))


def _drops_all(expressions: list[Any]) -> bool:
    # What comes from iptables is called by its extension: xt with the name REJECT, comment or LOG. What nft has no
    # JSON for is a text: xt in old releases, a chain without a name.
    kinds = [
        str((value or {}).get("name") if kind == "xt" else kind).lower()
        for expression in expressions
        for kind, value in (expression if isinstance(expression, dict) else {str(expression): None}).items()
    ]
    return bool(kinds) and kinds[-1] in ("drop", "reject") and set(kinds[:-1]) <= {"counter", "log", "comment"}


def base_chains(nft: str) -> list[tuple[str, str, str]]:
    """Return family, table and name of the chains that packets come through, from ``nft --json list chains``."""
    chains = [entry["chain"] for entry in json.loads(nft or "{}").get("nftables", ()) if "chain" in entry]
    return [
        (chain["family"], chain["table"], chain["name"])
        for chain in chains
        if chain.get("hook") in ("input", "forward", "output")
    ]


def dropping_rules(rules: str) -> bool:
    """Tell whether a file would load a filter that drops what comes in and no rule accepts.

    Args:
        rules: of nftables, nft(8), or as iptables-save writes them.
    """
    lines = "\n".join(line.split("#")[0] for line in rules.splitlines())
    nft = r"hook\s+(input|forward|output)\b[^{}]*policy\s+drop"
    return bool(re.search(rf"{nft}|^(:|-P\s+)INPUT\s+DROP|^-A\s+INPUT\s+-j\s+(DROP|REJECT)\b", lines, re.MULTILINE))


def ufw_is_enabled(ufw_conf: str) -> bool:
    """Tell whether ufw is on, from ``/etc/ufw/ufw.conf``: its service is active in both cases."""
    return bool(re.search(r"^\s*ENABLED\s*=\s*[\"']?yes\b", ufw_conf, re.MULTILINE | re.IGNORECASE))


def apt_sources(name: str, text: str) -> list[dict[str, str]]:
    """Return what a file of ``sources.list.d`` names: each URI and suite, both without trailing slashes.

    Args:
        name: the file's name, which decides the format: ``.sources`` (deb822) or ``.list``, sources.list(5).
        text: its content.
    """
    return [
        {"file": name, "uri": uri.rstrip("/"), "suite": suite.rstrip("/")}
        for uris, suites in (_deb822(text) if name.endswith(".sources") else _one_line(text))
        for uri in uris
        for suite in suites
    ]


def foreign_sources(found: list[dict[str, str]], repositories: list[dict[str, str]], own_files: list[str]) -> list[str]:
    """Return the files that name a repository which has a file of its own.

    Args:
        found: see `apt_sources`.
        repositories: each with ``uri`` and ``suite``; one without a suite is flat.
        own_files: where they belong.
    """
    ours = [(entry["uri"].rstrip("/"), entry.get("suite", "").rstrip("/")) for entry in repositories]
    others = [entry for entry in found if entry["file"] not in own_files]
    return list(dict.fromkeys(entry["file"] for entry in others if (entry["uri"], entry["suite"]) in ours))


def _one_line(text: str) -> list[tuple[list[str], list[str]]]:
    pattern = r"^[ \t]*deb(?:-src)?[ \t]+(?:\[[^\]]*\][ \t]*)?(\S+)[ \t]+(\S+)"
    return [([uri], [suite]) for uri, suite in re.findall(pattern, text, re.MULTILINE)]


def _deb822(text: str) -> list[tuple[list[str], list[str]]]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = []
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        field = re.compile(r"^([\w-]+):((?:.*)(?:\n[ \t]+.*)*)", re.MULTILINE)
        fields = {key.lower(): value.split() for key, value in field.findall(stanza)}
        if fields.get("enabled", ["yes"])[0].lower() not in ("no", "false", "without", "off", "disable"):
            found.append((fields.get("uris", []), fields.get("suites", [])))
    return found


def modules_to_load(modprobe: str) -> list[str]:
    """Return kernel modules that are not loaded, and what they need, from ``modprobe --dry-run --verbose --all``."""
    return re.findall(r"^insmod (?:\S*/)?([^/\s.]+)", modprobe, re.MULTILINE)


def without_swap(fstab: str) -> str:
    """Return an fstab(5) in which every line of swap is a comment."""
    lines = fstab.splitlines(keepends=True)
    return "".join(f"# off, the kubelet wants no swap: {line}" if _is_swap(line) else line for line in lines)


def _is_swap(line: str) -> bool:
    fields = line.split()
    return len(fields) > 2 and not fields[0].startswith("#") and fields[2] == "swap"
