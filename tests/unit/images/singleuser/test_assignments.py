"""How assignments are made: under which names, with which due dates, and of which files."""

from __future__ import annotations

import base64
import json
import re
import unicodedata
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from campus_hubs_lab import course as course_page
from campus_hubs_lab import duedates, gradebook, names

from tests.unit.images.singleuser.grading_lab import COURSE, code, nbgrader_cell, solution
from tests.unit.images.singleuser.test_server import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.unit.images.singleuser.grading_lab import Course

ZONE = "Europe/Berlin"
# What is wrong with each is said.
REFUSED = {
    **{f"a{c}b": f"it has {c}" for c in names.FORBIDDEN},
    "[1] sums (draft)": r"it has ( ) [ ]",
    "a\u202eb": "it has U+202E",
    "a\x00b": "it has U+0000",
    "a\nb": "it has U+000A",
    "a\U0001f600": "it has U+1F600",
    "\u00a0": "needs a name",
    "": "needs a name",
    "   ": "needs a name",
    " ps1": "begins or ends with a blank",
    "..": "begins with a dot",
    ".git": "begins with a dot",
    "--force": "begins with a dot or hyphen",
    "ps1.": "ends with a dot",
    unicodedata.normalize("NFD", "Übung"): "form NFC",
    "x" * 101: "longer than 100 bytes",
    "ü" * 51: "longer than 100 bytes",
    "source": "used for something else",
    "Feedback": "used for something else",
    "ps1.IPYNB": "used for something else",
    "sums_files": "used for something else",
    "PS 1": "differs in capital letters only",
}
TAKEN = ["ps 1", "other"]


@pytest.mark.parametrize(("name", "why"), REFUSED.items(), ids=ascii)
def test_a_name_is_refused_with_a_reason(name: str, why: str) -> None:
    sentence = names.refusal(name, TAKEN)
    assert why in sentence
    assert sentence.isprintable()
    assert len(sentence) < 400


@pytest.mark.parametrize("name", ["ps 1", "ps1", "Übung 3", "課題_1", "Тест-2", "عدد", "a.b", "x" * 100, "1", "_"])
def test_a_name_is_taken(name: str) -> None:
    assert names.refusal(name, TAKEN) == ""
    assert names.notebook_refusal(f"{name}.ipynb") == ""


@pytest.mark.parametrize("file", ["sums (1).ipynb", "#1.ipynb", ".ipynb", "a?.ipynb", " a.ipynb", "-a.ipynb"])
def test_a_notebook_is_refused(file: str) -> None:
    assert "notebook" in names.notebook_refusal(file)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-12-01", "2026-12-01 22:59:59"),
        ("1.12.2026", "2026-12-01 22:59:59"),
        ("2026-12-01 23:59", "2026-12-01 22:59:00"),
        ("2026-12-01T23:59", "2026-12-01 22:59:00"),
        ("2026-12-01T23:59:30.5", "2026-12-01 22:59:30"),
        ("1.12.2026 23:59", "2026-12-01 22:59:00"),
        ("01. 12. 2026, 8:00", "2026-12-01 07:00:00"),
        ("1.12.2026 24:00", "2026-12-01 23:00:00"),
        ("2026-12-01T23:59+01:00", "2026-12-01 22:59:00"),
        ("2026-12-01 23:59 -0500", "2026-12-02 04:59:00"),
        ("2026-12-01T23:59Z", "2026-12-01 23:59:00"),
        ("2026-12-01 23:59 UTC", "2026-12-01 23:59:00"),
        ("2026-12-01 23:59 America/New_York", "2026-12-02 04:59:00"),
        # In summer another offset, whenever it is typed.
        ("2027-07-01 23:59", "2027-07-01 21:59:00"),
        ("2027-03-28 01:59", "2027-03-28 00:59:00"),
        ("2027-03-28 03:00", "2027-03-28 01:00:00"),
        ("2026-10-25 02:30 +02:00", "2026-10-25 00:30:00"),
        ("2026-10-25 02:30 +01:00", "2026-10-25 01:30:00"),
    ],
)
def test_due_dates_as_people_type_them(monkeypatch: pytest.MonkeyPatch, text: str, utc: str) -> None:
    monkeypatch.setenv("TZ", ZONE)
    assert str(duedates.parse(text)) == utc


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("12/01/2026", "is no due date. Write"),
        ("01.02.03", "is no due date. Write"),
        ("tomorrow", "is no due date. Write"),
        ("2026-12-01 23:59 or so", "no due date"),
        ("2026-02-30", "there is no such day"),
        ("2026-12-01 25:00", "there is no such day, time or zone"),
        ("2026-12-01 24:01", "there is no such day, time or zone"),
        ("2026-12-01 23:59 MEZ", "there is no such day, time or zone"),
        ("2026-12-01 23:59 +25:00", "there is no such day, time or zone"),
        ("2026-12-01 23:59 ../../etc/passwd", "no due date"),
        ("0001-01-01 00:00 +14:00", "there is no such day"),
        ("9999-12-31 23:59 -14:00", "there is no such day"),
        ("2027-03-28 02:30", f"is left out in {ZONE}, since clocks go forward: choose another time."),
        ("2026-10-25 02:30", f"is twice in {ZONE}, since clocks go back: add +0200 or +0100."),
        ("2027-03-28 02:30 Europe/Berlin", "is left out"),
        ("2026-12-01" + " " * 5000 + "x" * 5000, "no due date"),
    ],
)
def test_a_due_date_is_refused_in_words(monkeypatch: pytest.MonkeyPatch, text: str, why: str) -> None:
    monkeypatch.setenv("TZ", ZONE)
    with pytest.raises(duedates.DueDateError, match=re.escape(why)) as refused:
        duedates.parse(text)
    assert len(str(refused.value)) < 300


def test_pages_show_the_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ZONE)
    assert course_page.moment("2026-11-24T10:00:00Z") == "2026-11-24 11:00 CET"
    assert course_page.moment("2026-07-24T10:00:00") == "2026-07-24 12:00 CEST"
    assert (course_page.moment("soon"), course_page.moment(None)) == ("", "")
    # Half an hour after clocks went back, which nbgrader's own conversion shows as 3:30.
    assert f"{duedates.in_zone(datetime(2026, 10, 25, 1, 30), ZONE):%H:%M %Z}" == "02:30 CET"
    monkeypatch.setenv("TZ", "Nowhere/At_All")
    assert course_page.moment("2026-11-24T10:00:00Z") == "2026-11-24 10:00 UTC"


def known(course: Course) -> list[str]:
    return [assignment["name"] for assignment in gradebook.assignments(course.root, COURSE)]


def test_each_step_refuses_such_a_name(released: Course) -> None:
    for name in ("sums [1]", "PS1"):
        released.assignment(name)
        sentence = names.refusal(name, ["ps1"])
        done = released.action("assign", name)
        assert not done["success"]
        assert sentence in done["log"]
        assert "error" not in done
        by_hand = released.run("nbgrader", "generate_assignment", name)
        assert (by_hand.returncode, sentence in by_hand.stderr) == (1, True), by_hand.stderr
        (released.root / "release" / name).mkdir()
        done = released.action("release", name)
        assert (done["success"], sentence in done["log"]) == (False, True)
        added = released.run("nbgrader", "db", "assignment", "add", name)
        assert (added.returncode, sentence in added.stderr) == (1, True)
        assert "Traceback" not in added.stderr
    assert known(released) == ["ps1"]
    assert not released.exchange.released
    # What a course has already goes on.
    assert released.action("assign", "ps1")["success"]


def test_a_notebook_s_name_is_refused_when_it_is_generated(released: Course) -> None:
    (source,) = (released.root / "source" / "ps1").glob("*.ipynb")
    source.rename(source.with_name("sums (1).ipynb"))
    done = released.action("assign", "ps1")
    assert not done["success"]
    assert "A notebook of an assignment cannot be called 'sums (1).ipynb'" in done["log"]


def test_due_dates_of_the_command_line(course: Course) -> None:
    course.prepare()

    def add(due: str) -> CompletedProcess[str]:
        return course.run("nbgrader", "db", "assignment", "add", "ps1", f"--duedate={due}", TZ=ZONE)

    assert add("1.12.2026 23:59").returncode == 0
    refused = add("12/01/2026")
    assert (refused.returncode, "is no due date" in refused.stderr) == (1, True)
    assert "Traceback" not in refused.stderr
    listed = course.run("nbgrader", "db", "assignment", "list", TZ=ZONE)
    assert "ps1 (due: 2026-12-01 22:59:00)" in listed.stdout


@pytest.fixture
def lab(released: Course) -> Iterator[Lab]:
    lab = Lab(released, "instructor", TZ=ZONE)
    lab.get("formgrader/manage_assignments")
    yield lab
    lab.close()


def ask(lab: Lab, method: str, where: str, **document: object) -> tuple[int, dict[str, Any]]:
    headers = {"X-XSRFToken": lab.browser.cookies.get("_xsrf", "")}
    answer = lab.browser.request(method, lab.url + where, json=document, headers=headers, timeout=60)
    return answer.status_code, answer.json()


def test_formgrader_and_file_browser(lab: Lab, released: Course) -> None:
    source = released.root / "source"

    def assignment(name: str, due: str | None = None, zone: str | None = None) -> tuple[int, dict[str, Any]]:
        path = f"formgrader/api/assignment/{quote(name, safe='')}"
        return ask(lab, "PUT", path, duedate_notimezone=due, duedate_timezone=zone)

    for name in ("sums [1]", "a#b", "PS1", ".git", "a+b"):
        status, said = assignment(name)
        assert (status, said["message"]) == (400, names.refusal(name, ["ps1"]))
    assert assignment("ps2", "12/01/2026")[1]["message"].startswith("'12/01/2026' is no due date.")
    assert assignment("ps2", "2027-03-28T02:30", ZONE)[0] == 400
    assert (known(released), [path.name for path in source.iterdir()]) == (["ps1"], ["ps1"])
    # As the dialog sends it, and as it is shown: the zone by its name, which is right in summer, too.
    status, made = assignment("ps2", "2027-07-01T23:59", ZONE)
    assert (status, made["duedate"], made["display_duedate"]) == (
        200,
        "2027-07-01T21:59:00",
        "2027-07-01 23:59:00 CEST",
    )
    assert (made["duedate_notimezone"], made["duedate_timezone"]) == ("2027-07-01T23:59:00", ZONE)
    assert assignment("ps2", "2026-12-01")[1]["display_duedate"] == "2026-12-01 23:59:59 CET"
    assert assignment("ps2", "2026-12-01T23:59", "+0200")[1]["display_duedate"] == "2026-12-01 22:59:00 CET"
    assert assignment("ps2", None)[1]["duedate"] is None

    def refused(answer: tuple[int, dict[str, Any]], sentence: str) -> None:
        assert answer[0] == 400, answer
        assert sentence in answer[1]["message"]

    files = "api/contents/course/source"
    bad = quote("ps1 (copy)")
    refused(ask(lab, "PUT", f"{files}/{bad}", type="directory"), "it has ( )")
    refused(ask(lab, "PATCH", f"{files}/ps1", path="course/source/ps1 (copy)"), "it has ( )")
    refused(ask(lab, "PATCH", f"{files}/ps1", path="course/source/PS2"), "there is 'ps2'")
    refused(ask(lab, "PUT", f"{files}/ps2/a%3F.ipynb", type="notebook", content=None), "'a?.ipynb'")
    refused(ask(lab, "PATCH", f"{files}/ps1/sums.ipynb", path="course/source/ps1/#.ipynb"), "'#.ipynb'")
    assert ask(lab, "PUT", f"api/contents/{bad}", type="directory")[0] == 201
    refused(ask(lab, "PATCH", f"api/contents/{bad}", path="course/source/ps1 (copy)"), "it has ( )")
    # What a lecturer does all day.
    for old, new in (("ps2", "PS2"), ("PS2", "ps2")):
        assert ask(lab, "PATCH", f"{files}/{old}", path=f"course/source/{new}")[0] == 200
    assert ask(lab, "POST", files, type="directory")[1]["name"] == "Untitled Folder"
    assert ask(lab, "PATCH", f"{files}/Untitled%20Folder", path="course/source/Übung 3")[0] == 200
    assert ask(lab, "POST", f"{files}/%C3%9Cbung%203", type="notebook")[1]["name"] == "Untitled.ipynb"
    status, notebook = ask(lab, "POST", f"{files}/%C3%9Cbung%203", copy_from="course/source/ps1/sums.ipynb")
    assert (status, notebook["name"]) == (201, "sums.ipynb")
    assert ask(lab, "PUT", f"{files}/ps1/%5B1%5D.txt", type="file", format="text", content="x")[0] == 201
    # What a terminal made is said on both pages.
    (source / "a[1]#").mkdir()
    sentence = "An assignment cannot be called &#39;a[1]#&#39;: it has # [ ]"
    for page in ("formgrader/manage_assignments", "course"):
        assert sentence in lab.get(page).text
    assert {each["name"] for each in lab.get("formgrader/api/assignments").json()} >= {"ps1", "ps2", "a[1]#"}
    page = lab.get("formgrader/manage_assignments").text
    assert f'var default_timezone = "{ZONE}";' in page


def autotest(root: Path, tests: str) -> None:
    marked = nbgrader_cell("test", grade=True, solution=False, points=2)
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "x", "language": "python"}},
        "cells": [solution("square", "def square(x):\n    return x * x"), code(tests, marked)],
    }
    folder = root / "source" / "auto"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sums.ipynb").write_text(json.dumps(notebook))


@pytest.mark.parametrize(
    "tests",
    [
        "### AUTOTEST square(3)",
        "x = 1\n    #HASHED AUTOTEST square(3)",
        "# todo: AUTOTEST square(3)",
        "### autotest square(3)",
        "# AUTO-TEST square(3)",
    ],
)
def test_generated_tests_are_refused_in_words(course: Course, tests: str) -> None:
    course.prepare()
    autotest(course.root, tests)
    done = course.action("assign", "auto")
    assert not done["success"]
    assert "Cell 2 of sums.ipynb has AUTOTEST, which would run the notebook on your own server" in done["log"]
    assert not (course.root / "release/auto").exists()


def test_no_notebook_runs_when_it_is_generated(course: Course) -> None:
    """As nbgrader would run it for this word anywhere."""
    course.prepare()
    ran = course.place / "RAN"
    autotest(course.root, f"word = 'AUTOTEST'\nopen({str(ran)!r}, 'w').close()")
    done = course.action("assign", "auto")
    assert done["success"], done
    assert "word = 'AUTOTEST'" in (course.root / "release/auto/sums.ipynb").read_text()
    assert not ran.exists()


def test_links_that_lead_out_of_the_course_s_folder_are_not_released(course: Course) -> None:
    """The environment of a lecturer's server has its token, and a tutor may write here."""
    course.prepare()
    course.assignment()
    (course.home / "private.txt").write_text("of the lecturer alone")
    (course.root / "shared.txt").write_text("of the course")
    links: dict[str, str | Path] = {
        "environ.txt": "/proc/self/environ",
        "home.txt": course.home / "private.txt",
        "inside.txt": "../../shared.txt",
    }
    for name, target in links.items():
        (course.root / "source/ps1" / name).symlink_to(target)
    assert course.action("assign", "ps1")["success"]
    # Somebody may put one there afterwards.
    (course.root / "release/ps1/later.txt").symlink_to("/proc/self/environ")
    assert course.action("release", "ps1")["success"]
    files = {file["path"]: base64.b64decode(file["content"]) for file in course.exchange.released["ps1"]}
    assert files.keys() == {"data.txt", "inside.txt", "sums.ipynb"}
    assert files["inside.txt"] == b"of the course"
    # A notebook is none that can be left out.
    notebook = course.root / "source/ps1/sums.ipynb"
    notebook.rename(course.home / "private.ipynb")
    notebook.symlink_to(course.home / "private.ipynb")
    done = course.action("assign", "ps1")
    assert (done["success"], "sums.ipynb is a link that leads out of the course's folder." in done["log"]) == (
        False,
        True,
    )


def test_what_was_found_in_a_hand_in_is_on_the_course_page(lab: Lab, released: Course) -> None:
    gradebook.note(released.root, "ps1", "s9", "collect", ["Left out of what was handed in: <b>."])
    assert "<td>Left out of what was handed in: &lt;b&gt;.</td>" in lab.get("course").text
