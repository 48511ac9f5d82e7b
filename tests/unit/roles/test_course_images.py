"""What an image is made of: all that its Containerfiles copy, and its tag is another one when that changes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from tests.unit.roles.role_variables import ROOT, compute

IMAGES = ROOT / "images"
DIRECTORIES: dict[str, list[str]] = compute("course_images", "_course_images_directories", {})
NAMES: list[str] = compute("course_images", "_course_images_names", {})


def tags(changed: Path | None = None) -> dict[str, str]:
    """Return the tags of all images, with one file of them changed."""
    files = [
        {"path": str(path), "checksum": "changed" if path == changed else hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(IMAGES.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    ]
    variables = {"_course_images_source": str(IMAGES), "_course_images_files": {"files": files}}
    return {name: compute("course_images", "_course_images_tag", {**variables, "item": name}) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_what_an_image_copies_is_in_its_directories(name: str) -> None:
    text = "".join((IMAGES / directory / "Containerfile").read_text() for directory in DIRECTORIES[name])
    sources = [
        source for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for source in line.split()[:-1]
    ]
    assert sources
    assert {source.split("/")[0] for source in sources} <= set(DIRECTORIES[name])
    assert all((IMAGES / source).exists() for source in sources)
    assert DIRECTORIES[name][-1] == name
    # A package of ours that is not installed is not there.
    packages = {path.name for directory in DIRECTORIES[name] for path in (IMAGES / directory).glob("campus_hubs_*")}
    assert packages <= {source.split("/")[-1] for source in sources}


@pytest.mark.parametrize(
    ("path", "images"),
    [
        ("hub/campus_hubs_hub/src/campus_hubs_hub/spawner.py", {"hub"}),
        ("membership/campus_hubs_membership/src/campus_hubs_membership/roles.py", {"hub", "exchange"}),
        ("python/Containerfile", {"hub", "exchange", "singleuser"}),
        ("proxy/course-proxy.mjs", {"proxy"}),
        ("README.md", set()),
    ],
)
def test_a_change_is_a_new_tag_of_the_images_that_have_it_and_of_no_other(path: str, images: set[str]) -> None:
    before, after = tags(), tags(IMAGES / path)
    assert all(re.fullmatch(r"[0-9a-f]{16}", tag) for tag in before.values())
    assert {name for name in NAMES if before[name] != after[name]} == images
