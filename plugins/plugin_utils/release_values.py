# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values of a course's release: the one place that makes the chart's values of the inventory's variables."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import yaml
from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.utils.vars import merge_hash
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import chart_files
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal
from ansible_collections.campus.hubs.plugins.plugin_utils.course_servers import ValuesError, server_values

__all__ = ["Cluster", "Live", "Options", "ValuesError", "chart_checksum", "public_url", "release_values", "values_text"]

PREFIX = "course_hub_"
PROGRAMS = ("hub", "singleuser", "proxy", "exchange")
NOT_BUILT = "not-built-yet"
_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16")
_EVERYWHERE = "0.0.0.0/0"
_PORTS = {"http": 80, "https": 443, "ssh": 22}
# The variables that `server_values` takes.
_SERVERS = ("image", "packages", "memory", "cpu", "gpu", "gpu_resource", "profiles", "volumes")
_CULL = {"timeout": "timeout", "every": "every", "max_age": "maxAge"}
_IPV4 = re.compile(r"[0-9.]+")
_MIB = 2**20

Values = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """What a course's values need of the cluster.

    Attributes:
        images: references of the images of all courses, by program; empty before they are built.
        packaged: references of the images with packages, by the keys of `packages_key`.
        networks: IPv4 networks of pods, Services and nodes (CIDR), in order.
        api_server: addresses (CIDR) and port of the API server's endpoints.
        domain: the cluster's DNS domain.
        nameservers: addresses of the cluster's DNS service.
        missing: what stands for an image that is not built yet; if it is empty, that is an error.
    """

    images: Mapping[str, str]
    packaged: Mapping[str, str]
    networks: Sequence[str]
    api_server: Mapping[str, Any]
    domain: str
    nameservers: Sequence[str]
    missing: str = ""

    @classmethod
    def parse(cls, objects: Mapping[str, Sequence[Mapping[str, Any]]], *, check: bool) -> Cluster:
        """Read it from manifests.

        Args:
            objects: manifests by the names of `course_inputs.CLUSTER`; a list is empty for what is not there.
            check: whether nothing is deployed, so that images need not be built yet.
        """
        endpoints, nodes = objects["endpoints"], objects["nodes"]
        configuration = yaml.safe_load(_data(objects["kubeadm_config"]).get("ClusterConfiguration") or "{}")
        networking = configuration.get("networking") or {}
        subnets = [
            subnet for name in ("podSubnet", "serviceSubnet") for subnet in str(networking.get(name) or "").split(",")
        ]
        addresses = {
            f"{address['address']}/32"
            for node in nodes
            for address in node["status"]["addresses"]
            if address["type"] in {"InternalIP", "ExternalIP"} and ":" not in address["address"]
        }
        servers = [address for item in endpoints for each in item["endpoints"] for address in each["addresses"]]
        return cls(
            images=_data(objects["images"]),
            packaged=_data(objects["packaged"]),
            networks=sorted([*(subnet for subnet in subnets if subnet and ":" not in subnet), *addresses]),
            api_server={
                "cidrs": [f"{address}/32" for address in sorted(servers)],
                "port": next((port["port"] for item in endpoints for port in item["ports"]), 6443),
            },
            domain=networking.get("dnsDomain") or "cluster.local",
            nameservers=[address for service in objects["dns"] for address in service["spec"].get("clusterIPs") or []],
            missing=NOT_BUILT if check else "",
        )


@dataclass(frozen=True)
class Live:
    """What a course's values need of the course as it lives.

    Attributes:
        secrets: checksum of the versions of its Secrets; other ones restart what reads them.
        address: of its load balancer; empty if it has none yet.
    """

    secrets: str
    address: str

    @classmethod
    def parse(cls, secrets: Iterable[Mapping[str, Any]], services: Iterable[Mapping[str, Any]]) -> Live:
        """Read it from the metadata of the course's Secrets, and from its Service `proxy` if there is one."""
        metadata = sorted((secret["metadata"] for secret in secrets), key=lambda each: str(each["name"]))
        versions = "-".join(str(each["resourceVersion"]) for each in metadata)
        ingress = [
            point
            for service in services
            for point in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
        ]
        address = str(ingress[0].get("ip") or "") if ingress else ""
        return cls(hashlib.sha256(versions.encode()).hexdigest(), address)


class Options:
    """The variables of a course, each of the type that the argument spec gives it."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        """Take them.

        Args:
            variables: name without `course_hub_` to value, none of them a template.
        """
        self._variables = variables

    def raw(self, name: str) -> Any:  # noqa: ANN401 (a variable can be anything)
        """Return a value as it is."""
        return self._variables[name]

    def text(self, name: str) -> str:
        """Return a text; numbers are what they are written as."""
        value = self._variables[name]
        if value is None or isinstance(value, (Mapping, list)):
            raise _wrong(name, value, "text")
        return str(value)

    def number(self, name: str) -> int:
        """Return a whole number."""
        try:
            return int(self._variables[name])
        except (TypeError, ValueError) as error:
            raise _wrong(name, self._variables[name], "a whole number") from error

    def flag(self, name: str) -> bool:
        """Return a boolean, however it is written."""
        try:
            return bool(boolean(self._variables[name]))
        except TypeError as error:
            raise _wrong(name, self._variables[name], "true or false") from error

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return a dictionary."""
        value = self._variables[name] or {}
        if not isinstance(value, Mapping):
            raise _wrong(name, value, "a dictionary")
        return value

    def items(self, name: str) -> list[Any]:
        """Return a list."""
        value = self._variables[name] or []
        if not isinstance(value, list):
            raise _wrong(name, value, "a list")
        return value


def release_values(course: str, options: Options, cluster: Cluster, live: Live, chart: str) -> Values:
    """Return the values of a course's release.

    Args:
        course: its id.
        options: its variables.
        cluster: what the cluster is like.
        live: what of the course lives.
        chart: checksum of the chart's files; another chart restarts what it configures.

    Raises:
        ValuesError: a variable has a value of another type, or an image is not built.
    """
    images = _images(cluster)
    try:
        values = merge_hash(
            _common(options, cluster, images, chart),
            server_values(
                {name: options.raw(name) for name in _SERVERS},
                images["singleuser"],
                cluster.packaged,
                missing=cluster.missing,
            ),
        )
        values = merge_hash(values, _login(course, options, cluster, live))
        found: Values = merge_hash(values, dict(options.mapping("values")))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # What check_inventory would have refused.
        other = f"one of another form than its argument spec has ({error!r})"
        message = refusal(f"variables of {course}", other, "those that playbooks/check_inventory.yml accepts")
        raise ValuesError(message) from error
    return found


class _Quoted(yaml.SafeDumper):
    """Writes texts in quotes: Helm takes y, 1e3 and 0o17 for other things than PyYAML does, which leaves them bare."""


_Quoted.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"'))


def values_text(values: Values) -> str:
    """Return values as YAML that Helm reads as what they are."""
    return str(yaml.dump(values, Dumper=_Quoted, width=float("inf")))


def public_url(options: Options, live: Live) -> str:
    """Return the URL at which people find the hub, with a slash at its end; empty if it is not known yet."""
    if url := options.text("url"):
        return url.rstrip("/") + "/"
    address = options.text("address") or live.address
    scheme = "https" if options.text("tls_secret") else "http"
    return f"{scheme}://{address}/" if address else ""


def chart_checksum(chart: Path) -> str:
    """Return a checksum of a chart's files, by their contents in the order of their paths."""
    digests = (hashlib.sha256(path.read_bytes()).digest() for path in chart_files(chart))
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _images(cluster: Cluster) -> Mapping[str, str]:
    if not cluster.images and not cluster.missing:
        name = "ConfigMap course-images in namespace campus-hubs"
        raise ValuesError(refusal(name, "none", "what playbooks/images.yml writes", "run it, or site.yml"))
    return cluster.images or dict.fromkeys(PROGRAMS, cluster.missing)


def _common(options: Options, cluster: Cluster, images: Mapping[str, str], chart: str) -> Values:
    """Return what follows from the course's variables and the cluster, but for servers and login."""
    git = _git_url(options)
    return {
        "hub": {"image": {"name": images["hub"]}, "membershipHours": options.number("membership_hours")},
        "timezone": options.text("timezone"),
        "singleuser": {
            "extraEnv": {str(name): str(value) for name, value in options.mapping("environment").items()},
            "material": {
                "git": str(options.mapping("material").get("git") or ""),
                "branch": str(options.mapping("material").get("branch") or ""),
                "directory": str(options.mapping("material").get("directory") or ""),
                "secretName": str(options.mapping("material").get("deploy_key_secret") or ""),
            },
            "storage": {"capacity": options.text("home_size")},
            "homesAhead": options.flag("homes_ahead"),
            "courseStorage": {"capacity": options.text("course_size")},
            "concurrentStarts": options.number("concurrent_starts"),
            "sendGradesOnFeedback": options.flag("send_grades_on_feedback"),
            "networkPolicy": {
                # The material comes from the internet as well, or from a network that is named.
                "internetPorts": _unique([*map(int, options.items("internet_ports")), *([_port(git)] if git else [])]),
                "egress": [
                    _egress(str(network["cidr"]), network["ports"])
                    for network in [*options.items("user_networks"), *_git_network(git)]
                ],
            },
        },
        "scheduling": {
            "podPriority": {"enabled": True},
            "userPlaceholder": {"replicas": options.number("reserved_servers")},
        },
        "cull": {
            "enabled": True,
            **{_CULL[name]: int(seconds) for name, seconds in options.mapping("cull").items()},
        },
        "proxy": {
            "chp": {"image": {"name": images["proxy"]}},
            "service": {"type": options.text("service_type"), "loadBalancerIP": options.text("address")},
            "https": {"secretName": options.text("tls_secret")},
        },
        "exchange": {
            "image": {"name": images["exchange"]},
            "storage": {"capacity": options.text("exchange_size")},
            "maxUploadMiB": human_to_bytes(options.text("max_upload").removesuffix("i")) // _MIB,
            "membershipsUrl": options.text("lti13_memberships_url"),
        },
        "networkPolicy": {
            "apiServer": dict(cluster.api_server),
            # Private networks, the cluster's own in case they are not private, and the campus's public ones.
            "notInternet": _unique(
                [*_PRIVATE, *cluster.networks, *(each for each in options.items("campus_networks") if ":" not in each)]
            ),
        },
        "imagePullSecrets": [str(name) for name in options.items("pull_secrets")],
        "caCertificates": "".join(f"{str(pem).strip()}\n" for pem in options.items("ca_certificates")),
        "dns": {"clusterDomain": cluster.domain, "nameservers": list(cluster.nameservers)},
        "checksum": {"chart": chart},
    }


def _login(course: str, options: Options, cluster: Cluster, live: Live) -> Values:
    """Return what concerns the LMS, and what follows from the course as it lives."""
    platform = _platform(options)
    authenticator: Values = {
        "course_title": options.text("title") or course,
        "lms_url": options.text("lms_url"),
        "context_ids": [str(each) for each in options.items("lms_context")],
        "lti_roles": options.mapping("lti_roles"),
    }
    if platform:
        ids = {name: options.text(f"lti13_{name}") for name in ("client_id", "deployment_id")}
        authenticator |= {"issuer": platform["issuer"], "lti13_platform": {**platform, **ids}}
    config: Values = {"CourseAuthenticator": authenticator}
    if most := options.number("max_servers"):
        config["CourseSpawner"] = {"max_servers": most}
    return {
        "hub": {
            "publicUrl": public_url(options, live),
            "config": merge_hash(config, dict(options.mapping("config"))),
            "networkPolicy": {"egress": _lms_egress(options, platform, cluster)},
        },
        "checksum": {"secrets": live.secrets},
    }


def _platform(options: Options) -> Mapping[str, Any]:
    """Return the course's LTI 1.3 platform; empty with LTI 1.1."""
    name, platforms = options.text("lti13_platform"), options.mapping("lti_platforms")
    if not name:
        return {}
    platform = {str(each): value for each, value in platforms.items()}.get(name)
    if not isinstance(platform, Mapping):
        raise _wrong("lti13_platform", name, f"a name of course_hub_lti_platforms: {', '.join(map(str, platforms))}")
    return platform


def _lms_egress(options: Options, platform: Mapping[str, Any], cluster: Cluster) -> list[Values]:
    """Return where hub and exchange find the LMS; LTI 1.1 says it at the launch only."""
    if platform:
        urls = [str(platform[name]) for name in ("token_endpoint", "jwks_uri", "issuer")]
        urls += [options.text("lms_url"), options.text("lti13_memberships_url")]
    else:
        urls = [options.text("lms_url") or "https://the-lms"]
    rules = []
    for url in filter(None, urls):
        parts = urlsplit(url)
        # A host that is given by its address is reached, whatever network it is in.
        for cidr in _address(parts) or map(str, options.items("lms_networks")):
            block = {"cidr": cidr} | ({"except": list(cluster.networks)} if cidr == _EVERYWHERE else {})
            rules.append({"to": [{"ipBlock": block}], "ports": [{"protocol": "TCP", "port": _port(parts)}]})
    return _unique(rules)


def _git_url(options: Options) -> SplitResult | None:
    """Return the material's URL: scheme://user@host:port/path, or user@host:path as git and ssh write it."""
    git = str(options.mapping("material").get("git") or "")
    if not git:
        return None
    return urlsplit(git if "://" in git else "ssh://" + re.sub("^([^/:]+):/*", r"\1/", git))


def _git_network(git: SplitResult | None) -> list[Values]:
    return [{"cidr": cidr, "ports": [_port(git)]} for cidr in _address(git)] if git else []


def _egress(cidr: str, ports: Iterable[Any]) -> Values:
    return {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": int(port)} for port in ports]}


def _address(url: SplitResult) -> list[str]:
    """Return the network of a URL's host if that is an address, else nothing."""
    host = url.hostname or ""
    if ":" in host:
        return [f"{host}/128"]
    return [f"{host}/32"] if _IPV4.fullmatch(host) else []


def _port(url: SplitResult) -> int:
    return url.port or _PORTS.get(url.scheme, 443)


def _data(objects: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the data of the first ConfigMap, if there is one."""
    return (objects[0].get("data") or {}) if objects else {}


def _unique(items: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for item in items:
        if item not in found:
            found.append(item)
    return found


def _wrong(name: str, found: object, expected: str) -> ValuesError:
    shown = found if isinstance(found, (str, int, float)) and name not in {"environment", "config", "values"} else ""
    return ValuesError(refusal(f"{PREFIX}{name}", shown or type(found).__name__, expected))
