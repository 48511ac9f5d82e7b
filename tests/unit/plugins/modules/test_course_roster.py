"""What the roster module makes of the exchange's pod and of what its command prints."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.library import Ended
from ansible_collections.campus.hubs.plugins.modules import course_roster

DOCUMENT = {
    "changed": True,
    "available": True,
    "reason": "",
    "joined": ["u3"],
    "left": ["u1"],
    "role_changed": [{"user": "u2", "before": "student", "after": "teaching_assistant"}],
    "waiting": [],
    "notes": [],
    "context": {},
    "members": 2,
}


CONTEXT = {"id": "57", "title": "Python", "label": "PY26", "issuer": "https://moodle.example.edu", "deployment_id": "1"}
BOUND = "Python (PY26, id 57) of https://moodle.example.edu, deployment 1"


def pod(name: str, ready: str = "True", **metadata: str) -> dict[str, Any]:
    status = {"conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": name, "namespace": "course-x", **metadata}, "status": status}


def test_only_a_ready_pod_that_stays_is_asked() -> None:
    pods = [pod("exchange-1"), pod("old", deletionTimestamp="now"), pod("starting", ready="False")]
    assert course_roster.ready_pods(pods) == {"course-x": "exchange-1"}
    assert course_roster.ready_pods(pods[1:]) == {}


def synchronise(done: Ended, *, check: bool = False, confirm: bool = False) -> tuple[dict[str, Any], list[str]]:
    commands: list[list[str]] = []

    def run(command: list[str]) -> Ended:
        commands.append(command)
        return done

    return course_roster.synchronise(run, check=check, confirm=confirm), commands[0]


def test_the_document_is_the_result() -> None:
    document, command = synchronise(Ended(0, json.dumps(DOCUMENT)))
    assert document == DOCUMENT
    assert command == ["campus-hubs-exchange", "roster"]


def test_check_mode_asks_only() -> None:
    _, command = synchronise(Ended(0, json.dumps(DOCUMENT)), check=True)
    assert command == ["campus-hubs-exchange", "roster", "--check"]


def test_who_waits_leaves_when_it_is_confirmed() -> None:
    _, command = synchronise(Ended(0, json.dumps(DOCUMENT)), confirm=True)
    assert command == ["campus-hubs-exchange", "roster", "--confirm-removals"]
    document = {**DOCUMENT, "namespace": "course-x", "msg": "", "changed": False, "notes": ["41 of 42 stay."]}
    assert course_roster.line_of(document) == "course-x: 41 of 42 stay."


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (CONTEXT, BOUND),
        ({**CONTEXT, "label": "", "deployment_id": ""}, "Python (id 57) of https://moodle.example.edu"),
        ({**CONTEXT, "title": "", "issuer": ""}, "PY26, id 57, deployment 1"),
        ({"id": "57"}, "id 57"),
        ({}, "not bound to a course of the LMS yet; the first launch by a lecturer does it"),
    ],
)
def test_the_report_says_what_a_course_is_bound_to(context: dict[str, str], words: str) -> None:
    assert course_roster.bound_of("course-x", context) == f"course-x: {words}"


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (Ended(1, errors="The LMS answers 503."), "The LMS answers 503."),
        (Ended(3), "exit code 3"),
        (Ended(0, "hello"), "printed no JSON document"),
        (Ended(0, "[]"), "unexpected document"),
        (Ended(0, '{"changed": true}'), "unexpected document"),
        (Ended(None), "no answer within"),
    ],
)
def test_what_goes_wrong_is_said(run: Ended, reason: str) -> None:
    with pytest.raises(course_roster.RosterError, match=reason):
        synchronise(run)


def test_the_diff_names_who_comes_and_goes() -> None:
    assert course_roster.diff_of(DOCUMENT) == {
        "before": "u1\nu2 student\n",
        "after": "u2 teaching_assistant\nu3\n",
    }


def test_one_of_many_that_fails_stops_no_other_and_is_named() -> None:
    together = threading.Barrier(3, timeout=10)

    def read(namespace: str, pod: str) -> dict[str, Any]:
        assert pod == f"pod-of-{namespace}"
        together.wait()  # side by side, or never
        if namespace == "course-b":
            message = "The LMS answers 503"
            raise course_roster.RosterError(message)
        nothing = {**course_roster.NOTHING, "context": CONTEXT}
        return DOCUMENT if namespace == "course-a" else {**DOCUMENT, "changed": False, **nothing}

    names = [f"course-{letter}" for letter in "abcd"]
    pods = {name: f"pod-of-{name}" for name in names[:3]}
    result = course_roster.result_of(course_roster.read_all(names, pods, read))
    assert result["changed"]
    assert [course["namespace"] for course in result["courses"]] == names
    assert result["lines"] == [
        "course-a: 1 join, 1 leave, 1 have another role",
        "course-b: The LMS answers 503. The members are as before; the next run asks again.",
        "course-d: its exchange is not ready. The members are as before; the next run asks again.",
    ]
    # Nothing is known of one that could not be asked.
    assert result["bound"] == [
        "course-a: not bound to a course of the LMS yet; the first launch by a lecturer does it",
        f"course-c: {BOUND}",
    ]
    assert result["diff"]["after"] == "course-a: u2 teaching_assistant\ncourse-a: u3\n"
