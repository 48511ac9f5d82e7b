"""A student attacks a lecturer's browser: in vain, and with success where the lecturer's server has no guards."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit import chromium
from tests.unit.images.exchange import attacks as on_the_exchange
from tests.unit.images.hub import hub_attacks
from tests.unit.images.singleuser.browser_attacks import ASSIGNMENT, ATTACKS, EXAM, STUDENT, Folder, Target
from tests.unit.images.singleuser.grading_lab import GOOD, Course, Exchange, Hub
from tests.unit.images.singleuser.test_server import SECRET, Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENED = Path(__file__).parent / "opened_server"


@pytest.fixture(scope="module")
def graded(course_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    """Give a course in which the attacker's hand-in is graded."""
    hub, exchange = Hub(), Exchange()
    course = Course(tmp_path_factory.mktemp("attacked"), hub, exchange)
    shutil.copytree(course_folder, course.root, dirs_exist_ok=True)
    released = course.action("release", ASSIGNMENT)
    assert released["success"], released
    course.hand_in(STUDENT, GOOD)
    result = course.action("autograde", ASSIGNMENT, STUDENT)
    assert result["success"], result
    yield course
    hub.close()
    exchange.close()


@contextmanager
def at_work(lab: Lab, course: Course, patience: float) -> Iterator[Target]:
    """Give a lecturer's browser, signed in at their server."""
    (course.home / "exam.txt").write_text(EXAM)
    url = lab.url.replace("127.0.0.1", f"hub.{chromium.DOMAIN}")
    site = chromium.Site()
    chrome = chromium.start(secure=url.split("/user/")[0])
    try:
        chrome.get(f"{url}api/kernelspecs?token={SECRET}")
        (notebook,) = lab.get(f"formgrader/api/submitted_notebooks/{ASSIGNMENT}/sums").json()
        root, home = (Folder(path, PurePosixPath(path)) for path in (course.root, course.home))
        yield Target(url, chrome, lab.call, root, home, site, notebook["id"], patience)
    finally:
        chrome.quit()
        site.close()
        lab.close()


def test_a_lecturers_browser_gives_nothing_away(graded: Course) -> None:
    with at_work(Lab(graded, "instructor"), graded, patience=1.5) as target:
        # It is the lecturer's browser, and what it may see is worth something.
        target.open("api/contents/exam.txt?content=1")
        assert EXAM in target.chrome.page_source
        assert [attack.__name__ for attack in ATTACKS if attack(target)] == []
        # Nothing has come late.
        assert {path for path, body in target.site.seen if body} == set()
        assert not target.ran.exists()


@pytest.mark.full
def test_the_attacks_succeed_at_an_open_server(graded: Course, tmp_path: Path) -> None:
    course = Course(tmp_path, graded.hub, graded.exchange)
    course.root.rmdir()
    course.root = course.home / "course"
    shutil.copytree(graded.root, course.root)
    lab = Lab(course, "instructor", JUPYTER_CONFIG_PATH=str(OPENED), PYTHONPATH="")
    with at_work(lab, course, patience=12) as target:
        failed = [attack.__name__ for attack in ATTACKS if not attack(target)]
        said = chromium.logged(target.chrome, "browser")
    assert not failed, (failed, said, (course.place / "server.log").read_text()[-20_000:])


def test_the_suite_has_sixty_attacks() -> None:
    suites: list[list[Any]] = [ATTACKS, hub_attacks.ATTACKS, hub_attacks.ON_THE_CLUSTER, on_the_exchange.ATTACKS]
    names = [attack.__name__ for suite in suites for attack in suite]
    assert len(names) == len(set(names)) >= 60, len(names)
