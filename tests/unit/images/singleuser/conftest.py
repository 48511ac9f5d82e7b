"""A course's folder, a hub that gives sandboxes, and an exchange, for the tests of the user image."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.images.singleuser.grading_lab import Course, Exchange, Hub

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    exchange = Exchange()
    yield exchange
    exchange.close()


@pytest.fixture
def course(tmp_path: Path, hub: Hub, exchange: Exchange) -> Course:
    return Course(tmp_path, hub, exchange)


@pytest.fixture(scope="session")
def course_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a course's folder with a generated assignment, once: it takes a while."""
    hub, exchange = Hub(), Exchange()
    course = Course(tmp_path_factory.mktemp("course"), hub, exchange)
    course.prepare()
    course.assignment()
    result = course.action("assign", "ps1")
    hub.close()
    exchange.close()
    assert result["success"], result
    return course.root


@pytest.fixture
def released(course: Course, course_folder: Path) -> Course:
    """Return a course with an assignment that only has to be released."""
    shutil.copytree(course_folder, course.root, dirs_exist_ok=True)
    return course
