"""Lists of packages and a course's servers; tests/unit/charts/test_release_values.py has the same by Ansible."""

from __future__ import annotations

import re
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.course_servers import (
    ValuesError,
    package_lists,
    packages_key,
    server_values,
    shared_volume,
)

COURSE: dict[str, Any] = {
    "memory": {"guarantee": "512M", "limit": "2Gi"},
    "cpu": {"guarantee": 0.5, "limit": 1.0},
    "gpu": 1,
    "gpu_resource": "nvidia.com/gpu",
    "profiles": [],
    "volumes": [],
}
IMAGE = "registry.example.edu/singleuser@sha256:aa"


def test_equal_lists_are_one_image() -> None:
    key = packages_key({"pip": ["pandas", "plotly"], "apt": ["graphviz"]})
    assert key == packages_key({"apt": ["graphviz", "graphviz"], "pip": [" plotly", "pandas "]})
    assert key != packages_key({"pip": ["pandas", "plotly", "graphviz"]})
    assert packages_key({"pip": ["graphviz"]}) != packages_key({"apt": ["graphviz"]})
    assert len(key) == 16


@pytest.mark.parametrize("nothing", [None, {}, {"pip": []}, {"pip": None, "apt": []}])
def test_no_packages_no_image(nothing: Any) -> None:  # noqa: ANN401
    assert packages_key(nothing) == ""
    assert package_lists([nothing]) == []


def test_each_list_once_in_one_order() -> None:
    first, second, third = {"pip": ["a", "b"]}, {"apt": ["c"]}, {"pip": ["b", "a"], "apt": []}
    assert package_lists([first, second, third]) == package_lists([second, first])
    assert len(package_lists([first, second, third])) == 2


def test_a_profile_without_gpu_in_a_course_with_one() -> None:
    made = server_values({**COURSE, "profiles": [{"title": "A", "gpu": 0}, {"title": "B"}]}, IMAGE, {})
    without, as_usual = (profile["kubespawner_override"] for profile in made["singleuser"]["profileList"])
    assert without["extra_resource_limits"] == {"nvidia.com/gpu": 0}
    assert without["tolerations"] == []
    assert as_usual["extra_resource_limits"] == {"nvidia.com/gpu": 1}
    assert as_usual["tolerations"] == made["singleuser"]["extraTolerations"]


def test_each_profile_is_chosen_by_an_id_of_its_own() -> None:
    titles = ["Notes", "C", "C++", "C#", "机器学习", "機器学習", "\U0001f393"]
    made = server_values({**COURSE, "profiles": [{"title": title} for title in titles]}, IMAGE, {})
    slugs = [profile["slug"] for profile in made["singleuser"]["profileList"]]
    assert slugs[0] == "notes"
    assert len(set(slugs)) == len(titles)
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", slug) for slug in slugs)


def test_bytes_without_a_unit_are_a_number() -> None:
    made = server_values({**COURSE, "memory": {"guarantee": "536870912", "limit": 2147483648.0}}, IMAGE, {})
    assert made["singleuser"]["memory"] == {"guarantee": 536870912, "limit": 2147483648}


def test_words_for_what_a_profile_is() -> None:
    profiles = [{"title": "A"}, {"title": "B", "cpu": {"limit": "1.5"}, "memory": {"limit": "1073741824"}, "gpu": 0}]
    made = server_values({**COURSE, "profiles": profiles}, IMAGE, {})["singleuser"]["profileList"]
    assert made[0]["description"] == "Up to 1 core and 2 GiB of memory, 1 GPU"
    assert made[1]["description"] == "Up to 1.5 cores and 1 GiB of memory"


def test_an_image_that_is_not_built() -> None:
    course = {**COURSE, "packages": {"pip": ["pandas"], "apt": ["graphviz"]}}
    with pytest.raises(ValuesError, match="found no image with pandas, graphviz, expected"):
        server_values(course, IMAGE, {})
    stand_in = server_values(course, IMAGE, {}, missing="not-built-yet")
    assert stand_in["singleuser"]["image"] == {"name": "not-built-yet"}
    there = server_values(course, IMAGE, {packages_key(course["packages"]): "built"})
    assert there["singleuser"]["image"] == {"name": "built"}


def test_another_folder_is_another_claim() -> None:
    """What a volume leads to cannot be changed."""
    claims = {
        shared_volume({"name": "a", "mount_path": "/a", **source})["claim"]
        for source in (
            {"nfs": {"server": "one", "path": "/a"}},
            {"nfs": {"path": "/a", "server": "one"}},
            {"nfs": {"server": "two", "path": "/a"}},
            {"host_path": "/a"},
        )
    }
    assert len(claims) == 3
