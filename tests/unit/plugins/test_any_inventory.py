"""Whatever an inventory says: it is refused with the variable's name, or what it deploys is what programs take."""

from __future__ import annotations

import json
import re
import subprocess
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import Mistake, report
from ansible_collections.campus.hubs.plugins.plugin_utils.json_schema import violations
from ansible_collections.campus.hubs.plugins.plugin_utils.release_values import values_text
from campus_hubs_hub import settings as hub
from hypothesis import HealthCheck, given, settings

from tests.unit.helm import CHART
from tests.unit.images.hub.rendered import SECRET, pod
from tests.unit.plugins.any_inventory import COURSE_OPTIONS, COURSES, NODE_OPTIONS, changes, text_of
from tests.unit.plugins.deployment import (
    FILES,
    compute,
    hub_classes,
    parsed,
    problems_of_nodes,
    render,
)
from tests.unit.plugins.inventories import read

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
EVERY = settings(deadline=None, report_multiple_bugs=False, suppress_health_check=list(HealthCheck), database=None)
SHORT = settings(EVERY, max_examples=40, derandomize=True)
LONG = settings(EVERY, max_examples=1000)
Variables = dict[str, Any]


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    return tmp_path / "hosts.yml"


def refusals(hosts: Path, node: Variables, course: Variables) -> tuple[list[Mistake], Variables, Variables]:
    """Check an inventory; return what is wrong with it, and the variables of a node and of a course."""
    hosts.write_text(text_of(node, {COURSES[0]: course, COURSES[1]: {}}), encoding="utf-8")
    try:
        found, hostvars = read(hosts)
    except AnsibleError as error:
        # What cannot be loaded at all Ansible refuses by itself, with the line.
        if "failed to parse inventory source" not in str(error):
            raise
        return [Mistake("", "", "", "")], {}, {}
    message = report(found)
    for mistake in found:
        named = any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", mistake.sentence()) for name in {**node, **course})
        assert named or mistake.host.startswith("hosts.yml, line "), message
    assert {unicodedata.category(letter) for letter in set(message) - {"\n"}} & {"Cc", "Cf", "Cs", "Zl", "Zp"} == set()
    if found:
        return found, {}, {}
    of_node, of_course = (hostvars.raw_get(host) for host in ("two", COURSES[0]))
    return found, {name: of_node[name] for name in node}, {name: of_course[name] for name in course}


def nodes(hosts: Path, node: Variables) -> None:
    found, variables, _none = refusals(hosts, node, {})
    if not found:
        assert list(problems_of_nodes(variables)) == []


def course(hosts: Path, helm: Path, given: Variables) -> None:
    found, _none, variables = refusals(hosts, {}, given)
    if found:
        return
    values = compute(COURSES[0], variables, check=True)
    assert list(violations(values, SCHEMA, SCHEMA)) == []
    hosts.with_name("values.yaml").write_text(values_text(values))
    done = subprocess.run(  # noqa: S603
        [str(helm), "template", COURSES[0], str(CHART), f"--values={hosts.with_name('values.yaml')}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    manifests = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    (text,) = [m["data"]["values.json"] for m in manifests if "values.json" in (m.get("data") or {})]
    made = hub.settings(json.loads(text), SECRET)
    hub_classes(made)
    spec = pod(made)
    (home,) = [mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "home"]
    assert home["mountPath"] == "/home/jovyan"


@pytest.mark.parametrize("name", [name for name, spec in NODE_OPTIONS.items() if spec.get("type") == "int"])
def test_a_number_that_is_text_as_on_the_command_line(name: str) -> None:
    for role, template, _free in FILES:
        if name.startswith(f"{role}_"):
            files = [parsed(template, render(role, template, {name: value})) for value in (1500, "1500")]
            assert files[0] == files[1]


@SHORT
@given(changes(NODE_OPTIONS))
def test_nodes(hosts: Path, node: Variables) -> None:
    nodes(hosts, node)


@SHORT
@given(changes(COURSE_OPTIONS))
def test_courses(hosts: Path, helm: Path, variables: Variables) -> None:
    course(hosts, helm, variables)


@pytest.mark.full
@LONG
@given(changes(NODE_OPTIONS))
def test_many_nodes(hosts: Path, node: Variables) -> None:
    nodes(hosts, node)


@pytest.mark.full
@LONG
@given(changes(COURSE_OPTIONS))
def test_many_courses(hosts: Path, helm: Path, variables: Variables) -> None:
    course(hosts, helm, variables)
