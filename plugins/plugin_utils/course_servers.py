# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From a course's variables to the servers of the chart `course-hub`: images, limits, profiles."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal
from ansible_collections.campus.hubs.plugins.plugin_utils.quantities import parse_memory

KINDS = ("pip", "apt")


class ValuesError(Exception):
    """A course's values cannot be computed; the text says which variable has what, and how to fix it."""


def normalised(packages: Mapping[str, Iterable[str]] | None) -> dict[str, list[str]]:
    """Return lists of packages in one order, each package once.

    Args:
        packages: pip (requirements, PEP 508) and apt (names), each may be left out.
    """
    return {kind: sorted({str(entry).strip() for entry in (packages or {}).get(kind) or ()}) for kind in KINDS}


def packages_key(packages: Mapping[str, Iterable[str]] | None) -> str:
    """Return the name under which the image with these packages is published; empty if there are no packages.

    Equal lists have equal names, in whatever order they are written.
    """
    lists = normalised(packages)
    if not any(lists.values()):
        return ""
    return hashlib.sha256(json.dumps(lists, sort_keys=True).encode()).hexdigest()[:16]


def package_lists(several: Iterable[Mapping[str, Iterable[str]] | None]) -> list[dict[str, Any]]:
    """Return the distinct lists that are not empty, each as key, pip and apt, ordered by key."""
    found = {packages_key(packages): normalised(packages) for packages in several}
    return [{"key": key, **lists} for key, lists in sorted(found.items()) if key]


def server_values(
    course: Mapping[str, Any], image: str, packaged: Mapping[str, str], missing: str = ""
) -> dict[str, Any]:
    """Return the chart's values for a course's servers.

    Args:
        course: `image`, `packages`, `memory`, `cpu`, `gpu`, `gpu_resource`, `profiles`, `volumes`, as in the course's
            variables.
        image: reference of the image of all courses.
        packaged: key (see `packages_key`) to reference of the images with packages.
        missing: what stands for an image with packages that is not built yet.

    Raises:
        ValuesError: an image with packages is not built yet, and nothing stands for it.
    """

    def image_of(entry: Mapping[str, Any], otherwise: str) -> str:
        key = packages_key(entry.get("packages"))
        if entry.get("image"):
            return str(entry["image"])
        if not key:
            return otherwise
        if key not in packaged and not missing:
            names = ", ".join(package for kind in KINDS for package in normalised(entry["packages"])[kind])
            expected = "one that playbooks/images.yml has built for this course"
            fix = "run it, or site.yml, with this course in --limit"
            raise ValuesError(refusal("course_hub_packages", f"no image with {names}", expected, fix))
        return packaged.get(key, missing)

    usual = image_of(course, image)
    resource, gpu = str(course["gpu_resource"]), int(course["gpu"])
    # GPU nodes often carry such a taint, so that other pods leave them free.
    toleration = {"key": resource, "operator": "Exists", "effect": "NoSchedule"}
    values: dict[str, Any] = {
        "image": {"name": usual},
        "memory": {key: _bytes(course["memory"][key]) for key in ("guarantee", "limit")},
        "cpu": {key: _cores(course["cpu"][key]) for key in ("guarantee", "limit")},
        "profileList": [],
        "sharedVolumes": [shared_volume(volume) for volume in course["volumes"]],
    }
    if gpu:
        values["extraResource"] = {"limits": {resource: gpu}}
        values["extraTolerations"] = [toleration]
    # The image of all courses is on all nodes but those whose taint only this course's servers tolerate.
    own = {usual} if usual != image or gpu else set()
    slugs = _slugs([str(profile["title"]) for profile in course["profiles"]])
    for slug, profile in zip(slugs, course["profiles"], strict=True):
        its_gpu = int(profile.get("gpu", gpu))
        override: dict[str, Any] = {"image": image_of(profile, usual)}
        for name, short, form in (("memory", "mem", _bytes), ("cpu", "cpu", _cores)):
            limits = {**course[name], **(profile.get(name) or {})}
            override |= {f"{short}_{key}": form(limits[key]) for key in ("guarantee", "limit")}
        if its_gpu or gpu:
            # Whichever somebody chose before, this holds; so a 0 is said as well.
            override["extra_resource_limits"] = {resource: its_gpu}
            override["tolerations"] = [toleration] if its_gpu else []
        if override["image"] != image or its_gpu:
            own.add(override["image"])
        values["profileList"].append(
            {
                "display_name": str(profile["title"]),
                "slug": slug,
                "description": str(profile.get("description") or _in_words(override, its_gpu)),
                "default": boolean(profile.get("default", False)),
                "kubespawner_override": override,
            }
        )
    images = {f"image-{hashlib.sha256(name.encode()).hexdigest()[:8]}": {"name": name} for name in sorted(own)}
    return {"singleuser": values, "prePuller": {"extraImages": images}}


def shared_volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    """Return the chart's value for shared data; a claim of ours is another one for each folder that it leads to."""
    folder = volume.get("nfs") or volume.get("host_path")
    key = hashlib.sha256(json.dumps(folder, sort_keys=True, default=str).encode()).hexdigest()[:8]
    return {
        "name": str(volume["name"]),
        "mountPath": posixpath.normpath(str(volume["mount_path"])),
        "claim": f"shared-{volume['name']}-{key}" if folder else str(volume["claim"]),
        "persistentVolume": bool(folder),
        "writableBy": list(volume.get("writable_by") or ()),
    }


def _bytes(size: object) -> str | int:
    # KubeSpawner takes bytes as a number, and as a text with a unit alone.
    text = str(size).removesuffix("i").removesuffix(".0")
    return int(text) if text.isdecimal() else text


def _slugs(titles: Sequence[str]) -> list[str]:
    """Return the ids under which profiles are chosen; KubeSpawner's own are the same for C, C++ and C#."""
    plain = [re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") for title in titles]
    return [
        slug
        if slug and title.isascii() and plain.count(slug) == 1
        else f"{slug or 'profile'}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"
        for slug, title in zip(plain, titles, strict=True)
    ]


def _cores(number: object) -> float | int:
    cores = float(str(number))
    return int(cores) if cores.is_integer() else cores


def _in_words(override: Mapping[str, Any], gpu: int) -> str:
    cores = override["cpu_limit"]
    size = float(parse_memory(override["mem_limit"]) or 0)
    memory = f"{size / 1024**3:.3g} GiB" if size >= 1024**3 else f"{size / 1024**2:.3g} MiB"
    words = f"Up to {cores} {'core' if cores == 1 else 'cores'} and {memory} of memory"
    return f"{words}, {gpu} {'GPU' if gpu == 1 else 'GPUs'}" if gpu else words
