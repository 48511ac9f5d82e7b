"""The roster of the LMS is followed, wholly or not at all."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from campus_hubs_exchange.cli import ask_for_roster
from campus_hubs_exchange.lms import LmsError, next_link
from campus_hubs_exchange.roster import Roster, read_members
from campus_hubs_exchange.settings import Settings
from campus_hubs_membership.identity import user_name

from tests.unit.images.exchange.exchange_lab import COURSE, TOKEN, Exchange, Hub
from tests.unit.images.exchange.lms_lab import DemoLms, Key, ScriptedLms, platform_of, until

LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
NOTHING: dict[str, Any] = {"changed": False, "joined": [], "left": [], "waiting": [], "confirm": "", "role_changed": []}
NOTHING |= {"members": 0, "notes": [], "context": {}, "available": False, "reason": ""}
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
    assert synced(connected) == NOTHING | {"members": 250, "available": True}

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
    fresh = make_exchange(**platform_of(lms.url, key))
    told = synced(fresh)
    assert told == NOTHING | {
        "reason": "The roster's address is not known yet: a lecturer opens the course once from the LMS."
    }
    old = make_exchange(LTI11_CONSUMER_DIR=str(tmp_path))
    told = synced(old)
    assert told == NOTHING | {"reason": "LTI 1.1 has no roster: people become members when they open the course."}
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


def test_a_roster_goes_on_after_the_lms_has_got_another_address(
    make_exchange: Callable[..., Exchange], lms: DemoLms, key: Key
) -> None:
    """Everybody is somebody new then: those of before leave, though the LMS's numbers are the same."""
    exchange = make_exchange(**platform_of(lms.url, key))
    lms.members(STAFF | {"student-1": "student"})
    for subject in ("2", "101"):
        exchange.enrol(f"uold{subject}", "student", subject=subject)
    lms.launch(exchange, "lecturer", "instructor")
    assert synced(exchange)["left"] == ["uold101", "uold2"]
    assert len(active(exchange)) == 3


# ---- an LMS that does what it should not ----
@pytest.fixture
def scripted() -> ScriptedLms:
    return ScriptedLms()


@pytest.fixture
def exposed(make_exchange: Callable[..., Exchange], scripted: ScriptedLms, key: Key) -> Exchange:
    exchange = make_exchange(**platform_of(scripted.url, key))
    exchange.enrol(user_name(scripted.url, "s1"), "instructor", nrps_url=f"{scripted.url}/m?course=1", subject="s1")
    return exchange


def page(*subjects: str, roles: object = (LEARNER,)) -> str:
    return json.dumps({"id": "x", "members": [{"user_id": subject, "roles": roles} for subject in subjects]})


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ('<https://evil.example/m?page=2>; rel="next"', "at another server"),
        ('<http://127.0.0.1:1/m>; rel="next"', "at another server"),
        ('</m?course=1>; rel="next"', "do not end"),
        ('<http://[evil/m>; rel="next"', "no address"),
        ('<//evil.example/m>; rel="next"', "at another server"),
        ('<file:///etc/passwd>; rel="next"', "at another server"),
    ],
)
def test_links_that_lead_away_or_in_circles(exposed: Exchange, scripted: ScriptedLms, link: str, message: str) -> None:
    scripted.answers["/m"] = lambda *_: (200, {"Link": link, "Content-Type": TYPE}, page("s1", "s2"))
    answer = exposed.api("POST", "/roster")
    assert (answer.status_code, message in answer.json()["error"]) == (502, True), answer.text
    assert len(active(exposed)) == 1


@pytest.mark.parametrize(
    "link",
    [
        '<{}>; rel="next"',
        "<{}>; rel='next'",
        "<{}>;rel=next;",
        "< {} > ; REL = Next",
        '<{}>; foo; rel="next"',
        '<{}> rel="next"',
        '<{}>; title="a \\" b"; rel="next"',
        '<{}>; title=a b; rel="last next"',
        '<https://l/m?1>; rel="prev",<{}>; rel="next"',
    ],
)
def test_a_next_page_is_found_however_it_is_written(link: str) -> None:
    """Whoever stands on a page that is not read would be put out."""
    assert next_link([link.format("/m?page=2&x=a,b;c")], "https://l/m") == "https://l/m?page=2&x=a,b;c"
    assert next_link([link.format("/m?2").replace("ext", "o")], "https://l/m") is None


@pytest.mark.parametrize("link", ['https://l/m?2; rel="next"', "rel=next", '/m?2;rel="self next"'])
def test_a_next_page_without_an_address_is_no_end(link: str) -> None:
    with pytest.raises(LmsError, match="no address"):
        next_link([link], "https://l/m")


def test_lists_that_php_has_made_objects_of() -> None:
    """So it writes a list from which something was taken."""
    members = {"0": {"user_id": "1", "roles": {"1": "Instructor"}}, "2": {"user_id": "2", "roles": ["Learner"]}}
    reading = read_members("https://l", [{"members": members}])
    assert (sorted(one.role for one in reading.listed.values()), reading.notes) == (["instructor", "student"], [])
    others: tuple[object, ...] = ({}, {"user_id": "1"}, {"x": members["0"]})
    for other in others:
        with pytest.raises(LmsError):
            read_members("https://l", [{"members": other}])
    # Empty, it says nothing of somebody.
    assert read_members("https://l", [{"members": [{"user_id": "1", "roles": {}}]}]).unclear


def test_a_roster_that_the_lms_does_not_offer_is_not_cured_by_another_click() -> None:
    roster = Roster(None, None, object(), issuer="", deployment={}, url="", contexts=(), roles={})  # type: ignore[arg-type]
    assert "a lecturer opens the course once from the LMS" in roster._why_not([], {})
    assert "its administrator lets this tool read it" in roster._why_not([], {"id": "57"})


def test_the_command_says_in_words_that_the_service_has_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        threading.Thread(target=hang_up, daemon=True).start()
        settings = Settings(course=COURSE, hub_api="http://hub", token=TOKEN, port=server.getsockname()[1])
        with pytest.raises(ValueError, match="the service does not answer"):
            ask_for_roster(settings, check=True)


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


@pytest.mark.parametrize("more", [{}, {"token_audience": "https://api.brightspace.com/auth/token"}])
def test_the_audience_of_the_assertion(
    make_exchange: Callable[..., Exchange], scripted: ScriptedLms, key: Key, more: dict[str, str]
) -> None:
    exchange = make_exchange(**platform_of(scripted.url, key, **more))
    exchange.enrol(user_name(scripted.url, "s1"), "instructor", nrps_url=f"{scripted.url}/m", subject="s1")
    scripted.answers["/m"] = lambda *_: (200, {}, page("s1"))
    synced(exchange)
    form = next(body for _, path, _, body in scripted.seen if path == "/token")
    claims = jwt.decode(parse_qs(form)["client_assertion"][0], options={"verify_signature": False})
    assert claims["aud"] == more.get("token_audience", f"{scripted.url}/token")


def test_no_secret_is_logged(exposed: Exchange, scripted: ScriptedLms) -> None:
    scripted.answers["/m"] = lambda *_: (200, {}, page("s1"))
    synced(exposed)
    form = next(body for _, path, _, body in scripted.seen if path == "/token")
    assertion = form.split("client_assertion=")[1].split("&")[0]
    exposed.stop()
    for word in (assertion, TOKEN, "Bearer"):
        assert word not in exposed.log


# ---- rosters as they come ----
LIS = "http://purl.imsglobal.org/vocab/lis/v2"


def serve(scripted: ScriptedLms, entries: object, **container: object) -> None:
    document = {"id": "x", "members": entries} | container
    scripted.answers["/m"] = lambda *_: (200, {"Content-Type": TYPE}, json.dumps(document))


@pytest.mark.parametrize(
    ("entry", "role"),
    [
        ({"user_id": 2}, "student"),
        ({"user_id": 10**30}, "student"),
        ({"status": "active"}, "student"),
        ({"status": "ACTIVE "}, "student"),
        ({"status": f"{LIS}/status#Active"}, "student"),
        ({"status": None}, "student"),
        ({"status": "inactive"}, None),
        ({"status": "DELETED"}, None),
        ({"roles": "Instructor"}, "instructor"),
        ({"roles": f"{LIS}/membership#Instructor,{LEARNER}"}, "instructor"),
        ({"roles": "Learner, urn:lti:role:ims/lis/TeachingAssistant"}, "teaching_assistant"),
        ({"roles": f"urn:lti:role:ims/lis/Learner {LIS}/membership#Instructor"}, "instructor"),
        ({"roles": "Learner;Instructor"}, "instructor"),
        ({"roles": "Learner, Assistant Instructor"}, "student"),
        ({"roles": [None, {"a": [LEARNER]}, 5, LEARNER]}, "student"),
        (
            {"name": None, "given_name": ["x"], "family_name": {}, "email": 5, "picture": [[[]]], "message": "x"},
            "student",
        ),
    ],
)
def test_an_entry_counts_however_it_is_written(
    exposed: Exchange, scripted: ScriptedLms, entry: dict[str, object], role: str | None
) -> None:
    """The LMS need not keep to the specification's types and letters."""
    other = {"user_id": "2", "roles": [LEARNER], "status": "Active"} | entry
    serve(scripted, [{"user_id": "s1", "roles": [LEARNER]}, other])
    told = synced(exposed)
    assert told["notes"] == []
    assert active(exposed).get(user_name(scripted.url, str(other["user_id"]))) == role


@pytest.mark.parametrize(
    ("entry", "note"),
    [
        (None, "1 without a usable user_id"),
        ([], "1 without a usable user_id"),
        ({"roles": [LEARNER]}, "1 without a usable user_id"),
        ({"user_id": True, "roles": [LEARNER]}, "1 without a usable user_id"),
        ({"user_id": 1.5, "roles": [LEARNER]}, "1 without a usable user_id"),
        ({"user_id": "a\nb", "roles": [LEARNER]}, "1 without a usable user_id"),
        ({"user_id": "\ud800", "roles": [LEARNER]}, "1 without a usable user_id"),
        ({"user_id": "x" * 256, "roles": [LEARNER]}, "1 without a usable user_id"),
        ({"user_id": "3"}, "1 whose roles cannot be read"),
        ({"user_id": "3", "roles": {"a": 1}}, "1 whose roles cannot be read"),
        ({"user_id": "3", "roles": [7]}, "1 whose roles cannot be read"),
        ({"user_id": "3", "roles": [LEARNER], "status": "Suspended"}, "1 with a status that is not known"),
        ({"user_id": "3", "roles": [LEARNER], "status": [1]}, "1 with a status that is not known"),
        ({"user_id": "3", "roles": [f"{LIS}/institution/person#Student"]}, "1 without a role in the course"),
    ],
)
def test_an_unusable_entry_is_counted_and_the_others_are_used(
    exposed: Exchange, scripted: ScriptedLms, entry: object, note: str
) -> None:
    serve(scripted, [{"user_id": "s1", "roles": [LEARNER]}, entry, {"user_id": "s2", "roles": [LEARNER]}])
    told = synced(exposed)
    assert (told["joined"], told["members"]) == ([user_name(scripted.url, "s2")], 2)
    assert told["notes"][0].startswith(f"The LMS's roster has {note}")
    assert exposed.api("GET", "/members").json()["roster"]["notes"] == told["notes"]
    if "institution" in json.dumps(entry):
        assert told["notes"][1] == f"Roles that mean nothing here: {LIS}/institution/person#Student."


def test_who_stands_there_unreadably_stays_what_they_are(exposed: Exchange, scripted: ScriptedLms) -> None:
    tutor = user_name(scripted.url, "t1")
    exposed.enrol(tutor, "teaching_assistant", subject="t1")
    serve(scripted, [{"user_id": "s1", "roles": [LEARNER]}, {"user_id": "t1", "roles": None}])
    assert not synced(exposed)["left"]
    assert active(exposed)[tutor] == "teaching_assistant"
    # Said clearly, it counts.
    serve(scripted, [{"user_id": "s1", "roles": [LEARNER]}, {"user_id": "t1", "roles": []}])
    assert synced(exposed)["left"] == [tutor]


def test_several_entries_of_one_person_are_one_member(exposed: Exchange, scripted: ScriptedLms) -> None:
    instructor = f"{LIS}/membership#Instructor"
    entries = [
        {"user_id": "s1", "roles": [instructor], "status": "Deleted"},
        {"user_id": "s1", "roles": [LEARNER], "given_name": "Ada"},
        {"user_id": 5, "roles": [LEARNER]},
        {"user_id": "5", "roles": [instructor]},
    ]
    for listed in (entries, entries[::-1]):
        serve(scripted, listed)
        synced(exposed)
        roles = {user_name(scripted.url, "s1"): "student", user_name(scripted.url, "5"): "instructor"}
        assert active(exposed) == roles


@pytest.mark.parametrize(
    ("escaped", "name"),
    [
        ("A &amp; B", "A & B"),
        ("A &amp;amp; B", "A & B"),
        ("O&#039;Brien &#x27;x&#x27;", "O'Brien 'x'"),
        ("&lt;script&gt;", "<script>"),
        ("Caf&eacute;", "Café"),
        ("R&D AT&T &nothing; &copy", "R&D AT&T &nothing; &copy"),
        ("a&#10;b&#x7f;c", "a bc"),
    ],
)
def test_an_escaped_name_and_a_plain_one_are_one_name(
    exposed: Exchange, scripted: ScriptedLms, escaped: str, name: str
) -> None:
    user = user_name(scripted.url, "s1")
    serve(scripted, [{"user_id": "s1", "roles": [LEARNER], "family_name": escaped, "email": escaped}])
    synced(exposed)
    assert (members(exposed)[user]["name"], members(exposed)[user]["email"]) == (name, name)
    # A launch says it unescaped, or escaped: neither is a change.
    for said in {escaped, name}:
        assert exposed.enrol(user, subject="s1", family_name=said, email=said) == {"changed": False}
        assert not synced(exposed)["changed"]


def test_ten_thousand_members_in_one_page(exposed: Exchange, scripted: ScriptedLms) -> None:
    claim = "https://purl.imsglobal.org/spec/lti/claim"
    message = [{f"{claim}/message_type": "LtiResourceLinkRequest", f"{claim}/custom": {"x": "y" * 500}}]
    people = [{"user_id": number, "roles": [LEARNER], "message": message} for number in range(10_000)]
    serve(scripted, [{"user_id": "s1", "roles": [LEARNER]}, *people])
    assert synced(exposed)["members"] == 10_001
    assert synced(exposed) == NOTHING | {"members": 10_001, "available": True}


@pytest.mark.parametrize(
    "body", ["<html>Log in</html>", "[]", '{"members": null}', '{"members": {}}', '{"members": []}']
)
def test_what_is_no_roster_removes_nobody_whatever_is_confirmed(
    exposed: Exchange, scripted: ScriptedLms, body: str
) -> None:
    scripted.answers["/m"] = lambda *_: (200, {}, body)
    for query in ("", "?confirm=all", "?check=1"):
        assert exposed.api("POST", f"/roster{query}").status_code in {409, 502}
    assert len(active(exposed)) == 1


def test_a_launch_while_the_roster_is_read_is_the_newer_word(exposed: Exchange, scripted: ScriptedLms) -> None:
    """The LMS makes its list, somebody is enrolled and clicks, somebody is promoted and clicks, the list arrives."""
    exposed.enrol(user_name(scripted.url, "t1"), "student", subject="t1")
    new, promoted = (user_name(scripted.url, subject) for subject in ("n1", "t1"))

    def answer(*_: object) -> tuple[int, dict[str, str], str]:
        exposed.enrol(new, "student", subject="n1")
        exposed.enrol(promoted, "teaching_assistant", subject="t1")
        return 200, {"Content-Type": TYPE}, page("s1", "t1")

    scripted.answers["/m"] = answer
    told = synced(exposed)
    assert told["left"] == []
    assert [change["user"] for change in told["role_changed"]] == [user_name(scripted.url, "s1")]
    assert (active(exposed)[new], active(exposed)[promoted]) == ("student", "teaching_assistant")
    scripted.answers["/m"] = lambda *_: (200, {}, page("s1", "t1"))
    assert synced(exposed)["left"] == [new]
    assert active(exposed)[promoted] == "student"


# ---- a roster that removes many ----
def removed(exposed: Exchange, scripted: ScriptedLms, members_before: int, removals: int) -> dict[str, Any]:
    """Fill a course and let the LMS list so many fewer, somebody new, and a new role for the first."""
    people = [{"user_id": f"p{number}", "roles": [LEARNER]} for number in range(members_before)]
    serve(scripted, people)
    synced(exposed, "?confirm=all")
    promoted = {"user_id": "p0", "roles": [f"{LIS}/membership#Instructor"]}
    serve(scripted, [promoted, *people[1 : members_before - removals], {"user_id": "new", "roles": [LEARNER]}])
    return synced(exposed)


@pytest.mark.parametrize("case", [(11, 6, True), (12, 6, False), (12, 7, True), (9, 5, False), (60, 30, False)])
def test_removing_more_than_half_waits(
    exposed: Exchange, scripted: ScriptedLms, hub: Hub, case: tuple[int, int, bool]
) -> None:
    before, removals, waits = case
    told = removed(exposed, scripted, before, removals)
    assert (len(told["waiting"]), len(told["left"])) == ((removals, 0) if waits else (0, removals))
    # Who comes and who changes their role does not wait.
    assert len(told["joined"]) == len(told["role_changed"]) == 1
    assert len(active(exposed)) == told["members"] == before + 1 - removals * (not waits)
    if waits:
        assert not {path.split("/")[2] for method, path in hub.calls if method == "DELETE"} & set(told["waiting"])
        assert f"{removals} of {before} members are not on the LMS's roster any more" in told["notes"][0]


def test_a_lecturer_confirms_what_they_have_seen(exposed: Exchange, scripted: ScriptedLms) -> None:
    told = removed(exposed, scripted, 12, 7)
    confirm = told["confirm"]
    assert exposed.api("GET", "/members").json()["roster"]["confirm"] == confirm
    exposed.enrol("ututor", "teaching_assistant", subject="tutor")
    lecturer = user_name(scripted.url, "p0")
    assert exposed.api("POST", f"/roster?confirm={confirm}", "token-ututor").status_code == 403
    assert exposed.api("POST", "/roster?confirm=all", "token-ututor").status_code == 403
    # The tutor, whom the roster does not name either, was not among those whom the lecturer saw.
    again = exposed.api("POST", f"/roster?confirm={confirm}", f"token-{lecturer}").json()
    assert (again["left"], len(again["waiting"])) == ([], 8)
    done = exposed.api("POST", f"/roster?confirm={again['confirm']}", f"token-{lecturer}").json()
    assert (done["left"], done["waiting"], done["notes"]) == (again["waiting"], [], [])
    assert exposed.api("GET", "/members").json()["roster"]["confirm"] == ""


def test_who_comes_meanwhile_does_not_confirm(exposed: Exchange, scripted: ScriptedLms) -> None:
    """The roster of another course: its people come, and are not what makes the removal of ours a small one."""
    ours = [{"user_id": f"p{number}", "roles": [LEARNER]} for number in range(12)]
    serve(scripted, ours)
    synced(exposed, "?confirm=all")
    others = [{"user_id": f"q{number}", "roles": [LEARNER]} for number in range(30)]
    serve(scripted, others)
    for _ in range(3):
        told = synced(exposed)
        assert (len(told["waiting"]), told["left"]) == (12, [])
        assert "12 of 12 members" in told["notes"][0]
    exposed.kill()
    exposed.start()
    assert len(synced(exposed)["waiting"]) == 12
    # Most are back: what is left is an ordinary change, measured by all again the next time.
    serve(scripted, [*ours[3:], *others])
    assert len(synced(exposed)["left"]) == 3
    serve(scripted, [*ours[3:], *others[10:]])
    assert len(synced(exposed)["left"]) == 10


def test_an_option_of_the_command_confirms(exposed: Exchange, scripted: ScriptedLms) -> None:
    removed(exposed, scripted, 12, 7)
    assert len(json.loads(exposed.run("roster").stdout)["waiting"]) == 7
    assert len(json.loads(exposed.run("roster", "--check", "--confirm-removals").stdout)["left"]) == 7
    assert len(active(exposed)) == 13
    assert len(json.loads(exposed.run("roster", "--confirm-removals").stdout)["left"]) == 7
    assert len(active(exposed)) == 6


# ---- where the services are ----
def told_by(number: int, **more: object) -> dict[str, object]:
    """Return what a launch says whose LMS course has this number."""
    services = {"nrps_url": f"https://lms/{number}/m", "ags": {"lineitems": f"https://lms/{number}/i", "scopes": []}}
    return {"context": {"id": str(number), "title": f"Course {number}", "label": "C"}, **services, **more}


def address(exchange: Exchange) -> str:
    """Return the roster's address that the exchange would ask."""
    facts = dict(exchange.query("SELECT name, value FROM platform"))
    return str(json.loads(facts.get("services", "{}")).get("nrps_url", ""))


@pytest.mark.parametrize(
    ("role", "more", "moves"),
    [
        ("student", {}, False),
        ("instructor", {}, True),
        ("teaching_assistant", {}, True),
        ("instructor", {"issued_at": 1000}, False),
        ("instructor", {"issued_at": 2000}, True),
        # An old session of somebody whose role has changed since.
        ("instructor", {"launched_at": 1000}, False),
    ],
)
def test_addresses_come_from_new_launches_by_staff(
    exchange: Exchange, role: str, more: dict[str, object], moves: bool
) -> None:
    exchange.enrol("uteacher", "instructor", **told_by(1, issued_at=1500 if "issued_at" in more else time.time()))
    assert address(exchange) == "https://lms/1/m"
    context = exchange.api("GET", "/members").json()["roster"]["context"]
    # Of an LTI 1.1 course: there is no deployment.
    assert (context["title"], context["id"], context["deployment_id"]) == ("Course 1", "1", "")
    exchange.enrol("uada", role, **told_by(2, **more))
    assert address(exchange) == f"https://lms/{2 if moves else 1}/m"


def test_a_launch_that_comes_late_changes_nothing(exchange: Exchange) -> None:
    at = time.time()
    exchange.enrol("uada", "teaching_assistant", launched_at=at, family_name="New", **told_by(2, issued_at=at))
    late = {"launched_at": at - 1, "family_name": "Old"} | told_by(1, issued_at=at - 1)
    assert exchange.enrol("uada", "student", **late) == {"changed": False}
    assert members(exchange)["uada"]["name"] == "New"
    assert active(exchange)["uada"] == "teaching_assistant"
    assert address(exchange) == "https://lms/2/m"


def test_a_launch_without_services_keeps_those_of_its_course_only(exchange: Exchange) -> None:
    exchange.enrol("uteacher", "instructor", **told_by(1))
    exchange.enrol("uteacher", "instructor", context={"id": "1"})
    assert address(exchange) == "https://lms/1/m"
    exchange.enrol("uteacher", "instructor", context={"id": "2"})
    assert address(exchange) == ""


# ---- a course of the LMS that the inventory names, or names anew ----
def bound(exchange: Exchange, *contexts: str) -> None:
    """Let the inventory name these, and the service start with them."""
    exchange.stop()
    exchange.environment["LTI_CONTEXTS"] = json.dumps(contexts)
    exchange.start()


def test_addresses_of_another_course_than_the_inventorys_are_none(
    make_exchange: Callable[..., Exchange], scripted: ScriptedLms, key: Key
) -> None:
    exchange = make_exchange(**platform_of(scripted.url, key))
    lecturer, subject = user_name(scripted.url, "s1"), {"subject": "s1"}
    services = {name: {"nrps_url": f"{scripted.url}/{name}", "context": {"id": name}} for name in ("one", "two")}
    for name, people in {"one": ("s1", "s2"), "two": ("s1", "s3")}.items():
        scripted.answers[f"/{name}"] = lambda *_, people=people: (200, {}, page(*people))
    exchange.enrol(lecturer, "instructor", **services["one"], **subject)
    assert synced(exchange)["members"] == 2
    bound(exchange, "two")
    # A student of the new course comes before its lecturer: the roster of the old one does not put them out.
    new = user_name(scripted.url, "s3")
    exchange.enrol(new, "student", subject="s3", context={"id": "two"})
    told = synced(exchange)
    assert (told["available"], told["members"], told["context"]) == (False, 3, {})
    assert not exchange.api("GET", "/members").json()["roster"]["available"]
    # Nor does a session of before bring the old addresses back.
    exchange.enrol(lecturer, "instructor", **services["one"], **subject)
    assert not synced(exchange)["available"]
    exchange.enrol(lecturer, "instructor", **services["two"], **subject)
    told = synced(exchange)
    assert (told["left"], told["context"]["id"]) == ([user_name(scripted.url, "s2")], "two")
    bound(exchange, "one")
    assert not synced(exchange)["available"]


def test_several_courses_of_the_lms_are_one_roster(
    make_exchange: Callable[..., Exchange], scripted: ScriptedLms, key: Key
) -> None:
    exchange = make_exchange(**platform_of(scripted.url, key), LTI_CONTEXTS='["one", "two"]')
    people = {"one": ["s1", "s2", "s3"], "two": ["s1", "s4"]}
    for name, listed in people.items():
        scripted.answers[f"/{name}"] = lambda *_, listed=listed: (200, {}, page(*listed))
    lecturer = user_name(scripted.url, "s1")

    def launch(name: str) -> None:
        ags = {"lineitems": f"{scripted.url}/{name}/items", "scopes": []}
        where = {"nrps_url": f"{scripted.url}/{name}", "ags": ags, "context": {"id": name}}
        exchange.enrol(lecturer, "instructor", subject="s1", **where)

    launch("one")
    exchange.enrol(user_name(scripted.url, "s4"), "student", subject="s4", context={"id": "two"})
    told = synced(exchange)
    assert (told["available"], told["members"]) == (False, 2)
    assert "each of its LMS courses (one, two)" in told["reason"]
    launch("two")
    for name in ("one", "two"):
        told = synced(exchange)
        assert (told["members"], told["left"]) == (4, [])
        launch(name)
        # The gradebook is the first one's.
        [(value,)] = exchange.query("SELECT value FROM platform WHERE name = 'services'")
        assert json.loads(value)["ags"]["lineitems"] == f"{scripted.url}/one/items"
        assert told["context"]["id"] == "one"
    people["one"].remove("s3")
    assert synced(exchange)["left"] == [user_name(scripted.url, "s3")]


def test_a_roster_without_any_lecturer_leaves_those_who_teach(exposed: Exchange, scripted: ScriptedLms) -> None:
    """Moodle does not list whoever teaches by a role in the course's category."""
    lecturer = user_name(scripted.url, "s1")
    serve(scripted, [{"user_id": "p1", "roles": [LEARNER]}])
    told = synced(exposed)
    assert (told["left"], told["notes"]) == ([], ["The LMS's roster names no lecturer: those of the course stay."])
    assert active(exposed)[lecturer] == "instructor"
    assert synced(exposed, "?check=1")["changed"] is False
    # With another lecturer it is the LMS's word that they are gone, and so it is when somebody confirms it.
    serve(
        scripted, [{"user_id": "p1", "roles": [LEARNER]}, {"user_id": "p2", "roles": [f"{LIS}/membership#Instructor"]}]
    )
    assert synced(exposed, "?check=1")["left"] == [lecturer]
    serve(scripted, [{"user_id": "p1", "roles": [LEARNER]}])
    assert synced(exposed, "?confirm=all")["left"] == [lecturer]
