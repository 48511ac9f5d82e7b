"""Edges of the rules that no inventory file shows, and the rules' own names against the roles'."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.campus.hubs.plugins.plugin_utils import (
    cluster_rules,
    course_rules,
    references,
    variable_forms,
    variable_specs,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import Host, Inventory
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_reader import read_roles
from ansible_collections.campus.hubs.plugins.plugin_utils.variable_specs import RoleSpec, check_variables

from tests.unit.plugins.inventories import ROOT
from tests.unit.roles.role_variables import compute


def constants(module: object, prefixes: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    for value in vars(module).values():
        values = value if isinstance(value, (tuple, frozenset, dict)) else (value,)
        found |= {text for text in values if isinstance(text, str) and text.startswith(prefixes)}
    return found


def test_rules_speak_of_variables_that_exist() -> None:
    roles, _defaults = read_roles(ROOT / "roles", DataLoader())
    known = {name for role in roles for name in role.options}
    prefixes = tuple(f"{role.name}_" for role in roles)
    used = set().union(
        *(constants(module, prefixes) for module in (cluster_rules, course_rules, variable_forms, variable_specs))
    )
    assert len(used) > 30
    assert used <= known
    assert set(variable_specs.RENAMED) & known == set()


def test_every_role_has_its_hosts() -> None:
    assert {path.parents[1].name for path in (ROOT / "roles").glob("*/meta/argument_specs.yml")} == set(
        variable_specs.ROLE_GROUPS
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("192.0.2.1-192.0.2.1", 1), ("192.0.2.0/24", 256), ("192.0.2.250 - 192.0.3.5", 12), ("2001:db8::/64", 2**64)],
)
def test_ranges(text: str, size: int) -> None:
    found = cluster_rules.parse_range(text)
    assert found is not None
    assert found.size() == size


@pytest.mark.parametrize(
    "text",
    ["192.0.2.1", "192.0.2.1/24", "192.0.2.9-192.0.2.1", "192.0.2.1-2001:db8::1", "a-b", "192.0.2.1-20", "", None, 7],
)
def test_no_ranges(text: object) -> None:
    assert cluster_rules.parse_range(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("api.example.edu:443", ("api.example.edu", 443)),
        ("api", ("api", 6443)),
        ("192.0.2.1:6443", ("192.0.2.1", 6443)),
        ("[2001:db8::1]:6443", ("2001:db8::1", 6443)),
        *(
            (text, None)
            for text in ("", "a:", "a:0", "a:65536", "a_b:1", "https://a:1", "a:1/x", "2001:db8::1", "[a]:1")
        ),
        *((text, None) for text in ("192.0.2.300", "192.0.2:6443", "1.2.3.4.5:1", "-a:1", "a..b:1", "a b:1", "a:1\n")),
        *((value, None) for value in (None, 6443, ["a:1"])),
    ],
)
def test_endpoints(text: object, found: tuple[str, int] | None) -> None:
    assert references.parse_endpoint(text) == found


def of_cluster(**given: object) -> list[str]:
    """Return what is wrong with a cluster of one server that has these variables."""
    usual = {
        "kubeadm_pod_subnet": "10.244.0.0/16",
        "kubeadm_service_subnet": "10.96.0.0/16",
        "ansible_host": "192.0.2.1",
    }
    host = Host("h", frozenset({"cluster", "control_plane"}), {**usual, **given}, frozenset({*usual, *given}))
    return [mistake.sentence() for mistake in cluster_rules.check_cluster(Inventory((host,)))]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kubeadm_node_ip", "2001:db8::11"),
        ("kubeadm_pod_subnet", "fd00::/56"),
        ("kubeadm_service_subnet", "fd00:1::/112"),
        ("load_balancer_addresses", ["192.0.2.8/30", "2001:db8::/120"]),
    ],
)
def test_ipv6_is_refused_where_the_cluster_has_none(name: str, value: object) -> None:
    (found,) = of_cluster(**{name: value})
    assert found.startswith(f"{name}: found ")
    assert found.endswith("Fix: take IPv4, which nodes, pods and Services have.")


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost.localdomain", "127.0.0.1", "0.0.0.1", "169.254.1.1", "224.0.0.1", "[::1]", "[fe80::1]"],
)
def test_endpoints_that_no_other_node_reaches(host: str) -> None:
    (found,) = of_cluster(kubeadm_control_plane_endpoint=f"{host}:6443")
    assert "expected a name or address that all nodes reach. Fix: " in found


@pytest.mark.parametrize("host", ["API.example.edu", "api.Example.edu", "api.example.edu."])
def test_endpoints_that_kubeadm_refuses(host: str) -> None:
    (found,) = of_cluster(kubeadm_control_plane_endpoint=f"{host}:6443")
    assert found.endswith(
        "expected a name in small letters, without a dot at the end. Fix: change it, as kubeadm takes no other."
    )
    assert of_cluster(kubeadm_control_plane_endpoint="[2001:DB8::1]:6443") == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "containerd_mirrors",
            {"https://docker.io": {"url": "https://m"}},
            "containerd_mirrors.https://docker.io: found a name that is no",
        ),
        (
            "containerd_mirrors",
            {"docker.io/library": {"url": "https://m"}},
            "expected a registry as in the names of images",
        ),
        (
            "containerd_mirrors",
            {"a": {"url": "https://m", "fallback": "maybe"}},
            'a.fallback: found "maybe", expected true or',
        ),
        (
            "course_images_build_environment",
            {"A-B": "x"},
            "course_images_build_environment.A-B: found a name that no variable",
        ),
        (
            "course_images_build_environment",
            {"A": None},
            "course_images_build_environment.A: found null, expected text or a",
        ),
        (
            "course_images_build_secrets",
            {"pip.conf": None},
            "pip.conf: found null, expected the path of a file on the builder",
        ),
        (
            "course_images_build_secrets",
            {"npmrc": ["a"]},
            'npmrc: found ["a"], expected the path of a file on the builder',
        ),
        ("course_hub_helm_checksum", "0" * 64, "expected an algorithm, a colon, and a digest or the URL of one"),
        (
            "course_hub_helm_checksum",
            "sha256:xyz",
            'course_hub_helm_checksum: found "sha256:xyz", expected an algorithm',
        ),
        ("course_hub_helm_cache", "cache", 'course_hub_helm_cache: found "cache", expected an absolute path'),
        ("storage_local_path", "/var/lib/campus-hubs", "expected an absolute path of a folder of its own"),
        ("storage_local_path", "/var/lib/campus-hubs/build/hub", "expected an absolute path of a folder of its own"),
    ],
)
def test_forms_that_would_fail_in_the_middle_of_a_run(name: str, value: object, words: str) -> None:
    host = Host("h", frozenset({"cluster", "courses"}), {name: value}, frozenset({name}))
    (found,) = [mistake.sentence() for mistake in variable_forms.check_forms(Inventory((host,)))]
    assert words in found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "containerd_mirrors",
            {"10.0.0.5:5000": {"url": "http://m", "fallback": "no"}, "_default": {"url": "http://m"}},
        ),
        ("course_images_build_environment", {"REGISTRY_AUTH_FILE": "/root/auth.json", "_n": 1}),
        ("course_images_build_secrets", {"pip.conf": "/etc/pip.conf"}),
        ("course_hub_helm_checksum", "sha256:https://get.helm.sh/helm-v4.3.1-linux-amd64.tar.gz.sha256sum"),
        ("course_hub_helm_checksum", f"sha256:{'a' * 64}"),
        ("course_hub_helm_cache", "~/.cache/helm"),
        ("storage_local_path", "/var/lib/campus-hubs/volumes"),
    ],
)
def test_forms_that_are_right(name: str, value: object) -> None:
    host = Host("h", frozenset({"cluster", "courses"}), {name: value}, frozenset({name}))
    assert list(variable_forms.check_forms(Inventory((host,)))) == []


@pytest.mark.parametrize("folder", ["/var", "/var/lib/", "/usr/share", "/var/lib/kubelet/pods"])
def test_folders_of_the_system_are_no_volumes(folder: str) -> None:
    volumes = [{"name": "data", "mount_path": "/data", "host_path": folder}]
    host = Host("a", frozenset({"courses"}), {"course_hub_volumes": volumes}, frozenset({"course_hub_volumes"}))
    (found,) = [mistake.sentence() for mistake in course_rules.check_courses(Inventory((host,)))]
    assert found.endswith("expected a folder of the nodes that is not the system's, such as /srv/data.")


def test_names_that_are_no_texts_are_no_traceback() -> None:
    given = {"by_day": {datetime.date(2026, 11, 30): "x" * 300_000}, "course_hub_values": {datetime.date.min: "x"}}
    host = Host("a", frozenset({"courses"}), given, frozenset(given))
    assert not [mistake for mistake in course_rules.check_courses(Inventory((host,))) if "characters" in mistake.found]


def test_ids_of_contexts_have_no_blanks_around_them() -> None:
    host = Host("a", frozenset({"courses"}), {"course_hub_lms_context": ["57 "]}, frozenset({"course_hub_lms_context"}))
    (found,) = [mistake.sentence() for mistake in course_rules.check_courses(Inventory((host,)))]
    assert found.endswith("characters. Fix: remove the blanks around it.")


def test_the_home_in_the_path_of_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/admin")
    given = {"course_hub_helm_cache": "~/helm", "_course_hub_helm_platform": "linux-amd64"}
    assert compute("course_hub", "_course_hub_helm", given) == "/home/admin/helm/v4.3.1-linux-amd64/helm"


def one(name: str, value: object, spec: dict[str, Any]) -> list[str]:
    host = Host("h", frozenset({"courses"}), {name: value}, frozenset({name}))
    role = RoleSpec.parse("course_hub", {"argument_specs": {"main": {"options": {name: spec}}}})
    return [mistake.sentence() for mistake in check_variables(Inventory((host,)), [role])]


@pytest.mark.parametrize(
    ("value", "spec", "words"),
    [
        ("x", {"type": "int"}, 'course_hub_x: found "x", expected a whole number.'),
        (True, {"type": "int"}, "course_hub_x: found true, expected a whole number."),
        ("x", {"type": "bool"}, 'course_hub_x: found "x", expected true or false.'),
        # Ansible's modules take it for true, Jinja's filter for false.
        ("y", {"type": "bool"}, 'course_hub_x: found "y", expected true or false.'),
        (1e308, {"type": "int"}, "course_hub_x: found 1e+308, expected a whole number."),
        ("1_000", {"type": "int"}, 'course_hub_x: found "1_000", expected a whole number.'),
        ("nan", {"type": "float"}, 'course_hub_x: found "nan", expected a number.'),
        (float("inf"), {"type": "float"}, "course_hub_x: found inf, expected a number, or text in quotes."),
        (True, {"type": "str"}, "course_hub_x: found true, expected text. Fix: put it in quotes."),
        (None, {"type": "str"}, "course_hub_x: found nothing, expected text. Fix: give it a value or remove the line."),
        (
            {"a": None},
            {"type": "dict", "options": {"a": {"type": "int"}}},
            "course_hub_x.a: found nothing, expected a whole",
        ),
        (datetime.date(2026, 1, 1), {"type": "str"}, "course_hub_x: found a date, expected text, a number,"),
        (
            {"a": [datetime.date(2026, 1, 1)]},
            {"type": "dict"},
            "course_hub_x.a[0]: found a date, expected text, a number,",
        ),
        (b"x", {"type": "str"}, "course_hub_x: found binary, expected text, a number,"),
        ({5: "x"}, {"type": "dict"}, "course_hub_x.5: found a name that is no text, expected text."),
        (
            "a\x1bb",
            {"type": "str"},
            "course_hub_x: found a text with U+001B, expected text without control characters.",
        ),
        (
            "a\ud800",
            {"type": "str"},
            "course_hub_x: found a text with U+D800, expected text without control characters.",
        ),
        (
            "a\ufffe",
            {"type": "str"},
            "course_hub_x: found a text with U+FFFE, expected text without control characters.",
        ),
        (
            "a\n",
            {"type": "str"},
            "course_hub_x: found a text with a line break, expected one line. Fix: write >- instead of >",
        ),
        ("a" * 200_000, {"type": "str"}, "course_hub_x: found a text of 200000 characters, expected at most 100000."),
        ("x", {"type": "float"}, 'course_hub_x: found "x", expected a number.'),
        (["x"], {"type": "str"}, 'course_hub_x: found ["x"], expected text.'),
        ({"a": 1}, {"type": "str"}, "course_hub_x: found a dictionary with a, expected text."),
        ("a,b", {"type": "list"}, 'course_hub_x: found "a,b", expected a list.'),
        (["a", []], {"type": "list", "elements": "str"}, "course_hub_x[1]: found [], expected text."),
        ("a=b", {"type": "dict"}, 'course_hub_x: found "a=b", expected a dictionary.'),
        ("b", {"choices": ["a", "c"]}, 'course_hub_x: found "b", expected one of a, c.'),
        (
            ["a", "b"],
            {"type": "list", "elements": "str", "choices": ["a"]},
            'course_hub_x: found ["a", "b"], expected one of a.',
        ),
        (
            [{"port": "x"}],
            {"type": "list", "elements": "dict", "options": {"port": {"type": "int"}}},
            'course_hub_x[0].port: found "x", expected a whole number.',
        ),
        (
            {"a": 1, "b": 2},
            {
                "type": "dict",
                "options": {"a": {"type": "int"}, "b": {"type": "int"}},
                "mutually_exclusive": [["a", "b"]],
            },
            "course_hub_x: found what Ansible refuses (parameters are mutually exclusive: a|b",
        ),
        ("hunter2", {"type": "int", "no_log": True}, "course_hub_x: found (hidden), expected a whole number."),
    ],
)
def test_wrong_values(value: object, spec: dict[str, Any], words: str) -> None:
    (sentence,) = one("course_hub_x", value, spec)
    assert sentence.startswith(words)


@pytest.mark.parametrize(
    ("value", "spec"),
    [
        ("5", {"type": "int"}),
        (5, {"type": "str"}),
        (1.5, {"type": "str"}),
        ("日本 🎓 {{ x }} {% y %}", {"type": "str"}),
        ("yes", {"type": "bool"}),
        (0.5, {"type": "float"}),
        (1, {"choices": ["1", "2"]}),
        ({"any": "thing"}, {"type": "dict"}),
        ([1, "a"], {"type": "list"}),
        ({"b": 1}, {"type": "dict", "options": {"a": {"type": "int", "aliases": ["b"]}}}),
    ],
)
def test_right_values(value: object, spec: dict[str, Any]) -> None:
    assert one("course_hub_x", value, spec) == []


def test_required_variable_is_missing_only_where_the_role_runs() -> None:
    role = RoleSpec.parse("course_hub", {"argument_specs": {"main": {"options": {"course_hub_x": {"required": True}}}}})
    course, node = Host("course", frozenset({"courses"})), Host("node", frozenset({"cluster"}))
    found = list(check_variables(Inventory((course, node)), [role]))
    assert [(mistake.host, mistake.variable, mistake.found) for mistake in found] == [
        ("course", "course_hub_x", "nothing")
    ]
