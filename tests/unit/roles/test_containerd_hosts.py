"""How the nodes reach registries: containerd's hosts.toml of each."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml

from tests.unit.roles.role_variables import compute, render

CAMPUS = "registry.campus-hubs.internal"


def hosts(builder: dict[str, Any], mirrors: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the documents by registry, where a host of these variables builds the images."""
    variables = {
        "groups": {"image_builders": ["b1"]},
        "hostvars": {"b1": builder},
        "inventory_hostname": "cp1",
        "containerd_mirrors": mirrors or {},
    }
    variables["_containerd_mirrors"] = compute("containerd", "_containerd_mirrors", variables)
    files = yaml.safe_load(render("containerd", "hosts.yaml.j2", variables))
    return {path.split("/")[-2]: tomllib.loads(text) for path, text in files.items()}


@pytest.mark.parametrize(
    ("builder", "url"),
    [
        ({"ansible_host": "192.0.2.11"}, "http://192.0.2.11:5000"),
        ({"ansible_host": "2001:db8::11"}, "http://[2001:db8::11]:5000"),
        ({"course_images_registry_port": 5050}, "http://b1:5050"),
    ],
)
def test_the_campuss_registry(builder: dict[str, Any], url: str) -> None:
    assert list(hosts(builder)[CAMPUS]["host"]) == [url]


def test_a_mirror_of_all_registries_falls_back_to_each() -> None:
    mirrors = {"_default": {"url": "http://m:5000"}, "quay.io": {"url": "http://m:5000"}}
    found = hosts({}, mirrors)
    assert "server" not in found["_default"]
    assert found["quay.io"]["server"] == "https://quay.io"
    alone = hosts({}, {"_default": {"url": "http://m:5000", "fallback": False}})
    assert alone["_default"]["server"] == "http://m:5000"
