"""What a tool may ask of the demo LMS, and what it must not: tokens, rosters, columns, scores, outcomes.

Everything goes to the real process by HTTP, as a tool would do it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from oauthlib import oauth1

from lab.lms.model import (
    LINEITEM,
    LINEITEM_READONLY,
    MEMBERSHIP,
    MEMBERSHIP_READONLY,
    RESULT_READONLY,
    SCOPES,
    SCORE,
)
from lab.lms.services import (
    JWT_BEARER,
    LINEITEM_TYPE,
    LINEITEMS_TYPE,
    MEMBERSHIP_TYPE,
    POX,
    RESULTS_TYPE,
    SCORE_TYPE,
)
from tests.unit.lms.conftest import TIMEOUT, Lms, Tool

SECRET = "the secret"


def ask_token(lms: Lms, tool: Tool, scope: str = " ".join(SCOPES), **changes: object) -> requests.Response:
    """Ask for an access token; ``form_<name>`` changes the form, everything else the assertion's claims."""
    form = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER, "scope": scope}
    for name in [name for name in changes if name.startswith("form_")]:
        form[name.removeprefix("form_")] = str(changes.pop(name))
    form.setdefault("client_assertion", tool.assertion(f"{lms.url}/token", **changes))
    return requests.post(f"{lms.url}/token", data=form, timeout=TIMEOUT)


class Client:
    """A tool with an access token."""

    def __init__(self, lms: Lms, tool: Tool, *scopes: str) -> None:
        """Get the token."""
        self.lms = lms
        answer = ask_token(lms, tool, " ".join(scopes or SCOPES))
        assert answer.status_code == 200, answer.text
        self.token = answer.json()["access_token"]

    def ask(
        self, method: str, url: str, json: object = None, media_type: str = "", **headers: str
    ) -> requests.Response:
        """Send a request; ``url`` may be a path."""
        headers = {"Authorization": f"Bearer {self.token}"} | {n.replace("_", "-"): v for n, v in headers.items()}
        if media_type:
            headers["Content-Type"] = media_type
        url = url if "://" in url else self.lms.url + url
        return requests.request(method, url, json=json, headers=headers, timeout=TIMEOUT)

    def pages(self, url: str) -> list[requests.Response]:
        """Read all pages."""
        answers = []
        while url:
            answers.append(self.ask("GET", url))
            assert answers[-1].status_code == 200, answers[-1].text
            url = answers[-1].links.get("next", {}).get("url", "")
        return answers

    def new_column(self, label: str = "Week 1", **fields: object) -> str:
        """Make a column and return its address."""
        body = {"label": label, "scoreMaximum": 10} | fields
        answer = self.ask("POST", "/services/py/lineitems?type_id=1", body, LINEITEM_TYPE)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def score(self, column: str, user: str, media_type: str = SCORE_TYPE, **fields: object) -> requests.Response:
        """Send a score."""
        return self.ask("POST", with_path(column, "/scores"), score_body(user, **fields), media_type)


def score_body(user: str, **fields: object) -> dict[str, object]:
    body: dict[str, object] = {"userId": user, "scoreGiven": 7.5, "scoreMaximum": 10, "comment": "Well done"}
    body |= {"activityProgress": "Completed", "gradingProgress": "FullyGraded", "timestamp": moment()} | fields
    return {name: value for name, value in body.items() if value is not None}


def moment(offset: float = 0.0) -> str:
    now = time.time() + offset
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"


def with_path(url: str, tail: str) -> str:
    """Put something behind the path and before the query of an address."""
    path, _, query = url.partition("?")
    return f"{path}{tail}?{query}"


def number_of(column: str) -> int:
    """Return the number in a column's address."""
    found = re.search(r"/lineitems/(\d+)/lineitem", column)
    assert found
    return int(found[1])


# ---- access tokens ----


def test_a_signed_assertion_gets_a_token_for_what_was_asked(server: Lms, tool: Tool) -> None:
    answer = ask_token(server, tool, f"{SCORE} {MEMBERSHIP_READONLY} https://example.org/other")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    token = answer.json()
    assert token.pop("access_token")
    assert token == {"token_type": "Bearer", "expires_in": 3600, "scope": f"{SCORE} {MEMBERSHIP_READONLY}"}
    assert ask_token(server, tool, aud=server.url).status_code == 200
    assert ask_token(server, tool, aud=["https://example.org", f"{server.url}/token"]).status_code == 200


@pytest.mark.parametrize(
    ("error", "changes"),
    [
        ("unsupported_grant_type", {"form_grant_type": "password"}),
        ("invalid_request", {"form_client_assertion_type": "jwt"}),
        ("invalid_request", {"form_client_assertion": "no.jwt"}),
        ("invalid_scope", {"scope": "https://example.org/other"}),
        ("invalid_scope", {"scope": ""}),
        ("invalid_client", {"iss": "nobody"}),
        ("invalid_client", {"iss": "other-client"}),
        ("invalid_client", {"sub": "nobody"}),
        ("invalid_client", {"sub": None}),
        ("invalid_client", {"aud": "https://example.org/token"}),
        ("invalid_client", {"exp": int(time.time()) - 120}),
        ("invalid_client", {"exp": None}),
        # Far ahead: the time is taken when tests are collected.
        ("invalid_client", {"iat": int(time.time()) + 86_400}),
        ("invalid_client", {"jti": None}),
    ],
)
def test_a_wrong_token_request_is_refused(server: Lms, tool: Tool, error: str, changes: dict[str, Any]) -> None:
    answer = ask_token(server, tool, **changes)
    assert (answer.status_code, answer.json()["error"]) == (400, error), answer.text


def test_an_assertion_is_for_one_time(server: Lms, tool: Tool) -> None:
    assertion = tool.assertion(f"{server.url}/token")
    assert ask_token(server, tool, form_client_assertion=assertion).status_code == 200
    again = ask_token(server, tool, form_client_assertion=assertion)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_client")
    assert "jti" in again.json()["error_description"]


def test_a_foreign_key_gets_no_token(server: Lms, tool: Tool) -> None:
    foreign = Tool(tool.url, rsa.generate_private_key(public_exponent=65537, key_size=2048))
    for kid in (tool.kid, "unknown"):
        foreign.kid = kid
        assert ask_token(server, foreign).json()["error"] == "invalid_client"


def test_a_new_key_is_fetched(server: Lms, tool: Tool) -> None:
    assert ask_token(server, tool).status_code == 200
    before = tool.key, tool.kid
    tool.key, tool.kid = rsa.generate_private_key(public_exponent=65537, key_size=2048), "rotated"
    try:
        assert ask_token(server, tool).status_code == 200
    finally:
        tool.key, tool.kid = before


def test_only_allowed_scopes_are_granted(server: Lms, tool: Tool) -> None:
    server.control("set", {"course": "py", "scopes": [SCORE]})
    assert ask_token(server, tool).json()["scope"] == SCORE
    assert ask_token(server, tool, MEMBERSHIP_READONLY).json()["error"] == "invalid_scope"


@pytest.mark.parametrize(
    ("method", "path", "media_type", "good"),
    [
        ("GET", "/memberships", "", {MEMBERSHIP_READONLY}),
        ("GET", "/lineitems?type_id=1", "", {LINEITEM, LINEITEM_READONLY}),
        ("POST", "/lineitems?type_id=1", LINEITEM_TYPE, {LINEITEM}),
        ("GET", "/lineitems/1/lineitem?type_id=1", "", {LINEITEM, LINEITEM_READONLY}),
        ("PUT", "/lineitems/1/lineitem?type_id=1", LINEITEM_TYPE, {LINEITEM}),
        ("POST", "/lineitems/1/lineitem/scores?type_id=1", SCORE_TYPE, {SCORE}),
        ("GET", "/lineitems/1/lineitem/results?type_id=1", "", {RESULT_READONLY}),
        ("DELETE", "/lineitems/1/lineitem?type_id=1", "", {LINEITEM}),
    ],
)
def test_each_service_wants_its_scope(  # noqa: PLR0913, PLR0917
    server: Lms, tool: Tool, method: str, path: str, media_type: str, good: set[str]
) -> None:
    body = score_body("101") if media_type == SCORE_TYPE else {"label": "Week 1", "scoreMaximum": 10}
    body_or_none = body if media_type else None
    path = path.replace("/1/", f"/{number_of(Client(server, tool).new_column())}/")
    for scopes in [(scope,) for scope in SCOPES if scope not in good]:
        answer = Client(server, tool, *scopes).ask(method, f"/services/py{path}", body_or_none, media_type)
        assert answer.status_code == 403, (scopes, answer.text)
        assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
    for scope in good:
        client = Client(server, tool, scope)
        answer = client.ask(method, f"/services/other{path}", body_or_none, media_type)
        assert answer.status_code == 403, "the token is another tool's"
        assert client.ask(method, f"/services/stats{path}", body_or_none, media_type).status_code == 404
        assert client.ask(method, f"/services/py{path}", body_or_none, media_type).ok
    for header in ("", "Bearer guessed", "Basic cHk6cHk="):
        url = f"{server.url}/services/py{path}"
        answer = requests.request(method, url, json=body_or_none, headers={"Authorization": header}, timeout=TIMEOUT)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


# ---- names and roles ----


def set_members(server: Lms, course: str, members: list[dict[str, str]]) -> None:
    assert server.control("set", {"course": course, "members": members})["members"] == len(members)


def test_roster_of_a_course_that_nobody_has_set(server: Lms, tool: Tool) -> None:
    requests.post(f"{server.url}/enter/py/student-17", allow_redirects=False, timeout=TIMEOUT)
    answer = Client(server, tool).ask("GET", "/services/py/memberships", Accept=MEMBERSHIP_TYPE)
    assert answer.headers["Content-Type"] == MEMBERSHIP_TYPE
    container = answer.json()
    assert container["id"] == f"{server.url}/services/py/memberships"
    assert container["context"] == {"id": "py", "label": "py", "title": "Python"}
    members = {member["user_id"]: member for member in container["members"]}
    assert list(members) == ["2", "3", "101", "102", "117"]
    assert members["3"] == {
        "status": "Active",
        "name": "Tim Okafor",
        "given_name": "Tim",
        "family_name": "Okafor",
        "email": "tim.okafor@campus.example",
        "user_id": "3",
        "roles": [f"{MEMBERSHIP}/Instructor#TeachingAssistant"],
    }


def test_roster_comes_in_pages(server: Lms, tool: Tool) -> None:
    set_members(server, "py", [{"person": f"student-{n}"} for n in range(1, 251)])
    client = Client(server, tool)
    answers = client.pages("/services/py/memberships")
    assert [len(answer.json()["members"]) for answer in answers] == [100, 100, 50]
    subs = [member["user_id"] for answer in answers for member in answer.json()["members"]]
    assert subs == [str(100 + n) for n in range(1, 251)]
    assert len(client.pages("/services/py/memberships?limit=25")) == 10
    assert len(client.pages("/services/py/memberships?limit=1000")) == 3
    for limit in ("0", "-1", "many"):
        assert client.ask("GET", f"/services/py/memberships?limit={limit}").status_code == 400


def test_roster_is_filtered(server: Lms, tool: Tool) -> None:
    members = [
        {"person": "lecturer"},
        {"person": "student-1", "role": "teaching assistant"},
        {"person": "student-2", "status": "Inactive"},
        {"person": "student-3", "status": "Deleted"},
        *({"person": f"student-{n}"} for n in range(4, 10)),
    ]
    set_members(server, "py", members)
    client = Client(server, tool)

    def found(query: str) -> dict[str, str]:
        answers = client.pages(f"/services/py/memberships?{query}")
        return {member["user_id"]: member["status"] for a in answers for member in a.json()["members"]}

    assert found("role=Instructor") == {"2": "Active"}
    assert list(found("role=http%3A%2F%2Fpurl.imsglobal.org%2Fvocab%2Flis%2Fv2%2Fmembership%23Instructor")) == ["2"]
    students = found("role=Learner&limit=3")
    assert students == {"102": "Inactive", "103": "Deleted"} | {str(100 + n): "Active" for n in range(4, 10)}
    linked = client.ask("GET", "/services/py/memberships?rlid=py-1").json()["members"]
    assert all("LtiResourceLinkRequest" in str(member["message"]) for member in linked)
    assert client.ask("GET", "/services/py/memberships?rlid=other-1").status_code == 404
    assert client.ask("GET", "/services/py/memberships", Accept="text/html").status_code == 406


def test_a_set_roster_says_who_may_enter_and_as_what(server: Lms) -> None:
    set_members(server, "stats", [{"person": "student-1", "role": "lecturer"}, {"person": "student-2"}])

    def enter(person: str) -> requests.Response:
        return requests.post(f"{server.url}/enter/stats/{person}", timeout=TIMEOUT)

    assert 'name="roles" value="Instructor"' in enter("student-1").text
    assert "lis_result_sourcedid" not in enter("student-1").text
    assert 'name="roles" value="Learner"' in enter("student-2").text
    assert "lis_result_sourcedid" in enter("student-2").text
    assert enter("student-3").status_code == 403
    set_members(server, "stats", [{"person": "student-2", "status": "Inactive"}])
    assert enter("student-2").status_code == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"course": "py", "people": []},
        {"members": []},
        {"course": "py", "members": [{"person": "rector"}]},
        {"course": "py", "members": [{"person": "student-1", "role": "Learner"}]},
        {"course": "py", "members": [{"person": "student-1", "status": "ill"}]},
        {"course": "py", "scopes": ["score"]},
    ],
)
def test_a_wrong_roster_is_refused(server: Lms, wrong: dict[str, Any]) -> None:
    done = server.run("set", wrong)
    assert done.returncode == 1
    assert "want" in done.stdout
    assert len(server.control("show", {"course": "py"})["members"]) == 4


# ---- assignments and grades ----


def test_columns_are_made_found_changed_and_deleted(server: Lms, tool: Tool) -> None:
    client = Client(server, tool)
    for n in range(1, 26):
        client.new_column(f"Week {n}", resourceId=f"w{n}", tag="campus" if n % 2 else "other")
    linked = client.new_column("Linked", resourceLinkId="py-1", extra={"ignored": True})
    assert re.fullmatch(rf"{server.url}/services/py/lineitems/\d+/lineitem\?type_id=1", linked)

    def labels(query: str, pages: int = 1) -> list[str]:
        answers = client.pages(f"/services/py/lineitems?type_id=1{query}")
        assert len(answers) == pages
        assert {answer.headers["Content-Type"] for answer in answers} == {LINEITEMS_TYPE}
        return [item["label"] for answer in answers for item in answer.json()]

    assert labels("", 3) == [f"Week {n}" for n in range(1, 26)] + ["Linked"]
    assert labels("&resource_id=w7") == ["Week 7"]
    assert labels("&resource_id=none") == []
    assert len(labels("&tag=campus", 2)) == 13
    assert labels("&tag=campus&resource_id=w8") == []
    assert labels("&resource_link_id=py-1") == ["Linked"]
    assert len(labels("&limit=5", 6)) == 26

    changed = client.ask("PUT", linked, {"label": "Changed", "scoreMaximum": 2.5}, LINEITEM_TYPE)
    assert changed.headers["Content-Type"] == LINEITEM_TYPE
    assert changed.json() == {"id": linked, "label": "Changed", "scoreMaximum": 2.5, "resourceLinkId": "py-1"}
    assert client.ask("GET", linked).json() == changed.json()
    assert client.ask("GET", linked.partition("?")[0]).status_code == 404, "the query belongs to the address"
    assert client.ask("DELETE", linked).status_code == 204
    assert client.ask("GET", linked).status_code == 404
    assert client.score(linked, "101").status_code == 404
    server.control("reset", {"course": "py"})
    assert client.ask("GET", "/services/py/lineitems?type_id=1").json() == []
    assert number_of(client.new_column()) > number_of(linked), "the address of a deleted column is not used again"


@pytest.mark.parametrize(
    ("status", "fields", "media_type"),
    [
        (415, {}, "application/json"),
        (400, {"label": ""}, LINEITEM_TYPE),
        (400, {"label": None}, LINEITEM_TYPE),
        (400, {"scoreMaximum": 0}, LINEITEM_TYPE),
        (400, {"scoreMaximum": "10"}, LINEITEM_TYPE),
        (400, {"scoreMaximum": True}, LINEITEM_TYPE),
        (400, {"scoreMaximum": None}, LINEITEM_TYPE),
        (400, {"resourceId": 7}, LINEITEM_TYPE),
        (404, {"resourceLinkId": "other-1"}, LINEITEM_TYPE),
    ],
)
def test_a_wrong_column_is_refused(
    server: Lms, tool: Tool, status: int, fields: dict[str, Any], media_type: str
) -> None:
    body = {"label": "Week 1", "scoreMaximum": 10} | fields
    client = Client(server, tool)
    assert client.ask("POST", "/services/py/lineitems?type_id=1", body, media_type).status_code == status
    assert client.ask("GET", "/services/py/lineitems?type_id=1").json() == []


def test_scores_become_results_and_stand_in_the_gradebook(server: Lms, tool: Tool) -> None:
    client = Client(server, tool)
    column = client.new_column(scoreMaximum=20)
    assert client.score(column, "101").status_code == 204
    assert client.score(column, "102", scoreGiven=0, comment=None).status_code == 204
    answer = client.ask("GET", with_path(column, "/results"))
    assert answer.headers["Content-Type"] == RESULTS_TYPE
    found = {result["userId"]: result for result in answer.json()}
    assert found["101"]["resultScore"] == 15.0
    assert found["101"]["resultMaximum"] == 20.0
    assert found["101"]["scoreOf"] == column
    assert found["101"]["comment"] == "Well done"
    assert found["102"]["resultScore"] == 0.0
    page = requests.get(f"{server.url}/courses/py/gradebook", timeout=TIMEOUT).text
    row = re.search(r'(?s)<tr id="grades-student-1">.*?</tr>', page)
    assert row
    assert re.search(r">15<small>\d\d \w{3} \d{4} \d\d:\d\d:\d\d</small><small>Well done</small>", row[0])

    assert client.score(column, "101", scoreGiven=None, scoreMaximum=None).status_code == 204
    assert [result["userId"] for result in client.ask("GET", with_path(column, "/results")).json()] == ["102"]
    assert client.score(column, "102", scoreGiven=9, gradingProgress="PendingManual").status_code == 204
    assert client.ask("GET", with_path(column, "/results")).json() == []
    shown = server.control("show", {"course": "py"})["columns"][0]["scores"]["student-2"]
    assert (shown["score"], shown["grading"]) == (None, "PendingManual")


def test_results_come_in_pages(server: Lms, tool: Tool) -> None:
    set_members(server, "py", [{"person": f"student-{n}"} for n in range(1, 121)])
    client = Client(server, tool)
    column = client.new_column()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: client.score(column, str(100 + n)).status_code, range(1, 121)))
    assert answers == [204] * 120
    pages = client.pages(with_path(column, "/results"))
    assert [len(answer.json()) for answer in pages] == [50, 50, 20]
    assert len({result["userId"] for answer in pages for result in answer.json()}) == 120
    one = client.ask("GET", with_path(column, "/results") + "&user_id=105").json()
    assert [result["userId"] for result in one] == ["105"]


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (415, {"media_type": "application/json"}),
        (415, {"media_type": LINEITEM_TYPE}),
        (404, {"user": "999"}),
        (403, {"user": "2"}),
        (403, {"user": "105"}),
        (400, {"userId": 101}),
        (400, {"timestamp": None}),
        (400, {"timestamp": "2026-11-24T10:00:00Z"}),
        (400, {"timestamp": "2026-11-24T10:00:00.123"}),
        (400, {"timestamp": "2026-13-24T10:00:00.123Z"}),
        (400, {"scoreMaximum": None}),
        (400, {"scoreMaximum": 0}),
        (400, {"scoreGiven": -1}),
        (400, {"scoreGiven": "7"}),
        (400, {"activityProgress": "Done"}),
        (400, {"gradingProgress": None}),
        (400, {"comment": 1}),
    ],
)
def test_a_wrong_score_is_refused(server: Lms, tool: Tool, status: int, fields: dict[str, Any]) -> None:
    members = [{"person": "lecturer"}, {"person": "student-1"}, {"person": "student-5", "status": "Inactive"}]
    set_members(server, "py", members)
    client = Client(server, tool)
    column = client.new_column()
    answer = client.score(column, str(fields.pop("user", "101")), **fields)
    assert answer.status_code == status, answer.text
    assert answer.json()["reason"]
    assert server.control("show", {"course": "py"})["columns"][0]["scores"] == {}


def test_a_score_must_be_newer_than_the_last(server: Lms, tool: Tool) -> None:
    client = Client(server, tool)
    column = client.new_column()
    sent = moment()
    assert client.score(column, "101", timestamp=sent).status_code == 204
    assert client.score(column, "101", timestamp=sent, scoreGiven=1).status_code == 409
    assert client.score(column, "101", timestamp=moment(-60), scoreGiven=1).status_code == 409
    assert client.score(column, "102", timestamp=sent).status_code == 204
    assert client.score(column, "101", timestamp=moment(1), scoreGiven=12).status_code == 204
    scores = server.control("show", {"course": "py"})["columns"][0]["scores"]
    assert {person: score["score"] for person, score in scores.items()} == {"student-1": 12.0, "student-2": 7.5}


# ---- LTI 1.1 Basic Outcomes ----


def message(operation: str, sourcedid: str, score: str = "") -> str:
    result = f"<result><resultScore><language>en</language><textString>{score}</textString></resultScore></result>"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<imsx_POXEnvelopeRequest xmlns="{POX}">
  <imsx_POXHeader><imsx_POXRequestHeaderInfo><imsx_version>V1.0</imsx_version>
    <imsx_messageIdentifier>4711</imsx_messageIdentifier></imsx_POXRequestHeaderInfo></imsx_POXHeader>
  <imsx_POXBody><{operation}Request><resultRecord><sourcedGUID><sourcedId>{sourcedid}</sourcedId></sourcedGUID>
    {result if score else ""}</resultRecord></{operation}Request></imsx_POXBody>
</imsx_POXEnvelopeRequest>"""


def send_outcome(lms: Lms, body: str, secret: str = SECRET, **changes: str) -> requests.Response:
    """Sign and send; ``sent`` replaces the body after it was signed, ``body_hash`` its hash before."""
    url = f"{lms.url}/services/outcomes"
    digest = base64.b64encode(hashlib.sha1(body.encode()).digest()).decode()  # noqa: S324  as OAuth says
    signer = BodyHashClient("the key", client_secret=secret)
    signer.body_hash = changes.get("body_hash", digest)
    _, headers, _ = signer.sign(url, "POST", headers={"Content-Type": "application/xml"})
    if "authorization" in changes:
        headers["Authorization"] = changes["authorization"]
    return requests.post(url, data=changes.get("sent", body).encode(), headers=headers, timeout=TIMEOUT)


class BodyHashClient(oauth1.Client):  # type: ignore[misc]  # untyped library
    """Signs a hash of the body, which oauthlib does not take from outside."""

    body_hash = ""

    def get_oauth_params(self, request: object) -> list[tuple[str, str]]:
        """Add the hash to what is signed and sent."""
        params = [(name, value) for name, value in super().get_oauth_params(request) if name != "oauth_body_hash"]
        return [*params, ("oauth_body_hash", self.body_hash)] if self.body_hash else params


def sourcedid(lms: Lms, person: str = "student-1") -> str:
    page = requests.post(f"{lms.url}/enter/stats/{person}", timeout=TIMEOUT).text
    assert f'name="lis_outcome_service_url" value="{lms.url}/services/outcomes"' in page
    found = re.search(r'name="lis_result_sourcedid" value="([^"]+)"', page)
    assert found
    return found[1]


def code(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("application/xml")
    found = re.search(r"<imsx_codeMajor>(\w+)</imsx_codeMajor>", answer.text)
    assert found
    assert "<imsx_messageRefIdentifier>4711</imsx_messageRefIdentifier>" in answer.text
    return found[1]


def test_an_outcome_is_set_read_and_deleted(server: Lms) -> None:
    person = sourcedid(server)
    assert code(send_outcome(server, message("replaceResult", person, "0.725"))) == "success"
    assert server.control("show", {"course": "stats"})["totals"] == {"student-1": 0.725}
    assert "72.50 %" in requests.get(f"{server.url}/courses/stats/gradebook", timeout=TIMEOUT).text
    read = send_outcome(server, message("readResult", person))
    assert code(read) == "success"
    assert "<textString>0.725</textString>" in read.text
    assert code(send_outcome(server, message("deleteResult", person))) == "success"
    assert "<textString></textString>" in send_outcome(server, message("readResult", person)).text
    assert server.control("show", {"course": "stats"})["totals"] == {}


@pytest.mark.parametrize("score", ["1.01", "-0.1", "much", "NaN", "Infinity", "", "90%"])
def test_a_wrong_outcome_is_a_failure(server: Lms, score: str) -> None:
    person = sourcedid(server)
    assert code(send_outcome(server, message("replaceResult", person, score or " "))) == "failure"
    assert server.control("show", {"course": "stats"})["totals"] == {}


def test_an_outcome_for_nobody_is_a_failure(server: Lms) -> None:
    person = sourcedid(server)
    assert code(send_outcome(server, message("replaceResult", "guessed", "1.0"))) == "failure"
    assert code(send_outcome(server, message("replaceResult", person[:-1] + "x", "1.0"))) == "failure"
    set_members(server, "stats", [{"person": "student-1", "role": "lecturer"}])
    assert code(send_outcome(server, message("replaceResult", person, "1.0"))) == "failure"
    assert code(send_outcome(server, message("promoteResult", person, "1.0"))) == "unsupported"


def test_an_outcome_must_be_signed_with_its_body(server: Lms) -> None:
    body = message("replaceResult", sourcedid(server), "0.5")
    other = message("replaceResult", sourcedid(server), "1.0")
    assert send_outcome(server, body, secret="guessed").status_code == 401
    assert send_outcome(server, body, sent=other).status_code == 401
    assert send_outcome(server, body, body_hash="").status_code == 401
    assert send_outcome(server, body, authorization="").status_code == 401
    assert server.control("show", {"course": "stats"})["totals"] == {}
    good = send_outcome(server, body)
    assert code(good) == "success"
    again = send_outcome(server, body, authorization=str(good.request.headers["Authorization"]))
    assert again.status_code == 401, "a replayed request"


# ---- faults and the log ----


def test_faults_meet_whom_they_are_meant_for(server: Lms, tool: Tool) -> None:
    client = Client(server, tool)
    column = client.new_column()
    faults = [
        {"service": "scores", "user": "student-1", "status": 403, "body": "closed"},
        {"service": "scores", "course": "py", "calls": 1, "status": 429, "retry_after": "7"},
        {"service": "scores", "calls": 1, "delay": 0.6},
        {"service": "scores", "skip": 1, "calls": 1, "status": 502},
        {"service": "scores", "calls": 1, "status": 500, "processed": True},
        {"service": "memberships", "course": "other", "status": 500},
    ]
    assert server.control("fault", faults) == {"faults": 6}
    for _ in range(2):
        refused = client.score(column, "101")
        assert (refused.status_code, refused.text) == (403, "closed")
    limited = client.score(column, "102")
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "7")
    begin = time.monotonic()
    assert client.score(column, "102").status_code == 204
    assert time.monotonic() - begin > 0.6
    assert [client.score(column, "102").status_code for _ in range(2)] == [204, 502]
    assert client.score(column, "102", scoreGiven=3).status_code == 500
    assert client.ask("GET", "/services/py/memberships").status_code == 200

    shown = server.control("show", {"course": "py"})
    assert {p: score["score"] for p, score in shown["columns"][0]["scores"].items()} == {"student-2": 3.0}
    log = [(entry["person"], entry["status"], entry["processed"]) for entry in shown["requests"] if entry["user"]]
    assert log == [
        ("student-1", 403, False),
        ("student-1", 403, False),
        ("student-2", 429, False),
        ("student-2", 204, True),
        ("student-2", 204, True),
        ("student-2", 502, False),
        ("student-2", 204, True),
    ]
    assert [entry["service"] for entry in shown["requests"]].count("token") == 1
    assert json.loads(server.run("show", {"course": "py"}).stdout) == shown
    assert json.loads(server.run("reset", {"course": "py"}).stdout) == {"course": "py"}
    assert server.control("show", {"course": "py"})["requests"] == []
    assert server.control("fault", []) == {"faults": 0}


def test_faults_of_tokens_and_outcomes(server: Lms, tool: Tool) -> None:
    faults = [
        {"service": "token", "course": "py", "calls": 1, "status": 503, "retry_after": "1"},
        {"service": "outcomes", "course": "stats", "user": "student-2", "calls": 1, "status": 500},
    ]
    server.control("fault", faults)
    assert ask_token(server, tool).status_code == 503
    assert ask_token(server, tool).status_code == 200
    first, second = sourcedid(server, "student-1"), sourcedid(server, "student-2")
    assert code(send_outcome(server, message("replaceResult", first, "1"))) == "success"
    assert send_outcome(server, message("replaceResult", second, "1")).status_code == 500
    assert code(send_outcome(server, message("replaceResult", second, "1"))) == "success"
    assert server.control("show", {"course": "stats"})["totals"] == {"student-1": 1.0, "student-2": 1.0}


@pytest.mark.parametrize("wrong", [{}, {"service": "grades"}, {"service": "scores", "user": "rector"}])
def test_a_wrong_fault_is_refused(server: Lms, wrong: dict[str, Any]) -> None:
    assert server.run("fault", [wrong]).returncode == 1
    assert server.run("fault", [{"service": "scores", "colour": "blue"}]).returncode == 1


def test_pages_of_a_course(server: Lms) -> None:
    set_members(server, "py", [{"person": "student-1", "role": "teaching assistant"}, {"person": "student-2"}])
    page = requests.get(f"{server.url}/courses/py/roster", timeout=TIMEOUT).text
    assert re.search(r'(?s)id="member-student-1">.*?teaching assistant.*?</tr>', page)
    grades = requests.get(f"{server.url}/courses/py/gradebook", timeout=TIMEOUT).text
    assert 'id="grades-student-2"' in grades
    assert 'id="grades-student-1"' not in grades
    for kind in ("roster", "gradebook"):
        assert f'href="/courses/py/{kind}"' in requests.get(server.url, timeout=TIMEOUT).text
        assert requests.get(f"{server.url}/courses/none/{kind}", timeout=TIMEOUT).status_code == 404
