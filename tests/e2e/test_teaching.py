"""A teaching day, driven as the pages drive it: from an assignment's first version to the grades in the LMS."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e import exchange
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI13_COURSE
from tests.e2e.lms import Course, user_name
from tests.e2e.lti import Lms, Person
from tests.e2e.waiting import wait_for

COURSE = LTI13_COURSE
ASSIGNMENT = f"ps-{uuid.uuid4().hex[:6]}"
NOTEBOOK = "squares"
STUDENTS = [f"student-{number}" for number in range(601, 611)]
RIGHT, LATE, WRONG, LOOPING, EMPTY, HOGGING, FORKING, FILLING, PRYING = STUDENTS[:9]
STEP_TIMEOUT = 600.0  # seconds; the looping submission alone waits for its time-out

SOLUTION = "def square(x):\n    ### BEGIN SOLUTION\n    return x * x\n    ### END SOLUTION"
ANSWERS = {
    WRONG: "def square(x):\n    return x + x",  # right for 0 and 2 only
    LOOPING: "def square(x):\n    while x == 0:\n        pass\n    return x * x",
    EMPTY: None,
    HOGGING: "def square(x):\n    while x == 0:\n        hog.append(bytearray(10**7))\n    return x * x\nhog = []",
    FORKING: "import os\ndef square(x):\n    while x == 0:\n        os.fork()\n    return x * x",
    FILLING: "def square(x):\n    with open('full', 'wb') as full:\n"
    "        while x == 0:\n            full.write(bytes(10**7))\n    return x * x",
    PRYING: """
import os, pathlib, socket
found = [name for name in os.environ if name.startswith(("JUPYTERHUB", "EXCHANGE", "NGSHARE"))]
for address in (("hub", 8081), ("exchange", 8080), ("10.96.0.1", 443), ("169.254.169.254", 80), ("10.89.7.6", 80)):
    try:
        socket.create_connection(address, 2)
        found.append(address)
    except OSError:
        pass
for folder in ("/srv/course", "/var/run/secrets"):
    found += os.listdir(folder) if os.path.isdir(folder) else []
for path in ("/etc/motd", "/srv/left", "/usr/local/bin/left"):
    try:
        pathlib.Path(path).write_text("changed")
        found.append(path)
    except OSError:
        pass
def square(x):
    return found or x * x
""",
}
# Points by hand: 2 for the first test, 3 for the second, 5 for the essay, which only RIGHT and LATE have written.
MAXIMUM = 10
ESSAYS = {RIGHT: 4.5, LATE: 2.0}
# What a submission does to the second test costs those points; what it looks for and does not find costs none.
TESTS = dict.fromkeys(STUDENTS, 5) | {WRONG: 3, LOOPING: 2, EMPTY: 0, HOGGING: 2, FORKING: 2, FILLING: 2}
SCORES = {person: points + ESSAYS.get(person, 0) for person, points in TESTS.items()}


def cell(kind: str, source: str, grade_id: str, points: int | None = None) -> dict[str, Any]:
    """Return a cell as nbgrader's "create assignment" marks it: graded if it has points, locked if it is a test."""
    solution = kind == "markdown" or points is None
    marks: dict[str, Any] = {"grade": points is not None, "grade_id": grade_id, "locked": not solution}
    marks |= {"schema_version": 3, "solution": solution, "task": False}
    if points is not None:
        marks["points"] = points
    made: dict[str, Any] = {"cell_type": kind, "id": grade_id, "metadata": {"nbgrader": marks}, "source": source}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def source_notebook() -> str:
    """Return the lecturer's version: a solution, two tests with hidden parts, an essay."""
    first = "assert square(2) == 4\n### BEGIN HIDDEN TESTS\nassert square(-3) == 9\n### END HIDDEN TESTS"
    second = "assert square(0) == 0\n### BEGIN HIDDEN TESTS\nassert square(0.0) == 0\n### END HIDDEN TESTS"
    cells = [
        cell("code", SOLUTION, "solution"),
        cell("code", first, "test-negative", 2),
        cell("code", second, "test-zero", 3),
        cell("markdown", "Explain your answer.", "essay", 5),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


def put_source(lecturer: Person, assignment: str) -> None:
    """Put the lecturer's version where formgrader looks for it, by Lab's file browser."""
    folder = f"course/source/{assignment}"
    lecturer._request("PUT", f"/user/{lecturer.name}/api/contents/{folder}", json={"type": "directory"})
    lecturer.put_file(f"{folder}/{NOTEBOOK}.ipynb", source_notebook())


def formgrader(person: Person, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401  any JSON
    """Press a button of formgrader; what nbgrader says must be success."""
    answer = person._request(method, f"/user/{person.name}/formgrader/api{path}", json=body, timeout=STEP_TIMEOUT)
    document = answer.json() if answer.text.strip() else None
    if isinstance(document, dict) and "success" in document:
        assert document["success"], f"{path}: {document.get('error')} {document.get('log', '')[-1500:]}"
    return document


def assignments(person: Person, action: str, **fields: str) -> Any:  # noqa: ANN401  any JSON
    """Press a button of the student's assignment list."""
    data = {"course_id": COURSE, "assignment_id": ASSIGNMENT, **fields}
    document = person._request("POST", f"/user/{person.name}/assignments/{action}", data=data, timeout=120).json()
    assert document["success"], document
    return document["value"]


def set_due(lecturer: Person, due: datetime) -> None:
    """Create the assignment or change it, as formgrader's form does."""
    fields = {"duedate_notimezone": due.strftime("%Y-%m-%dT%H:%M:%S"), "duedate_timezone": "+0000"}
    formgrader(lecturer, "PUT", f"/assignment/{ASSIGNMENT}", fields)


def work(lms: Lms, key: str) -> Person:
    """Fetch, answer, submit: what one student does."""
    person = lms.enter_lab(COURSE, key, spawn=300)
    assignments(person, "fetch")
    path = f"{ASSIGNMENT}/{NOTEBOOK}.ipynb"
    model = person._request("GET", f"/user/{person.name}/api/contents/{path}?content=1").json()
    assert "HIDDEN" not in json.dumps(model), "the student's version shows the hidden tests"
    by_id = {c["metadata"].get("nbgrader", {}).get("grade_id"): c for c in model["content"]["cells"]}
    answer = ANSWERS.get(key, "def square(x):\n    return x ** 2")
    if answer:
        by_id["solution"]["source"] = answer
    if key in ESSAYS:
        by_id["essay"]["source"] = f"Because it is a product. {key}"
    body = {"type": "notebook", "format": "json", "content": model["content"]}
    person._request("PUT", f"/user/{person.name}/api/contents/{path}", json=body)
    assignments(person, "submit")
    return person


@pytest.fixture(scope="module")
def day(lms: Lms, cluster: Cluster) -> Iterator[dict[str, Person]]:
    """Return everybody by their key, the servers running; afterwards they are stopped."""
    Course(COURSE).reset()
    people: dict[str, Person] = {}
    yield people
    cluster.stop_servers(COURSE)
    Course(COURSE).reset()


def test_a_lecturer_creates_and_releases(day: dict[str, Person], lms: Lms) -> None:
    """No admin step, no file edited: the course is there for who teaches."""
    lecturer = day["lecturer"] = lms.enter_lab(COURSE, "lecturer")
    set_due(lecturer, datetime.now(UTC) + timedelta(days=1))
    put_source(lecturer, ASSIGNMENT)
    formgrader(lecturer, "POST", f"/assignment/{ASSIGNMENT}/assign")
    formgrader(lecturer, "POST", f"/assignment/{ASSIGNMENT}/release")


def test_the_column_is_there_with_its_maximum(day: dict[str, Person]) -> None:
    """Release makes the column at the LMS, before there is any score."""
    del day
    column = wait_for("the column at the LMS", lambda: Course(COURSE).column(ASSIGNMENT), 60)
    assert column["scoreMaximum"] == MAXIMUM
    assert not column["scores"]


def test_students_fetch_and_submit(day: dict[str, Person], lms: Lms) -> None:
    """Nine at once; then the due date comes, which must not stop the tenth."""
    in_time = [key for key in STUDENTS if key != LATE]
    with ThreadPoolExecutor(len(in_time)) as pool:
        day |= dict(zip(in_time, pool.map(lambda key: work(lms, key), in_time), strict=True))
    # The form knows whole seconds only.
    set_due(day["lecturer"], datetime.now(UTC) + timedelta(seconds=1))
    time.sleep(3)
    day[LATE] = work(lms, LATE)


def test_a_student_has_no_formgrader(day: dict[str, Person]) -> None:
    """Neither page nor API; the lecturer's answers."""
    for path in ("/formgrader", "/formgrader/api/assignments", "/course"):
        person, lecturer = day[RIGHT], day["lecturer"]
        assert person.session.get(f"{person.server}{path}", timeout=30).status_code == 404, path
        assert lecturer.session.get(f"{lecturer.server}{path}", timeout=30).status_code == 200, path


def test_a_tutor_collects_and_autogrades(day: dict[str, Person], lms: Lms) -> None:
    """The tutor's own server works on the same course folder as the lecturer's."""
    tutor = day["teaching-assistant"] = lms.enter_lab(COURSE, "teaching-assistant")
    formgrader(tutor, "POST", f"/assignment/{ASSIGNMENT}/collect")
    begin = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        path = f"/submission/{ASSIGNMENT}/%s/autograde"
        list(pool.map(lambda key: formgrader(tutor, "POST", path % user_name(key)), STUDENTS))
    print(f"\n{len(STUDENTS)} submissions autograded in {time.monotonic() - begin:.0f} s", flush=True)
    submissions = formgrader(tutor, "GET", f"/submissions/{ASSIGNMENT}")
    found = {entry["student"]: entry for entry in submissions}
    assert {user_name(key) for key in STUDENTS} <= set(found)
    for key in STUDENTS:
        assert found[user_name(key)]["score"] == pytest.approx(TESTS[key]), (key, found[user_name(key)])
        assert found[user_name(key)]["needs_manual_grade"] == (key in ESSAYS)


def test_lateness_comes_from_the_server(day: dict[str, Person]) -> None:
    """One is late, by the exchange's clock."""
    listed = day["lecturer"].run_cell(
        "import json\n"
        "from nbgrader.api import Gradebook\n"
        "from campus_hubs_lab import gradebook\n"
        "with Gradebook(gradebook.db_url(gradebook.course_root())) as book:\n"
        f"    submissions = book.find_assignment({ASSIGNMENT!r}).submissions\n"
        "    print(json.dumps([s.student_id for s in submissions if s.total_seconds_late > 0]))\n"
    )
    assert json.loads(listed) == [user_name(LATE)]


def test_the_essays_are_graded_by_hand(day: dict[str, Person]) -> None:
    """The lecturer gives points in formgrader's page, as its script sends them."""
    lecturer = day["lecturer"]
    for key, points in ESSAYS.items():
        notebooks = formgrader(lecturer, "GET", f"/submitted_notebooks/{ASSIGNMENT}/{NOTEBOOK}")
        (submission,) = [entry for entry in notebooks if entry["student"] == user_name(key)]
        grades = formgrader(lecturer, "GET", f"/grades?submission_id={submission['id']}")
        (essay,) = [grade for grade in grades if grade["max_score"] == 5]
        formgrader(lecturer, "PUT", f"/grade/{essay['id']}", essay | {"manual_score": points})
    found = {entry["student"]: entry for entry in formgrader(lecturer, "GET", f"/submissions/{ASSIGNMENT}")}
    assert {key: found[user_name(key)]["score"] for key in STUDENTS} == pytest.approx(SCORES)


def test_feedback_reaches_the_students(day: dict[str, Person]) -> None:
    """Made and released by the lecturer, fetched by a student, readable."""
    lecturer, student = day["lecturer"], day[WRONG]
    formgrader(lecturer, "POST", f"/assignment/{ASSIGNMENT}/generate_feedback")
    formgrader(lecturer, "POST", f"/assignment/{ASSIGNMENT}/release_feedback")
    assignments(student, "fetch_feedback")
    pages = f"pathlib.Path({ASSIGNMENT!r}).glob('feedback/*/{NOTEBOOK}.html')"
    page = student.run_cell(f"import pathlib\nprint(*[page.read_text() for page in {pages}])")
    text = re.sub(r"<[^>]+>", "", page)
    assert "AssertionError" in text
    assert "square(-3)" in text, "the feedback shows what was tested"


def test_grades_reach_the_gradebook(day: dict[str, Person]) -> None:
    """One column, the right score for each student, sent once."""
    lecturer = day["lecturer"]
    users = {user_name(key) for key in SCORES}
    page = lecturer._request("POST", f"/user/{lecturer.name}/course/grades", data={"assignment": ASSIGNMENT})
    assert ASSIGNMENT in page.text

    def sent() -> bool:
        document = exchange.ask(lecturer, "GET", "/grades")
        (ours,) = [entry for entry in document["assignments"] if entry["name"] == ASSIGNMENT]
        states = {entry["user"]: entry["state"] for entry in ours["scores"] if entry["user"] in users}
        return states == dict.fromkeys(users, "sent")

    wait_for("all grades sent", sent, 90, 2)
    column = Course(COURSE).column(ASSIGNMENT)
    assert column["scoreMaximum"] == MAXIMUM
    assert {key: score["score"] for key, score in column["scores"].items()} == pytest.approx(SCORES)
