"""Grades reach the LMS's gradebook, each of them once, whatever the LMS and the cluster do meanwhile."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import exchange
from tests.e2e.cluster import Cluster, hub_answers
from tests.e2e.conftest import LTI11_COURSE, LTI13_COURSE
from tests.e2e.lms import Course, user_name
from tests.e2e.lti import Lms, Person
from tests.e2e.test_roster import STAFF, synced
from tests.e2e.waiting import wait_for

LIMIT = 300.0  # seconds until the outbox must be empty
STUDENTS = [f"student-{n}" for n in range(401, 421)]
UNLUCKY = "student-405"
REASON = "The gradebook of this student is locked."


@pytest.fixture
def course(lms: Lms) -> Iterator[Course]:
    """Return the LTI 1.3 course at the LMS, with twenty students who have never been in the hub."""
    del lms  # it must have been started
    course = Course(LTI13_COURSE)
    course.reset()
    course.set_roster(STAFF | dict.fromkeys(STUDENTS, "student"))
    yield course
    course.reset()
    synced(course.id)


@pytest.fixture
def lecturer(lms: Lms, course: Course) -> Person:
    """Return the lecturer with a running server, after a synchronisation of the roster."""
    person = lms.enter_lab(course.id, "lecturer")
    wait_for("roster", lambda: synced(course.id)["members"] == len(STUDENTS) + len(STAFF), 60)
    return person


def states(lecturer: Person, assignment: str) -> dict[str, dict[str, Any]]:
    """Return what the lecturer sees of an assignment's scores, by user name."""
    assignments = exchange.ask(lecturer, "GET", "/grades")["assignments"]
    found = [item for item in assignments if item["name"] == assignment]
    assert len(found) == 1, [item["name"] for item in assignments]
    return {score["user"]: score for score in found[0]["scores"]}


def settled(lecturer: Person, assignment: str) -> dict[str, dict[str, Any]]:
    """Wait until no score waits any more and return what the lecturer sees."""

    def nothing_waits() -> dict[str, dict[str, Any]] | None:
        found = states(lecturer, assignment)
        return found if found and all(score["state"] in ("sent", "refused") for score in found.values()) else None

    return wait_for(f"end of the outbox of {assignment}", nothing_waits, LIMIT, 2)


def arrived(course: Course, column: int) -> Counter[str]:
    """Return how many score requests for each person had an effect in a column."""
    log = course.requests("scores", line_item=column, processed=True)
    return Counter(entry["person"] for entry in log if 200 <= entry["status"] < 300)


def document(label: str, maximum: float, scores: dict[str, float], *, send: bool = True) -> dict[str, Any]:
    """Return the body of POST /api/grades/<assignment>."""
    by_user = {user_name(person): score for person, score in scores.items()}
    return {"label": label, "maximum": maximum, "scores": by_user, "send": send}


def test_grades_arrive_once_on_a_bad_day(cluster: Cluster, course: Course, lecturer: Person) -> None:
    """500, 429 with Retry-After, time-outs, a lost answer, 403 for one student; hub and exchange killed meanwhile."""
    assignment = f"bad-day-{uuid.uuid4().hex[:8]}"
    path, label = f"/grades/{assignment}", f"Bad day {assignment[-8:]}"
    scores = {person: 0.5 * n for n, person in enumerate(STUDENTS)}

    # The column comes with the release, before anybody has a score.
    exchange.ask(lecturer, "POST", path, document(label, 10, {}, send=False))
    column = wait_for("column", lambda: course.column(label), 60)
    assert column["scoreMaximum"] == 10
    assert column["scores"] == {}

    course.set_faults(
        {"service": "scores", "user": UNLUCKY, "status": 403, "body": REASON},
        {"service": "token", "calls": 1, "status": 503},
        {"service": "scores", "skip": 4, "calls": 3, "status": 500},
        {"service": "scores", "calls": 1, "status": 500, "processed": True},
        {"service": "scores", "skip": 2, "calls": 2, "status": 429, "retry_after": "5"},
        {"service": "scores", "calls": 1, "delay": 45, "status": 504},
        {"service": "scores", "calls": 1, "delay": 45, "processed": True},
    )
    begin = time.monotonic()
    status, _ = exchange.call(lecturer, "POST", path, document(label, 10, scores))
    assert status == 202
    wait_for("first scores", lambda: len(arrived(course, column["number"])) >= 3, 60)
    assert len(arrived(course, column["number"])) < len(STUDENTS) - 1, "too late to kill anything in the middle"
    namespace, url = f"course-{course.id}", cluster.course_url(course.id)
    for prefix in ("hub-", "exchange-"):
        cluster.delete_pod(cluster.pod(namespace, prefix))
    wait_for("hub", lambda: hub_answers(url) and cluster.ready(namespace, "exchange-"), 150)

    seen = settled(lecturer, assignment)
    print(f"grades on a bad day: {time.monotonic() - begin:.1f} s until everything was sent or refused")
    faults = {500, 429, 403, 504}
    wait_for("all faults", lambda: faults <= {entry["status"] for entry in course.requests("scores")}, 60)
    assert course.requests("scores", fault=True, processed=True)
    unlucky = seen.pop(user_name(UNLUCKY))
    assert unlucky["state"] == "refused"
    assert "403" in unlucky["reason"]
    assert REASON in unlucky["reason"]
    assert {score["state"] for score in seen.values()} == {"sent"}
    assert all(score["sent_at"] and not score["reason"] for score in seen.values())
    others = {person: score for person, score in scores.items() if person != UNLUCKY}
    found = course.column(label)
    assert {person: score["score"] for person, score in found["scores"].items()} == others
    assert arrived(course, column["number"]) == Counter(others.keys()), "each of them once"

    # Sent again, nothing goes out twice; what was refused has another chance.
    course.set_faults()
    exchange.ask(lecturer, "POST", path, document(label, 10, scores))
    wait_for("the refused one", lambda: states(lecturer, assignment)[user_name(UNLUCKY)]["state"] == "sent", LIMIT, 1)
    assert arrived(course, column["number"]) == Counter(STUDENTS)
    assert course.column(label)["scores"][UNLUCKY]["score"] == scores[UNLUCKY]

    # A changed score is sent, and only this one.
    exchange.ask(lecturer, "POST", path, document(label, 10, scores | {"student-401": 9.75}))
    wait_for("new score", lambda: course.column(label)["scores"]["student-401"]["score"] == 9.75, LIMIT, 1)
    settled(lecturer, assignment)
    assert arrived(course, column["number"]) == Counter([*STUDENTS, "student-401"])


def test_each_assignment_has_one_column(course: Course, lecturer: Person) -> None:
    """Also more of them than the LMS lists on a page, and after a change of maximum and title."""
    mark = uuid.uuid4().hex[:6]
    names = [f"week-{n}-{mark}" for n in range(1, 13)]
    for n, name in enumerate(names, 1):
        body = document(name.title(), n, {"student-401": n / 2}) | {"comments": {user_name("student-401"): "Seen"}}
        exchange.ask(lecturer, "POST", f"/grades/{name}", body)
    for name in names:
        settled(lecturer, name)
    for n, name in enumerate(names, 1):
        column = course.column(name.title())
        assert column["scoreMaximum"] == n
        assert column["scores"]["student-401"]["score"] == n / 2
        assert column["scores"]["student-401"]["comment"] == "Seen"
    exchange.ask(lecturer, "POST", f"/grades/{names[11]}", document("Final", 20, {"student-401": 19}))
    wait_for("changed column", lambda: course.column("Final")["scoreMaximum"] == 20, 60)
    wait_for("score", lambda: course.column("Final")["scores"]["student-401"]["score"] == 19, 60)
    assert len([c for c in course.shown()["columns"] if mark in c["label"].lower() or c["label"] == "Final"]) == 12
    resources = [column["resourceId"] for column in course.shown()["columns"]]
    assert len(set(resources)) == len(resources)


def test_students_cannot_send_grades(lms: Lms, course: Course, lecturer: Person) -> None:
    student = lms.enter_lab(course.id, STUDENTS[0])
    assignment = f"attack-{uuid.uuid4().hex[:8]}"
    body = document("Attack", 10, {STUDENTS[0]: 10})
    assert exchange.call(student, "POST", f"/grades/{assignment}", body)[0] == 403
    assert exchange.call(student, "GET", "/grades")[0] == 403
    names = [item["name"] for item in exchange.ask(lecturer, "GET", "/grades")["assignments"]]
    assert assignment not in names
    assert "Attack" not in [column["label"] for column in course.shown()["columns"]]


def test_lti_11_sends_one_total(lms: Lms) -> None:
    """The sum of the scores over the sum of the maxima, by Basic Outcomes; stated as such to the lecturer."""
    course, mark = Course(LTI11_COURSE), uuid.uuid4().hex[:6]
    course.reset()
    lecturer, student = lms.enter_lab(course.id, "lecturer"), lms.enter_lab(course.id, "student-1")
    known = exchange.ask(lecturer, "GET", "/grades")
    assert known["kind"] == "outcomes"
    assert known["reason"]
    course.set_faults({"service": "outcomes", "user": "student-1", "calls": 1, "status": 500})
    for name, maximum, score in ((f"one-{mark}", 10, 5), (f"two-{mark}", 30, 20)):
        exchange.ask(lecturer, "POST", f"/grades/{name}", document(name, maximum, {"student-1": score}))
    for name in (f"one-{mark}", f"two-{mark}"):
        assert settled(lecturer, name)[student.name]["state"] == "sent"
    sums = [
        (score["score"], item["maximum"])
        for item in exchange.ask(lecturer, "GET", "/grades")["assignments"]
        for score in item["scores"]
        if score["user"] == student.name and score["state"] == "sent"
    ]
    total = sum(score for score, _ in sums) / sum(maximum for _, maximum in sums)
    wait_for("total", lambda: abs(course.shown()["totals"]["student-1"] - total) < 0.0001, 60)
    log = course.requests("outcomes", person="student-1")
    assert log[0]["status"] == 500
    course.reset()
