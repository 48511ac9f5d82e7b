"""From a course's variables to the chart's values, and whether the chart takes them."""

from __future__ import annotations

import datetime
import functools
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.campus.hubs.plugins.plugin_utils.course_inputs import course_options
from ansible_collections.campus.hubs.plugins.plugin_utils.course_servers import packages_key
from ansible_collections.campus.hubs.plugins.plugin_utils.release_values import (
    Cluster,
    Live,
    Options,
    ValuesError,
    public_url,
    release_values,
    values_text,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.timezones import local_timezone

ROOT = Path(__file__).resolve().parents[3]
ROLE = ROOT / "roles" / "course_hub"
LOADER = DataLoader()
IMAGES = {name: f"registry.example.edu/{name}@sha256:aa" for name in ("hub", "singleuser", "exchange", "proxy")}
OURS, OWN = IMAGES["singleuser"], "registry.example.edu/own/lab:2026-10"
PACKAGED = "registry.example.edu/p@sha256:bb"
GPU = "nvidia.com/gpu"
TOLERATION = {"key": GPU, "operator": "Exists", "effect": "NoSchedule"}
PACKAGED_IMAGES = {packages_key({"pip": ["pandas"]}): PACKAGED}
PLATFORM = {
    "issuer": "https://moodle.example.edu",
    "authorization_endpoint": "https://moodle.example.edu/auth",
    "token_endpoint": "https://moodle.example.edu/token",
    "jwks_uri": "https://moodle.example.edu/jwks",
}
LTI13 = {
    "course_hub_lti_platforms": {"moodle": PLATFORM},
    "course_hub_lti13_platform": "moodle",
    "course_hub_lti13_client_id": "abc",
    "course_hub_lti13_deployment_id": "1",
}
# What the API server says.
CLUSTER: dict[str, list[dict[str, Any]]] = {
    "images": [{"data": IMAGES}],
    "nodes": [{"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}], "conditions": []}}],
    "kubeadm_config": [
        {"data": {"ClusterConfiguration": "networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12}"}}
    ],
    "endpoints": [{"endpoints": [{"addresses": ["192.0.2.11"]}], "ports": [{"port": 6443}]}],
    "packaged": [{"data": PACKAGED_IMAGES}],
    "dns": [{"spec": {"clusterIPs": ["10.96.0.10"]}}],
}
COURSES: dict[str, dict[str, Any]] = {
    "smallest": {},
    "waiting": {**LTI13, "course_hub_lti13_client_id": "", "course_hub_lti13_deployment_id": ""},
    "own-image": {"course_hub_image": OWN},
    "packages": {"course_hub_packages": {"pip": ["pandas", "pandas "]}},
    "not-built": {"course_hub_packages": {"apt": ["graphviz"]}},
    "gpu": {"course_hub_gpu": 1, "course_hub_gpu_resource": "amd.com/gpu"},
    "profiles": {
        "course_hub_profiles": [
            {"title": "Notes"},
            {
                "title": "Training",
                "description": "For week 5",
                "default": True,
                "packages": {"pip": ["pandas"]},
                "memory": {"limit": "8G"},
                "cpu": {"guarantee": 1, "limit": 4},
                "gpu": 2,
            },
        ],
    },
    "everything": {
        **LTI13,
        "course_hub_environment": {
            "TZ": "Europe/Berlin",
            "DEPTH": 3,
            "OPTIONS": '{"a": "\U0001f4da"}',
        },
        "course_hub_material": {"git": "git@10.1.2.3:python/material.git", "deploy_key_secret": "material-key"},
        "course_hub_user_networks": [{"cidr": "10.9.0.0/16", "ports": [443]}],
        "course_hub_internet_ports": [443, "8443"],
        "course_hub_campus_networks": ["198.51.100.0/24", "2001:db8::/32"],
        "course_hub_homes_ahead": False,
        "course_hub_volumes": [
            {"name": "images", "mount_path": "/data/", "nfs": {"server": "files", "path": "/images"}},
            {"name": "tools", "mount_path": "/tools", "host_path": "/srv/tools", "writable_by": ["instructor"]},
            {"name": "results", "mount_path": "/results", "claim": "results"},
        ],
        "course_hub_course_size": "20Gi",
        "course_hub_exchange_size": "50Gi",
        "course_hub_max_upload": "1Gi",
        "course_hub_concurrent_starts": 20,
        "course_hub_membership_hours": 48,
        "course_hub_max_servers": 100,
        "course_hub_reserved_servers": 2,
        "course_hub_send_grades_on_feedback": True,
        "course_hub_lti13_memberships_url": "http://192.0.2.80:8080/members",
        "course_hub_lms_context": [57, "58"],
        "course_hub_lti_roles": {"urn:x:tutor": "teaching_assistant"},
        "course_hub_values": {"singleuser": {"nodeSelector": {"gpu": "yes"}}},
    },
    "lms-ports": {
        **LTI13,
        "course_hub_lti_platforms": {
            "moodle": {
                **PLATFORM,
                "issuer": "HTTPS://moodle.example.edu:8443",
                "token_endpoint": "http://192.0.2.80:8080/token",
                "jwks_uri": "https://[2001:db8::80]:8443/jwks",
            }
        },
        "course_hub_lms_url": "http://moodle.example.edu:8081/my",
        "course_hub_lms_networks": ["198.51.100.0/24", "2001:db8:1::/64"],
        "course_hub_material": {"git": "https://[2001:db8::90]:3000/python/material.git"},
    },
    "lti11-port": {"course_hub_lms_url": "https://[2001:db8::80]:8443/", "course_hub_timezone": "Europe/Vienna"},
    "material": {
        "course_hub_material": {"git": "https://git.example.edu/a/notes.git/", "branch": "ws26", "directory": "m"}
    },
}


@functools.cache
def defaults() -> dict[str, Any]:
    """Return the role's defaults, as templates."""
    found: dict[str, Any] = LOADER.load_from_file(str(ROLE / "defaults" / "main.yml"), trusted_as_template=True)
    return found


def compute(course: str, own: Mapping[str, Any], *, check: bool = False) -> dict[str, Any]:
    """Return the values of a course with these variables, before it is deployed."""
    variables = {**defaults(), **own, "inventory_hostname": course}
    options = course_options(variables, Templar(loader=LOADER, variables={**variables, "vars": variables}))
    return release_values(course, options, Cluster.parse(CLUSTER, check=check), Live.parse([], []), "of the chart")


@pytest.fixture(scope="module")
def values() -> dict[str, dict[str, Any]]:
    return {name: compute(name, own) for name, own in COURSES.items() if name != "not-built"}


def test_what_is_not_built_is_said() -> None:
    built = "course_hub_packages: found no image with graphviz, expected one that playbooks/images.yml has built"
    with pytest.raises(ValuesError, match=f"{built}.*with this course in --limit"):
        compute("not-built", COURSES["not-built"])
    # A check may come before the images.
    assert compute("not-built", COURSES["not-built"], check=True)["singleuser"]["image"] == {"name": "not-built-yet"}


def test_a_check_before_the_images_has_no_names_for_them() -> None:
    nothing = {**CLUSTER, "images": []}
    options = Options({name.removeprefix("course_hub_"): value for name, value in defaults().items()})
    made = release_values("a", options, Cluster.parse(nothing, check=True), Live.parse([], []), "")
    assert made["hub"]["image"] == made["exchange"]["image"] == {"name": "not-built-yet"}
    with pytest.raises(ValuesError, match=r"ConfigMap course-images.*found none, expected what playbooks/images\.yml"):
        release_values("a", options, Cluster.parse(nothing, check=False), Live.parse([], []), "")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("concurrent_starts", "many", "course_hub_concurrent_starts: found many, expected a whole number"),
        ("homes_ahead", "perhaps", "course_hub_homes_ahead: found perhaps, expected true or false"),
        ("values", "hub: {}", "course_hub_values: found str, expected a dictionary"),
        ("pull_secrets", "one", "course_hub_pull_secrets: found one, expected a list"),
        ("home_size", None, "course_hub_home_size: found NoneType, expected text"),
        ("lti13_platform", "moodle", "course_hub_lti13_platform: found moodle, expected a name of course_hub_lti_plat"),
        ("memory", {"limit": "2G"}, "variables of a: found one of another form than its argument spec has"),
        ("material", {"git": "https://git.example.edu:x/a"}, "variables of a: found one of another form"),
        (
            "title",
            trust_as_template("{{ nothing }}"),
            "course_hub_title: found a template that fails ('nothing' is undefined)",
        ),
        ("title", datetime.date(2026, 10, 1), "course_hub_title: found Object of type date is not JSON serializable"),
    ],
)
def test_a_value_of_another_type_is_named(name: str, value: object, message: str) -> None:
    with pytest.raises(ValuesError, match=re.escape(message)):
        compute("a", {f"course_hub_{name}": value})


@pytest.mark.parametrize(
    ("own", "live", "url"),
    [
        ({}, "", ""),
        ({}, "192.0.2.200", "http://192.0.2.200/"),
        ({"course_hub_address": "192.0.2.201"}, "192.0.2.200", "http://192.0.2.201/"),
        ({"course_hub_tls_secret": "tls"}, "192.0.2.200", "https://192.0.2.200/"),
        ({"course_hub_url": "https://hubs.example.edu/a"}, "192.0.2.200", "https://hubs.example.edu/a/"),
        ({"course_hub_url": "https://hubs.example.edu/a//"}, "", "https://hubs.example.edu/a/"),
    ],
)
def test_people_find_the_hub_at_its_url_or_its_address(own: dict[str, str], live: str, url: str) -> None:
    variables = {**defaults(), **own, "inventory_hostname": "a"}
    options = course_options(variables, Templar(loader=LOADER, variables=variables))
    service = {"status": {"loadBalancer": {"ingress": [{"ip": live}]}}} if live else {"status": {"loadBalancer": {}}}
    assert public_url(options, Live.parse([], [service])) == url


TEMPLATES = [
    ("{{ term | upper }}", "WS26"),
    ("{% if term == 'ws26' %}winter{% endif %}", "winter"),
    ("#jinja2: variable_start_string:'[[', variable_end_string:']]'\n[[ term ]] {{ term }}", "ws26 {{ term }}"),
    ("{{ vars['te' ~ 'rm'] }}", "ws26"),
    ("{{ course_hub_wait_seconds }}", "300"),
    ("{{ other }}", "ws26!"),
]


@pytest.mark.parametrize(("template", "text"), TEMPLATES)
def test_the_inventorys_templates_are_rendered_by_ansible(template: str, text: str) -> None:
    own = {"course_hub_title": trust_as_template(template), "term": "ws26", "other": trust_as_template("{{ term }}!")}
    assert compute("a", own)["hub"]["config"]["CourseAuthenticator"]["course_title"] == text
    nested = {**own, "course_hub_environment": {"TERM": trust_as_template(template)}}
    assert compute("a", nested)["singleuser"]["extraEnv"] == {"TERM": text}


WHERE_UPLOADS_GO = ("Deployment", "exchange")


@pytest.mark.parametrize("course", sorted(set(COURSES) - {"not-built"}))
def test_the_chart_takes_them(values: dict[str, dict[str, Any]], helm: Path, tmp_path: Path, course: str) -> None:
    (tmp_path / "values.json").write_text(json.dumps(values[course], ensure_ascii=False))
    done = subprocess.run(  # noqa: S603
        [str(helm), "template", course, str(ROOT / "charts" / "course-hub"), f"--values={tmp_path / 'values.json'}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [pod] = [
        one for one in yaml.safe_load_all(done.stdout) if (one["kind"], one["metadata"]["name"]) == WHERE_UPLOADS_GO
    ]
    memory = pod["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"]
    assert memory == f"{max(512, 128 + 3 * values[course]['exchange']['maxUploadMiB'])}Mi"


# What YAML's versions and programs read in different ways, and what has to be escaped.
ODD_TEXTS = [
    *("y", "n", "Y", "N", "yes", "off", "null", "~", "=", "<<", ".inf", ".nan", "1e3", "7e10", "1E5", ".5e3", "+1e3"),
    *(
        "0o17",
        "-0o7",
        "0x1F",
        "0b1",
        "0123",
        "1_000",
        "1:30",
        "2026-10-01",
        "",
        " ",
        "a\n",
        "\ta",
        "a: b",
        "# a",
        "'",
        '"',
    ),
    *(
        "\\",
        "\\n",
        "{{ a }}",
        "\u2028",
        "\u00a0",
        "\ufeff",
        "\u202e",
        "\u0301",
        "\U0001f393",
        "x " * 200,
        "-----\nA\n-----\n",
    ),
]


def test_helm_reads_each_text_as_it_is(helm: Path, tmp_path: Path) -> None:
    texts = {f"t{index}": text for index, text in enumerate(ODD_TEXTS)}
    numbers = {"a": 1, "b": 0.1, "c": True, "e": -5, "f": 10**15}
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "all.yaml").write_text("all: {{ .Values.all | toJson }}\n")
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: a, version: 1.0.0}\n")
    found = {**texts, **numbers, **dict.fromkeys(ODD_TEXTS, "name")}
    (tmp_path / "mine.yaml").write_text(values_text({"all": found}))
    command = [str(helm), "template", "a", str(tmp_path), f"--values={tmp_path / 'mine.yaml'}"]
    made = subprocess.check_output(command, text=True)  # noqa: S603
    assert json.loads(made.partition("all: ")[2]) == found


def test_the_smallest_course_is_as_the_chart_s_defaults(values: dict[str, dict[str, Any]]) -> None:
    chart = yaml.safe_load((ROOT / "charts" / "course-hub" / "values.yaml").read_text())
    user, exchange = values["smallest"]["singleuser"], values["smallest"]["exchange"]
    assert user["image"] == {"name": OURS}
    for name in ("memory", "cpu", "profileList", "homesAhead", "concurrentStarts", "sendGradesOnFeedback", "material"):
        assert user[name] == chart["singleuser"][name], name
    assert user["extraEnv"] == {}
    assert user["courseStorage"]["capacity"] == chart["singleuser"]["courseStorage"]["capacity"]
    for name in ("maxUploadMiB", "membershipsUrl"):
        assert exchange[name] == chart["exchange"][name]
    assert exchange["storage"]["capacity"] == chart["exchange"]["storage"]["capacity"]
    assert values["smallest"]["prePuller"] == {"extraImages": {}}
    assert "JupyterHub" not in values["smallest"]["hub"]["config"]
    assert values["smallest"]["timezone"] == local_timezone()
    assert values["lti11-port"]["timezone"] == "Europe/Vienna"


def images(values: dict[str, Any]) -> list[str]:
    return sorted(image["name"] for image in values["prePuller"]["extraImages"].values())


def test_an_own_image_is_used_and_pulled(values: dict[str, dict[str, Any]]) -> None:
    assert values["own-image"]["singleuser"]["image"] == {"name": OWN}
    assert images(values["own-image"]) == [OWN]


def test_packages_are_an_image(values: dict[str, dict[str, Any]]) -> None:
    assert values["packages"]["singleuser"]["image"] == {"name": PACKAGED}
    assert images(values["packages"]) == [PACKAGED]


def test_gpus_are_asked_for_where_they_are(values: dict[str, dict[str, Any]]) -> None:
    user = values["gpu"]["singleuser"]
    assert user["extraResource"] == {"limits": {"amd.com/gpu": 1}}
    assert user["extraTolerations"] == [{**TOLERATION, "key": "amd.com/gpu"}]
    # The common images are not held on nodes with that taint.
    assert images(values["gpu"]) == [OURS]


def test_a_profile_is_the_course_s_server_but_for_what_it_says(values: dict[str, dict[str, Any]]) -> None:
    notes, training = values["profiles"]["singleuser"]["profileList"]
    assert notes == {
        "display_name": "Notes",
        "slug": "notes",
        "description": "Up to 2 cores and 2 GiB of memory",
        "default": False,
        "kubespawner_override": {
            "image": OURS,
            "mem_guarantee": "512M",
            "mem_limit": "2G",
            "cpu_guarantee": 0.1,
            "cpu_limit": 2,
        },
    }
    assert training == {
        "display_name": "Training",
        "slug": "training",
        "description": "For week 5",
        "default": True,
        "kubespawner_override": {
            "image": PACKAGED,
            "mem_guarantee": "512M",
            "mem_limit": "8G",
            "cpu_guarantee": 1,
            "cpu_limit": 4,
            "extra_resource_limits": {GPU: 2},
            "tolerations": [TOLERATION],
        },
    }
    assert images(values["profiles"]) == [PACKAGED]


def test_environment_is_text(values: dict[str, dict[str, Any]]) -> None:
    extra = values["everything"]["singleuser"]["extraEnv"]
    assert extra == {
        "TZ": "Europe/Berlin",
        "DEPTH": "3",
        "OPTIONS": '{"a": "\U0001f4da"}',
    }


def test_material(values: dict[str, dict[str, Any]]) -> None:
    assert values["everything"]["singleuser"]["material"] == {
        "git": "git@10.1.2.3:python/material.git",
        "branch": "",
        "directory": "",
        "secretName": "material-key",
    }
    assert values["material"]["singleuser"]["material"] == {
        "git": "https://git.example.edu/a/notes.git/",
        "branch": "ws26",
        "directory": "m",
        "secretName": "",
    }


def egress(rules: list[dict[str, Any]]) -> set[tuple[str, int]]:
    return {(rule["to"][0]["ipBlock"]["cidr"], port["port"]) for rule in rules for port in rule["ports"]}


def test_a_git_host_by_address_is_reached(values: dict[str, dict[str, Any]]) -> None:
    reached = egress(values["everything"]["singleuser"]["networkPolicy"]["egress"])
    assert reached == {
        ("10.9.0.0/16", 443),
        ("10.1.2.3/32", 22),
    }
    assert values["material"]["singleuser"]["networkPolicy"]["egress"] == []


def test_the_campus_is_not_the_internet(values: dict[str, dict[str, Any]]) -> None:
    # The deploy key's host is reached by SSH; the others need no further port.
    assert values["everything"]["singleuser"]["networkPolicy"]["internetPorts"] == [443, 8443, 22]
    for course in ("smallest", "material"):
        assert values[course]["singleuser"]["networkPolicy"]["internetPorts"] == [80, 443]
    everything, smallest = (set(values[name]["networkPolicy"]["notInternet"]) for name in ("everything", "smallest"))
    # IPv6 is closed altogether, and such a network no exception of an IPv4 one.
    assert everything - smallest == {"198.51.100.0/24"}
    assert values["smallest"]["dns"] == {"clusterDomain": "cluster.local", "nameservers": ["10.96.0.10"]}


def test_the_lms_is_reached_where_rosters_and_grades_are(values: dict[str, dict[str, Any]]) -> None:
    reached = egress(values["everything"]["hub"]["networkPolicy"]["egress"])
    assert reached == {
        ("0.0.0.0/0", 443),
        ("192.0.2.80/32", 8080),
    }
    # Where the totals of LTI 1.1 go is said by the launch.
    assert egress(values["smallest"]["hub"]["networkPolicy"]["egress"]) == {("0.0.0.0/0", 443)}


def test_the_lms_is_reached_at_its_ports(values: dict[str, dict[str, Any]], helm: Path, tmp_path: Path) -> None:
    """Hub and exchange: key set, token, roster, gradebook, whatever the scheme, the port and the form of the host."""
    networks = ("198.51.100.0/24", "2001:db8:1::/64")
    expected = {("192.0.2.80/32", 8080), ("2001:db8::80/128", 8443)}
    expected |= {(network, port) for network in networks for port in (8443, 8081)}
    assert egress(values["lms-ports"]["hub"]["networkPolicy"]["egress"]) == expected
    assert egress(values["lti11-port"]["hub"]["networkPolicy"]["egress"]) == {("2001:db8::80/128", 8443)}
    assert egress(values["lms-ports"]["singleuser"]["networkPolicy"]["egress"]) == {("2001:db8::90/128", 3000)}
    (tmp_path / "values.json").write_text(json.dumps(values["lms-ports"]))
    done = subprocess.run(  # noqa: S603
        [str(helm), "template", "x", str(ROOT / "charts" / "course-hub"), f"--values={tmp_path / 'values.json'}"],
        capture_output=True,
        text=True,
        check=True,
    )
    policies = {
        one["metadata"]["name"]: one["spec"]["egress"]
        for one in yaml.safe_load_all(done.stdout)
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] in {"hub", "exchange"}
    }
    for name, rules in policies.items():
        blocks = [rule for rule in rules if "ipBlock" in rule["to"][0]]
        assert expected <= egress(blocks), name
    assert len(policies) == 2


def test_sizes_limits_and_switches(values: dict[str, dict[str, Any]]) -> None:
    course = values["everything"]
    assert course["singleuser"]["courseStorage"]["capacity"] == "20Gi"
    assert course["singleuser"]["homesAhead"] is False
    assert course["singleuser"]["concurrentStarts"] == 20
    assert course["singleuser"]["sendGradesOnFeedback"] is True
    assert course["exchange"]["storage"]["capacity"] == "50Gi"
    assert course["exchange"]["maxUploadMiB"] == 1024
    assert course["exchange"]["membershipsUrl"] == "http://192.0.2.80:8080/members"
    assert course["hub"]["config"]["CourseSpawner"] == {"max_servers": 100}
    login = course["hub"]["config"]["CourseAuthenticator"]
    assert login["context_ids"] == ["57", "58"]
    assert login["lti_roles"] == {"urn:x:tutor": "teaching_assistant"}


def test_a_course_whose_lms_has_not_given_its_ids_waits(values: dict[str, dict[str, Any]]) -> None:
    platform = values["waiting"]["hub"]["config"]["CourseAuthenticator"]["lti13_platform"]
    assert platform == {**PLATFORM, "client_id": "", "deployment_id": ""}


def test_shared_data(values: dict[str, dict[str, Any]]) -> None:
    assert values["smallest"]["singleuser"]["sharedVolumes"] == []
    images, tools, results = values["everything"]["singleuser"]["sharedVolumes"]
    assert re.fullmatch(r"shared-images-[0-9a-f]{8}", images.pop("claim"))
    assert images == {"name": "images", "mountPath": "/data", "persistentVolume": True, "writableBy": []}
    assert tools["writableBy"] == ["instructor"]
    assert tools["persistentVolume"]
    assert (results["claim"], results["persistentVolume"]) == ("results", False)


def test_values_of_the_chart_are_laid_over(values: dict[str, dict[str, Any]]) -> None:
    assert values["everything"]["singleuser"]["nodeSelector"] == {"gpu": "yes"}
    assert values["everything"]["singleuser"]["image"] == {"name": OURS}
