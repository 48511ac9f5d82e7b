# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forms of single variables that an argument spec cannot express."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ansible_collections.campus.hubs.plugins.plugin_utils.cluster_rules import parse_network
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_files import QUOTES
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import (
    Host,
    Inventory,
    Mistake,
    Unquoted,
    did_you_mean,
    show,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.references import (
    is_host,
    is_registry,
    parse_endpoint,
    parse_http_url,
    parse_image,
)

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_SUBDOMAIN = rf"(?=.{{1,253}}$){_DNS_LABEL}(\.{_DNS_LABEL})*"
# RFC 3986, section 2, without quotes; and with a host, if not its exact form.
_URL = r"https?://[-A-Za-z0-9._~%:@\[\]]+(/[-A-Za-z0-9._~%:@!$&()*+,;=/?#]*)?"
# Of such a URL what stands in front of a last slash.
_URL_PARTS = r"https?://[-A-Za-z0-9._~%:@\[\]]+(/[-A-Za-z0-9._~%:@!$&()*+,;=]+)*"
_REGISTRY = (
    r"[a-z0-9][-a-z0-9.]*(:[0-9]{1,5})?(/[-a-z0-9._]+)*/",
    "a registry with a slash at the end, such as quay.io/",
)
_DIGEST = r"sha256:[0-9a-f]{64}"
# Of versions: 010 is no number to anybody who compares them.
_N = r"(0|[1-9][0-9]{0,3})"
_ADDRESS = r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?"

# Variable to regular expression and words for it.
FORMS: dict[str, tuple[str, str]] = {
    "calico_operator_image_digest": (rf"({_DIGEST})?", "sha256: and 64 digits of 0-9a-f"),
    "calico_registry": _REGISTRY,
    "containerd_apt_key_url": (_URL, "a URL"),
    "containerd_apt_url": (_URL_PARTS, "a URL without a slash at the end"),
    "containerd_apt_suite": (r"[A-Za-z0-9][-A-Za-z0-9._/]*", "the name of a suite, such as bookworm"),
    "containerd_campus_registry_url": (_URL, "a URL"),
    "containerd_version": (rf"([2-9]|[1-9][0-9])\.{_N}\.{_N}", 'three numbers, at least "2.0.0"'),
    "course_images_registry": (
        rf"({_REGISTRY[0][:-1]})?",
        "a registry and path without scheme and without a slash at the end",
    ),
    "course_hub_gpu_resource": (
        # https://kubernetes.io/docs/concepts/overview/working-with-objects/names; kubernetes.io is Kubernetes' own.
        rf"(?!requests\.|([^/]*\.)?kubernetes\.io/)(?=[^/]{{1,253}}/)"
        rf"{_DNS_LABEL}(\.{_DNS_LABEL})*/[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?",
        "the name of a resource with its vendor, such as nvidia.com/gpu",
    ),
    "course_hub_helm_cache": (r"[/~].*", "an absolute path"),
    "course_hub_helm_checksum": (
        rf"((md5|sha(1|224|256|384|512)):([0-9A-Fa-f]+|{_URL}))?",
        "an algorithm, a colon, and a digest or the URL of one, such as sha256:DIGEST",
    ),
    "course_hub_helm_url": (_URL_PARTS, "a URL without a slash at the end"),
    "course_hub_helm_version": (rf"4\.{_N}\.{_N}", 'three numbers without a v, such as "4.3.1"'),
    "course_hub_tls_secret": (rf"({_DNS_SUBDOMAIN})?", "the name of a Secret"),
    "kubeadm_apt_key_url": (_URL, "a URL"),
    "kubeadm_apt_url": (rf"{_URL_PARTS}/", "a URL with a slash at the end"),
    "kubeadm_cluster_name": (_DNS_LABEL, "a name of a-z, 0-9 and '-'"),
    "kubeadm_version": (
        rf"1\.(3[2-9]|[4-9][0-9])\.{_N}",
        'three numbers without a v, at least "1.32.0"',
    ),
    "load_balancer_registry": _REGISTRY,
    "scheduled_run_branch": (r"(?!.*(\.\.|//))[\w][\w./+-]*(?<![./])", "the name of a branch"),
    # What else it says is systemd's to refuse.
    "scheduled_run_calendar": (
        r"[A-Za-z0-9*][-A-Za-z0-9*:/.,~_+ ]*",
        "times as systemd.time(7) has them, such as *-*-* 03:15:00",
    ),
    "scheduled_run_inventory": (
        r"(?!/)(?!(.*/)?\.\.(/|$))[\w.][^\s]*",
        "the path of a file or folder in the repository",
    ),
    "scheduled_run_pip_index_url": (_URL, "a URL"),
    "scheduled_run_python": (r"[A-Za-z0-9/][-A-Za-z0-9._/]*", "the name or path of a program, such as python3.12"),
    "scheduled_run_repository": (r"([A-Za-z0-9/~.]\S*)?", "the address of a git repository"),
    "storage_class": (_DNS_SUBDOMAIN, "a name of a-z, 0-9, '-' and '.'"),
    # The last part becomes readable for root alone: none of the system's own folders (Filesystem Hierarchy Standard).
    "storage_local_path": (
        r"(?!/(bin|boot|dev|etc|lib(32|64|x32)?|lost\+found|proc|root|run|sbin|sys|tmp|usr)(/|$))"
        r"(?!/(home|media|mnt|opt|srv|var|var/(cache|lib|local|lock|log|mail|opt|run|spool|tmp))/?$)"
        r"(?!/var/(lock|run|tmp|lib/(containerd|etcd|kubelet))(/|$))"
        r"(?!/var/lib/campus-hubs(/?$|/(build|build-packages|registry)(/|$)))"
        r"(/(?!\.\.?(/|$))[-A-Za-z0-9._+@]+)+",
        "an absolute path of a folder of its own, such as /srv/volumes",
    ),
}
IMAGE_REFERENCES = frozenset(
    {
        *("containerd_sandbox_image", "course_images_base"),
        *("storage_local_path_helper_image", "storage_local_path_image"),
    }
)
REGISTRIES = frozenset({"calico_registry", "course_images_registry", "load_balancer_registry"})
# Variable to least and most.
RANGES: dict[str, tuple[int, int]] = {
    "course_hub_concurrent_starts": (1, 1000),
    "course_hub_gpu": (0, 64),
    "course_hub_lti13_key_rotate_after_days": (0, 3650),
    "course_hub_max_servers": (0, 100_000),
    "course_hub_membership_hours": (2, 8760),
    "course_hub_reserved_servers": (0, 100),
    "course_hub_wait_seconds": (1, 86400),
    "course_images_pull_timeout_seconds": (1, 86400),
    "course_images_registry_port": (1, 65535),
    "kubeadm_renew_certificates_days": (0, 365),
    "scheduled_run_random_delay_seconds": (0, 604_800),
    "scheduled_run_reports": (1, 10_000),
    "scheduled_run_time_limit_seconds": (60, 604_800),
    "node_max_clock_skew_seconds": (1, 3600),
    "node_min_disk_gb": (0, 1_000_000),
    "node_min_memory_mb": (0, 10_000_000),
}
# Of the registry's host, mostly a control plane: SSH, Kubernetes' programs and its range for Services, and where the
# registry takes images.
REGISTRY_PORT = "course_images_registry_port"
TAKEN_PORTS = frozenset({22, 2379, 2380, 5001, 6443, 10250, 10256, 10257, 10259, *range(30000, 32768)})
# RFC 8200, section 5: IPv6 needs 1280; jumbo frames have 9000.
MTU, LEAST_MTU, MOST_MTU = "calico_mtu", 1280, 9000
MIRRORS, BY_NODE = "containerd_mirrors", "storage_local_path_by_node"
REGISTRY, PUSH_CREDENTIALS = "course_images_registry", "course_images_registry_push_credentials"
IMAGES = "course_images_refs"
DIGESTS, BUILD_ENVIRONMENT = "load_balancer_image_digests", "course_images_build_environment"
BUILD_SECRETS, SECRET_FILES = "course_images_build_secrets", ("ca-bundle", "pip.conf", "npmrc", "apt.conf")
# Of OpenPGP keys of version 4 and 6.
FINGERPRINTS, _FINGERPRINT = re.compile(r"\w+_apt_key_fingerprints"), r"[0-9A-Fa-f]{40}([0-9A-Fa-f]{24})?"
EMAIL, CREDENTIALS = "scheduled_run_email", "scheduled_run_credentials"
PROXY, CERTIFICATES = "node_proxy", ("node_ca_certificates", "course_hub_ca_certificates")
# What Jinja's filter `bool` and Ansible's modules both understand.
SWITCHES = frozenset({"yes", "no", "on", "off", "true", "false", "1", "0"})
MIRROR_FIELDS = ("url", "override_path", "fallback")


def check_forms(inventory: Inventory) -> Iterator[Mistake]:
    """Find values of the right type and the wrong form. Only what the inventory sets is looked at."""
    for host in inventory.hosts:
        for name, value in host.given.items():
            if name in FORMS and isinstance(value, (str, int, float)):
                form, expected = FORMS[name]
                if not re.fullmatch(form, str(value)) or not _is_possible(name, str(value)):
                    quotes = QUOTES if isinstance(value, Unquoted) else ""
                    yield Mistake(host.name, name, show(name, value), expected, quotes)
            elif name in IMAGE_REFERENCES and isinstance(value, (str, int, float)):
                # Without tag and digest it would be whatever is the latest.
                image = parse_image(str(value))
                if not (image and (image.tag or image.digest)):
                    expected = "an image with tag or digest, such as registry.example.edu/name:1.0"
                    yield Mistake(host.name, name, show(name, value), expected)
            elif name in RANGES or name == MTU:
                yield from _check_number(host, name, value)
            elif FINGERPRINTS.fullmatch(name) and isinstance(value, list):
                yield from _check_fingerprints(host, name, value)
        yield from _check_mirrors(host)
        yield from _check_paths(host)
        yield from _check_proxy(host)
        yield from _check_email(host)
        yield from _check_credentials(host)
        for name in CERTIFICATES:
            yield from _check_certificates(host, name)
        yield from _check_images(host)
        yield from _check_push_credentials(host)


def _is_possible(name: str, value: str) -> bool:
    """Tell whether a URL's or registry's host and port can be."""
    if name.endswith("_url"):
        return parse_http_url(value) is not None
    image = parse_image(f"{value.rstrip('/')}/name")
    return name not in REGISTRIES or not value or bool(image and image.registry)


def _check_fingerprints(host: Host, name: str, values: list[object]) -> Iterator[Mistake]:
    expected = "a fingerprint of 40 hexadecimal digits, in quotes, as gpg --show-keys prints it"
    if not values:
        yield Mistake(host.name, name, "no fingerprint", expected, "add one, as no key is trusted without")
    for index, value in enumerate(values):
        if not isinstance(value, str) or not re.fullmatch(_FINGERPRINT, "".join(value.split())):
            yield Mistake(host.name, f"{name}[{index}]", show(name.replace("key", ""), value), expected)


def _check_number(host: Host, name: str, value: object) -> Iterator[Mistake]:
    if not re.fullmatch(r"[-+]?[0-9]{1,18}", str(value)):
        return  # its type is the argument spec's business
    number = int(str(value))
    if name == MTU:
        if number and not LEAST_MTU <= number <= MOST_MTU:
            yield Mistake(host.name, name, str(number), f"0 (automatic) or {LEAST_MTU} to {MOST_MTU} bytes")
        return
    least, most = RANGES[name]
    if not least <= number <= most:
        yield Mistake(host.name, name, str(number), f"{least} to {most}")
    elif name == REGISTRY_PORT and number in TAKEN_PORTS:
        yield Mistake(host.name, name, str(number), "a port that neither SSH, Kubernetes nor the push of images takes")


def _check_mirrors(host: Host) -> Iterator[Mistake]:
    mirrors = host.given.get(MIRRORS)
    if not isinstance(mirrors, Mapping):
        return
    for registry, mirror in mirrors.items():
        path = f"{MIRRORS}.{registry}"
        if registry != "_default" and not is_registry(str(registry)):
            expected = "a registry as in the names of images, such as docker.io or 10.0.0.5:5000"
            yield Mistake(
                host.name,
                path,
                "a name that is no registry",
                expected,
                "write it in small letters, without scheme and path",
            )
        if not isinstance(mirror, Mapping):
            yield Mistake(host.name, path, show(path, mirror), f"a dictionary with {', '.join(MIRROR_FIELDS)}")
            continue
        for name in sorted(set(mirror) - set(MIRROR_FIELDS)):
            expected = f"one of {', '.join(MIRROR_FIELDS)}"
            yield Mistake(host.name, f"{path}.{name}", "an unknown option", expected, did_you_mean(name, MIRROR_FIELDS))
        for name in {"override_path", "fallback"} & set(mirror):
            if str(mirror[name]).lower() not in SWITCHES:
                yield Mistake(host.name, f"{path}.{name}", show(name, mirror[name]), "true or false")
        url = str(mirror.get("url", ""))
        if not re.fullmatch(_URL, url) or parse_http_url(url) is None:
            found = show("url", mirror["url"]) if "url" in mirror else "nothing"
            yield Mistake(host.name, f"{path}.url", found, "a URL with http:// or https://")


def _check_proxy(host: Host) -> Iterator[Mistake]:
    proxy = host.given.get(PROXY)
    if not isinstance(proxy, Mapping) or not proxy:
        return
    urls = {kind: str(proxy[kind]) for kind in ("http", "https") if proxy.get(kind)}
    if not urls:
        yield Mistake(host.name, PROXY, "no URL", "http or https, such as http://proxy.example.edu:3128")
    for kind, url in urls.items():
        if "@" in url:
            fix = "let the proxy know the nodes by their addresses, as a password would be readable on them"
            yield Mistake(host.name, f"{PROXY}.{kind}", "a URL with a password", "one without", fix)
        elif not re.fullmatch(_URL, url) or parse_http_url(url) is None:
            yield Mistake(host.name, f"{PROXY}.{kind}", show(PROXY, url), "a URL such as http://proxy.example.edu:3128")
    exceptions = proxy.get("no_proxy")
    for index, one in enumerate(exceptions if isinstance(exceptions, list) else ()):
        text = str(one)
        if not (is_host(text.removeprefix(".")) or parse_network(text) or parse_endpoint(text)):
            plain = text.lstrip("*.")
            hint = f"Did you mean .{plain}?" if plain != text and is_host(plain) else ""
            expected = "a name, domain, address or network"
            yield Mistake(host.name, f"{PROXY}.no_proxy[{index}]", show(PROXY, one), expected, hint)


def _check_email(host: Host) -> Iterator[Mistake]:
    email = host.given.get(EMAIL)
    if not isinstance(email, Mapping):
        return
    to = email.get("to")
    for name in ("to", "sender", "server") if email else ():
        if not email.get(name):
            fix = "set it, or remove the whole variable to write to nobody"
            yield Mistake(host.name, f"{EMAIL}.{name}", "nothing", "to, sender and server", fix)
    addresses = {f"to[{index}]": address for index, address in enumerate(to if isinstance(to, list) else ())}
    for path, address in {**addresses, "sender": email.get("sender")}.items():
        # RFC 5322, section 3.4, as far as any mail server goes: an address alone, or behind a name.
        if address and not re.fullmatch(rf"[^@<>,;:\"]+ <{_ADDRESS}>|{_ADDRESS}", str(address)):
            yield Mistake(host.name, f"{EMAIL}.{path}", show(EMAIL, address), "an address such as admin@example.edu")
    server, port = email.get("server"), email.get("port", 587)
    if server and not is_host(server):
        yield Mistake(host.name, f"{EMAIL}.server", show(EMAIL, server), "the name or address of a server")
    if re.fullmatch(r"[-+]?[0-9]{1,18}", str(port)) and not 0 < int(str(port)) < 65536:
        yield Mistake(host.name, f"{EMAIL}.port", show(EMAIL, port), "a port from 1 to 65535")


def _check_credentials(host: Host) -> Iterator[Mistake]:
    credentials = host.given.get(CREDENTIALS)
    for name, value in (credentials if isinstance(credentials, Mapping) else {}).items():
        if name == "webhook_url" and value and parse_http_url(value) is None:
            yield Mistake(host.name, f"{CREDENTIALS}.{name}", "(hidden)", "a URL with http:// or https://")
        elif name in ("deploy_key", "ssh_key") and value and "PRIVATE KEY-----" not in str(value):
            fix = "give the content of the file, not its path, and not of the one with .pub at its end"
            yield Mistake(host.name, f"{CREDENTIALS}.{name}", "(hidden)", "a private SSH key", fix)


def _check_certificates(host: Host, name: str) -> Iterator[Mistake]:
    certificates = host.given.get(name)
    for index, text in enumerate(certificates if isinstance(certificates, list) else ()):
        if isinstance(text, str) and not is_certificate(text):
            fix = "give what begins with -----BEGIN CERTIFICATE-----, without any private key"
            found = "text that is not only certificates"
            yield Mistake(host.name, f"{name}[{index}]", found, "certificates in PEM", fix)


def is_certificate(text: str) -> bool:
    """Say whether a text is certificates in PEM, without a private key, as OpenSSL reads them."""
    # A dependency of ansible-core, which sanity tests import plugins without.
    from cryptography import x509  # noqa: PLC0415

    try:
        count = len(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False
    # OpenSSL wants each mark on a line of its own, which YAML's > does not leave.
    marks = [len(re.findall(rf"^-----{end} (?:X509 )?CERTIFICATE-----\s*$", text, re.M)) for end in ("BEGIN", "END")]
    return marks == [count, count] and not re.search("PRIVATE KEY", text)


def _check_paths(host: Host) -> Iterator[Mistake]:
    paths = host.given.get(BY_NODE)
    if isinstance(paths, Mapping):
        form, expected = FORMS["storage_local_path"]
        for node, path in paths.items():
            if not re.fullmatch(form, str(path)):
                yield Mistake(host.name, f"{BY_NODE}.{node}", show(BY_NODE, path), expected)


def _check_push_credentials(host: Host) -> Iterator[Mistake]:
    credentials = host.given.get(PUSH_CREDENTIALS)
    if not isinstance(credentials, Mapping) or not credentials:
        return
    if not host.given.get(REGISTRY):
        fix = f"set {REGISTRY}, or remove them, as the collection's own registry makes an account for each push"
        yield Mistake(host.name, PUSH_CREDENTIALS, "credentials without a registry", f"{REGISTRY} too", fix)
    # RFC 7617, section 2.
    if ":" in str(credentials.get("username", "")):
        yield Mistake(host.name, f"{PUSH_CREDENTIALS}.username", "a name with a colon", "a name without one")


def _check_images(host: Host) -> Iterator[Mistake]:
    images, files = host.given.get(IMAGES), host.given.get(BUILD_SECRETS)
    for name, image in (images if isinstance(images, Mapping) else {}).items():
        parts = parse_image(image)
        if isinstance(image, str) and not (parts and parts.registry and parts.digest):
            expected = "a reference with digest, such as registry.example.edu/hub@sha256:DIGEST"
            yield Mistake(host.name, f"{IMAGES}.{name}", show(name, image), expected)
    environment = host.given.get(BUILD_ENVIRONMENT)
    for name, value in (environment if isinstance(environment, Mapping) else {}).items():
        path = f"{BUILD_ENVIRONMENT}.{name}"
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name)):
            yield Mistake(
                host.name,
                path,
                "a name that no variable can have",
                "a name of A-Z, a-z, 0-9 and '_', not beginning with a digit",
            )
        elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
            yield Mistake(host.name, path, show(path, value), "text or a number", QUOTES)
    digests = host.given.get(DIGESTS)
    for name, digest in (digests if isinstance(digests, Mapping) else {}).items():
        if digest not in (None, "") and not re.fullmatch(_DIGEST, str(digest)):
            expected = "sha256: and 64 hexadecimal digits"
            yield Mistake(host.name, f"{DIGESTS}.{name}", show(str(name), digest), expected)
    for name, path in (files if isinstance(files, Mapping) else {}).items():
        if name in SECRET_FILES and not (isinstance(path, str) and path):
            yield Mistake(host.name, f"{BUILD_SECRETS}.{name}", show("path", path), "the path of a file on the builder")
        elif name not in SECRET_FILES:
            expected = f"one of {', '.join(SECRET_FILES)}"
            yield Mistake(
                host.name, f"{BUILD_SECRETS}.{name}", "an unknown name", expected, did_you_mean(str(name), SECRET_FILES)
            )
