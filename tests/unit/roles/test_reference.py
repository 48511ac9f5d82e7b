"""The figures of docs/reference.md against roles, chart, locks and the collection's metadata."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.campus.hubs.plugins.plugin_utils.quantities import parse_amount

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def load(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))
    return document


def rows(section: str, table: int = 0) -> dict[str, list[str]]:
    """Return the rows of one of a section's tables: the other cells by the first, all without backticks."""
    found = TEXT.split(f"# {section}\n")[1].split("\n#")[0]
    lines = re.findall(r"(?:^\|.*\n)+", found, re.MULTILINE)[table].splitlines()[2:]
    cells = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]
    return {first: others for first, *others in cells}


DEFAULTS = {name: value for path in ROOT.glob("roles/*/defaults/main.yml") for name, value in load(str(path)).items()}
VALUES = load("charts/course-hub/values.yaml")
INSTALLED = rows("What the roles install")
OF_A_ROLE = {
    "Calico's operator": load("roles/calico/vars/main.yml")["_calico_operator_version"],
    "MetalLB": load("roles/load_balancer/vars/main.yml")["_load_balancer_metallb_version"],
}


@pytest.mark.parametrize("what", INSTALLED)
def test_installed_version_is_the_default(what: str) -> None:
    version, variable, _ = INSTALLED[what]
    assert OF_A_ROLE.get(what) == version if variable.startswith("none") else DEFAULTS[variable] == version


def test_every_pinned_version_is_there() -> None:
    pinned = {name for name in DEFAULTS if name.endswith("_version")}
    assert pinned <= {variable for _, variable, _ in INSTALLED.values()}


def test_systems_are_those_that_the_check_takes() -> None:
    supported = rows("Nodes")["operating system"][0]
    assert supported == f"{', '.join(load('roles/node/vars/main/main.yml')['_node_supported'])}, with systemd"


def test_control_machine_is_as_in_the_metadata() -> None:
    machine = rows("Control machine")
    galaxy = load("galaxy.yml")["dependencies"]
    assert f">={machine['ansible-core'][0].split()[0]}" == load("meta/runtime.yml")["requires_ansible"]
    assert {name: f">={machine[name][0].split()[0]}" for name in galaxy} == galaxy
    assert f">={machine['Python'][0].split()[0]}" == load("tests/config.yml")["modules"]["python_requires"]


def test_programs_are_the_locked_ones() -> None:
    locks = "".join(path.read_text() for path in sorted((ROOT / "images").glob("*/requirements.txt")))
    names = {"JupyterHub": "jupyterhub", "KubeSpawner": "jupyterhub-kubespawner", "JupyterLab": "jupyterlab"}
    said = {name: cells[0] for name, cells in rows("What people work with").items() if name != "LTI"}
    proxy = json.loads((ROOT / "images/proxy/package.json").read_text())["dependencies"]["configurable-http-proxy"]
    assert said.pop("configurable-http-proxy") == proxy
    for name, version in said.items():
        assert set(re.findall(rf"^{names.get(name, name)}==(\S+)", locks, re.MULTILINE)) == {version}


def test_pods_of_a_course_are_those_of_the_chart() -> None:
    exchange = VALUES["exchange"]
    # As templates/exchange.yaml computes it.
    limit = f"{max(512, 128 + 3 * exchange['maxUploadMiB'])}Mi"
    resources = {
        "hub": VALUES["hub"]["resources"],
        "proxy": VALUES["proxy"]["chp"]["resources"],
        "exchange": {"limits": {"memory": limit}, **exchange["resources"]},
    }
    pods = rows("Per course")
    together = pods.pop("together")
    assert pods == {
        name: [one["requests"]["cpu"], one["requests"]["memory"], one["limits"]["memory"]]
        for name, one in resources.items()
    }
    for column, sum_ in enumerate(together):
        assert parse_amount(sum_) == pytest.approx(sum(parse_amount(cells[column]) for cells in pods.values()))


def test_volumes_of_a_course_are_those_of_the_chart() -> None:
    assert {name: cells[0] for name, cells in rows("Per course", table=1).items()} == {
        "hub-db": VALUES["hub"]["db"]["storage"],
        "exchange": DEFAULTS["course_hub_exchange_size"],
        "course": DEFAULTS["course_hub_course_size"],
    }


def test_a_person_gets_what_the_defaults_say() -> None:
    cpu, memory = DEFAULTS["course_hub_cpu"], DEFAULTS["course_hub_memory"]
    person = rows("Per person")
    assert memory == {"guarantee": "512M", "limit": "2G"}
    assert person["requested"][0] == f"{cpu['guarantee']} cores, 512 MiB"
    assert person["at most"][0] == f"{cpu['limit']} cores, 2 GiB"
    assert person["home"][0] == "5 GiB"
    assert DEFAULTS["course_hub_home_size"] == "5Gi"
    sandbox = VALUES["singleuser"]["sandbox"]
    assert f"at most {sandbox['perCourse']} per course and {sandbox['perUser']} per lecturer or tutor" in TEXT


def test_a_node_needs_what_the_checks_ask_for() -> None:
    node = rows("Per node")
    assert node["memory"][0] == f"{DEFAULTS['node_min_memory_mb']} MiB (node_min_memory_mb)"
    assert node["disk free under /var/lib"][0] == f"{DEFAULTS['node_min_disk_gb']} GiB (node_min_disk_gb)"
