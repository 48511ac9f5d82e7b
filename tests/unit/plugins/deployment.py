"""What a deployment writes, from the variables that the check lets pass: the nodes' files, and the courses' values."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from jupyterhub.app import JupyterHub
from traitlets.config import Config

from tests import hub_traits
from tests.unit.charts.test_release_values import compute

__all__ = ["compute", "hub_classes", "problems_of_nodes"]

ROOT = Path(__file__).resolve().parents[3]
loader = DataLoader()
AUTHENTICATOR = next(cls for cls in hub_traits.classes() if cls.__name__ == "CourseAuthenticator")
templar = Templar(loader=loader, variables={})
HOSTS = ("one", "two", "three")
FACTS = {
    "default_ipv4": {"address": "192.0.2.11"},
    "nodename": "one",
    "hostname": "one",
    "distribution": "Debian",
    "distribution_release": "trixie",
    "distribution_major_version": "13",
}
IMAGES = {name: f"registry.example.edu/{name}@sha256:{'0' * 64}" for name in ("hub", "singleuser", "exchange", "proxy")}
GIVEN: dict[str, Any] = {
    "ansible_facts": FACTS,
    "inventory_hostname": "one",
    "groups": {"control_plane": ["one"], "workers": ["two", "three"], "cluster": [*HOSTS], "all": [*HOSTS]},
    "hostvars": {host: {"ansible_facts": FACTS, "inventory_hostname": host, "ansible_host": host} for host in HOSTS},
    "ansible_play_hosts": [*HOSTS],
    "ansible_play_hosts_all": [*HOSTS],
    "_calico_pod_subnet": "10.244.0.0/16",
    "_course_images_references": IMAGES,
    "_scheduled_run_packed": {"stat": {"checksum": "0" * 40}},
    "_scheduled_run_archive": {"stdout": "/tmp/a.tar"},  # noqa: S108 - a name
}
# Role, template, and what of it may be otherwise than with the defaults: dictionaries of one's own.
FILES = [
    ("containerd", "config.toml.j2", ""),
    ("containerd", "containerd.sources.j2", ""),
    ("containerd", "hosts.yaml.j2", ".*"),
    ("kubeadm", "kubeadm.yaml.j2", r"\[1\]\.apiServer.*|\[[23]\]\..*|\[0\]\.nodeRegistration.ignorePreflightErrors.*"),
    ("kubeadm", "kubernetes.sources.j2", ""),
    ("calico", "operator.yaml.j2", ""),
    ("calico", "installation.yaml.j2", r"\[\d\]\.spec\.calicoNetwork\.mtu"),
    ("load_balancer", "metallb.yaml.j2", r".*\.spec\.addresses.*"),
    ("storage", "local_path.yaml.j2", ""),
    ("course_images", "registry.yml.j2", ""),
    ("course_images", "registry.service.j2", ""),
    ("course_images", "course-images.yaml.j2", r"\[1\]\.spec\.template\.spec\.imagePullSecrets.*"),
    ("scheduled_run", "campus-hubs-run.service.j2", r"LoadCredential"),
    ("scheduled_run", "campus-hubs-run.timer.j2", ""),
]
# https://github.com/distribution/reference
_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(
    rf"([a-z0-9][-a-z0-9.]*(:[0-9]{{1,5}})?/)?{_COMPONENT}(/{_COMPONENT})*(:[A-Za-z0-9_][-A-Za-z0-9_.]{{0,127}})?(@sha256:[0-9a-f]{{64}})?"
)


@functools.cache
def variables_of(role: str) -> dict[str, Any]:
    """Return a role's defaults and variables, as templates."""
    found: dict[str, Any] = {}
    for folder in ("defaults", "vars"):
        path = ROOT / "roles" / role / folder / "main.yml"
        found |= loader.load_from_file(str(path), trusted_as_template=True) or {} if path.exists() else {}
    return found


def templar_with(variables: dict[str, Any]) -> Templar:
    """Return a templar for these variables, good until the next is asked for."""
    templar.available_variables = variables
    return templar


def render(role: str, template: str, given: Mapping[str, Any]) -> str:
    """Return the text of a role's template for the first node."""
    place = str(ROOT / "roles" / role)
    variables = {
        **variables_of("kubeadm"),
        **variables_of("containerd"),
        **variables_of(role),
        **GIVEN,
        **given,
        "role_path": place,
        "ansible_search_path": [place],
        "item": {"side": "pull", "host": "", "port": given.get("course_images_registry_port", 5000)},
    }
    lookup = trust_as_template(f"{{{{ lookup('ansible.builtin.template', '{template}') }}}}")
    return str(templar_with(variables).template(lookup))


def parsed(template: str, text: str) -> Any:  # noqa: ANN401 - a file
    """Read a file as the program does that it is for."""
    if template.endswith("config.toml.j2"):
        return tomllib.loads(text)
    if template.endswith("hosts.yaml.j2"):
        return {path: tomllib.loads(content) for path, content in yaml.safe_load(text).items()}
    if template.endswith((".yaml.j2", "registry.yml.j2")):
        return list(yaml.safe_load_all(text))
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    separator = ":" if template.endswith(".sources.j2") else "="
    return [tuple(part.strip() for part in line.partition(separator)) for line in lines]


def shape(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Return each place of a file with the kind of what is there: nothing that a variable says may change them."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from shape(part, f"{path}.{name}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from shape(part, f"{path}[{index}]")
    elif isinstance(value, tuple):
        yield value[0], "a line"
    else:
        yield path, type(value).__name__


def images_in(value: object) -> Iterator[str]:
    """Return all images of pods in manifests."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if name == "image" and isinstance(part, str):
                yield part
            yield from images_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from images_in(part)


@functools.cache
def usual(role: str, template: str) -> Any:  # noqa: ANN401 - a file
    """Return the file as the defaults make it."""
    return parsed(template, render(role, template, {}))


def problems_of_nodes(given: Mapping[str, Any]) -> Iterator[str]:
    """Find what of the nodes' files no program would take with these variables."""
    for role, template, free in FILES:
        if not any(name.startswith(f"{role}_") for name in given):
            continue
        text = render(role, template, given)
        try:
            made = parsed(template, text)
        except (yaml.YAMLError, tomllib.TOMLDecodeError, AttributeError) as error:
            yield f"{role}/{template}: {error}\n{text}"
            continue
        both = made, usual(role, template)
        found, wanted = ([place for place in shape(one) if not re.fullmatch(free, place[0], re.DOTALL)] for one in both)
        if found != wanted:
            yield f"{role}/{template}: {set(found) ^ set(wanted)}\n{text}"
        for image in images_in(made):
            if not REFERENCE.fullmatch(image):
                yield f"{role}/{template}: image {image!r}"


def hub_classes(made: Mapping[str, Mapping[str, Any]]) -> None:
    """Configure the hub's own classes, which refuse what they do not take.

    Args:
        made: class -> trait -> value.

    Raises:
        TraitError: one does not.
    """
    config = Config({name: dict(traits) for name, traits in made.items()})
    JupyterHub(config=config)
    AUTHENTICATOR(config=config)
