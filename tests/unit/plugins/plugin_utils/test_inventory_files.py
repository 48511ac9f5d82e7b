"""What people write in the files of an inventory, and what YAML makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_files import check_files, find_files
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import report

from tests.unit.plugins.inventories import mistakes_of

INVENTORY = """
all:
  children:
    control_plane: {hosts: {one: {ansible_host: 192.0.2.1}}}
    cluster: {children: {control_plane: {}}, vars: {load_balancer_addresses: [192.0.2.8/30]}}
    courses:
      vars:
        COMMON
      hosts:
        python-ws26:
          COURSE
"""
OPTIONS = {"course_hub_title": {"type": "str"}, "kubeadm_pod_subnet": {"type": "str"}}


def sentences(tmp_path: Path, course: str, common: str = "campus_x: 1") -> str:
    path = tmp_path / "hosts.yml"
    path.write_text(INVENTORY.replace("COURSE", course).replace("COMMON", common))
    found = mistakes_of(path)
    return report(found) if found else ""


def of_files(tmp_path: Path, extra: list[str] | None = None) -> str:
    return report(check_files(find_files([str(tmp_path)], "", extra or [], DataLoader()), OPTIONS).mistakes)


@pytest.mark.parametrize(
    "text",
    ["2026", "-5", "1.5", "2026.5", "1e3", '"0123"', "'1:30'", '"yes"', '"2026-01-01"', "00:1a", "🎓 日本"],
)
def test_what_yaml_leaves_as_it_is_is_text(tmp_path: Path, text: str) -> None:
    assert sentences(tmp_path, f"course_hub_title: {text}") == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0123", "0123, which YAML reads as 83, expected text. Fix: put it in quotes."),
        ("1:30", "1:30, which YAML reads as 90, expected text. Fix: put it in quotes."),
        ("1:30.5", "1:30.5, which YAML reads as 90.5, expected text. Fix: put it in quotes."),
        ("1_000", "1_000, which YAML reads as 1000, expected text. Fix: put it in quotes."),
        ("0x1F", "0x1F, which YAML reads as 31, expected text. Fix: put it in quotes."),
        ("0b11", "0b11, which YAML reads as 3, expected text. Fix: put it in quotes."),
        ("+5", "+5, which YAML reads as 5, expected text. Fix: put it in quotes."),
        ("2026.10", "2026.10, which YAML reads as 2026.1, expected text. Fix: put it in quotes."),
        ("1.0e+3", "1.0e+3, which YAML reads as 1000.0, expected text. Fix: put it in quotes."),
        ("yes", "true, expected text. Fix: put it in quotes."),
        ("off", "false, expected text. Fix: put it in quotes."),
        ("~", "nothing, expected text. Fix: give it a value or remove the line."),
        (".inf", "inf, expected a number, or text in quotes."),
        ("2026-10-01", "a date, expected text,"),
        ("2026-10-01T10:00:00Z", "a date, expected text,"),
        ("!!binary aGVsbG8=", "binary, expected text,"),
        ("[a]", '["a"], expected text.'),
        ("{a: b}", "a dictionary with a, expected text."),
        ('"a\\0b"', "a text with U+0000, expected text without control characters."),
    ],
)
def test_what_yaml_changes_is_refused(tmp_path: Path, text: str, words: str) -> None:
    found = sentences(tmp_path, f"course_hub_title: {text}")
    assert "1 mistake:" in found
    assert f"course_hub_title: found {words}" in found


@pytest.mark.parametrize(
    ("course", "words"),
    [
        ("course_hub_environment: {CODE: 0123}", "course_hub_environment.CODE: found 0123, which YAML reads as 83"),
        ("course_hub_packages: {pip: [a, 1:30]}", "course_hub_packages.pip[1]: found 1:30, which YAML reads as 90"),
        ("course_hub_profiles: [{title: 0123}]", "course_hub_profiles[0].title: found 0123, which YAML reads as 83"),
        (
            "course_hub_wait_seconds: 5:00",
            "course_hub_wait_seconds: found 5:00, which YAML reads as 300, expected a number",
        ),
        (
            "course_hub_gpu: 010",
            "course_hub_gpu: found 010, which YAML reads as 8, expected a number as people write it.",
        ),
        (
            "course_hub_values: {cull: {every: 1:30}}",
            "course_hub_values.cull.every: found 1:30, which YAML reads as 90",
        ),
        (
            'course_hub_title: "{{ campus_x }}"',
            "course_hub_title: found the value of campus_x, 0123, which YAML reads as 83",
        ),
        (
            'course_hub_title: "No. {{ campus_x }}"',
            "course_hub_title: found the value of campus_x, 0123, which YAML reads",
        ),
        ("course_hub_lms_context: [57, -0]", "course_hub_lms_context[1]: found -0, which YAML reads as 0"),
        ("course_hub_concurrent_starts: 08", 'course_hub_concurrent_starts: found "08", expected a whole number'),
        ('course_hub_gpu: "010"', 'course_hub_gpu: found "010", expected a whole number'),
        ('course_hub_cpu: {guarantee: "00.1", limit: 1}', 'course_hub_cpu.guarantee: found "00.1", expected a number'),
        ("course_hub_environment: {on: a}", "course_hub_environment.True: found a name that is no text"),
        ("course_hub_lti_platforms: {5: {}}", "course_hub_lti_platforms.5: found a name that is no text"),
        ("5: x", "variable 5: found a name that is no text, expected a name that begins with a letter"),
        ("on: x", "variable True: found a name that is no text, expected a name that begins with a letter"),
        ("course_hub_title: a\n          course_hub_title: b", "course_hub_title: found it twice, expected it once."),
        ("course_hub_cpu: {limit: 1, limit: 2, guarantee: 1}", "limit: found it twice"),
    ],
)
def test_numbers_and_names_at_any_depth(tmp_path: Path, course: str, words: str) -> None:
    assert words in sentences(tmp_path, course, common="campus_x: 0123")


PLATFORM = (
    "course_hub_lti_platforms: {moodle: {issuer: https://m, authorization_endpoint: https://m/a,"
    " token_endpoint: https://m/t, jwks_uri: https://m/j}}"
)


@pytest.mark.parametrize(
    ("course", "words"),
    [
        (
            "{course_hub_lti13_platform: 5}",
            "course_hub_lti13_platform: found 5, expected one of course_hub_lti_platforms",
        ),
        (
            "{course_hub_lti13_platform: 0}",
            "course_hub_lti13_platform: found 0, expected one of course_hub_lti_platforms",
        ),
        (
            "{course_hub_lti13_platform: moodle, course_hub_lti13_client_id: 0}",
            "course_hub_lti13_deployment_id: found nothing, expected the deployment id that moodle gave the course",
        ),
        (
            '{course_hub_lti13_platform: moodle, course_hub_lti13_client_id: a, course_hub_lti13_deployment_id: " "}',
            'course_hub_lti13_deployment_id: found " ", expected the id as the LMS shows it',
        ),
        (
            '{course_hub_lti13_platform: moodle, course_hub_lti13_client_id: "a ", course_hub_lti13_deployment_id: 1}',
            'course_hub_lti13_client_id: found "a ", expected the id as the LMS shows it',
        ),
        (
            "{course_hub_lti13_platform: moodle, course_hub_lms_context: [57, 58],"
            " course_hub_lti13_memberships_url: https://m/57}",
            "course_hub_lti13_memberships_url: found a URL, expected none with 2 courses in course_hub_lms_context",
        ),
        ("course_hub_material: {git: 5}", "course_hub_material.git: found 5, expected a URL"),
        (
            "course_hub_packages: {apt: [5]}",
            "course_hub_packages.apt[0]: found 5, expected the name of a Debian package",
        ),
        ("course_hub_image: 5", "course_hub_image: found 5, expected a full reference"),
        ("course_hub_lms_networks: [10]", "course_hub_lms_networks: found 10, expected a network"),
        ("course_hub_user_networks: [{cidr: 10, ports: [22]}]", "course_hub_user_networks[0].cidr: found 10, expected"),
    ],
)
def test_a_number_is_the_text_that_it_is_and_no_more(tmp_path: Path, course: str, words: str) -> None:
    assert words in sentences(tmp_path, course, common=PLATFORM)


@pytest.mark.parametrize(("client", "deployment"), [("0", "0"), ("20261001", "1"), ("1.5", "-7")])
def test_ids_of_digits_need_no_quotes(tmp_path: Path, client: str, deployment: str) -> None:
    ids = f"course_hub_lti13_client_id: {client}, course_hub_lti13_deployment_id: {deployment}"
    assert sentences(tmp_path, f"{{course_hub_lti13_platform: moodle, {ids}}}", common=PLATFORM) == ""


def test_file_modes_and_what_is_others_pass(tmp_path: Path) -> None:
    course = "course_hub_config: {KubeSpawner: {volumes: [{name: a, secret: {secretName: b, defaultMode: 0440}}]}}"
    assert sentences(tmp_path, course, common="backup_mode: 0640") == ""


@pytest.mark.parametrize("content", ["", "---\n", "# later\n", "---\n...\n"])
def test_a_file_with_nothing_in_it_is_right(tmp_path: Path, content: str) -> None:
    path = tmp_path / "group_vars" / "all.yml"
    path.parent.mkdir()
    path.write_text(content)
    assert not check_files(find_files([str(tmp_path)], "", [], DataLoader()), OPTIONS).mistakes


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("hosts.yml", b"all:\n\thosts:\n", "hosts.yml, line 2: the file: found no YAML"),
        ("hosts.yml", b"all:\n\thosts:\n", "Fix: use spaces, as YAML takes no tabs in front of a line."),
        (
            "hosts.yml",
            b"all: {vars: {x: caf\xe9}}\n",
            "hosts.yml, line 1: the file: found what is no UTF-8, expected text in UTF-8.",
        ),
        ("hosts.yml", b"[a, b]\n", "the file: found a list, expected a dictionary of groups."),
        (
            "hosts.yml",
            b"all: {hosts: yes}\n",
            "all.hosts: found yes, which is true or false to YAML, expected a dictionary",
        ),
        (
            "hosts.yml",
            b"all: {hosts: [a]}\n",
            "all.hosts: found a list, expected a dictionary, with a colon behind each name",
        ),
        (
            "hosts.yml",
            b"all: {hosts: {2026: {}}}\n",
            "a host's name: found 2026, which is a number to YAML, expected text.",
        ),
        ("hosts.yml", b"all: {hosts: {2026-01-01: {}}}\n", "a host's name: found 2026-01-01, which is a date to YAML"),
        ("hosts.yml", b"all: {hosts: {a: text}}\n", "host a: found text, expected its variables, or nothing."),
        ("hosts.yml", b"all: {children: {no: {}}}\n", "a group's name: found no, which is true or false to YAML"),
        (
            "hosts.yml",
            b"all: {children: {a: [b]}}\n",
            "group a: found a list, expected a dictionary with hosts, children",
        ),
        (
            "hosts.yml",
            b"courses: {host: {a: }}\n",
            "courses.host: found an unknown name, expected one of hosts, children, vars. Did you mean hosts?",
        ),
        (
            "hosts.toml",
            b"[courses.hosts.a]\ncourse_hub_title = 1_000\n",
            "course_hub_title: found 1_000, which Ansible reads as 1000, expected text. Fix: put it in quotes.",
        ),
        (
            "hosts",
            b"[courses]\na course_hub_title=1_000\n",
            "course_hub_title: found 1_000, which Ansible reads as 1000",
        ),
        (
            "hosts",
            b"[all:vars]\ncourse_hub_title = 2026.10\n",
            "2026.10, which Ansible reads as 2026.1, expected text.",
        ),
        (
            "hosts.ini",
            b"[courses]\na course_hub_title=1_000\n",
            "hosts.ini, line 2: course_hub_title: found 1_000, which",
        ),
        ("ws26/a/hosts.yml", b"all: {vars: {course_hub_title: 0123}}\n", "hosts.yml, line 1: course_hub_title: found"),
        (
            "group_vars/all.yml",
            b"course_hub_title: 0123\n",
            "all.yml, line 1: course_hub_title: found 0123, which YAML",
        ),
        ("host_vars/a/vars.yml", b"kubeadm_pod_subnet: 1:30\n", "vars.yml, line 1: kubeadm_pod_subnet: found 1:30"),
        ("group_vars/all", b"a: b: c\n", "all, line 1: the file: found no YAML"),
        ("group_vars/all.yml", b"- a\n", "the file: found a list, expected a dictionary of variables."),
    ],
)
def test_files(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert words in of_files(tmp_path)


@pytest.mark.parametrize("name", ["hosts.ini", "campus.inventory", "hosts.2026"])
def test_an_inventory_may_have_any_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[all:vars]\ncourse_hub_title=2026.10\n")
    found = check_files(find_files([str(tmp_path / name)], "", [], DataLoader()), OPTIONS).mistakes
    assert f"- {name}, line 2: course_hub_title: found 2026.10, which Ansible reads as 2026.1" in report(found)


def test_right_files_have_no_mistakes(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        "[courses]\na course_hub_title='0123' x=0123\n[all:vars]\ncourse_hub_title=Python\n"
    )
    (tmp_path / "dynamic.yml").write_text("plugin: constructed\nhosts: yes\n")
    (tmp_path / "hosts.yml").write_text("all: {hosts: one, children: {a: }}\n")
    # Ansible does not read these.
    for name in (".git/a.yml", "a/.b.yml", "a/group_vars/all.yml", "a/b.yml~", "a/b.bak"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("- course_hub_title: 0123\n")
    assert "0 mistakes" in of_files(tmp_path)


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "more.yml").write_text("course_hub_title: 0123\n")
    text = of_files(tmp_path / "none", ["{course_hub_title: 1:30}", f"@{tmp_path}/more.yml", "course_hub_title=0123"])
    assert "- -e: course_hub_title: found 1:30, which YAML reads as 90" in text
    assert "- more.yml, line 1: course_hub_title: found 0123" in text
    assert "2 mistakes" in text
