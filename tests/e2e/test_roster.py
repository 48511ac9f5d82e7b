"""The course's members follow the LMS's roster, all pages of it, without anybody's doing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e import exchange, playbook
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI11_COURSE, LTI13_COURSE
from tests.e2e.lms import HUB_ROLES, Course, user_name
from tests.e2e.lti import LaunchRefusedError, Lms, Person
from tests.e2e.waiting import wait_for

STAFF = {"lecturer": "lecturer", "teaching-assistant": "teaching assistant"}
MODULE_TIMEOUT = 300.0  # seconds


def course_roster(course: str, *options: str) -> dict[str, Any]:
    """Run the module as a playbook would; return what became of the course, with the diff.

    Removals are confirmed: other tests have left members whom these rosters do not name.
    """
    arguments: dict[str, Any] = {"namespaces": [f"course-{course}"], "kubeconfig": str(playbook.KUBECONFIG)}
    arguments["confirm_removals"] = True
    argv = [str(Path(sys.executable).with_name("ansible")), "localhost", "-i", str(playbook.INVENTORY), *options]
    argv += ["-m", "campus.hubs.course_roster", "-a", json.dumps(arguments)]
    done = subprocess.run(  # noqa: S603
        argv,
        cwd=playbook.ROOT,
        env=playbook.environment() | {"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        text=True,
        capture_output=True,
        timeout=MODULE_TIMEOUT,
        check=False,
    )
    _, found, text = done.stdout.partition(" => ")
    assert found, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.JSONDecoder().raw_decode(text)[0]
    return {**result["courses"][0], "changed": result["changed"], "diff": result.get("diff")}


def synced(course: str, *options: str) -> dict[str, Any]:
    """Return what became of a course whose roster can be read."""
    found = course_roster(course, *options)
    assert not found["msg"], found
    return found


@pytest.fixture
def roster(lms: Lms) -> Iterator[Course]:
    """Return the LTI 1.3 course at the LMS; afterwards its members are again those whom everybody knows."""
    del lms  # it must have been started
    course = Course(LTI13_COURSE)
    course.reset()
    yield course
    course.reset()
    course_roster(course.id)


@pytest.fixture
def lecturer(lms: Lms, roster: Course) -> Person:
    """Return the lecturer with a running server; their launch has told the course where its roster is."""
    person = lms.enter_lab(roster.id, "lecturer")
    wait_for("address of the roster", lambda: ask_members(person)["roster"]["available"], 60)
    return person


def ask_members(lecturer: Person) -> dict[str, Any]:
    """Return what the exchange says about its members and its roster."""
    document: dict[str, Any] = exchange.ask(lecturer, "GET", "/members")
    return document


def active(lecturer: Person) -> dict[str, str]:
    """Return the active members with their roles, by user name."""
    return {member["user"]: member["role"] for member in ask_members(lecturer)["members"] if member["active"]}


def wanted(people: dict[str, str]) -> dict[str, str]:
    """Return user names and hub roles of a roster."""
    return {user_name(person): HUB_ROLES[role] for person, role in people.items()}


def difference(before: dict[str, str], after: dict[str, str]) -> dict[str, Any]:
    """Return what a synchronisation from one to the other has to report."""
    both = sorted(before.keys() & after.keys())
    changes = [{"user": u, "before": before[u], "after": after[u]} for u in both if before[u] != after[u]]
    return {
        "changed": before != after,
        "joined": sorted(after.keys() - before.keys()),
        "left": sorted(before.keys() - after.keys()),
        "role_changed": changes,
        "members": len(after),
        "available": True,
        "reason": "",
    }


def reported(document: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the contract, in an order that can be compared."""
    document = {name: document[name] for name in difference({}, {})}
    document["role_changed"] = sorted(document["role_changed"], key=lambda change: change["user"])
    return document | {"joined": sorted(document["joined"]), "left": sorted(document["left"])}


def test_members_follow_the_roster(roster: Course, lecturer: Person) -> None:
    """250 members on 3 pages; five join, five leave, two change their role; said before, done once, then nothing."""
    first = STAFF | {f"student-{n}": "student" for n in range(1, 249)}
    assert len(first) == 250
    roster.set_roster(first)
    before, expected = active(lecturer), wanted(first)
    for options in (("--check",), ("--check",), ()):
        seen = len(roster.requests("memberships", status=200))
        assert reported(synced(roster.id, *options)) == difference(before, expected), options
        assert len(roster.requests("memberships", status=200)) - seen == 3
    assert active(lecturer) == expected
    for options in ((), ("--check",)):
        assert reported(synced(roster.id, *options)) == difference(expected, expected), options

    second = {person: role for person, role in first.items() if person not in {f"student-{n}" for n in range(10, 15)}}
    second |= {f"student-{n}": "student" for n in range(301, 306)}
    second |= {"student-1": "teaching assistant", "teaching-assistant": "student"}
    roster.set_roster(second)
    change = difference(expected, wanted(second))
    assert (len(change["joined"]), len(change["left"]), len(change["role_changed"])) == (5, 5, 2)
    assert reported(synced(roster.id, "--check", "--diff")) == change
    # The lecturer's button does the same.
    assert reported(exchange.ask(lecturer, "POST", "/roster?check=1")) == change
    assert active(lecturer) == expected, "a check must change nothing"
    assert reported(exchange.ask(lecturer, "POST", "/roster")) == change
    assert active(lecturer) == wanted(second)
    for options in (("--check",), ()):
        assert reported(synced(roster.id, *options)) == difference(wanted(second), wanted(second)), options
    document = ask_members(lecturer)
    assert {user_name(f"student-{n}") for n in range(10, 15)} <= {
        member["user"] for member in document["members"] if not member["active"]
    }, "who left is still known"
    assert document["roster"]["error"] == ""


def test_half_a_roster_removes_nobody(roster: Course, lecturer: Person) -> None:
    """The LMS fails at the second page: it is said, and everybody stays."""
    people = STAFF | {f"student-{n}": "student" for n in range(1, 150)}
    roster.set_roster(people)
    synced(roster.id)
    roster.set_roster(STAFF | {f"student-{n}": "student" for n in range(20, 149)})
    roster.set_faults({"service": "memberships", "skip": 1, "status": 500})
    assert "500" in course_roster(roster.id)["msg"]
    assert active(lecturer) == wanted(people)
    assert "500" in ask_members(lecturer)["roster"]["error"]
    roster.set_faults()
    assert len(synced(roster.id)["left"]) == 20
    assert ask_members(lecturer)["roster"]["error"] == ""


def test_who_left_loses_access_and_keeps_their_work(
    cluster: Cluster, lms: Lms, roster: Course, lecturer: Person
) -> None:
    people = STAFF | {"student-41": "student", "student-42": "student"}
    roster.set_roster(people)
    student, other = lms.enter_lab(roster.id, "student-41"), lms.enter(roster.id, "student-42")
    student.put_file("kept.txt", "written before")
    del people["student-41"]
    roster.set_roster(people)
    assert student.name in synced(roster.id)["left"]

    def has_no_server() -> bool:
        pods = cluster.pods(f"course-{roster.id}")
        return student.name not in {(p.metadata.annotations or {}).get("hub.jupyter.org/username") for p in pods}

    wait_for("end of the server of who left", has_no_server, 60)
    url = f"{student.hub}/hub/api/user"
    wait_for("end of the session", lambda: student.session.get(url, timeout=30).status_code in (401, 403), 30)
    assert other.user_model()["name"] == other.name, "nobody else's session ends"
    with pytest.raises(LaunchRefusedError, match="403"):
        lms.enter(roster.id, "student-41")

    roster.set_roster(people | {"student-41": "student"})
    assert student.name in synced(roster.id)["joined"]
    back = lms.enter_lab(roster.id, "student-41")
    assert back.get_file("kept.txt") == "written before"
    assert active(lecturer)[back.name] == "student"


def test_promotion_and_demotion_are_followed(lms: Lms, roster: Course, lecturer: Person) -> None:
    """A promoted student launches as tutor; a demoted one loses at once what tutors may."""
    people = STAFF | {"student-43": "teaching assistant"}
    roster.set_roster(people)
    synced(roster.id)
    tutor = lms.enter_lab(roster.id, "student-43")
    assert tutor.user_model()["groups"] == ["teaching_assistant"]
    assert exchange.call(tutor, "GET", "/members")[0] == 200
    roster.set_roster(people | {"student-43": "student"})
    change = {"user": tutor.name, "before": "teaching_assistant", "after": "student"}
    assert change in synced(roster.id)["role_changed"]
    wait_for("end of the tutor's session", lambda: ended(tutor), 60)
    student = lms.enter_lab(roster.id, "student-43")
    assert student.user_model()["groups"] == ["student"]
    for method, path in (("GET", "/members"), ("POST", "/roster"), ("GET", "/grades")):
        assert exchange.call(student, method, path)[0] == 403, path
    assert active(lecturer)[student.name] == "student"


def ended(person: Person) -> bool:
    """Tell whether the hub knows this browser no more."""
    return person.session.get(f"{person.hub}/hub/api/user", timeout=30).status_code in (401, 403)


def test_a_course_with_lti_11_says_that_it_has_no_roster(lms: Lms) -> None:
    del lms  # it must have been started
    result = synced(LTI11_COURSE)
    assert (result["changed"], result["available"]) == (False, False)
    assert "1.1" in result["reason"]
    assert requests.get("http://10.89.7.6/courses/stats-demo/roster", timeout=30).ok
