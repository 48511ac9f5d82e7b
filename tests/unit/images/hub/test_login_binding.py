"""A course is one course of the LMS: which launches are of it, who binds it, and that all others have no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from campus_hubs_login.binding import Binding
from campus_hubs_login.errors import LaunchRefused
from campus_hubs_login.launch import launch_from_form
from campus_hubs_membership.identity import user_name

from tests.unit.images.hub.login_lab import MEMBERSHIP, Browser, Hub

TEACHES = [f"{MEMBERSHIP}#Instructor"]
ELSEWHERE: list[Any] = [
    {"id": "course-8", "title": "<script>alert(1)</script>", "label": "X"},
    {"id": "Course-9"},
    {"id": "course-9 "},
    {"id": "course-9/"},
    {"id": "course"},
    {"id": "<b>course-9</b>", "title": "Python"},
    {"id": 9, "title": "Python"},
    {"id": "9" * 5000},
    {"id": "course-9\x00"},
    {"id": ["course-9"]},
    {"id": None},
    {"id": ""},
    {},
    None,
    "course-9",
]


@pytest.fixture(scope="module")
def unbound(make_hub: Callable[..., Hub]) -> Hub:
    """Give a hub that no inventory binds, with its first launches: student, other LMS, lecturer."""
    hub = make_hub(context_ids=[])
    early = Browser(hub).launch13(sub="early")
    assert early.status_code == 403
    assert "Your lecturer has to open this course once" in early.text
    tutor = Browser(hub).launch13(sub="tutor", roles=[f"{MEMBERSHIP}/Instructor#TeachingAssistant"])
    assert tutor.status_code == 403
    assert hub.api("/users") == []
    assert Browser(hub).launch13(sub="lecturer", roles=TEACHES).status_code == 303
    return hub


def known(hub: Hub) -> dict[str, Any]:
    """Read all that the hub knows of people."""
    return {user["name"]: (user["groups"], user["auth_state"]) for user in hub.api("/users")}


@pytest.fixture
def nothing_happens(unbound: Hub) -> Iterator[None]:
    """Check that a test leaves no trace in the hub."""
    assert Browser(unbound).launch13(sub="student").status_code == 303
    before = known(unbound)
    yield
    assert known(unbound) == before


@pytest.mark.parametrize("context", ELSEWHERE, ids=repr)
@pytest.mark.usefixtures("nothing_happens")
def test_other_contexts_are_refused_without_any_effect(
    unbound: Hub, context: object, reason: Callable[[requests.Response], str]
) -> None:
    # New people, the lecturer herself in another course of hers, and a student who teaches there.
    for person in ("stranger", "lecturer", "student"):
        for roles in (TEACHES, [f"{MEMBERSHIP}#Learner"]):
            browser = Browser(unbound)
            answer = browser.launch13(sub=person, roles=roles, context=context)
            assert answer.status_code == 403
            assert "course of the LMS" in reason(answer)
            assert "<script>alert" not in answer.text
            assert len(answer.text) < 20_000
            assert "jupyterhub-hub-login" not in answer.headers.get("Set-Cookie", "")
            assert browser.whoami() == ""


@pytest.mark.usefixtures("nothing_happens")
def test_other_lmss_and_contexts_are_refused_by_lti11_too(unbound: Hub) -> None:
    guid = unbound.lms.issuer.removeprefix("http://")
    for changes in (
        {"context_id": "course-8"},
        {"context_id": None},
        {"context_id": "course-9,course-8"},
        {"tool_consumer_instance_guid": "moodle.example.edu"},
        {"tool_consumer_instance_guid": None},
        {"tool_consumer_instance_guid": f"{guid}0"},
    ):
        for roles in ("Instructor", "Learner"):
            launch: dict[str, Any] = {
                "tool_consumer_instance_guid": guid,
                "user_id": "student",
                "roles": roles,
                **changes,
            }
            assert Browser(unbound).launch11(**launch).status_code == 403, launch
    assert Browser(unbound).launch11(tool_consumer_instance_guid=guid, user_id="student").status_code == 303
    # The state of that one launch is LTI 1.1's.
    assert Browser(unbound).launch13(sub="student").status_code == 303


@pytest.mark.usefixtures("nothing_happens")
def test_the_deployment_counts_as_well(unbound: Hub) -> None:
    assert Browser(unbound).launch13(sub="student", roles=TEACHES, deployment_id="8").status_code == 403


def test_a_restarted_hub_knows_its_course(unbound: Hub) -> None:
    unbound.stop()
    unbound.start()
    assert Browser(unbound).launch13(sub="lecturer", roles=TEACHES, context={"id": "course-8"}).status_code == 403
    assert Browser(unbound).launch13(sub="lecturer", roles=TEACHES).status_code == 303


def test_of_many_first_launches_one_course_wins(make_hub: Callable[..., Hub]) -> None:
    hub = make_hub(context_ids=[])

    def launch(number: int) -> tuple[str, int]:
        context = f"course-{number % 4}"
        return context, Browser(hub).launch13(sub=f"t{number}", roles=TEACHES, context={"id": context}).status_code

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(launch, range(24)))
    entered = {context for context, status in answers if status == 303}
    assert len(entered) == 1
    assert sorted(answers) == sorted((context, 303 if {context} == entered else 403) for context, _ in answers)
    assert len(hub.api("/users")) == 6


def test_the_inventory_may_name_several_courses_and_students_come_at_once(make_hub: Callable[..., Hub]) -> None:
    hub = make_hub(context_ids=["57", "58"], lti_roles={f"{MEMBERSHIP}#Mentor": "teaching_assistant"})
    for context, status in (("57", 303), (58, 303), ("59", 403), ("57,58", 403)):
        assert Browser(hub).launch13(sub="student", context={"id": context}).status_code == status, context
    Browser(hub).launch13(sub="mentor", roles=[f"{MEMBERSHIP}#Mentor"], context={"id": "58"})
    assert hub.api(f"/users/{user_name(hub.lms.issuer, 'mentor')}")["groups"] == ["teaching_assistant"]


# ---- the file beside the hub's database ----
def launch(context: str, role: str = "Instructor", **changes: str) -> Any:  # noqa: ANN401 - a Launch
    form = {"user_id": "1", "roles": role, "oauth_consumer_key": "k", "oauth_timestamp": "1", "context_id": context}
    return launch_from_form({**form, **changes}, issuer="")


def test_what_the_inventory_names_counts_and_is_bound_by_the_next_lecturer(tmp_path: Path) -> None:
    file = tmp_path / "context.sqlite"
    first = Binding(file)
    first.bind(launch("1", "Learner"))
    assert first.bound is None
    first.bind(launch("1", context_title="One"))
    first.bind(launch("1", context_title="Uno", context_label="U1"))
    assert str(first.bound) == "U1 Uno (id 1)"
    with pytest.raises(LaunchRefused, match="another course"):
        first.bind(launch("2"))
    with pytest.raises(LaunchRefused) as refusal:
        first.check(launch("2", context_title="Two"))
    # Lecturers read whose hub it is, so that one who was forestalled can say so; administrators what to set.
    assert "U1 Uno (id 1)" in refusal.value.advice[1]
    assert "course_hub_lms_context to '2'" in refusal.value.advice[2]
    with pytest.raises(LaunchRefused) as refusal:
        first.check(launch("2", "Learner"))
    assert "Uno" not in " ".join(refusal.value.advice)
    # An administrator puts it right, and may take the variable out again afterwards.
    second = Binding(file, ["2"])
    with pytest.raises(LaunchRefused):
        second.check(launch("1"))
    second.check(launch("2", "Learner"))
    second.bind(launch("2", "Learner"))
    assert second.bound
    assert second.bound.context == "1"
    second.bind(launch("2"))
    third = Binding(file)
    third.check(launch("2", "Learner"))
    with pytest.raises(LaunchRefused):
        third.check(launch("1"))


def test_sessions_of_before_are_of_this_course_or_not(tmp_path: Path) -> None:
    one, two = launch("1").auth_state, launch("2").auth_state
    old = {"context_id": "1", "course_role": "instructor"}
    file = tmp_path / "context.sqlite"
    unbound = Binding(file)
    assert [unbound.covers(state) for state in (one, two, old, {}, {"context": None})] == [False] * 5
    unbound.bind(launch("1"))
    assert [unbound.covers(state) for state in (one, two, old, {}, {"context": None})] == [True] + [False] * 4
    named = Binding(file, ["2"])
    assert [named.covers(state) for state in (one, two, old, {"context": {"id": ""}})] == [False, True, False, False]
