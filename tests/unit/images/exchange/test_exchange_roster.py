"""The roster of the LMS is followed, wholly or not at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from campus_hubs_exchange.identity import user_name

from tests.unit.images.exchange.exchange_lab import COURSE, TOKEN, Exchange, Hub
from tests.unit.images.exchange.lms_lab import DemoLms, Key, ScriptedLms, platform_of, until

LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
STAFF = {"lecturer": "lecturer", "teaching-assistant": "teaching assistant"}


def synced(exchange: Exchange, query: str = "") -> dict[str, Any]:
    answer = exchange.api("POST", f"/roster{query}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def members(exchange: Exchange) -> dict[str, dict[str, Any]]:
    return {member["user"]: member for member in exchange.api("GET", "/members").json()["members"]}


def active(exchange: Exchange) -> dict[str, str]:
    return {user: member["role"] for user, member in members(exchange).items() if member["active"]}


def test_three_pages_then_changes_then_nothing(connected: Exchange, lms: DemoLms, hub: Hub) -> None:
    first = STAFF | {f"student-{n}": "student" for n in range(1, 249)}
    lms.members(first)
    lecturer = lms.launch(connected, "lecturer", "instructor")
    told = synced(connected, "?check=1")
    assert (told["changed"], len(told["joined"]), told["members"]) == (True, 249, 250)
    assert active(connected) == {lecturer: "instructor"}
    assert synced(connected) == told
    assert len(lms.requests("memberships")) == 6
    assert hub.homes == [sorted(lms.user(person) for person in first)]
    assert members(connected)[lms.user("student-1")]["name"] == "Sofia Weber"
    nothing = {"changed": False, "joined": [], "left": [], "role_changed": [], "members": 250}
    assert synced(connected) == nothing | {"available": True, "reason": ""}

    second = {person: role for person, role in first.items() if person not in {f"student-{n}" for n in range(10, 15)}}
    second |= {f"student-{n}": "student" for n in range(301, 306)}
    second |= {"student-1": "teaching assistant", "teaching-assistant": "student"}
    lms.members(second)
    hub.calls.clear()
    result = connected.run("roster", "--check")
    assert result.returncode == 0, result.stderr
    told = json.loads(result.stdout)
    assert json.loads(connected.run("roster").stdout) == told
    assert [len(told[name]) for name in ("joined", "left", "role_changed")] == [5, 5, 2]
    tutor, student = lms.user("teaching-assistant"), lms.user("student-1")
    changes = {change["user"]: (change["before"], change["after"]) for change in told["role_changed"]}
    assert changes == {tutor: ("teaching_assistant", "student"), student: ("student", "teaching_assistant")}
    assert set(told["left"]) == {lms.user(f"student-{n}") for n in range(10, 15)}
    # Who left or was demoted loses servers and sessions; nobody else does.
    wanted = {("DELETE", f"/users/{user}{part}") for user in [*told["left"], tutor] for part in ("/server", "")}
    until("deletions", lambda: {call for call in hub.calls if call[0] == "DELETE"} == wanted)
    assert not synced(connected)["changed"]
    document = connected.api("GET", "/members").json()["roster"]
    assert document["available"]
    assert document["last_sync"]
    assert document["error"] == ""


def test_who_left_keeps_their_work_and_may_not_come(connected: Exchange, lms: DemoLms) -> None:
    people = STAFF | {"student-1": "student", "student-2": "student"}
    lms.members(people)
    lecturer = lms.launch(connected, "lecturer", "instructor")
    synced(connected)
    student = lms.user("student-1")
    connected.as_user(lecturer).release("ps1")
    assert connected.as_user(student).submit("ps1").status_code == 200
    del people["student-1"]
    lms.members(people)
    assert synced(connected)["left"] == [student]
    refused = connected.as_user(student).get(f"assignments/{COURSE}")
    assert refused.status_code == 403
    assert "no longer a member" in refused.json()["message"]
    listed = connected.as_user(lecturer).get(f"submissions/{COURSE}/ps1").json()["submissions"]
    assert [entry["student_id"] for entry in listed] == [student]
    lms.members(people | {"student-1": "student"})
    assert synced(connected)["joined"] == [student]
    assert len(connected.as_user(student).get(f"submissions/{COURSE}/ps1/{student}").json()["submissions"]) == 1


def test_inactive_is_left(connected: Exchange, lms: DemoLms) -> None:
    lms.launch(connected, "lecturer", "instructor")
    lms.control(
        "set",
        {
            "course": COURSE,
            "members": [
                {"person": "lecturer", "role": "lecturer"},
                {"person": "student-1", "role": "student", "status": "Inactive"},
                {"person": "student-2", "role": "student", "status": "Deleted"},
            ],
        },
    )
    assert synced(connected)["members"] == 1


def left_while_the_hub_fails(connected: Exchange, lms: DemoLms, hub: Hub) -> str:
    """Let student-1 come and leave, and the hub refuse to end their sessions; returns the user name."""
    lms.members(STAFF | {"student-1": "student"})
    lms.launch(connected, "lecturer", "instructor")
    synced(connected)
    user = lms.user("student-1")
    hub.status[f"/users/{user}"] = 400
    lms.members(STAFF)
    synced(connected)
    until("a first attempt", lambda: ("DELETE", f"/users/{user}") in hub.calls)
    return user


def test_the_hub_is_asked_again_until_it_has_done_it(connected: Exchange, lms: DemoLms, hub: Hub) -> None:
    deletion = ("DELETE", f"/users/{left_while_the_hub_fails(connected, lms, hub)}")
    connected.kill()
    hub.calls.clear()
    hub.status.clear()
    connected.start()
    until("another after the restart", lambda: hub.calls.count(deletion) == 1)
    until("its end", lambda: connected.query("SELECT count(*) FROM members WHERE hub_due") == [(0,)])


def test_an_old_session_brings_nothing_back(connected: Exchange, lms: DemoLms, hub: Hub) -> None:
    people = STAFF | {"student-1": "student", "student-2": "student"}
    lms.members(people)
    lms.launch(connected, "lecturer", "instructor")
    synced(connected)
    before = time.time()
    lms.members(STAFF | {"student-2": "teaching assistant"})
    synced(connected)
    # A server that starts with the session from before.
    left = lms.launch(connected, "student-1", "student", launched_at=before)
    promoted = lms.launch(connected, "student-2", "student", launched_at=before)
    assert connected.as_user(left).get(f"assignments/{COURSE}").status_code == 403
    assert active(connected)[promoted] == "teaching_assistant"
    # The next launch counts again, and a clock that is ahead counts as now.
    lms.launch(connected, "student-1", "student", launched_at=time.time() + 3600)
    assert connected.as_user(left).get(f"assignments/{COURSE}").status_code == 200
    lms.members(STAFF)
    assert synced(connected)["left"] == sorted([left, promoted])


@pytest.mark.parametrize("way", ["launch", "roster"])
def test_who_is_back_before_the_hub_could_end_their_session_keeps_it(
    connected: Exchange, lms: DemoLms, hub: Hub, way: str
) -> None:
    people = STAFF | {"student-1": "student"}
    user = left_while_the_hub_fails(connected, lms, hub)
    if way == "launch":
        lms.launch(connected, "student-1", "student")
    else:
        lms.members(people)
        assert synced(connected)["joined"] == [user]
    assert connected.as_user(user).get(f"assignments/{COURSE}").status_code == 200
    assert connected.query("SELECT count(*) FROM members WHERE hub_due") == [(0,)]
    hub.status.clear()
    hub.calls.clear()
    connected.stop()
    connected.start()
    lms.members(people | {"student-2": "student"})
    synced(connected)
    lms.members(people)
    synced(connected)
    other = ("DELETE", f"/users/{lms.user('student-2')}")
    until("the next one's end", lambda: other in hub.calls)
    assert [call for call in hub.calls if call[0] == "DELETE"] == [("DELETE", f"{other[1]}/server"), other]


def test_lecturers_have_a_button_and_students_have_none(connected: Exchange, lms: DemoLms) -> None:
    lms.members(STAFF | {"student-1": "student"})
    lecturer = lms.launch(connected, "lecturer", "instructor")
    assert connected.api("POST", "/roster", f"token-{lecturer}").json()["members"] == 3
    for method, path in (("POST", "/roster"), ("POST", "/roster?check=1"), ("GET", "/members")):
        assert connected.api(method, path, f"token-{lms.user('student-1')}").status_code == 403, path


def test_a_failing_page_changes_nothing(connected: Exchange, lms: DemoLms) -> None:
    lms.members(STAFF | {f"student-{n}": "student" for n in range(1, 150)})
    lms.launch(connected, "lecturer", "instructor")
    synced(connected)
    before = active(connected)
    lms.members(STAFF | {f"student-{n}": "student" for n in range(20, 149)})
    lms.faults({"service": "memberships", "skip": 1, "status": 500})
    answer = connected.api("POST", "/roster")
    assert answer.status_code == 502
    assert "500" in answer.json()["error"]
    assert active(connected) == before
    assert "500" in connected.api("GET", "/members").json()["roster"]["error"]
    result = connected.run("roster")
    assert (result.returncode, result.stdout) == (1, "")
    assert "500" in result.stderr
    lms.faults()
    assert len(synced(connected)["left"]) == 20
    assert connected.api("GET", "/members").json()["roster"]["error"] == ""


def test_an_empty_roster_does_not_put_everybody_out(connected: Exchange, lms: DemoLms) -> None:
    lms.members(STAFF)
    lms.launch(connected, "lecturer", "instructor")
    synced(connected)
    lms.members({})
    for query in ("?check=1", ""):
        answer = connected.api("POST", f"/roster{query}")
        assert answer.status_code == 409
        assert "nobody is in the course, which has 2 members" in answer.json()["error"]
    assert len(active(connected)) == 2


def test_a_key_that_the_lms_does_not_know_and_a_rotation(connected: Exchange, lms: DemoLms, key: Key) -> None:
    lms.members(STAFF)
    lms.launch(connected, "lecturer", "instructor")
    private = (key.folder / "private.pem").read_bytes()
    jwks = (key.folder / "jwks.json").read_bytes()
    (key.folder / "jwks.json").write_bytes(jwks.replace(b'"keys"', b'"none"'))
    answer = connected.api("POST", "/roster")
    assert (answer.status_code, "key for the LMS cannot be read" in answer.json()["error"]) == (502, True)
    (key.folder / "jwks.json").write_bytes(jwks)
    key.rotate("second")
    assert synced(connected)["members"] == 2
    (key.folder / "private.pem").write_bytes(private)
    (key.folder / "jwks.json").write_bytes(jwks)


def test_without_an_address_or_with_lti_11(
    make_exchange: Callable[..., Exchange], lms: DemoLms, key: Key, tmp_path: object
) -> None:
    nothing = {"changed": False, "joined": [], "left": [], "role_changed": [], "members": 0, "available": False}
    fresh = make_exchange(**platform_of(lms.url, key))
    told = synced(fresh)
    assert told == nothing | {"reason": "The roster's address is not known yet: open the course once from the LMS."}
    old = make_exchange(LTI11_CONSUMER_DIR=str(tmp_path))
    told = synced(old)
    assert told == nothing | {"reason": "LTI 1.1 has no roster: people become members when they open the course."}
    preset = make_exchange(**platform_of(lms.url, key), NRPS_URL=f"{lms.url}/services/{COURSE}/memberships")
    lms.members(STAFF)
    assert synced(preset)["members"] == 2


def test_another_issuer_than_the_hubs_is_noticed(
    make_exchange: Callable[..., Exchange], lms: DemoLms, key: Key
) -> None:
    exchange = make_exchange(**platform_of(lms.url, key), LTI_ISSUER="https://other.example.edu")
    lms.members(STAFF)
    lms.launch(exchange, "lecturer", "instructor")
    answer = exchange.api("POST", "/roster")
    assert (answer.status_code, "LTI_ISSUER" in answer.json()["error"]) == (409, True)


# ---- an LMS that does what it should not ----
@pytest.fixture
def scripted() -> ScriptedLms:
    return ScriptedLms()


@pytest.fixture
def exposed(make_exchange: Callable[..., Exchange], scripted: ScriptedLms, key: Key) -> Exchange:
    exchange = make_exchange(**platform_of(scripted.url, key))
    exchange.enrol(user_name(scripted.url, "s1"), nrps_url=f"{scripted.url}/m?course=1", subject="s1")
    return exchange


def page(*subjects: str, roles: object = (LEARNER,)) -> str:
    return json.dumps({"id": "x", "members": [{"user_id": subject, "roles": roles} for subject in subjects]})


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ('<https://evil.example/m?page=2>; rel="next"', "at another server"),
        ('<http://127.0.0.1:1/m>; rel="next"', "at another server"),
        ('</m?course=1>; rel="next"', "do not end"),
    ],
)
def test_links_that_lead_away_or_in_circles(exposed: Exchange, scripted: ScriptedLms, link: str, message: str) -> None:
    scripted.answers["/m"] = lambda *_: (200, {"Link": link, "Content-Type": TYPE}, page("s1", "s2"))
    answer = exposed.api("POST", "/roster")
    assert (answer.status_code, message in answer.json()["error"]) == (502, True), answer.text
    assert len(active(exposed)) == 1


def test_all_forms_of_the_link_and_of_roles(exposed: Exchange, scripted: ScriptedLms) -> None:
    def serve(method: str, headers: dict[str, str], body: str) -> tuple[int, dict[str, str], str]:
        del method, headers, body
        path = scripted.seen[-1][1]
        if "page=2" not in path:
            link = '<https://x/y>; rel="first", </m?page=2&a="b">; title="a, b"; REL="last next"'
            return 200, {"Link": link}, page("s1", roles=["Learner"])
        return 200, {}, page("s2", roles=["http://purl.imsglobal.org/vocab/lis/v2/membership/Instructor#Grader", 5])

    scripted.answers["/m"] = serve
    assert synced(exposed)["members"] == 2
    assert sorted(active(exposed).values()) == ["student", "teaching_assistant"]
    [request] = [seen for seen in scripted.seen if seen[1] == "/m?course=1"]
    assert request[2]["Accept"] == TYPE
    assert request[2]["Authorization"] == "Bearer t"


@pytest.mark.parametrize(
    "body",
    ["<html>", "[]", "{}", '{"members": [3]}', '{"members": [{"user_id": ""}]}', '{"members": [{"user_id": "a\\nb"}]}'],
)
def test_something_else_than_a_roster(exposed: Exchange, scripted: ScriptedLms, body: str) -> None:
    scripted.answers["/m"] = lambda *_: (200, {}, body)
    assert exposed.api("POST", "/roster").status_code == 502
    assert len(active(exposed)) == 1


def test_people_without_a_role_in_the_course_are_no_members(exposed: Exchange, scripted: ScriptedLms) -> None:
    admin = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#Administrator"
    body = json.loads(page("s1"))
    body["members"].append({"user_id": "s3", "roles": [admin]})
    scripted.answers["/m"] = lambda *_: (200, {}, json.dumps(body))
    assert synced(exposed)["members"] == 1


def test_moodles_html_instead_of_a_token(exposed: Exchange, scripted: ScriptedLms) -> None:
    scripted.answers["/token"] = lambda *_: (200, {"Content-Type": "text/html; charset=utf-8"}, "<h1>Error</h1>")
    error = exposed.api("POST", "/roster").json()["error"]
    assert "answered 200 with text/html instead of a token" in error
    assert "key set" in error


def test_a_forgotten_token_is_fetched_anew_once(exposed: Exchange, scripted: ScriptedLms) -> None:
    tokens = iter("abcdef")
    scripted.answers["/token"] = lambda *_: (200, {}, json.dumps({"access_token": next(tokens)}))
    scripted.answers["/m"] = lambda _, headers, __: (
        (200, {}, page("s1")) if headers["Authorization"] == "Bearer b" else (401, {}, "who?")
    )
    assert synced(exposed)["members"] == 1
    # The token is kept ...
    synced(exposed)
    assert sum(path == "/token" for _, path, *_ in scripted.seen) == 2
    # ... and a second 401 is an answer.
    scripted.answers["/m"] = lambda *_: (401, {}, "who?")
    answer = exposed.api("POST", "/roster")
    assert (answer.status_code, answer.json()["error"]) == (502, "Roster: 401: who?")
    assert sum(path == "/token" for _, path, *_ in scripted.seen) == 3


def test_no_secret_is_logged(exposed: Exchange, scripted: ScriptedLms) -> None:
    scripted.answers["/m"] = lambda *_: (200, {}, page("s1"))
    synced(exposed)
    form = next(body for _, path, _, body in scripted.seen if path == "/token")
    assertion = form.split("client_assertion=")[1].split("&")[0]
    exposed.stop()
    for word in (assertion, TOKEN, "Bearer"):
        assert word not in exposed.log
