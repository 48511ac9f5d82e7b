"""What a message shows, and what it does not."""

from __future__ import annotations

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import Mistake, did_you_mean, report, show


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("course_hub_title", 'a "b"', '"a \\"b\\""'),
        ("course_hub_memory", {"limit": "2G", "guarantee": "1G"}, "a dictionary with limit, guarantee"),
        ("course_hub_memory", {}, "a dictionary with nothing"),
        ("load_balancer_addresses", ["a", 1, None], '["a", 1, null]'),
        ("course_hub_title", "two\nlines", '"two\\nlines"'),
        ("kubeadm_apt_url", "https://me:hunter2@mirror.example.edu/", '"https://mirror.example.edu/"'),
        ("course_hub_title", True, "true"),
    ],
)
def test_a_value_is_shown_without_its_secrets(name: str, value: object, text: str) -> None:
    assert show(name, value) == text


@pytest.mark.parametrize(
    "name",
    [
        "course_hub_password",
        "course_hub_shared_secret",
        "course_images_registry_token",
        "course_hub_config.client_secret",
        "ansible_become_password",
    ],
)
@pytest.mark.parametrize("value", ["hunter2", ["hunter2"], {"hunter2": "hunter2"}])
def test_a_value_that_sounds_secret_is_hidden(name: str, value: object) -> None:
    assert show(name, value) == "(hidden)"


@pytest.mark.parametrize(
    "name",
    [
        "course_hub_lti_platforms.moodle.token_endpoint",
        "token_endpoint",
        "course_hub_lti_platforms.brightspace.token_audience",
        "course_hub_show_secret",
    ],
)
def test_names_that_only_sound_secret(name: str) -> None:
    assert show(name, "x") == '"x"'


def test_long_values_are_cut() -> None:
    assert len(show("course_hub_title", "x" * 1000)) == 100


def test_a_misspelt_name_has_a_hint() -> None:
    assert (
        did_you_mean("course_hub_memmory", ["course_hub_memory", "course_hub_cpu"]) == "Did you mean course_hub_memory?"
    )
    assert did_you_mean("something_else", ["course_hub_memory"]) == ""


def test_report_says_the_same_mistake_of_many_hosts_once() -> None:
    same = [Mistake(f"w{number}", "node_min_disk_gb", '"x"', "a whole number") for number in range(1, 6)]
    other = Mistake("cp1", "calico_mtu", "9", "0 or more", "take 0")
    assert report([*same, other]).splitlines() == [
        "The inventory has 2 mistakes:",
        '- w1, w2 and 3 more: node_min_disk_gb: found "x", expected a whole number.',
        "- cp1: calico_mtu: found 9, expected 0 or more. Fix: take 0.",
        "Nothing was changed.",
    ]
