"""Every image that a role names can be named by digest, and what the roles build is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import report

from tests.unit.plugins.inventories import mistakes_of
from tests.unit.roles.role_variables import ROOT, compute, render

D = "sha256:" + "0123456789abcdef" * 4
# All variables that name images, by digest.
BY_DIGEST: dict[str, object] = {
    "calico_operator_image_digest": D,
    "containerd_sandbox_image": f"registry.k8s.io/pause:3.10.2@{D}",
    "course_images_base": f"docker.io/library/debian:trixie-slim@{D}",
    "course_images_refs": {"hub": f"registry.example.edu:5000/hub:1@{D}", "proxy": f"registry.example.edu/proxy@{D}"},
    "load_balancer_image_digests": {"controller": D, "speaker": D},
    "storage_local_path_helper_image": f"docker.io/library/busybox:1.36@{D}",
    "storage_local_path_image": f"docker.io/rancher/local-path-provisioner:v0.0.30@{D}",
}
# Template to how many images it names.
TEMPLATES = {
    "calico/templates/operator.yaml.j2": 1,
    "containerd/templates/config.toml.j2": 1,
    "load_balancer/templates/metallb.yaml.j2": 2,
    "storage/templates/local_path.yaml.j2": 3,
}
# It takes the references that course_images has published.
PUBLISHED = {"course_images/templates/course-images.yaml.j2"}
INVENTORY = """
all:
  children:
    control_plane: {{hosts: {{one: {{ansible_host: 192.0.2.1}}}}}}
    cluster:
      children: {{control_plane: {{}}}}
      vars: {variables}
    courses: {{hosts: {{python-ws26: {{course_hub_image: "registry.example.edu/lab:1@{digest}"}}}}}}
"""
_NAMED = re.compile(r"""(?:image: ?|--helper-image, |sandbox = )["']?([^"'\s,}]+)""")


def inventory(tmp_path: Path, **variables: object) -> str:
    known = {"load_balancer_addresses": ["192.0.2.8/30"], **variables}
    path = tmp_path / "hosts.yml"
    path.write_text(INVENTORY.format(variables=yaml.safe_dump(known, default_flow_style=True, width=9999), digest=D))
    found = mistakes_of(path)
    return report(found) if found else ""


def test_no_template_is_forgotten() -> None:
    naming = {
        str(path.relative_to(ROOT / "roles"))
        for path in (ROOT / "roles").glob("*/templates/*.j2")
        if re.search(r"image: |helper-image|sandbox = ", path.read_text())
    }
    assert naming == set(TEMPLATES) | PUBLISHED


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("pinned", [True, False], ids=["by digest", "by default"])
def test_images_in_templates(template: str, pinned: bool) -> None:
    role, _templates, name = template.split("/")
    found = _NAMED.findall(render(role, name, BY_DIGEST if pinned else {"load_balancer_addresses": []}))
    assert len(found) == TEMPLATES[template]
    for image in found:
        assert image.endswith(f"@{D}") == pinned, image
        assert re.fullmatch(r"[-a-z0-9.]+/[-a-z0-9./]+:v?\d[-.\w]*(@sha256:[0-9a-f]{64})?", image), image


def test_a_digest_that_is_empty_is_none(tmp_path: Path) -> None:
    empty = {"load_balancer_image_digests": {"controller": ""}}
    assert inventory(tmp_path, **empty) == ""
    found = _NAMED.findall(render("load_balancer", "metallb.yaml.j2", empty))
    assert [image.rpartition("/")[2] for image in found] == ["controller:v0.16.2", "speaker:v0.16.2"]


def test_the_operators_version_is_its_tag_alone() -> None:
    text = render("calico", "operator.yaml.j2", BY_DIGEST)
    assert 'TIGERA_OPERATOR_INIT_IMAGE_VERSION, value: "v1.40.0"}' in text


def test_the_inventory_may_name_all_by_digest(tmp_path: Path) -> None:
    assert inventory(tmp_path, **BY_DIGEST) == ""


@pytest.mark.parametrize("name", [name for name, value in BY_DIGEST.items() if isinstance(value, str)])
@pytest.mark.parametrize("wrong", ["@sha256:0123", "@md5:" + "0" * 32, "@", D, " "])
def test_what_is_no_digest_is_refused(tmp_path: Path, name: str, wrong: str) -> None:
    value = str(BY_DIGEST[name]).partition("@" if "@" in str(BY_DIGEST[name]) else ":")[0] + wrong
    assert f'{name}: found "' in inventory(tmp_path, **{name: value})


@pytest.mark.parametrize(
    "variables",
    [
        {"load_balancer_image_digests": {"controller": "0123"}},
        {"load_balancer_image_digests": {"controler": D}},
        {"load_balancer_image_digests": {"speaker": 123}},
        {"load_balancer_image_digests": {"speaker": True}},
        {"storage_local_path_helper_image": "busybox"},
        {"storage_local_path_helper_image": "docker.io/library/busybox"},
        {"course_images_base": "debian"},
    ],
)
def test_what_names_no_image_is_refused(tmp_path: Path, variables: dict[str, object]) -> None:
    assert f"{next(iter(variables))}" in inventory(tmp_path, **variables)


def test_what_is_built_is_published_by_digest() -> None:
    names = ["hub", "singleuser", "exchange", "proxy"]
    results = [{"reference": f"127.0.0.1:5000/campus-hubs/{name}@{D}"} for name in names]
    tasks = yaml.safe_load((ROOT / "roles/course_images/tasks/build.yml").read_text())[0]["block"]
    expression = tasks[-1]["ansible.builtin.set_fact"]["course_images_built"].strip("{} \n")
    built = compute("course_images", expression, {"_course_images_found": {"results": results}})
    assert built == {name: f"registry.campus-hubs.internal/campus-hubs/{name}@{D}" for name in names}
    known = {
        "_course_images_builder": "b",
        "hostvars": {"b": {"course_images_built": built}},
    }
    manifests = list(yaml.safe_load_all(render("course_images", "course-images.yaml.j2", known)))
    containers = manifests[1]["spec"]["template"]["spec"]["containers"]
    assert [container["image"] for container in containers] == list(built.values())
    assert manifests[2]["data"] == built
    # As the builder reads it, to build on it.
    base = compute("course_images", "_course_images_packages_base", known | {"_course_images_published": {}})
    assert base.strip() == results[1]["reference"]
