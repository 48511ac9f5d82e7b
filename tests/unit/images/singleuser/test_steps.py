"""nbgrader's other steps: several graders at once, and an exchange that refuses."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from campus_hubs_lab import names

from tests.unit.images.singleuser.grading_lab import COURSE, GOOD, SOURCE

if TYPE_CHECKING:
    from tests.unit.images.singleuser.grading_lab import Course

HOLD = """
import sys
from pathlib import Path
from campus_hubs_lab.locks import AssignmentBusyError, assignment_lock
root, assignment, action, student = sys.argv[1:]
try:
    with assignment_lock(Path(root), assignment, action, student):
        print("held", flush=True)
        sys.stdin.readline()
except AssignmentBusyError as error:
    print(error, flush=True)
"""


class Grader:
    """A process that wants an assignment.

    Args:
        root: the course's folder.
        student: whose submission; `*` = all.
        user: who it is.
        assignment: its name.

    """

    def __init__(self, root: Path, student: str, user: str = "u1", assignment: str = "ps1") -> None:
        """Ask for it; `said` is what became of it."""
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), "JUPYTERHUB_USER": user}
        command = [sys.executable, "-c", HOLD, str(root), assignment, "collecting", student]
        self.process = subprocess.Popen(  # noqa: S603
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        self.said = self.process.stdout.readline().strip()

    def stop(self) -> None:
        """Let go."""
        self.process.communicate("\n", timeout=10)


def test_who_may_do_what_at_the_same_time(tmp_path: Path) -> None:
    first = Grader(tmp_path, "s1")
    # Other students and other assignments go on; the same student, and the whole, do not.
    second, other = Grader(tmp_path, "s2"), Grader(tmp_path, "*", assignment="ps2")
    assert [first.said, second.said, other.said] == ["held"] * 3
    for student, user, who in (
        ("s1", "u1", "You are"),
        ("s1", "u2", "Somebody else is"),
        ("*", "u2", "Somebody else is"),
    ):
        refused = Grader(tmp_path, student, user=user)
        assert refused.said.startswith(f"{who} collecting ps1")
        assert refused.said.endswith("Nothing was done; try again when that has finished.")
        refused.stop()
    first.stop()
    second.stop()
    whole = Grader(tmp_path, "*")
    assert whole.said == "held"
    assert "collecting ps1" in Grader(tmp_path, "s3").said
    # Who is killed holds nothing.
    whole.process.kill()
    whole.process.wait()
    last = Grader(tmp_path, "s3")
    assert last.said == "held"
    last.stop()
    other.stop()


def test_names_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    root = tmp_path / "course"
    root.mkdir()
    grader = Grader(root, "../../x", assignment="../../../y")
    assert grader.said == "held"
    grader.stop()
    assert {path.name for path in tmp_path.rglob("*") if path.is_dir()} == {"course", ".locks"}


def test_long_names_of_any_script_are_held_one_by_one(tmp_path: Path) -> None:
    name = "Контрольная работа по линейной алгебре"
    assert names.refusal(f"{name} 2") == ""
    people = [("anna.musterfrau@student.uni-example.de", f"{name} {number}") for number in (1, 2)]
    people += [("*", "課" * 33 + end) for end in "ab"]
    graders = [Grader(tmp_path, student, assignment=assignment) for student, assignment in people]
    assert [grader.said for grader in graders] == ["held"] * 4
    again = Grader(tmp_path, "*", user="u2", assignment="課" * 33 + "b")
    assert again.said.startswith(f"Somebody else is collecting {'課' * 33}b")
    for grader in [*graders, again]:
        grader.stop()


def test_a_second_button_gets_a_sentence(released: Course) -> None:
    holder = Grader(released.root, "*", user="uother")
    for arguments in (("collect", "ps1"), ("assign", "ps1"), ("release", "ps1"), ("generate_feedback", "ps1")):
        result = released.action(*arguments)
        assert not result["success"]
        assert "Somebody else is collecting ps1 just now" in result["log"]
        assert "error" not in result
    holder.stop()
    assert released.action("collect", "ps1")["success"]


def test_the_command_line_respects_it_too(released: Course) -> None:
    holder = Grader(released.root, "*", user="uother")
    done = released.run("nbgrader", "generate_assignment", "ps1", "--force")
    holder.stop()
    assert done.returncode != 0
    assert "Somebody else is collecting ps1" in done.stderr
    assert (released.root / "release" / "ps1" / "sums.ipynb").exists()


def test_two_graders_at_once(released: Course) -> None:
    students = ["s1", "s2", "s3"]
    for student in students:
        released.hand_in(student, GOOD)
    results: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda s=s: results.append(released.action("autograde", "ps1", s, user=f"u{s}")))
        for s in students
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result["success"] for result in results] == [True] * 3, results
    for student in students:
        assert released.scores(student) == {"test_square": 2, "test_read": 3, "why": None}
    with sqlite3.connect(released.root / "gradebook.db") as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_a_release_makes_the_column_and_a_refused_one_says_so(released: Course) -> None:
    exchange = released.exchange
    exchange.refuse_release = "The files are larger than 100 MiB."
    result = released.action("release", "ps1")
    assert not result["success"]
    assert "The assignment was NOT released. The exchange refuses: The files are larger than 100 MiB." in result["log"]
    assert not exchange.grades
    exchange.refuse_release, exchange.refuse_grades = "", "The LMS is away."
    result = released.action("release", "ps1")
    assert result["success"], result
    assert "The LMS has no column for ps1 yet: The LMS is away." in result["log"]
    assert {file["path"] for file in exchange.released["ps1"]} == {"sums.ipynb", "data.txt"}


def test_collect_takes_what_is_there_and_names(released: Course) -> None:
    exchange = released.exchange
    exchange.members = [{"user": "s1", "name": "Ada King Lovelace", "email": "a@x", "role": "student", "active": True}]

    def file(path: str, content: str) -> dict[str, str]:
        return {"path": path, "content": base64.b64encode(content.encode()).decode()}

    stamp = "2026-11-24 10:00:00.000000 UTC"
    good = [file("sums.ipynb", "{}"), file("sub/more.txt", "more")]
    exchange.submissions["ps1"] = {
        "s1": {"timestamp": stamp, "files": good},
        "s2": {"timestamp": stamp, "files": [*good, file("../../../../escaped.txt", "x")]},
        "s3": {"timestamp": stamp, "files": [file("/escaped.txt", "x")]},
        "s4": {"timestamp": stamp, "files": good},
    }
    result = released.action("collect", "ps1")
    assert "outside of the assignment" in result["log"]
    submitted = released.root / "submitted"
    for student in ("s1", "s4"):
        folder = submitted / student / "ps1"
        assert {p.name for p in folder.rglob("*") if p.is_file()} == {"sums.ipynb", "more.txt", "timestamp.txt"}
    assert not list(released.place.rglob("escaped.txt"))
    assert not Path("/escaped.txt").exists()
    with sqlite3.connect(released.root / "gradebook.db") as db:
        rows = db.execute("SELECT id, first_name, last_name, email FROM student").fetchall()
    db.close()
    assert rows == [("s1", "Ada King", "Lovelace", "a@x")]


@pytest.mark.parametrize("refusal", ["", "Your files are larger than 100 MiB."])
def test_a_student_is_told_when_work_was_not_taken(course: Course, refusal: str) -> None:
    course.exchange.refuse_submissions = refusal
    course.exchange.released["ps1"] = [{"path": "sums.ipynb", "content": base64.b64encode(b"{}").decode()}]
    folder = course.home / "ps1"
    folder.mkdir()
    (folder / "sums.ipynb").write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    done = course.run("nbgrader", "submit", "ps1", COURSE_ROLE="student")
    assert bool(done.returncode) is bool(refusal), done.stderr
    if refusal:
        assert f"Your work was NOT submitted. The exchange refuses: {refusal}" in done.stderr
    else:
        assert f"Submitted as: {COURSE} ps1" in done.stderr


def test_grades_go_with_feedback_if_the_course_wants_that(released: Course) -> None:
    released.hand_in("s1", GOOD)
    for step in (("autograde", "ps1", "s1"), ("generate_feedback", "ps1", "s1")):
        assert released.action(*step)["success"]
    done = released.action("release_feedback", "ps1", "s1", COURSE_SEND_GRADES_ON_FEEDBACK="1")
    assert done["success"], done
    ((name, document),) = released.exchange.grades
    # Not complete yet: the essay is still to be graded by hand.
    assert (name, document["send"], document["scores"]) == ("ps1", True, {})
