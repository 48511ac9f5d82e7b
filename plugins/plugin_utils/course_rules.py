# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must hold for a course, and between courses."""

from __future__ import annotations

import json
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.campus.hubs.plugins.plugin_utils.cluster_rules import (
    ONLY_IPV4,
    Range,
    has_pool,
    node_addresses,
    parse_network,
    pool,
    unusable,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_files import QUOTES
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import (
    COURSES,
    Host,
    Inventory,
    Mistake,
    did_you_mean,
    show,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.quantities import (
    MEMORY_FORM,
    STORAGE_FORM,
    parse_cpu,
    parse_memory,
    parse_storage,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.references import (
    Address,
    is_host,
    parse_address,
    parse_endpoint,
    parse_http_url,
    parse_image,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.timezones import timezones

ADDRESS, SERVICE_TYPE, URL, LMS_URL = (
    "course_hub_address",
    "course_hub_service_type",
    "course_hub_url",
    "course_hub_lms_url",
)
TITLE, TIMEZONE = "course_hub_title", "course_hub_timezone"
PLATFORMS, PLATFORM = "course_hub_lti_platforms", "course_hub_lti13_platform"
CLIENT_ID, DEPLOYMENT_ID = "course_hub_lti13_client_id", "course_hub_lti13_deployment_id"
MEMBERSHIPS = "course_hub_lti13_memberships_url"
CONTEXT, LTI_ROLES = "course_hub_lms_context", "course_hub_lti_roles"
COURSE_ROLES, MOST_CONTEXT = ("instructor", "teaching_assistant", "student"), 255
IMAGE, PACKAGES, PROFILES = "course_hub_image", "course_hub_packages", "course_hub_profiles"
ENVIRONMENT, MATERIAL = "course_hub_environment", "course_hub_material"
EXCHANGE_SIZE, COURSE_SIZE, MAX_UPLOAD = "course_hub_exchange_size", "course_hub_course_size", "course_hub_max_upload"
MEMORY, CPU, HOME_SIZE, CULL = "course_hub_memory", "course_hub_cpu", "course_hub_home_size", "course_hub_cull"
# What the chart takes for an option that is left out.
CULL_DEFAULTS = {"timeout": 3600, "every": 300, "max_age": 0}
CANARY = "course_hub_canary"
LMS_NETWORKS, USER_NETWORKS = "course_hub_lms_networks", "course_hub_user_networks"
CAMPUS_NETWORKS, INTERNET_PORTS = "course_hub_campus_networks", "course_hub_internet_ports"
NETWORK_FORM = "a network such as 10.1.0.0/16, with nothing behind the prefix"
PORTS_FORM = "ports from 1 to 65535"
PLATFORM_FIELDS = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
AUDIENCE = "token_audience"

# The id becomes namespace (course-ID), release and label; 40 leaves room for what is put before and behind it.
_COURSE_ID = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_MIB = 1024**2
# Debian Policy, section 5.6.1.
_APT = re.compile(r"[a-z0-9][-a-z0-9+.]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What JupyterHub, KubeSpawner, the image and the chart set in a person's server.
OWN_ENVIRONMENT = {"EXCHANGE_URL", "HOME", "JPY_API_TOKEN", "LANG", "NGSHARE_URL", "PATH"}
OWN_PREFIXES = ("COURSE_", "CPU_", "JUPYTER", "KUBERNETES_", "MATERIAL_", "MEM_")
_GIT_SSH = re.compile(r"(ssh://)?\w[\w.-]*@(?P<host>[\w.-]+)((?P<port>:[0-9]+)/|[:/])[!-~]+", re.ASCII)
# git-check-ref-format(1), as far as anybody's branch goes.
_BRANCH = re.compile(r"(?!.*(\.\.|//))[\w][\w./+-]*(?<![./])")
# ~/course is the course's folder in the servers of lecturers and tutors.
_FOLDER = re.compile(r"(?!course(/|$))[^/\s.~-][^/]*(/[^/.][^/]*)*")
_DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
PULL_SECRETS, IMAGES_PULL_SECRETS = "course_hub_pull_secrets", "course_images_pull_secrets"
VOLUMES, CONFIG, VALUES = "course_hub_volumes", "course_hub_config", "course_hub_values"
# What the chart mounts in a person's server; campus_hubs_hub in the hub's image has the same.
HOME, COURSE_FOLDER = "/home/jovyan", "/srv/course"
COURSE_LINK = f"{HOME}/course"
OWN_MOUNTS = (HOME, "/tmp", COURSE_FOLDER, COURSE_LINK)  # noqa: S108
OWN_VOLUMES = re.compile(r"ca|home|tmp|course|material(-key|-tmp)?|shared-.*")
# Of the course's own programs, and people's homes.
OWN_CLAIMS = re.compile(r"course|exchange|hub-db|home-.*")
SOURCES = ("claim", "nfs", "host_path")
# What belongs to the system, on a node and in a server's image.
SYSTEM_FOLDERS = re.compile(
    r"/(var(/lib)?|(bin|boot|dev|etc|lib(32|64|x32)?|proc|root|run|sbin|sys|usr|opt|var/run|var/lib/(campus-hubs|containerd|etcd|kubelet))(/.*)?)"
)
_SHARED_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_SHARED_PATH = re.compile(r"/[^:\x00-\x1f{}]+")
MOST_GPUS = 64
# Helm keeps values, manifests and chart of a release in one Secret, which takes 1 MiB: certificates are in it twice.
MOST_CHARACTERS = 250_000
# Ten years, as in the chart's schema; Python's time spans end somewhere as well.
MOST_SECONDS = 315_360_000
# Least sizes that can work; anything under them is a forgotten unit.
CPU_FORM = "a number of processors, such as 0.5"
LEAST_MEMORY, LEAST_HOME = 64 * _MIB, 10 * _MIB


def is_visible(text: str) -> bool:
    """Tell whether there is anything to see of a text: a letter, digit, sign or symbol."""
    return any(unicodedata.category(letter)[0] in "LNPS" for letter in text)


def check_courses(inventory: Inventory) -> Iterator[Mistake]:
    """Find what is wrong with each course and between courses."""
    for course in inventory.group(COURSES):
        yield from _check_id(course)
        yield from _check_length(course)
        yield from _check_title(course)
        yield from _check_timezone(course)
        yield from _check_server_limits(course, MEMORY, CPU, course.value(MEMORY), course.value(CPU))
        yield from _check_overlaid_limits(course)
        yield from _check_image(course, IMAGE, course.value(IMAGE), PACKAGES, course.value(PACKAGES))
        yield from _check_profiles(course)
        yield from _check_environment(course)
        yield from _check_material(course)
        yield from _check_pull_secrets(course, PULL_SECRETS)
        yield from _check_volumes(course)
        yield from _check_mounts(course)
        yield from _check_sizes(course)
        yield from _check_cull(course)
        yield from _check_platforms(course)
        yield from _check_lti13(course)
        yield from _check_lms(course)
        yield from _check_urls(course)
        yield from _check_address(inventory, course)
        yield from _check_networks(course)
        yield from _check_canary(inventory, course)
    for host in inventory.cluster():
        yield from _check_pull_secrets(host, IMAGES_PULL_SECRETS)
    yield from _check_shared(inventory)


def _check_id(course: Host) -> Iterator[Mistake]:
    if not _COURSE_ID.fullmatch(course.name):
        expected = "a DNS label of at most 40 characters: a-z, 0-9 and '-', with a letter or digit at both ends"
        better = re.sub(r"[^a-z0-9]+", "-", course.name.lower())[:40].strip("-")
        fix = f"Did you mean {better}?" if better else ""
        yield Mistake(course.name, "course id (the host's name)", f'"{course.name}"', expected, fix)


def _check_length(course: Host) -> Iterator[Mistake]:
    ours = {name: value for name, value in course.given.items() if name.startswith("course_hub_")}
    lengths = {name: len(json.dumps(value, default=str, skipkeys=True)) for name, value in ours.items()}
    if (length := sum(lengths.values())) > MOST_CHARACTERS:
        longest = max(lengths, key=lambda name: lengths[name])
        fix = f"shorten {longest}, as no object of the API server takes as much"
        yield Mistake(course.name, "its variables", f"{length} characters in all", f"at most {MOST_CHARACTERS}", fix)


def _check_title(course: Host) -> Iterator[Mistake]:
    title = course.given.get(TITLE)
    if isinstance(title, str) and title and not is_visible(title):
        yield Mistake(course.name, TITLE, show(TITLE, title), "what people read", "remove it to have the id")


def _check_timezone(course: Host) -> Iterator[Mistake]:
    known = timezones()
    found = {TIMEZONE: course.given.get(TIMEZONE), f"{VALUES}.timezone": _part(course.value(VALUES), "timezone")}
    for name, value in found.items():
        if isinstance(value, str) and known and value not in known:
            expected = "the name of a time zone of the IANA, such as Europe/Berlin"
            yield Mistake(course.name, name, show(name, value), expected, did_you_mean(value, known))


# How such a quantity is read, its form in words, and the least.
_MEMORY, _CORES = (parse_memory, MEMORY_FORM, LEAST_MEMORY), (parse_cpu, CPU_FORM, 0)


def _check_server_limits(course: Host, memory: str, cpu: str, sizes: object, cores: object) -> Iterator[Mistake]:
    yield from _check_limits(course, f"{memory}.", sizes, _MEMORY)
    yield from _check_limits(course, f"{cpu}.", cores, _CORES)


def _check_overlaid_limits(course: Host) -> Iterator[Mistake]:
    """Check limits that are laid over those of the course's own variables; their form is the schema's business."""
    values = course.value(VALUES)
    configs = ((CONFIG, course.value(CONFIG)), (f"{VALUES}.hub.config", _part(_part(values, "hub"), "config")))
    for name, short, quantity in ((MEMORY, "mem", _MEMORY), (CPU, "cpu", _CORES)):
        whole, kind = course.value(name), name.removeprefix("course_hub_")
        layers = [(f"{VALUES}.singleuser.{kind}.", _part(_part(values, "singleuser"), kind), "")]
        for root, config in configs:
            for spawner in ("KubeSpawner", "CourseSpawner"):
                layers.append((f"{root}.{spawner}.{short}_", _part(config, spawner), f"{short}_"))
        for path, layer, prefix in layers:
            found = {key: _part(layer, f"{prefix}{key}") for key in ("guarantee", "limit")}
            over = {key: value for key, value in found.items() if value is not None}
            if over and isinstance(whole, Mapping) and None not in map(quantity[0], {**whole, **over}.values()):
                whole = {**whole, **over}
                yield from _check_limits(course, path, whole, quantity)


def _check_limits(
    course: Host, name: str, value: object, quantity: tuple[Callable[[object], Any], str, int]
) -> Iterator[Mistake]:
    parse, form, least = quantity
    if not isinstance(value, Mapping):
        return  # its type is the argument spec's business
    parsed = {}
    for key in ("guarantee", "limit"):
        if value.get(key) is None:
            continue
        parsed[key] = parse(value[key])
        if parsed[key] is None:
            # What is no number at all, the argument spec refuses.
            if parse is parse_memory or re.fullmatch(r"[-+]?[0-9.]+", str(value[key])):
                yield Mistake(course.name, f"{name}{key}", show(key, value[key]), form, _without_i(value[key]))
        elif parsed[key] < least or (key == "limit" and parsed[key] == 0):
            yield Mistake(course.name, f"{name}{key}", show(key, value[key]), f"{form}, enough to start a server")
            return
    low, high = parsed.get("guarantee"), parsed.get("limit")
    if low is not None and high is not None and low > high:
        expected = f"at least the guarantee ({value['guarantee']})"
        yield Mistake(
            course.name, f"{name}limit", show(name, value["limit"]), expected, "raise it or lower the guarantee"
        )


def _without_i(value: object) -> str:
    """Return a hint for those who write a size as Kubernetes does."""
    text = str(value).removesuffix("i")
    return f"Did you mean {text}?" if text != str(value) and parse_memory(text) else ""


def _check_image(course: Host, path: str, image: object, packages_path: str, packages: object) -> Iterator[Mistake]:
    """Check an own image, or packages for ours; not both."""
    if isinstance(image, str) and image:
        expected = "a full reference with digest or tag, such as registry.example.edu/python/lab:2026-10"
        parts = parse_image(image)
        if not (parts and parts.registry and (parts.digest or parts.tag)):
            yield Mistake(course.name, path, show(path, image), expected)
        elif not parts.digest and parts.tag == "latest":
            fix = "name a version, as nodes keep the image that they have and would differ"
            yield Mistake(course.name, path, show(path, image), "a digest, or a tag that stays what it is", fix)
    lists = packages if isinstance(packages, Mapping) else {}
    if image and any(lists.values()):
        yield Mistake(
            course.name, packages_path, "packages beside an image", "one of the two", "build them into the image"
        )
    for kind in ("pip", "apt"):
        entries = lists.get(kind)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, str):
                yield from _check_package(course, f"{packages_path}.{kind}[{index}]", kind, entry)


def _check_package(course: Host, path: str, kind: str, entry: str) -> Iterator[Mistake]:
    if kind == "apt":
        if not _APT.fullmatch(entry):
            yield Mistake(course.name, path, show(path, entry), "the name of a Debian package, such as graphviz")
        return
    # A dependency of ansible-core, which sanity tests import plugins without.
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415

    try:
        url = Requirement(entry).url
    except InvalidRequirement:
        expected = "one requirement for pip, such as pandas>=2.2"
        yield Mistake(course.name, path, show(path, entry), expected)
    else:
        if url:
            expected = "the name of a package, with a version if need be"
            yield Mistake(course.name, path, show(path, entry), expected, f"build {IMAGE} on ours for anything else")


def _check_profiles(course: Host) -> Iterator[Mistake]:
    profiles = course.value(PROFILES)
    if not isinstance(profiles, list):
        return
    titles: list[str] = []
    defaults = 0
    for index, profile in enumerate(profiles):
        if not isinstance(profile, Mapping):
            continue  # its type is the argument spec's business
        path = f"{PROFILES}[{index}]"
        title = str(profile.get("title") or "").strip()
        if "title" in profile and not is_visible(title):
            yield Mistake(course.name, f"{path}.title", show("title", profile["title"]), "what people choose by")
        if title in titles:
            yield Mistake(course.name, f"{path}.title", f'"{title}", which another one has', "a title of its own")
        titles.append(title)
        defaults += str(profile.get("default")).lower() in ("true", "yes", "on", "1")
        yield from _check_image(
            course, f"{path}.image", profile.get("image"), f"{path}.packages", profile.get("packages")
        )
        merged = [
            {**course.value(name), **profile[key]} if isinstance(profile.get(key), Mapping) else None
            for name, key in ((MEMORY, "memory"), (CPU, "cpu"))
            if isinstance(course.value(name), Mapping)
        ]
        if len(merged) == 2:
            yield from _check_server_limits(course, f"{path}.memory", f"{path}.cpu", *merged)
        gpu = str(profile.get("gpu", 0))
        if re.fullmatch(r"-?[0-9]+", gpu) and not 0 <= int(gpu) <= MOST_GPUS:
            yield Mistake(course.name, f"{path}.gpu", gpu, f"0 to {MOST_GPUS}")
    if defaults > 1:
        yield Mistake(course.name, PROFILES, f"{defaults} with default", "one, or none for the first")


def _check_environment(course: Host) -> Iterator[Mistake]:
    environment = course.value(ENVIRONMENT)
    for name, value in (environment if isinstance(environment, Mapping) else {}).items():
        path = f"{ENVIRONMENT}.{name}"
        if not _NAME.fullmatch(str(name)):
            yield Mistake(
                course.name,
                path,
                "a name that no variable can have",
                "a name of A-Z, a-z, 0-9 and '_', not beginning with a digit",
            )
        elif name in OWN_ENVIRONMENT or str(name).startswith(OWN_PREFIXES):
            yield Mistake(course.name, path, "a value", "none", "remove it, as the system sets it itself")
        elif isinstance(value, bool) or not isinstance(value, (str, int, float)):
            yield Mistake(course.name, path, show(path, value), "text or a number", QUOTES)


def _check_material(course: Host) -> Iterator[Mistake]:
    material = course.value(MATERIAL)
    if not isinstance(material, Mapping) or not material:
        return
    git, key = material.get("git"), material.get("deploy_key_secret")
    if not git:
        yield Mistake(course.name, f"{MATERIAL}.git", "nothing", "the repository's URL")
    elif isinstance(git, str):
        parts = parse_http_url(git)
        by_ssh = None if parts else _GIT_SSH.fullmatch(git)
        ssh = bool(by_ssh and parse_endpoint(by_ssh["host"].replace("_", "-") + ((by_ssh[1] and by_ssh["port"]) or "")))
        if not (ssh or (parts and parts.path.strip("/") and not parts.username and not re.search("[?#]", git))):
            expected = "a URL such as https://git.example.edu/python.git, or git@git.example.edu:python.git"
            fix = "use a deploy key, as a password has no place in it" if parts and parts.username else ""
            yield Mistake(course.name, f"{MATERIAL}.git", show("git", git), expected, fix)
        elif ssh and not key:
            expected = "the name of a Secret with the repository's deploy key"
            yield Mistake(
                course.name, f"{MATERIAL}.deploy_key_secret", "nothing", expected, "set it, as git by SSH needs one"
            )
        elif key and not ssh:
            expected = "a URL for SSH, such as git@git.example.edu:python.git, with deploy_key_secret"
            yield Mistake(course.name, f"{MATERIAL}.git", show("git", git), expected)
    for name, form, expected in (
        ("branch", _BRANCH, "the name of a branch"),
        ("directory", _FOLDER, "a folder in the home, such as material, without . or - in front, and not course"),
        ("deploy_key_secret", _DNS_NAME, "the name of a Secret"),
    ):
        value = material.get(name)
        if isinstance(value, str) and value and not form.fullmatch(value):
            yield Mistake(course.name, f"{MATERIAL}.{name}", f'"{value}"', expected)


def _check_pull_secrets(host: Host, name: str) -> Iterator[Mistake]:
    secrets = host.value(name)
    for index, secret in enumerate(secrets if isinstance(secrets, list) else ()):
        if not _DNS_NAME.fullmatch(str(secret)):
            yield Mistake(host.name, f"{name}[{index}]", f'"{secret}"', "the name of a Secret")
        elif secret in secrets[:index]:
            yield Mistake(host.name, f"{name}[{index}]", f'"{secret}" twice', "each Secret once")


def _folder(path: object) -> str | None:
    """Return an absolute path as the kernel takes it; None if it is none."""
    if not isinstance(path, str) or not _SHARED_PATH.fullmatch(path) or len(path) > 255:
        return None
    return re.sub("^//", "/", posixpath.normpath(path))


def _taken(path: str) -> str:
    """Return what of ours a mount at a path would hide, or take the place of; empty if nothing."""
    if path.startswith(f"{COURSE_LINK}/"):
        return COURSE_LINK
    return next((own for own in OWN_MOUNTS if f"{own}/".startswith(path.rstrip("/") + "/")), "")


def _check_volumes(course: Host) -> Iterator[Mistake]:
    volumes = course.value(VOLUMES)
    names: list[str] = []
    paths: list[str] = []
    for index, volume in enumerate(volumes if isinstance(volumes, list) else ()):
        if not isinstance(volume, Mapping):
            continue  # its type is the argument spec's business
        path, name = f"{VOLUMES}[{index}]", str(volume.get("name"))
        if "name" in volume and (not _SHARED_NAME.fullmatch(name) or name in names):
            expected = "a name of its own, of at most 40 characters: a-z, 0-9 and '-'"
            yield Mistake(course.name, f"{path}.name", show("name", volume["name"]), expected)
        names.append(name)
        mount = _folder(volume.get("mount_path"))
        if "mount_path" in volume and (mount is None or SYSTEM_FOLDERS.fullmatch(mount)):
            expected = "an absolute path of its own, such as /data"
            yield Mistake(course.name, f"{path}.mount_path", show("mount_path", volume["mount_path"]), expected)
        elif mount and (_taken(mount) or mount in paths):
            found, hidden = show("mount_path", volume["mount_path"]), _taken(mount) or mount
            yield Mistake(course.name, f"{path}.mount_path", found, f"a path that does not hide {hidden}")
        paths.append(mount or "")
        yield from _check_source(course, path, volume)


def _check_source(course: Host, path: str, volume: Mapping[str, Any]) -> Iterator[Mistake]:
    given = [source for source in SOURCES if volume.get(source)]
    if len(given) != 1:
        yield Mistake(course.name, path, " and ".join(given) or "no source", f"one of {', '.join(SOURCES)}")
    claim, nfs, folder = (volume.get(source) for source in SOURCES)
    if claim and (not _DNS_NAME.fullmatch(str(claim)) or OWN_CLAIMS.fullmatch(str(claim))):
        expected = "the name of a claim that is not the course's own"
        yield Mistake(course.name, f"{path}.claim", show("claim", claim), expected)
    if isinstance(nfs, Mapping):
        server = nfs.get("server")
        if server is not None and not is_host(server):
            yield Mistake(course.name, f"{path}.nfs.server", show("server", server), "the name or address of a server")
        if nfs.get("path") is not None and nfs["path"] != "/" and _folder(nfs["path"]) is None:
            yield Mistake(course.name, f"{path}.nfs.path", show("path", nfs["path"]), "an absolute path")
    if isinstance(folder, str) and folder:
        place = _folder(folder)
        if place is None or place == "/" or SYSTEM_FOLDERS.fullmatch(place):
            expected = "a folder of the nodes that is not the system's, such as /srv/data"
            yield Mistake(course.name, f"{path}.host_path", show("host_path", folder), expected)


def _check_mounts(course: Host) -> Iterator[Mistake]:
    """Find volumes and mounts of the admin's own settings that would be in the place of ours."""
    shared = course.value(VOLUMES)
    own = (
        {_folder(one.get("mount_path")) for one in shared if isinstance(one, Mapping)}
        if isinstance(shared, list)
        else set()
    )
    for path, trait, item in _spawner_items(course):
        if trait == "volumes" and OWN_VOLUMES.fullmatch(str(item.get("name"))):
            yield Mistake(course.name, f"{path}.name", f'"{item["name"]}"', "a name that no volume of the course has")
        if trait == "volume_mounts":
            field = "mount_path" if "mount_path" in item else "mountPath"
            mount = _folder(item.get(field)) or ""
            hidden = "the server's own files" if item.get(field) == "/" else _taken(mount) if mount else ""
            if hidden or mount in own:
                found, expected = show(field, item.get(field)), f"a path that does not hide {hidden or mount}"
                yield Mistake(course.name, f"{path}.{field}", found, expected)


def _spawner_items(course: Host) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Return each volume and mount of the spawner's settings: where it is, its trait, itself."""
    config, values = course.value(CONFIG), course.value(VALUES)
    inner = _part(_part(values, "hub"), "config")
    sources = [
        (f"{root}.{cls}", _part(settings, cls))
        for root, settings in ((CONFIG, config), (f"{VALUES}.hub.config", inner))
        for cls in ("KubeSpawner", "CourseSpawner")
    ]
    profiles = _part(_part(values, "singleuser"), "profileList")
    for index, profile in enumerate(profiles if isinstance(profiles, list) else ()):
        place = f"{VALUES}.singleuser.profileList[{index}].kubespawner_override"
        sources.append((place, _part(profile, "kubespawner_override")))
    for path, traits in sources:
        for trait in ("volumes", "volume_mounts"):
            items = _part(traits, trait)
            pairs: Iterable[tuple[object, object]] = enumerate(items) if isinstance(items, list) else ()
            for key, item in items.items() if isinstance(items, Mapping) else pairs:
                if isinstance(item, Mapping):
                    yield f"{path}.{trait}" + (f"[{key}]" if isinstance(key, int) else f".{key}"), trait, item


def _part(value: object, name: str) -> Any:  # noqa: ANN401 (anything)
    return value.get(name) if isinstance(value, Mapping) else None


def _check_sizes(course: Host) -> Iterator[Mistake]:
    sizes: dict[str, int | None] = {}
    for name in (HOME_SIZE, COURSE_SIZE, EXCHANGE_SIZE, MAX_UPLOAD):
        value = course.value(name)
        if value is None or isinstance(value, (Mapping, list)):
            continue
        size = sizes[name] = parse_storage(value)
        # Volumes that grow later are compared in these units alone.
        binary = name == HOME_SIZE or str(value).endswith("i")
        if name == MAX_UPLOAD:
            if size is None or not re.fullmatch(r"[0-9]+[MG]i", str(value)) or not size:
                yield Mistake(course.name, name, show(name, value), "a size in Mi or Gi, such as 100Mi")
        elif size is None or size < LEAST_HOME or not binary:
            fix = (
                "write it without a fraction, as Kubernetes needs a whole number of bytes" if "." in str(value) else ""
            )
            yield Mistake(course.name, name, show(name, value), STORAGE_FORM, fix)
    upload, exchange = sizes.get(MAX_UPLOAD), sizes.get(EXCHANGE_SIZE)
    if upload and exchange and upload >= exchange:
        expected = f"less than {EXCHANGE_SIZE} ({course.value(EXCHANGE_SIZE)})"
        yield Mistake(course.name, MAX_UPLOAD, show(MAX_UPLOAD, course.value(MAX_UPLOAD)), expected)


def _check_cull(course: Host) -> Iterator[Mistake]:
    value = course.value(CULL)
    if not isinstance(value, Mapping):
        return
    seconds = dict(CULL_DEFAULTS)
    for name, option in value.items():
        if name in seconds and re.fullmatch(r"-?[0-9]+", str(option)):  # else it is the argument spec's business
            seconds[name] = int(option)
            least = 0 if name == "max_age" else 1
            if not least <= seconds[name] <= MOST_SECONDS:
                yield Mistake(course.name, f"{CULL}.{name}", str(option), f"{least} to {MOST_SECONDS} seconds")
    every, timeout = seconds["every"], seconds["timeout"]
    if every > timeout > 0:
        expected = f"at most the timeout ({timeout})"
        yield Mistake(
            course.name, f"{CULL}.every", str(every), expected, "lower it, as idle servers would be found too late"
        )


def _check_platforms(course: Host) -> Iterator[Mistake]:
    platforms = course.value(PLATFORMS)
    if not isinstance(platforms, Mapping):
        return
    for platform, fields in platforms.items():
        path = f"{PLATFORMS}.{platform}"
        if not isinstance(fields, Mapping):
            yield Mistake(course.name, path, show(path, fields), f"a dictionary with {', '.join(PLATFORM_FIELDS)}")
            continue
        known, hints = (*PLATFORM_FIELDS, AUDIENCE), set()
        for name in fields:
            if name not in known:
                expected, hint = f"one of {', '.join(known)}", did_you_mean(str(name), known)
                hints.add(hint)
                yield Mistake(course.name, f"{path}.{name}", "an unknown option", expected, hint)
        for name in known if AUDIENCE in fields else PLATFORM_FIELDS:
            if name in fields or f"Did you mean {name}?" not in hints:
                yield from _check_platform_field(course, f"{path}.{name}", name, fields.get(name))


def _check_platform_field(course: Host, path: str, name: str, value: object) -> Iterator[Mistake]:
    if value is None:
        yield Mistake(
            course.name, path, "nothing", "a URL", "copy it from the LMS, which shows it where the tool is set up"
        )
        return
    parts = parse_http_url(value)
    if parts is None:
        yield Mistake(course.name, path, show(name, value), "a URL with http:// or https://")
    elif parts.username is not None:
        yield Mistake(course.name, path, "a URL with a user", "one without")
    elif name == "issuer" and re.search("[?#]", str(value)):
        # OpenID Connect Core 1.0, section 2 (iss).
        yield Mistake(course.name, path, show(name, value), "a URL without query and fragment")


def _check_lti13(course: Host) -> Iterator[Mistake]:
    platform, platforms = course.value(PLATFORM), course.value(PLATFORMS)
    ids = {name: course.value(name) for name in (CLIENT_ID, DEPLOYMENT_ID)}
    memberships = course.value(MEMBERSHIPS)
    if memberships and not (parse_http_url(memberships) and re.fullmatch(r"https?://[^/@?#]+(/.*)?", memberships)):
        yield Mistake(course.name, MEMBERSHIPS, show(MEMBERSHIPS, memberships), "a URL with http:// or https://")
    contexts = course.value(CONTEXT)
    if memberships and isinstance(contexts, list) and len(contexts) > 1:
        fix = "remove it, as the members of the others would be removed; launches by lecturers tell the URL of each"
        yield Mistake(course.name, MEMBERSHIPS, "a URL", f"none with {len(contexts)} courses in {CONTEXT}", fix)
    if not platform:
        for name, value in {**ids, MEMBERSHIPS: memberships}.items():
            if value:
                fix = f"set it, or remove {name} to have an LTI 1.1 course"
                yield Mistake(course.name, PLATFORM, "nothing", f"the platform that {name} is of", fix)
        return
    known = list(platforms) if isinstance(platforms, Mapping) else []
    if isinstance(platform, str) and platform not in known:
        expected = f"one of {PLATFORMS} ({', '.join(known) or 'there is none'})"
        fix = did_you_mean(platform, known) or f"define it in {PLATFORMS}"
        yield Mistake(course.name, PLATFORM, show(PLATFORM, platform), expected, fix)
    if not any(ids.values()):
        return  # the course waits for its registration
    for name, value in ids.items():
        if isinstance(value, str) and not _is_id(value):
            expected = "the id as the LMS shows it, without blanks around it and without invisible characters"
            yield Mistake(course.name, name, show(name, value), expected)
        if value in (None, ""):
            what, other = ("client id", DEPLOYMENT_ID) if name == CLIENT_ID else ("deployment id", CLIENT_ID)
            fix = f"copy it from the LMS, which shows it beside {other}, or remove both until the course is registered"
            yield Mistake(course.name, name, "nothing", f"the {what} that {platform} gave the course", fix)


def _is_id(text: str) -> bool:
    """Tell whether a text has nothing that people do not see, such as a space at its end."""
    return text == text.strip() and text.isprintable()


def _check_lms(course: Host) -> Iterator[Mistake]:
    contexts, roles = course.value(CONTEXT), course.value(LTI_ROLES)
    for context in contexts if isinstance(contexts, list) else ():
        text = str(context)
        if not (0 < len(text) <= MOST_CONTEXT and _is_id(text)):
            expected = f"the id of a course of the LMS, 1 to {MOST_CONTEXT} characters"
            fix = "remove the blanks around it" if text.strip() not in ("", text) else ""
            yield Mistake(course.name, CONTEXT, show(CONTEXT, context), expected, fix)
    for role, meaning in (roles if isinstance(roles, Mapping) else {}).items():
        if meaning not in COURSE_ROLES:
            path, hint = f"{LTI_ROLES}.{role}", did_you_mean(str(meaning), COURSE_ROLES)
            yield Mistake(course.name, path, show(path, meaning), f"one of {', '.join(COURSE_ROLES)}", hint)


def _check_urls(course: Host) -> Iterator[Mistake]:
    url, lms_url = course.value(URL), course.given.get(LMS_URL)
    if url:
        parts = parse_http_url(url)
        if parts is None or parts.path not in ("", "/") or not re.fullmatch(r"https?://[^@?#]+", url):
            expected = "the address of the hub alone, such as https://python.hubs.example.edu"
            yield Mistake(course.name, URL, show(URL, url), expected)
    if lms_url and parse_http_url(lms_url) is None:
        yield Mistake(course.name, LMS_URL, show(LMS_URL, lms_url), "a URL with http:// or https://")


def _check_address(inventory: Inventory, course: Host) -> Iterator[Mistake]:
    value = course.value(ADDRESS)
    if not value:
        return
    address = parse_address(value)
    if address is None:
        yield Mistake(
            course.name,
            ADDRESS,
            show(ADDRESS, value),
            "an IP address",
            "correct it, or remove it to get one of the pool",
        )
        return
    if address.version != 4 or unusable(Range(address, address, value)):
        fix = ONLY_IPV4 if address.version != 4 else ""
        yield Mistake(course.name, ADDRESS, f'"{value}"', "an address that a server can have", fix)
        return
    if course.value(SERVICE_TYPE) == "ClusterIP":
        expected = f"nothing while {SERVICE_TYPE} is ClusterIP"
        yield Mistake(
            course.name, ADDRESS, f'"{value}"', expected, "remove it, as only a LoadBalancer has an address of its own"
        )
    for host, variable, taken in node_addresses(inventory):
        if taken == address:
            yield Mistake(
                course.name, ADDRESS, f'"{value}"', f"another address than a node's ({host.name}, {variable})"
            )
            return
    ranges = pool(inventory)
    if has_pool(inventory) and ranges and not any(address in part for part in ranges):
        expected = f"an address of load_balancer_addresses ({', '.join(part.text for part in ranges)})"
        yield Mistake(course.name, ADDRESS, f'"{value}"', expected)


def _check_networks(course: Host) -> Iterator[Mistake]:
    lms, others = course.value(LMS_NETWORKS), course.value(USER_NETWORKS)
    for name, networks in ((LMS_NETWORKS, lms), (CAMPUS_NETWORKS, course.value(CAMPUS_NETWORKS))):
        for value in networks if isinstance(networks, list) else ():
            network = parse_network(value)
            if isinstance(value, str) and network is None:
                yield Mistake(course.name, name, show(name, value), NETWORK_FORM)
            elif network and name == CAMPUS_NETWORKS and not network.prefixlen:
                fix = f"set {INTERNET_PORTS} to [] to close the internet"
                yield Mistake(course.name, name, show(name, value), "the campus's networks", fix)
    ports = course.value(INTERNET_PORTS)
    for port in ports if isinstance(ports, list) else ():
        if not _may_be_port(port):
            yield Mistake(course.name, INTERNET_PORTS, show(INTERNET_PORTS, port), PORTS_FORM)
    for index, entry in enumerate(others if isinstance(others, list) else ()):
        if not isinstance(entry, Mapping):
            continue  # its type is the argument spec's business
        path = f"{USER_NETWORKS}[{index}]"
        if isinstance(entry.get("cidr"), str) and parse_network(entry["cidr"]) is None:
            yield Mistake(course.name, f"{path}.cidr", show(path, entry["cidr"]), NETWORK_FORM)
        ports = entry.get("ports")
        if ports == []:
            fix = "name them, or remove the network, as Kubernetes takes an empty list for all ports"
            yield Mistake(course.name, f"{path}.ports", "no port", PORTS_FORM, fix)
        for port in ports if isinstance(ports, list) else ():
            if not _may_be_port(port):
                yield Mistake(course.name, f"{path}.ports", show(path, port), PORTS_FORM)


def _may_be_port(value: object) -> bool:
    """Tell whether a value is a port, or no whole number at all, which is the argument spec's business."""
    return not re.fullmatch(r"[-+]?[0-9]+", str(value)) or 0 < int(str(value)) < 65536


def _check_canary(inventory: Inventory, course: Host) -> Iterator[Mistake]:
    courses = inventory.group(COURSES)
    canaries = course.value(CANARY)
    if not isinstance(canaries, (list, tuple)):
        return  # its type is the argument spec's business
    names = [other.name for other in courses]
    for index, name in enumerate(canaries):
        if str(name) not in names:
            path = f"{CANARY}[{index}]"
            yield Mistake(course.name, path, show(path, name), "the id of a course", did_you_mean(str(name), names))
    first = courses[0].value(CANARY)
    if isinstance(first, (list, tuple)) and list(first) != list(canaries):
        found = f"{show(CANARY, canaries)}, and {show(CANARY, first)} for {courses[0].name}"
        yield Mistake(course.name, CANARY, found, "the same for all courses", "set it once, as a variable of the group")


def _check_shared(inventory: Inventory) -> Iterator[Mistake]:
    """Find what two courses cannot have both."""
    courses = inventory.group(COURSES)
    addresses: dict[Address, Host] = {}
    urls: dict[str, Host] = {}
    for course in courses:
        address, url = parse_address(course.value(ADDRESS)), course.value(URL)
        if address and addresses.setdefault(address, course) is not course:
            found = f'"{address}", also that of {addresses[address].name}'
            yield Mistake(course.name, ADDRESS, found, "an address of its own", "change or remove one of the two")
        key = url.rstrip("/").lower() if isinstance(url, str) else ""
        if key and urls.setdefault(key, course) is not course:
            found = f'"{url}", also that of {urls[key].name}'
            yield Mistake(
                course.name,
                URL,
                found,
                "a URL of its own",
                "change or remove one of the two, as each course has its own hub",
            )
    ranges = pool(inventory)
    wanting = [course for course in courses if course.value(SERVICE_TYPE) != "ClusterIP"]
    there = sum(part.size() for part in ranges)
    if has_pool(inventory) and ranges and len(wanting) > there:
        head = inventory.first_control_plane()
        expected = f"an address for each of {len(wanting)} courses"
        found = f"{there} {'address' if there == 1 else 'addresses'} ({', '.join(part.text for part in ranges)})"
        yield Mistake(head.name if head else "all", "load_balancer_addresses", found, expected, "add a range")
