"""The real nbgrader with the real ngshare-exchange against the real service, as lecturer and as student."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.unit.images.exchange.exchange_lab import ADA, BEN, COURSE, TEACHER, Exchange
from tests.unit.zygote import zygote

CONFIG = """
from ngshare_exchange import configureExchange
c = get_config()
c.CourseDirectory.course_id = "{course}"
configureExchange(c, ngshare_url="{url}/ngshare")
"""
SOLUTION = "### BEGIN SOLUTION\nanswer = 42\n### END SOLUTION"
HIDDEN = "### BEGIN HIDDEN TESTS\nassert answer == 42\n### END HIDDEN TESTS"


class Person:
    """Somebody's home with nbgrader in it."""

    def __init__(self, exchange: Exchange, user: str, home: Path) -> None:
        """Configure nbgrader."""
        self.home, self.user = home, user
        home.mkdir()
        (home / "nbgrader_config.py").write_text(CONFIG.format(course=COURSE, url=exchange.url))
        own = {"JUPYTERHUB_USER": user, "JUPYTERHUB_API_TOKEN": f"token-{user}", "HOME": str(home)}
        # nbgrader runs `alembic` by its name.
        own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = os.environ | own | {"JUPYTER_DATA_DIR": str(home / ".local")}

    def nbgrader(self, *arguments: str, good: bool = True) -> str:
        """Run nbgrader; returns what it says."""
        done = zygote.run("nbgrader", *arguments, env=self._environment, cwd=self.home, timeout=180)
        assert (done.returncode == 0) == good, done.stdout + done.stderr
        return done.stdout + done.stderr

    def write_answer(self, text: str) -> None:
        """Put an answer into the fetched notebook."""
        path = self.home / "ps1/task.ipynb"
        notebook = json.loads(path.read_text())
        notebook["cells"][0]["source"] = text
        path.write_text(json.dumps(notebook))


def source() -> str:
    """Make an assignment's notebook: a solution, and a hidden test of it."""
    common = {"schema_version": 3, "locked": False, "task": False}
    solution = common | {"grade": False, "solution": True, "grade_id": "answer"}
    test = common | {"grade": True, "solution": False, "grade_id": "test", "points": 2, "locked": True}
    cells = [
        {
            "cell_type": "code",
            "id": fields["grade_id"],
            "execution_count": None,
            "outputs": [],
            "source": text,
            "metadata": {"nbgrader": fields},
        }
        for fields, text in ((solution, SOLUTION), (test, HIDDEN))
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


@pytest.fixture
def lecturer(exchange: Exchange, tmp_path: Path) -> Person:
    person = Person(exchange, TEACHER, tmp_path / TEACHER)
    (person.home / "source/ps1/data").mkdir(parents=True)
    (person.home / "source/ps1/task.ipynb").write_text(source())
    (person.home / "source/ps1/data/measured.csv").write_bytes(bytes(range(256)))
    return person


def test_the_whole_cycle(exchange: Exchange, lecturer: Person, tmp_path: Path) -> None:
    ada, ben = (Person(exchange, user, tmp_path / user) for user in (ADA, BEN))
    lecturer.nbgrader("generate_assignment", "ps1")
    assert "Successfully released ps1" in lecturer.nbgrader("release_assignment", "ps1")
    assert "Destination already exists" in lecturer.nbgrader("release_assignment", "ps1", good=False)
    assert f"{COURSE} ps1" in ada.nbgrader("list")
    for student, answer in ((ada, "answer = 42"), (ben, "answer = 41")):
        assert "Successfully decoded ps1" in student.nbgrader("fetch_assignment", "ps1")
        assert (student.home / "ps1/data/measured.csv").read_bytes() == bytes(range(256))
        assert "HIDDEN" not in (student.home / "ps1/task.ipynb").read_text()
        student.write_answer("answer = 0")
        student.nbgrader("submit", "ps1")
        student.write_answer(answer)
        assert "Submitted as" in student.nbgrader("submit", "ps1")
    # A correction of the task by force: what was handed in stays.
    lecturer.nbgrader("release_assignment", "ps1", "--force")
    assert "Processing 2 submissions" in lecturer.nbgrader("collect", "ps1")
    for user in (ADA, BEN):
        collected = lecturer.home / "submitted" / user / "ps1"
        assert (collected / "task.ipynb").read_text() == (tmp_path / user / "ps1/task.ipynb").read_text()
    assert "No newer submission to collect" in lecturer.nbgrader("collect", "ps1", "--update")
    lecturer.nbgrader("autograde", "ps1")
    lecturer.nbgrader("generate_feedback", "ps1")
    assert lecturer.nbgrader("release_feedback", "ps1").count("Feedback released.") == 2
    for student, score in ((ada, "2.0 / 2.0"), (ben, "0.0 / 2.0")):
        assert "feedback ready to be fetched" in student.nbgrader("list", "--cached")
        student.nbgrader("fetch_feedback", "ps1")
        assert "feedback already fetched" in student.nbgrader("list", "--cached")
        pages = [path.read_text() for path in (student.home / "ps1/feedback").glob("*/task.html")]
        [page] = [page for page in pages if "Score" in page or score in page]
        assert score in page
    assert "Removing released assignments" in lecturer.nbgrader("list", "--remove")
    assert "ps1" not in ada.nbgrader("list").split("Released assignments:")[1]


def test_a_student_reads_why_an_upload_is_refused(exchange: Exchange, lecturer: Person, tmp_path: Path) -> None:
    exchange.stop()
    exchange.environment["EXCHANGE_MAX_UPLOAD_BYTES"] = str(1024 * 1024)
    exchange.start()
    lecturer.nbgrader("generate_assignment", "ps1")
    lecturer.nbgrader("release_assignment", "ps1")
    ada = Person(exchange, ADA, tmp_path / ADA)
    ada.nbgrader("fetch_assignment", "ps1")
    (ada.home / "ps1/large.bin").write_bytes(bytes(20 * 1024 * 1024))
    said = ada.nbgrader("submit", "ps1")
    assert "The files are too large: at most 1 MiB together are accepted." in said
    assert "Failed to submit" in said
