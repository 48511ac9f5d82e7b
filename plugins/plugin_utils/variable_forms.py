# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forms of single variables that an argument spec cannot express."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import (
    Host,
    Inventory,
    Mistake,
    did_you_mean,
    show,
)

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_URL = r"https?://[^\s/]+(/\S*)?"
_REGISTRY = (r"[a-z0-9][-a-z0-9.]*(:\d+)?(/[-a-z0-9._]+)*/", "a registry with a slash at the end, such as quay.io/")
_TAG = (r"v\d+\.\d+\.\d+\S*", "a release with a v, such as v1.2.3")

# Variable to regular expression and words for it.
FORMS: dict[str, tuple[str, str]] = {
    "calico_operator_version": _TAG,
    "calico_registry": _REGISTRY,
    "containerd_apt_key_url": (_URL, "a URL"),
    "containerd_apt_url": (r"https?://\S*[^/\s]", "a URL without a slash at the end"),
    "containerd_version": (r"([2-9]|\d\d+)\.\d+\.\d+", 'three numbers, at least "2.0.0"'),
    "course_images_registry": (
        rf"({_REGISTRY[0][:-1]})?",
        "a registry and path without scheme and without a slash at the end",
    ),
    "course_hub_gpu_resource": (
        rf"{_DNS_LABEL}(\.{_DNS_LABEL})*/[A-Za-z0-9]([-\w.]*[A-Za-z0-9])?",
        "the name of a resource with its vendor, such as nvidia.com/gpu",
    ),
    "course_hub_helm_url": (r"https?://\S*[^/\s]", "a URL without a slash at the end"),
    "course_hub_helm_version": (r"4\.\d+\.\d+", 'three numbers without a v, such as "4.3.1"'),
    "course_hub_tls_secret": (rf"({_DNS_LABEL}(\.{_DNS_LABEL})*)?", "the name of a Secret"),
    "kubeadm_apt_key_url": (_URL, "a URL"),
    "kubeadm_apt_url": (r"https?://\S+/", "a URL with a slash at the end"),
    "kubeadm_cluster_name": (_DNS_LABEL, "a name of a-z, 0-9 and '-'"),
    "kubeadm_version": (r"1\.\d+\.\d+", 'three numbers without a v, such as "1.36.3"'),
    "load_balancer_metallb_version": _TAG,
    "load_balancer_registry": _REGISTRY,
    "storage_class": (rf"{_DNS_LABEL}(\.{_DNS_LABEL})*", "a name of a-z, 0-9, '-' and '.'"),
    "storage_local_path": (r"/\S*[^/\s]", "an absolute path, and not / itself"),
}
# Variable to least and most.
RANGES: dict[str, tuple[int, int]] = {
    "course_hub_concurrent_starts": (1, 1000),
    "course_hub_gpu": (0, 64),
    "course_hub_lti13_key_rotate_after_days": (0, 3650),
    "course_hub_max_servers": (0, 100_000),
    "course_hub_membership_hours": (2, 8760),
    "course_hub_wait_seconds": (1, 86400),
    "course_images_pull_timeout_seconds": (1, 86400),
    "course_images_registry_port": (1, 65535),
    "kubeadm_renew_certificates_days": (0, 365),
    "node_max_clock_skew_seconds": (1, 3600),
    "node_min_disk_gb": (0, 1_000_000),
    "node_min_memory_mb": (0, 10_000_000),
}
# RFC 8200, section 5: IPv6 needs 1280; jumbo frames have 9000.
MTU, LEAST_MTU, MOST_MTU = "calico_mtu", 1280, 9000
MIRRORS, BY_NODE = "containerd_mirrors", "storage_local_path_by_node"
# Image reference with digest, https://github.com/opencontainers/distribution-spec (as containerd takes it).
IMAGES, _IMAGE = "course_images_refs", r"[a-z0-9][-a-z0-9.]*(:\d+)?/[-a-z0-9._/]+(:[-\w.]+)?@sha256:[0-9a-f]{64}"
REGISTRY, PUSH_CREDENTIALS = "course_images_registry", "course_images_registry_push_credentials"
BUILD_SECRETS, SECRET_FILES = "course_images_build_secrets", ("ca-bundle", "pip.conf", "npmrc", "apt.conf")
# Of OpenPGP keys of version 4 and 6.
FINGERPRINTS, _FINGERPRINT = re.compile(r"\w+_apt_key_fingerprints"), r"[0-9A-Fa-f]{40}([0-9A-Fa-f]{24})?"
MIRROR_FIELDS = ("url", "override_path", "fallback")


def check_forms(inventory: Inventory) -> Iterator[Mistake]:
    """Find values of the right type and the wrong form. Only what the inventory sets is looked at."""
    for host in inventory.hosts:
        for name, value in host.given.items():
            if name in FORMS and isinstance(value, (str, int, float)):
                form, wanted = FORMS[name]
                if not re.fullmatch(form, str(value)):
                    quotes = "" if isinstance(value, str) else "Put it in quotes."
                    yield Mistake(host.name, name, show(name, value), wanted, quotes)
            elif name in RANGES or name == MTU:
                yield from _check_number(host, name, value)
            elif FINGERPRINTS.fullmatch(name) and isinstance(value, list):
                yield from _check_fingerprints(host, name, value)
        yield from _check_mirrors(host)
        yield from _check_paths(host)
        yield from _check_images(host)
        yield from _check_push_credentials(host)


def _check_fingerprints(host: Host, name: str, values: list[object]) -> Iterator[Mistake]:
    wanted = "a fingerprint of 40 hexadecimal digits, in quotes, as gpg --show-keys prints it"
    if not values:
        yield Mistake(host.name, name, "empty", wanted, "Without one, no key is trusted.")
    for index, value in enumerate(values):
        if not isinstance(value, str) or not re.fullmatch(_FINGERPRINT, "".join(value.split())):
            yield Mistake(host.name, f"{name}[{index}]", show(name.replace("key", ""), value), wanted)


def _check_number(host: Host, name: str, value: object) -> Iterator[Mistake]:
    try:
        number = int(str(value))
    except ValueError:
        return  # its type is the argument spec's business
    if name == MTU:
        if number and not LEAST_MTU <= number <= MOST_MTU:
            yield Mistake(host.name, name, str(number), f"0 (automatic) or {LEAST_MTU} to {MOST_MTU} bytes")
        return
    least, most = RANGES[name]
    if not least <= number <= most:
        yield Mistake(host.name, name, str(number), f"{least} to {most}")


def _check_mirrors(host: Host) -> Iterator[Mistake]:
    mirrors = host.given.get(MIRRORS)
    if not isinstance(mirrors, Mapping):
        return
    for registry, mirror in mirrors.items():
        path = f"{MIRRORS}.{registry}"
        if not isinstance(mirror, Mapping):
            yield Mistake(host.name, path, show(path, mirror), f"a dictionary with {', '.join(MIRROR_FIELDS)}")
            continue
        for name in sorted(set(mirror) - set(MIRROR_FIELDS)):
            wanted = f"one of {', '.join(MIRROR_FIELDS)}"
            yield Mistake(host.name, f"{path}.{name}", "unknown", wanted, did_you_mean(name, MIRROR_FIELDS))
        if not re.fullmatch(_URL, str(mirror.get("url", ""))):
            got = show("url", mirror["url"]) if "url" in mirror else "missing"
            yield Mistake(host.name, f"{path}.url", got, "a URL with http:// or https://")


def _check_paths(host: Host) -> Iterator[Mistake]:
    paths = host.given.get(BY_NODE)
    if isinstance(paths, Mapping):
        form, wanted = FORMS["storage_local_path"]
        for node, path in paths.items():
            if not re.fullmatch(form, str(path)):
                yield Mistake(host.name, f"{BY_NODE}.{node}", show(BY_NODE, path), wanted)


def _check_push_credentials(host: Host) -> Iterator[Mistake]:
    credentials = host.given.get(PUSH_CREDENTIALS)
    if not isinstance(credentials, Mapping) or not credentials:
        return
    if not host.given.get(REGISTRY):
        cure = f"The own registry makes an account for each push; set {REGISTRY}, or remove it."
        yield Mistake(host.name, PUSH_CREDENTIALS, "set without a registry", f"{REGISTRY} too", cure)
    # RFC 7617, section 2.
    if ":" in str(credentials.get("username", "")):
        yield Mistake(host.name, f"{PUSH_CREDENTIALS}.username", "a name with a colon", "a name without one")


def _check_images(host: Host) -> Iterator[Mistake]:
    images, files = host.given.get(IMAGES), host.given.get(BUILD_SECRETS)
    for name, image in (images if isinstance(images, Mapping) else {}).items():
        if isinstance(image, str) and not re.fullmatch(_IMAGE, image):
            wanted = "a reference with digest, such as registry.example.edu/hub@sha256:DIGEST"
            yield Mistake(host.name, f"{IMAGES}.{name}", show(name, image), wanted)
    for name in files if isinstance(files, Mapping) else ():
        if name not in SECRET_FILES:
            wanted = f"one of {', '.join(SECRET_FILES)}"
            yield Mistake(
                host.name, f"{BUILD_SECRETS}.{name}", "unknown", wanted, did_you_mean(str(name), SECRET_FILES)
            )
