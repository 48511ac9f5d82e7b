# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must hold between the nodes of a cluster and their networks."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import (
    CLUSTER,
    CONTROL_PLANE,
    COURSES,
    GROUPS,
    IMAGE_BUILDERS,
    OPS,
    WORKERS,
    Host,
    Inventory,
    Mistake,
    did_you_mean,
    show,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.references import (
    Address,
    is_host,
    parse_address,
    parse_endpoint,
)

ENDPOINT, NODE_IP = "kubeadm_control_plane_endpoint", "kubeadm_node_ip"
KUBECONFIG_SERVER = "kubeadm_kubeconfig_server"
POD_SUBNET, SERVICE_SUBNET = "kubeadm_pod_subnet", "kubeadm_service_subnet"
POOL, POOL_PROVIDER = "load_balancer_addresses", "load_balancer_provider"
RANGE_FORM = "ranges such as 192.0.2.200-192.0.2.220 or 192.0.2.192/27"
# Calico's pool, the policies and the courses' addresses are of IPv4.
ONLY_IPV4 = "take IPv4, which nodes, pods and Services have"
# The controller manager hands every node a /24 of the pod subnet (--node-cidr-mask-size).
NODE_MASK = 24
ADDRESS, PORT, USER = "ansible_host", "ansible_port", "ansible_user"
NO_SERVER = "remove it from one, as a course is no server"
ONE_USE = "change one of the two, as every address has one use"
SERVERS = frozenset({CLUSTER, CONTROL_PLANE, WORKERS, IMAGE_BUILDERS, OPS})
_SSH_NAME = re.compile(r"(?!(.*\.)?[0-9]+$)[A-Za-z0-9_][-A-Za-z0-9_]*(\.[-A-Za-z0-9_]+)*")
# kube-apiserver refuses service networks with more than 20 bits for hosts.
LARGEST_SERVICE_MASK = 12


@dataclass(frozen=True)
class Range:
    """Consecutive addresses, both ends included, and how the inventory writes them."""

    first: Address
    last: Address
    text: str

    def __contains__(self, address: Address) -> bool:
        """Tell whether an address is in the range."""
        return address.version == self.first.version and int(self.first) <= int(address) <= int(self.last)

    def overlaps(self, other: Range) -> bool:
        """Tell whether two ranges have an address in common."""
        return other.first in self or self.first in other

    def size(self) -> int:
        """Return the number of addresses."""
        return int(self.last) - int(self.first) + 1


def parse_range(text: object) -> Range | None:
    """Read `first-last` or a CIDR, as MetalLB's IPAddressPool has them.

    Returns:
        None if it is neither, or if the ends are in the wrong order.
    """
    if not isinstance(text, str):
        return None
    if "/" in text:
        network = parse_network(text)
        return Range(network[0], network[-1], text) if network else None
    first, _dash, last = (parse_address(part.strip()) for part in text.partition("-"))
    if first is None or last is None or first.version != last.version or int(first) > int(last):
        return None
    return Range(first, last, text)


def parse_network(text: object) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return a network in CIDR form; None if it is none, or has bits set behind the prefix."""
    # Python takes a mask as well (10.0.0.0/255.0.0.0).
    if not isinstance(text, str) or "%" in text or not re.search(r"/(0|[1-9][0-9]{0,2})$", text):
        return None
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


# IANA's special-purpose registries: what no server can have. The last of each are multicast, reserved and broadcast.
_UNUSABLE = (
    *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"),
    *("::/127", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
)
UNUSABLE = tuple(filter(None, map(parse_range, _UNUSABLE)))


def unusable(part: Range) -> str:
    """Return a network of which no server can have an address, if a range touches one; else nothing."""
    return next((network.text for network in UNUSABLE if network.overlaps(part)), "")


def is_usable(address: Address) -> bool:
    """Tell whether a server can have an address."""
    return not unusable(Range(address, address, str(address)))


def check_cluster(inventory: Inventory) -> Iterator[Mistake]:
    """Find what is wrong with groups, nodes and networks."""
    yield from _check_groups(inventory)
    yield from _check_control_planes(inventory)
    yield from _check_addresses(inventory)
    head = inventory.first_control_plane()
    if head:
        yield from _check_networks(inventory, head)


def _check_groups(inventory: Inventory) -> Iterator[Mistake]:
    for name in inventory.group_names:
        hint = did_you_mean(name.lower(), GROUPS)
        # A group of one's own (gpu_workers) is fine as long as its hosts are in ours as well.
        lost = any(not host.groups & set(GROUPS) for host in inventory.group(name))
        if name not in GROUPS and hint and lost:
            yield Mistake("all", f"group {name}", "an unknown group", f"one of {', '.join(GROUPS)}", hint)
    for host in inventory.cluster():
        both = host.groups & {CONTROL_PLANE, WORKERS}
        if len(both) == 2:
            fix = "remove it from one; control planes run pods if there are no workers at all"
            yield Mistake(host.name, "groups", "control_plane and workers", "one of the two", fix)
        elif not both:
            yield Mistake(
                host.name, "groups", "cluster alone", "control_plane or workers", "move it into one of the two"
            )
        if CLUSTER not in host.groups:
            fix = "make control_plane and workers children of cluster"
            yield Mistake(host.name, "groups", f"{' and '.join(sorted(both))} without cluster", "cluster as well", fix)
        if COURSES in host.groups:
            yield Mistake(
                host.name,
                "groups",
                "cluster and courses",
                "one of the two",
                NO_SERVER,
            )
    for host in inventory.group(IMAGE_BUILDERS):
        if COURSES in host.groups:
            yield Mistake(
                host.name,
                "groups",
                "image_builders and courses",
                "one of the two",
                NO_SERVER,
            )


def _check_control_planes(inventory: Inventory) -> Iterator[Mistake]:
    planes = inventory.group(CONTROL_PLANE)
    names = ", ".join(host.name for host in planes)
    if not planes:
        yield Mistake("all", f"group {CONTROL_PLANE}", "no server", "one, or an odd number", "put a server into it")
        return
    if len(planes) % 2 == 0:
        fix = "add or remove one, as an even number survives no more failures than one less and is more likely to fail"
        yield Mistake("all", f"group {CONTROL_PLANE}", f"{len(planes)} servers ({names})", "an odd number", fix)
    if len(planes) > 1 and not planes[0].value(ENDPOINT):
        fix = "set it now, as it cannot be changed later, and without it the cluster fails with its first control plane"
        yield Mistake(
            planes[0].name, ENDPOINT, "nothing", "a name or virtual address of all control planes, and a port", fix
        )
    for name, hosts, whom in (
        *((name, planes, "control planes") for name in (ENDPOINT, POD_SUBNET, SERVICE_SUBNET)),
        (KUBECONFIG_SERVER, inventory.cluster(), "nodes"),
    ):
        values = {str(host.value(name) or "nothing") for host in hosts}
        if len(values) > 1:
            yield Mistake("all", name, " and ".join(sorted(values)), f"one value on all {whom}", "set it in group_vars")


def node_addresses(inventory: Inventory) -> Iterator[tuple[Host, str, Address]]:
    """Return every node's known addresses, with the variables that say so."""
    for host in inventory.cluster():
        found: dict[str, Address] = {}
        for name, value in ((NODE_IP, host.value(NODE_IP)), ("ansible_host", host.address())):
            address = parse_address(value)
            if address and address not in found.values():
                found[name] = address
        yield from ((host, name, address) for name, address in found.items())


def _check_addresses(inventory: Inventory) -> Iterator[Mistake]:
    taken: dict[str, Host] = {}
    for host in inventory.hosts:
        if not host.groups & SERVERS:
            continue
        port = host.given.get(PORT, 22)
        if not re.fullmatch(r"[0-9]{1,5}", str(port)) or not 0 < int(str(port)) < 65536:
            yield Mistake(host.name, PORT, show(PORT, port), "a port from 1 to 65535")
        user = host.given.get(USER, "")
        if isinstance(user, bool) or not isinstance(user, (str, int)):
            yield Mistake(host.name, USER, show(USER, user), "the name of an account")
        given = host.given.get(ADDRESS, host.name)
        # SSH takes the names that its configuration has, too.
        if not is_host(given) and not (isinstance(given, str) and _SSH_NAME.fullmatch(given)):
            found = show(ADDRESS, given)
            fix = "" if ADDRESS in host.given else f"set {ADDRESS}, as the name is no address"
            yield Mistake(host.name, ADDRESS, found, "the name or IP address of a server, and no URL", fix)
    for host in inventory.cluster():
        other = taken.setdefault(host.address(), host)
        if other is not host:
            found = f'"{host.address()}", also that of {other.name}'
            yield Mistake(
                host.name,
                "ansible_host",
                found,
                "an address of its own",
                "change one of the two, as two names would be one server",
            )
    nodes: dict[Address, Host] = {}
    for host in inventory.cluster():
        value = host.value(NODE_IP)
        if value is None:
            continue
        address = parse_address(value)
        if address is None or address.version != 4 or not is_usable(address):
            fix = ONLY_IPV4 if address and address.version != 4 else ""
            yield Mistake(host.name, NODE_IP, show(NODE_IP, value), "an IP address of the node", fix)
        elif nodes.setdefault(address, host) is not host:
            yield Mistake(host.name, NODE_IP, f'"{value}", also that of {nodes[address].name}', "an address of its own")


def _check_networks(inventory: Inventory, head: Host) -> Iterator[Mistake]:
    for name in (ENDPOINT, KUBECONFIG_SERVER):
        value = head.value(name)
        host, _port = parse_endpoint(value) or ("", 0)
        address = parse_address(host)
        without_port = name == KUBECONFIG_SERVER and not re.search(r":[0-9]+$", str(value))
        if value and (without_port or not host):
            expected = "a name or address and a port, such as api.example.edu:6443 or [2001:db8::1]:6443"
            fix = "write host and port alone, without scheme and path" if "/" in str(value) else ""
            yield Mistake(head.name, name, show(name, value), expected, fix or ("add the port" if without_port else ""))
        elif name == ENDPOINT and value and re.match(r"[^\[]*([A-Z]|\.(:|$))", str(value)):
            expected = "a name in small letters, without a dot at the end"
            yield Mistake(head.name, name, show(name, value), expected, "change it, as kubeadm takes no other")
        elif name == ENDPOINT and (host.partition(".")[0] == "localhost" or (address and not is_usable(address))):
            fix = f"for a port that is forwarded to the control machine, set {KUBECONFIG_SERVER}"
            yield Mistake(head.name, name, show(name, value), "a name or address that all nodes reach", fix)
    ranges: list[tuple[str, Range]] = []
    for name in (POD_SUBNET, SERVICE_SUBNET):
        network = parse_network(head.value(name))
        if network is None or network.version != 4:
            expected = "a network such as 10.244.0.0/16, with nothing behind the prefix"
            fix = ONLY_IPV4 if network else ""
            yield Mistake(head.name, name, show(name, head.value(name)), expected, fix)
            continue
        ranges.append((name, Range(network[0], network[-1], str(network))))
        yield from _check_usable(head, name, ranges[-1][1])
        nodes = len(inventory.cluster())
        if name == POD_SUBNET and 2 ** max(NODE_MASK - network.prefixlen, -1) < nodes:
            expected = f"room for a /{NODE_MASK} on each of {nodes} nodes"
            yield Mistake(head.name, name, f'"{network}"', expected, "take a larger one, such as a /16")
        if name == SERVICE_SUBNET and not LARGEST_SERVICE_MASK <= network.prefixlen <= 28:
            expected = f"a prefix from /{LARGEST_SERVICE_MASK} to /28"
            yield Mistake(head.name, name, f'"{network}"', expected, "change it, as the API server takes no other")
    yield from _check_pool(head)
    ranges += [(POOL, part) for part in pool(inventory)]
    yield from _check_overlaps(inventory, head, ranges)


def pool(inventory: Inventory) -> list[Range]:
    """Return the load balancer's addresses, as far as they are well formed."""
    head = inventory.first_control_plane()
    values = head.value(POOL) if head else None
    parsed = [parse_range(value) for value in values] if isinstance(values, list) else []
    return [part for part in parsed if part]


def has_pool(inventory: Inventory) -> bool:
    """Tell whether addresses of courses come from the pool."""
    head = inventory.first_control_plane()
    return bool(head and head.value(POOL_PROVIDER) == "metallb")


def _check_pool(head: Host) -> Iterator[Mistake]:
    values = head.value(POOL)
    if not isinstance(values, list):
        return  # its type is the argument spec's business
    if head.value(POOL_PROVIDER) == "metallb" and not values:
        fix = "give free addresses of the servers' network, outside of DHCP: each course gets one"
        yield Mistake(head.name, POOL, "no addresses", RANGE_FORM, fix)
    for value in values:
        part = parse_range(value)
        if part is None or part.first.version != 4:
            fix = ONLY_IPV4 if part else ""
            yield Mistake(head.name, POOL, show(POOL, value), f"{RANGE_FORM}, lower address first", fix)
        else:
            yield from _check_usable(head, POOL, part)


def _check_usable(head: Host, name: str, part: Range) -> Iterator[Mistake]:
    if network := unusable(part):
        yield Mistake(head.name, name, f'"{part.text}"', f"addresses outside of {network}, which no server can have")


def _check_overlaps(inventory: Inventory, head: Host, ranges: list[tuple[str, Range]]) -> Iterator[Mistake]:
    for index, (name, part) in enumerate(ranges):
        for other_name, other in ranges[:index]:
            if part.overlaps(other):
                expected = f"addresses outside of {other_name} ({other.text})"
                yield Mistake(head.name, name, f'"{part.text}"', expected, ONE_USE)
        for host, variable, address in node_addresses(inventory):
            if address in part:
                expected = f"addresses without that of a node ({host.name}, {variable} {address})"
                yield Mistake(head.name, name, f'"{part.text}"', expected, ONE_USE)
    endpoint = parse_address((parse_endpoint(head.value(ENDPOINT)) or ("", 0))[0])
    for name, part in ranges:
        if endpoint and endpoint in part:
            expected = f"an address outside of {name} ({part.text})"
            fix = "take another one, as the cluster needs it before it can give out that address"
            yield Mistake(head.name, ENDPOINT, f'"{head.value(ENDPOINT)}"', expected, fix)
