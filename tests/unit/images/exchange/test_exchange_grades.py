"""Grades get to the LMS's gradebook, each once, whatever the LMS and the service do meanwhile."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from campus_hubs_exchange import grades, members, outbox, outcomes
from campus_hubs_exchange import lms as lms_client
from campus_hubs_exchange.ags import Placed
from campus_hubs_exchange.api import _launched
from campus_hubs_exchange.coursework import now
from campus_hubs_exchange.errors import Refused
from campus_hubs_exchange.lms import Lms13, LmsError, Registration
from campus_hubs_exchange.model import Base, Column, Score
from campus_hubs_membership.identity import user_name
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders

from tests.unit.images.exchange.exchange_lab import Exchange
from tests.unit.images.exchange.lms_lab import (
    AGS,
    COURSE11,
    SCOPES,
    DemoLms,
    Key,
    ScriptedLms,
    platform_of,
    until,
)

STUDENTS = [f"student-{n}" for n in range(1, 13)]
Document = dict[str, Any]


class Gradebook:
    """What a lecturer does with grades, and what the LMS shows then."""

    def __init__(self, exchange: Exchange, lms: DemoLms) -> None:
        """Fill the course."""
        self.exchange, self.lms = exchange, lms
        lms.members({"lecturer": "lecturer"} | dict.fromkeys(STUDENTS, "student"))
        self.token = f"token-{lms.launch(exchange, 'lecturer', 'instructor')}"
        assert exchange.api("POST", "/roster").json()["members"] == 13

    def post(self, name: str, scores: dict[str, float | None], **more: object) -> Document:
        """Post grades by persons."""
        by_user = {self.lms.user(person): score for person, score in scores.items()}
        document = {"label": name.title(), "maximum": 10, "scores": by_user, "send": True} | more
        answer = self.exchange.api("POST", f"/grades/{name}", self.token, document)
        assert answer.status_code == 202, answer.text
        told: Document = answer.json()
        return told

    def assignment(self, name: str) -> Document:
        """Return what the lecturer sees of an assignment."""
        document = self.exchange.api("GET", "/grades", self.token).json()
        [found] = [assignment for assignment in document["assignments"] if assignment["name"] == name]
        assignment: Document = found
        return assignment

    def states(self, name: str) -> dict[str, Document]:
        """Return the scores by persons."""
        people = {self.lms.user(person): person for person in [*STUDENTS, "lecturer"]}
        return {people.get(score["user"], score["user"]): score for score in self.assignment(name)["scores"]}

    def settled(self, name: str) -> dict[str, Document]:
        """Wait until nothing waits."""
        until(
            f"end of {name}",
            lambda: (
                self.assignment(name)["column_state"] != "waiting"
                and all(score["state"] != "waiting" for score in self.states(name).values())
            ),
            60,
        )
        return self.states(name)

    def column(self, label: str) -> Document:
        """Return the one column of the LMS with this label."""
        [found] = [column for column in self.lms.shown()["columns"] if column["label"] == label]
        column: Document = found
        return column

    def arrived(self) -> Counter[str]:
        """Count the scores that took effect, by persons."""
        log = self.lms.requests("scores")
        return Counter(entry["person"] for entry in log if entry["processed"] and 200 <= entry["status"] < 300)


@pytest.fixture
def book(connected: Exchange, lms: DemoLms) -> Gradebook:
    return Gradebook(connected, lms)


def test_a_column_at_release_and_scores_when_sent(book: Gradebook) -> None:
    told = book.post("week 1", {}, send=False)
    assert (told["kind"], told["reason"]) == ("ags", "")
    until("column", lambda: book.assignment("week 1")["column_state"] == "made")
    column = book.column("Week 1")
    assert (column["scoreMaximum"], column["resourceId"], column["scores"]) == (10, "week 1", {})
    assert book.assignment("week 1")["lineitem"]
    # Stored, not sent.
    book.post("week 1", {"student-1": 7.5, "student-2": None}, send=False)
    assert [score["state"] for score in book.states("week 1").values()] == ["unsent"] * 2
    time.sleep(0.5)
    assert not book.arrived()
    who = {book.lms.user("student-1"): "Well done, Ümit"}
    book.post("week 1", {"student-1": 7.5, "student-2": None, "student-3": 0}, comments=who)
    seen = book.settled("week 1")
    assert {person: score["state"] for person, score in seen.items()} == {
        "student-1": "sent",
        "student-2": "unsent",
        "student-3": "sent",
    }
    assert seen["student-1"]["sent_at"]
    assert seen["student-1"]["name"] == "Sofia Weber"
    shown = book.column("Week 1")["scores"]
    assert (shown["student-1"]["score"], shown["student-1"]["comment"]) == (7.5, "Well done, Ümit")
    assert shown["student-3"]["score"] == 0
    # Again: nothing goes out twice.
    book.post("week 1", {"student-1": 7.5, "student-3": 0})
    book.settled("week 1")
    assert book.arrived() == Counter(["student-1", "student-3"])
    # A changed score does, and a score that is taken back.
    book.post("week 1", {"student-1": 8, "student-3": None})
    book.settled("week 1")
    assert book.arrived() == Counter({"student-1": 2, "student-3": 2})
    assert book.column("Week 1")["scores"]["student-1"]["score"] == 8
    assert book.column("Week 1")["scores"].get("student-3", {}).get("score") is None


def test_one_column_each_beyond_a_page_and_after_changes(book: Gradebook) -> None:
    names = [f"w{n}" for n in range(12)]
    for name in names:
        book.post(name, {"student-1": 5})
    for name in names:
        book.settled(name)
    # A lost database must not make columns twice: they are found by their resourceId, on the second page too.
    book.exchange.stop()
    for path in book.exchange.data.glob("exchange.db*"):
        path.unlink()
    book.exchange.start()
    again = Gradebook(book.exchange, book.lms)
    again.post("w11", {"student-1": 5}, label="Final", maximum=20)
    again.settled("w11")
    columns = book.lms.shown()["columns"]
    assert len(columns) == 12
    assert again.column("Final")["scoreMaximum"] == 20


def test_a_new_maximum_is_sent_with_all_scores(book: Gradebook) -> None:
    book.post("w", {"student-1": 5, "student-2": 6})
    book.settled("w")
    book.post("w", {"student-1": 5}, maximum=20)
    book.settled("w")
    assert book.arrived() == Counter({"student-1": 2, "student-2": 2})
    assert book.column("W")["scores"]["student-2"]["score"] == 6
    assert book.column("W")["scoreMaximum"] == 20


def test_a_column_that_a_teacher_deleted_comes_back_with_its_scores(book: Gradebook) -> None:
    book.post("w", {"student-1": 5, "student-2": 6})
    book.settled("w")
    book.lms.control("reset", {"course": "python-demo"})
    book.lms.members({"lecturer": "lecturer"} | dict.fromkeys(STUDENTS, "student"))
    book.post("w", {"student-1": 5, "student-2": 6})
    book.settled("w")
    assert set(book.column("W")["scores"]) == {"student-1", "student-2"}


def test_each_grade_arrives_once_on_a_day_when_all_goes_wrong(book: Gradebook) -> None:
    """500, 429 with Retry-After, lost answers, 403 for one; killed in the middle; each arrives once."""
    book.post("w", {}, send=False)
    until("column", lambda: book.assignment("w")["column_state"] == "made")
    book.lms.faults(
        {"service": "scores", "user": "student-4", "status": 403, "body": "<p>Locked &amp; closed.</p>"},
        {"service": "scores", "skip": 2, "calls": 2, "status": 500},
        {"service": "scores", "calls": 1, "status": 500, "processed": True},
        {"service": "scores", "skip": 1, "calls": 1, "status": 429, "retry_after": "2"},
        {"service": "scores", "calls": 2, "delay": 2, "processed": True},
    )
    scores = {person: float(n) for n, person in enumerate(STUDENTS)}
    book.post("w", scores)  # type: ignore[arg-type]
    until("some", lambda: len(book.arrived()) >= 3)
    # Somebody is asked now, and answers after the end.
    book.exchange.kill()
    assert len(book.arrived()) < len(STUDENTS) - 1
    book.exchange.start()
    seen = book.settled("w")
    unlucky = seen.pop("student-4")
    assert (unlucky["state"], unlucky["reason"]) == ("refused", "403: Locked & closed.")
    assert {score["state"] for score in seen.values()} == {"sent"}
    assert all(score["sent_at"] and not score["reason"] for score in seen.values())
    assert book.arrived() == Counter(person for person in STUDENTS if person != "student-4")
    shown = {person: score["score"] for person, score in book.column("W")["scores"].items()}
    assert shown == {person: score for person, score in scores.items() if person != "student-4"}
    # What was refused has another chance, and nobody else is bothered.
    book.lms.faults()
    book.post("w", scores)  # type: ignore[arg-type]
    book.settled("w")
    assert book.arrived() == Counter(STUDENTS)


def test_nobody_stops_the_others(book: Gradebook) -> None:
    """One student's requests hang, one is unknown to the LMS, one to the course."""
    book.lms.faults({"service": "scores", "user": "student-1", "delay": 20, "status": 504})
    stranger = {"unobody": 3.0}
    document = {"label": "W", "maximum": 10, "send": True}
    users = {book.lms.user(person): 1.0 for person in (*STUDENTS[:6], "lecturer")}
    answer = book.exchange.api("POST", "/grades/w", book.token, document | {"scores": users | stranger})
    assert answer.status_code == 202
    begin = time.monotonic()
    until("the others", lambda: set(book.arrived()) == set(STUDENTS[1:6]))
    until("the lecturer's refusal", lambda: book.states("w")["lecturer"]["state"] == "refused")
    assert time.monotonic() - begin < 15
    seen = book.states("w")
    assert seen["unobody"]["state"] == "refused"
    assert "no member" in seen["unobody"]["reason"]
    assert seen["lecturer"]["reason"].startswith("403: userId is not an active student")
    assert seen["student-1"]["state"] == "waiting"


def test_what_waits_is_told_and_survives_the_lms_being_away(make_exchange: Callable[..., Exchange], key: Key) -> None:
    lms = DemoLms(key)
    try:
        book = Gradebook(make_exchange(**platform_of(lms.url, key)), lms)
        book.post("w", {})
        until("column", lambda: book.assignment("w")["column_state"] == "made")
        lms.stop()
        book.post("w", {"student-1": 1})
        until("an attempt", lambda: book.assignment("w")["column_reason"])
        assert "gives no answer" in book.assignment("w")["column_reason"]
        assert book.states("w")["student-1"]["state"] == "waiting"
    finally:
        lms.stop()


def test_students_and_wrong_documents_are_refused(book: Gradebook) -> None:
    good = {"label": "W", "maximum": 10, "scores": {}, "send": True}
    student = f"token-{book.lms.user('student-1')}"
    assert book.exchange.api("POST", "/grades/w", student, good).status_code == 403
    assert book.exchange.api("GET", "/grades", student).status_code == 403
    assert book.exchange.api("POST", "/grades/w", document=good).status_code == 403
    wrongs: tuple[dict[str, object], ...] = (
        {"label": ""},
        {"label": 5},
        {"maximum": 0},
        {"maximum": "10"},
        {"maximum": True},
        {"maximum": -1},
        {"scores": []},
        {"scores": {"a": -1}},
        {"scores": {"a": "1"}},
        {"comments": {"a": 1}},
        {"send": "yes"},
    )
    for wrong in wrongs:
        answer = book.exchange.api("POST", "/grades/w", book.token, good | wrong)
        assert answer.status_code == 400, wrong
        assert next(iter(wrong)) in answer.json()["error"]
    assert book.exchange.api("POST", "/grades/a+b", book.token, good).status_code == 400
    assert book.exchange.api("GET", "/grades", book.token).json()["assignments"] == []


# ---- an LMS that does what it should not ----
@pytest.fixture
def scripted() -> ScriptedLms:
    return ScriptedLms()


@pytest.fixture
def exposed(make_exchange: Callable[..., Exchange], scripted: ScriptedLms, key: Key) -> Exchange:
    exchange = make_exchange(**platform_of(scripted.url, key))
    ags = {"lineitems": f"{scripted.url}/items?type_id=1", "scopes": SCOPES}
    exchange.enrol("uteacher", "instructor", ags=ags)
    exchange.enrol(ada(exchange), subject="sub-ada")
    return exchange


def ada(exchange: Exchange) -> str:
    """Return the name of the one student, as the login makes it."""
    return user_name(json.loads(exchange.environment["LTI13_PLATFORM"])["issuer"], "sub-ada")


def send(exchange: Exchange) -> None:
    document = {"label": "W", "maximum": 10, "scores": {ada(exchange): 5}, "send": True}
    assert exchange.api("POST", "/grades/w", "token-uteacher", document).status_code == 202


def seen(exchange: Exchange) -> Document:
    [assignment] = exchange.api("GET", "/grades", "token-uteacher").json()["assignments"]
    found: Document = assignment
    return found


def test_a_filter_that_the_lms_ignores_and_another_tools_column(exposed: Exchange, scripted: ScriptedLms) -> None:
    """Neither is somebody else's column taken, nor is what the line item has besides thrown away."""
    other = {"id": f"{scripted.url}/other", "label": "W", "scoreMaximum": 10, "resourceId": "w", "tag": "quiz"}
    ours = {
        "id": f"{scripted.url}/ours?a=1",
        "label": "Old",
        "scoreMaximum": 5,
        "resourceId": "w",
        "tag": "campus.hubs",
    }
    ours["endDateTime"] = "2027-01-01T00:00:00Z"
    scripted.answers["/items"] = lambda *_: (200, {}, json.dumps([other, ours]))
    scripted.answers["/ours"] = lambda *_: (200, {}, "{}")
    scripted.answers["/ours/scores"] = lambda *_: (204, {}, "")
    send(exposed)
    until("sent", lambda: [score["state"] for score in seen(exposed)["scores"]] == ["sent"])
    asked = [(method, path) for method, path, *_ in scripted.seen if path != "/token"]
    assert asked == [
        ("GET", "/items?type_id=1&resource_id=w"),
        ("PUT", "/ours?a=1"),
        ("POST", "/ours/scores?a=1"),
    ]
    put, score = scripted.seen[-2], scripted.seen[-1]
    assert json.loads(put[3]) == ours | {"label": "W", "scoreMaximum": 10}
    assert score[2]["Content-Type"] == "application/vnd.ims.lis.v1.score+json"
    body = json.loads(score[3])
    assert (body["userId"], body["scoreGiven"], body["scoreMaximum"]) == ("sub-ada", 5, 10)
    assert (body["activityProgress"], body["gradingProgress"]) == ("Completed", "FullyGraded")


def test_a_column_elsewhere_gets_no_token(exposed: Exchange, scripted: ScriptedLms) -> None:
    ours = {"id": "http://127.0.0.1:1/ours", "label": "W", "scoreMaximum": 10, "resourceId": "w", "tag": "campus.hubs"}
    scripted.answers["/items"] = lambda *_: (200, {}, json.dumps([ours]))
    send(exposed)
    until("refusal", lambda: seen(exposed)["column_state"] == "refused")
    assert [score["state"] for score in seen(exposed)["scores"]] == ["refused"]


def test_a_refused_column_refuses_its_scores_and_gets_another_chance(exposed: Exchange, scripted: ScriptedLms) -> None:
    scripted.answers["/items"] = lambda *_: (403, {}, json.dumps({"error": "no", "error_description": "Not today."}))
    send(exposed)
    until("refusal", lambda: seen(exposed)["column_state"] == "refused")
    found = seen(exposed)
    assert found["column_reason"] == "403: Not today."
    assert found["scores"][0]["reason"] == "The LMS refuses the column: 403: Not today."
    ours = {"id": f"{scripted.url}/ours", "label": "W", "scoreMaximum": 10, "resourceId": "w", "tag": "campus.hubs"}
    scripted.answers["/items"] = lambda *_: (200, {}, json.dumps([ours]))
    scripted.answers["/ours/scores"] = lambda *_: (204, {}, "")
    send(exposed)
    until("sent", lambda: [score["state"] for score in seen(exposed)["scores"]] == ["sent"])


def test_a_newer_score_of_somebody_else_is_not_called_ours(exposed: Exchange, scripted: ScriptedLms) -> None:
    ours = {"id": f"{scripted.url}/ours", "label": "W", "scoreMaximum": 10, "resourceId": "w", "tag": "campus.hubs"}
    scripted.answers["/items"] = lambda *_: (200, {}, json.dumps([ours]))
    scripted.answers["/ours/scores"] = lambda *_: (409, {}, "There is a newer one.")
    send(exposed)
    until("refusal", lambda: [score["state"] for score in seen(exposed)["scores"]] == ["refused"])
    # The same after an attempt of which the answer was lost: that attempt has arrived.
    answers: Iterator[tuple[int, dict[str, str], str]] = iter([(500, {}, "?"), (409, {}, "There is a newer one.")])
    times: list[str] = []

    def lose(_: str, __: dict[str, str], body: str) -> tuple[int, dict[str, str], str]:
        times.append(json.loads(body)["timestamp"])
        return next(answers)

    scripted.answers["/ours/scores"] = lose
    send(exposed)
    until("sent", lambda: [score["state"] for score in seen(exposed)["scores"]] == ["sent"])
    assert len(set(times)) == 1, "all attempts carry one time"


class Moodle:
    """A gradebook as Moodle has it: scores follow the maximum, with the time of that; no tag and no resourceId."""

    def __init__(self, scripted: ScriptedLms) -> None:
        """Have no column yet."""
        self.url = scripted.url
        self.columns: list[Document] = []
        self.score: Document | None = None
        self.stamp = ""
        self.locked = self.fixed = False
        self.posts: list[tuple[int, Document]] = []
        scripted.answers |= {"/items": self.items, "/items/1": self.item, "/items/1/scores": self.scores}

    def items(self, method: str, _: dict[str, str], body: str) -> tuple[int, dict[str, str], str]:
        """List columns, or make one."""
        if method == "GET":
            return 200, {}, json.dumps(self.columns)
        sent = json.loads(body)
        kept = {key: sent[key] for key in ("label", "scoreMaximum")}
        self.columns.append({"id": f"{self.url}/items/{len(self.columns) + 1}", **kept})
        return 201, {}, json.dumps(self.columns[-1])

    def item(self, method: str, _: dict[str, str], body: str) -> tuple[int, dict[str, str], str]:
        """Read or change the first column."""
        [column] = self.columns
        if method == "PUT" and self.fixed:
            return 405, {}, "[]"
        if method == "PUT":
            self.change(json.loads(body))
        return 200, {}, json.dumps(column)

    def change(self, new: Document) -> None:
        """Change the first column, as a teacher does in Moodle."""
        [column] = self.columns
        if self.score and new.get("scoreMaximum", column["scoreMaximum"]) != column["scoreMaximum"]:
            self.score["scoreGiven"] *= new["scoreMaximum"] / column["scoreMaximum"]
            self.stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        column |= {key: new[key] for key in ("label", "scoreMaximum") if key in new}

    def scores(self, _: str, __: dict[str, str], body: str) -> tuple[int, dict[str, str], str]:
        """Take a score that is newer than the last; without scoreGiven, clear it."""
        sent = json.loads(body)
        status = 500 if self.locked else 409 if sent["timestamp"] <= self.stamp else 200
        self.posts.append((status, sent))
        if status == 200:
            self.stamp, self.score = sent["timestamp"], sent if "scoreGiven" in sent else None
        return status, {}, "[]" if status != 500 else f"<p>Error {len(self.posts)}</p>"


def press(exchange: Exchange, maximum: float, score: float | None) -> Document:
    """Send a score, and wait for its end."""
    document = {"label": "W", "maximum": maximum, "scores": {ada(exchange): score}, "send": True}
    assert exchange.api("POST", "/grades/w", "token-uteacher", document).status_code == 202
    until(
        "end", lambda: seen(exchange)["column_state"] != "waiting" and seen(exchange)["scores"][0]["state"] != "waiting"
    )
    [found] = seen(exchange)["scores"]
    told: Document = found
    return told


def test_a_gradebook_as_moodle_has_it(exposed: Exchange, scripted: ScriptedLms) -> None:
    moodle = Moodle(scripted)
    assert press(exposed, 10, 5)["state"] == "sent"
    # Moodle rescales at the new maximum, with a new time: one press, and the right score is there.
    assert press(exposed, 20, 5)["state"] == "sent"
    assert moodle.score
    assert (moodle.score["scoreGiven"], moodle.score["scoreMaximum"]) == (5, 20)
    # A teacher's name of the column stays, and there is one column only.
    moodle.change({"label": "Ours"})
    assert press(exposed, 20, 6)["state"] == "sent"
    assert press(exposed, 30, 6)["state"] == "sent"
    assert [(column["label"], column["scoreMaximum"]) for column in moodle.columns] == [("Ours", 30)]
    # Nor does it matter if a tool may not change a column: a score says of how many points it is.
    moodle.fixed = True
    assert press(exposed, 60, 6)["state"] == "sent"
    assert (moodle.score["scoreGiven"], moodle.score["scoreMaximum"]) == (6, 60)
    moodle.fixed = False
    # A 0 that was sent is taken back.
    assert press(exposed, 30, 0)["state"] == "sent"
    assert moodle.score["scoreGiven"] == 0
    press(exposed, 30, None)
    assert moodle.score is None
    assert "scoreGiven" not in moodle.posts[-1][1]
    assert {status for status, _ in moodle.posts} == {200}, "no score needs a second press"


def test_a_person_of_an_earlier_lms_gives_nobody_a_grade(exposed: Exchange, scripted: ScriptedLms) -> None:
    """The LMS of now has somebody else by the same identifier."""
    moodle = Moodle(scripted)
    earlier = user_name("https://earlier.example", "sub-ada")
    exposed.enrol(earlier, subject="sub-ada")
    document = {"label": "W", "maximum": 10, "scores": {ada(exposed): 2, earlier: 9}, "send": True}
    assert exposed.api("POST", "/grades/w", "token-uteacher", document).status_code == 202
    until("end", lambda: {"waiting"}.isdisjoint(score["state"] for score in seen(exposed)["scores"]))
    found = {score["user"]: score for score in seen(exposed)["scores"]}
    assert found[ada(exposed)]["state"] == "sent"
    assert found[earlier]["state"] == "refused"
    assert "another issuer" in found[earlier]["reason"]
    assert [(sent["userId"], sent["scoreGiven"]) for _, sent in moodle.posts] == [("sub-ada", 2)]


def test_a_locked_grade_is_refused_after_an_hour_of_the_same_answer(exposed: Exchange, scripted: ScriptedLms) -> None:
    moodle = Moodle(scripted)
    moodle.locked = True
    send(exposed)
    until("first answer", lambda: seen(exposed)["scores"] and seen(exposed)["scores"][0]["reason"])
    assert seen(exposed)["scores"][0]["state"] == "waiting"
    exposed.stop()
    exposed.change("UPDATE scores SET failing_since = datetime('now', '-61 minutes'), next_attempt = datetime('now')")
    exposed.start()
    until("refusal", lambda: seen(exposed)["scores"][0]["state"] == "refused", 30)
    assert "500" in seen(exposed)["scores"][0]["reason"]
    # The lock is gone: one press.
    moodle.locked = False
    assert press(exposed, 10, 5)["state"] == "sent"


def column_of(item: object) -> Callable[..., tuple[int, dict[str, str], str]]:
    """Answer a new column in this way, and list none."""
    return lambda method, *_: (200, {}, "[]") if method == "GET" else (201, {}, json.dumps(item))


def test_a_column_that_cannot_be_anywhere_is_refused_and_gets_no_token(
    exposed: Exchange, scripted: ScriptedLms
) -> None:
    for place in ("http://[broken/items/1", "https://evil.example/items/1", "//evil.example/1", ["x"], None):
        scripted.answers["/items"] = column_of({"id": place})
        send(exposed)
        until("refusal", lambda: seen(exposed)["column_state"] == "refused")
        assert "column" in seen(exposed)["column_reason"]
        assert seen(exposed)["scores"][0]["state"] == "refused"
    # A default port and capitals of a host are no other place.
    host = scripted.url.removeprefix("http://127.0.0.1")
    scripted.answers["/items"] = column_of({"id": f"HTTP://127.0.0.1{host}/items/1"})
    scripted.answers["/items/1/scores"] = lambda *_: (200, {}, "[]")
    assert press(exposed, 10, 5)["state"] == "sent"


def test_odd_answers_hold_up_nothing(exposed: Exchange, scripted: ScriptedLms) -> None:
    """Whatever stands beside a column's address, the score arrives, and with a time that a later one can beat."""
    headers: dict[str, str] = {}
    maximum = "10"

    def item(*_: object) -> tuple[int, dict[str, str], str]:
        return 200, headers, f'{{"id": "{scripted.url}/items/1", "label": "W", "scoreMaximum": {maximum}}}'

    scripted.answers["/items"] = lambda method, *_: (200, headers, "[]") if method == "GET" else item()
    scripted.answers["/items/1"] = item
    scripted.answers["/items/1/scores"] = lambda *_: (200, headers, "[]")
    dates = ("Fri, 31 Dec 9999 23:59:59 -2300", "Mon, 01 Jan 0001 00:00:00 +2300", "Thu, 01 Jan 2500 00:00:00 GMT", "x")
    maxima = ("0", "-1", "NaN", "Infinity", f"1{'0' * 400}", '"10"', "null", "[10]")
    cases: list[tuple[dict[str, str], str]] = [
        *(({"Date": date}, "10") for date in dates),
        *(({}, maximum) for maximum in maxima),
    ]
    for number, (headers, maximum) in enumerate(cases, 1):
        assert press(exposed, 10, number)["state"] == "sent", (headers, maximum)
    times = [json.loads(body)["timestamp"] for _, path, _, body in scripted.seen if path == "/items/1/scores"]
    assert times == sorted(set(times))
    assert times[-1] < "2100"


def test_an_answer_that_nobody_has_thought_of_stops_no_other_assignment(
    exposed: Exchange, scripted: ScriptedLms
) -> None:
    """The first column's address in the database is broken: the second one's score arrives all the same."""
    scripted.answers["/items"] = column_of({"id": f"{scripted.url}/items/1"})
    scripted.answers["/items/1/scores"] = lambda *_: (200, {}, "[]")
    assert press(exposed, 10, 5)["state"] == "sent"
    exposed.change("UPDATE columns SET lineitem = 'http://[x'")
    exposed.change("UPDATE scores SET state = 'waiting', next_attempt = datetime('now')")
    other = {"label": "V", "maximum": 10, "scores": {ada(exposed): 7}, "send": True}
    assert exposed.api("POST", "/grades/v", "token-uteacher", other).status_code == 202

    def states() -> dict[str, str]:
        found = exposed.api("GET", "/grades", "token-uteacher").json()["assignments"]
        return {assignment["name"]: assignment["scores"][0]["state"] for assignment in found}

    until("the other", lambda: states()["v"] == "sent", 20)
    assert states()["w"] == "waiting"
    until("its reason", lambda: "not understood" in exposed.api("GET", "/grades", "token-uteacher").text, 20)


def test_a_number_that_is_no_score_is_refused(exposed: Exchange) -> None:
    for value in (f"1{'0' * 400}", "NaN", "-1", "true", '"5"', "[]", "1e400"):
        for maximum, score in ((value, "5"), ("10", value)):
            body = f'{{"label": "W", "maximum": {maximum}, "scores": {{"uada": {score}}}, "send": true}}'
            headers = {"Authorization": "token token-uteacher"}
            answer = requests.post(f"{exposed.url}/api/grades/w", data=body, headers=headers, timeout=10)
            assert (answer.status_code, ": expected " in answer.json()["error"]) == (400, True)
    assert exposed.api("GET", "/grades", "token-uteacher").json()["assignments"] == []


def test_scopes_that_the_lms_does_not_give(make_exchange: Callable[..., Exchange], lms: DemoLms, key: Key) -> None:
    exchange = make_exchange(**platform_of(lms.url, key))
    ags = {"lineitems": f"{lms.url}/x", "scopes": [f"{AGS}/lineitem"]}
    lms.launch(exchange, "lecturer", "instructor", ags=ags)
    told = exchange.api("GET", "/grades", f"token-{lms.user('lecturer')}").json()
    assert told["kind"] == "none"
    assert "does not let this tool send scores" in told["reason"]


def test_what_waits_for_the_first_launch(make_exchange: Callable[..., Exchange], lms: DemoLms, key: Key) -> None:
    exchange = make_exchange(**platform_of(lms.url, key), NRPS_URL=f"{lms.url}/services/python-demo/memberships")
    lms.members({"lecturer": "lecturer", "student-1": "student"})
    exchange.api("POST", "/roster")
    teacher = f"token-{lms.user('lecturer')}"
    document = {"label": "W", "maximum": 10, "scores": {lms.user("student-1"): 5}, "send": True}
    told = exchange.api("POST", "/grades/w", teacher, document).json()
    assert told["kind"] == "none"
    [score] = told["assignments"][0]["scores"]
    assert (score["state"], "open the course once" in score["reason"]) == ("waiting", True)
    lms.launch(exchange, "lecturer", "instructor")
    until("sent", lambda: lms.requests("scores"))


# ---- LTI 1.1 ----
@pytest.fixture
def consumer(tmp_path: Path) -> Path:
    (tmp_path / "consumer_key").write_text("the key\n")
    (tmp_path / "shared_secret").write_text("the secret\n")
    return tmp_path


def launched11(exchange: Exchange, lms: DemoLms, person: str) -> str:
    """Enrol a student with what the demo LMS signs for them, as a launch would."""
    from itsdangerous import URLSafeSerializer  # noqa: PLC0415 - of the demo LMS

    sub = str(100 + int(person.split("-")[1]))
    sourcedid = str(URLSafeSerializer("the secret", salt="lis_result_sourcedid").dumps([COURSE11, sub]))
    outcome = {"url": f"{lms.url}/services/outcomes", "sourcedid": sourcedid}
    exchange.enrol(lms.user(person), subject=sub, outcome=outcome)
    return lms.user(person)


def test_lti_11_sends_one_total(make_exchange: Callable[..., Exchange], lms: DemoLms, consumer: Path) -> None:
    exchange = make_exchange(LTI11_CONSUMER_DIR=str(consumer))
    exchange.enrol("uteacher", "instructor")
    lms.members({"student-1": "student", "student-2": "student"}, COURSE11)
    first, absent = launched11(exchange, lms, "student-1"), "uabsent"
    exchange.enrol(absent)
    lms.faults({"service": "outcomes", "calls": 1, "status": 500}, course=COURSE11)

    def post(name: str, maximum: float, scores: dict[str, float | None]) -> Document:
        document = {"label": name, "maximum": maximum, "scores": scores, "send": True}
        told: Document = exchange.api("POST", f"/grades/{name}", "token-uteacher", document).json()
        return told

    def states(name: str) -> dict[str, Document]:
        document = exchange.api("GET", "/grades", "token-uteacher").json()
        [found] = [assignment for assignment in document["assignments"] if assignment["name"] == name]
        return {score["user"]: score for score in found["scores"]}

    told = post("one", 10, {first: 5, absent: 3})
    assert told["kind"] == "outcomes"
    assert "sum of the scores" in told["reason"]
    post("two", 30, {first: 20})
    until("sent", lambda: states("one")[first]["state"] == states("two")[first]["state"] == "sent")
    assert lms.shown(COURSE11)["totals"]["student-1"] == pytest.approx(25 / 40)
    assert lms.requests("outcomes", COURSE11)[0]["status"] == 500
    waiting = states("one")[absent]
    assert (waiting["state"], "after their next visit" in waiting["reason"]) == ("waiting", True)
    # A forged sourcedid is refused with the LMS's words.
    exchange.enrol(absent, outcome={"url": f"{lms.url}/services/outcomes", "sourcedid": "<forged & wrong>"})
    until("refusal", lambda: states("one")[absent]["state"] == "refused")
    assert states("one")[absent]["reason"].startswith("failure: sourcedId is no active student")
    # Taken back.
    post("one", 10, {first: None})
    post("two", 30, {first: None})
    until("no total", lambda: "student-1" not in lms.shown(COURSE11)["totals"])


def test_a_wrong_secret_is_refused(make_exchange: Callable[..., Exchange], lms: DemoLms, consumer: Path) -> None:
    (consumer / "shared_secret").write_text("another")
    exchange = make_exchange(LTI11_CONSUMER_DIR=str(consumer))
    exchange.enrol("uteacher", "instructor")
    user = launched11(exchange, lms, "student-1")
    document = {"label": "w", "maximum": 10, "scores": {user: 1}, "send": True}
    exchange.api("POST", "/grades/w", "token-uteacher", document)

    def reason() -> str:
        [assignment] = exchange.api("GET", "/grades", "token-uteacher").json()["assignments"]
        return str(assignment["scores"][0]["reason"])

    until("reason", reason)
    assert "not signed with the secret" in reason()
    exchange.stop()
    assert "another" not in exchange.log


class Ledger:
    """The database of an LTI 1.1 course, and what its outbox would send."""

    def __init__(self) -> None:
        """Have nobody; the inventory names no course of the LMS."""
        self.contexts: tuple[str, ...] = ()
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        self.session = Session(engine, expire_on_commit=False)

    def launch(  # noqa: PLR0913, PLR0917 - what a launch says
        self,
        user: str,
        role: str = "student",
        context: str = "57",
        sourcedid: str = "",
        link: str = "",
        subject: str = "",
    ) -> None:
        """Take a launch of LTI 1.1."""
        what = {
            "subject": subject or user,
            "role": role,
            "launched_at": time.time(),
            "issued_at": time.time(),
            "context": {"id": context},
            "outcome": {"url": "https://lms.example/outcomes", "sourcedid": sourcedid, "link": link}
            if sourcedid
            else None,
        }
        _launched(self.session, user, members.bound(members.read_launched(what), self.contexts))
        self.session.flush()

    def start(self, *contexts: str) -> None:
        """Start the service with the LMS's courses that the inventory names."""
        self.contexts = contexts
        members.follow_binding(self.session, contexts)

    def grade(self, name: str, maximum: float, scores: dict[str, float], *, send: bool = True) -> None:
        """Do what a lecturer does."""
        document = {"label": name, "maximum": maximum, "scores": scores, "send": send}
        grades.store(self.session, name, grades.read_request(document))

    def send(self, user: str, error: LmsError | None = None) -> tuple[str, float | None] | None:
        """Send a person's total: where, and which; the LMS answers with an error, or takes it."""
        outbox._columns_are_made(self.session)
        begun = outbox._begin_total(self.session, user)
        if begun is None:
            return None
        _, sourcedid, total, attempts = begun
        for name, attempt in attempts.items():
            outbox._end_score(self.session, (name, user), attempt, error)
        return sourcedid, None if total is None else round(total, 6)

    def state(self, name: str, user: str) -> str:
        """Return how far a score is."""
        return self.session.get_one(Score, (name, user)).state


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Ledger()
    yield ledger
    ledger.session.close()


def test_what_the_lms_has_stays_in_the_total(ledger: Ledger) -> None:
    """Also while it is to be another score, which nobody has sent yet, or which was refused."""
    ledger.launch("uada", sourcedid="ada")
    ledger.grade("A", 10, {"uada": 10})
    ledger.grade("B", 10, {"uada": 0})
    assert ledger.send("uada") == ("ada", 0.5)
    # Released again, with more points; nothing is sent by that.
    ledger.grade("A", 12, {}, send=False)
    assert ledger.state("A", "uada") == "unsent"
    ledger.grade("B", 10, {"uada": 2})
    assert ledger.send("uada") == ("ada", (10 + 2) / 20)
    # Sent, and refused; C has never arrived.
    ledger.grade("A", 12, {"uada": 6})
    ledger.grade("C", 10, {"uada": 10})
    assert ledger.send("uada", LmsError("failure: locked", final=True)) == ("ada", (6 + 2 + 10) / 32)
    assert [ledger.state(name, "uada") for name in "ABC"] == ["refused", "sent", "refused"]
    ledger.grade("B", 10, {"uada": 4})
    assert ledger.send("uada") == ("ada", (10 + 4) / 20)


@pytest.mark.parametrize(("maximum", "total"), [(10, 0.7), (14, 0.5)])
def test_a_grade_that_waits_is_sent_though_its_assignment_is_released_again(
    ledger: Ledger, maximum: float, total: float
) -> None:
    ledger.launch("uada")
    ledger.grade("A", 10, {"uada": 7})
    assert ledger.send("uada") is None
    ledger.grade("A", maximum, {}, send=False)
    assert ledger.state("A", "uada") == "waiting"
    ledger.launch("uada", sourcedid="ada")
    assert (ledger.send("uada"), ledger.state("A", "uada")) == (("ada", total), "sent")


def test_a_course_that_moves_leaves_last_years_grades_alone(ledger: Ledger) -> None:
    ledger.start("57")
    ledger.launch("uprof", "instructor", "57")
    ledger.launch("uada", context="57", sourcedid="57:ada", link="1")
    ledger.grade("A", 10, {"uada": 9})
    assert ledger.send("uada") == ("57:ada", 0.9)
    ledger.start("58")
    # Ben comes before any lecturer does, and Ada's session of last year says once more what it said.
    ledger.launch("uben", context="58", sourcedid="58:ben", link="2")
    ledger.launch("uada", context="57", sourcedid="57:ada", link="1")
    ledger.launch("uprof", "instructor", "58")
    ledger.start("58")
    ledger.grade("A", 10, {"uada": 2, "uben": 7})
    assert ledger.send("uben") == ("58:ben", 0.7)
    assert ledger.send("uada") is None
    assert ledger.state("A", "uada") == "waiting"
    ledger.launch("uada", context="58", sourcedid="58:ada", link="2")
    assert ledger.send("uada") == ("58:ada", 0.2)


def test_a_course_that_a_lecturer_moves_leaves_last_years_grades_alone(ledger: Ledger) -> None:
    """Where the inventory names no course, and the hub has lost which one it was."""
    ledger.launch("uprof", "instructor", "57")
    ledger.launch("uada", context="57", sourcedid="57:ada")
    ledger.launch("uprof", "instructor", "58", sourcedid="58:prof")
    ledger.grade("A", 10, {"uada": 2, "uprof": 10})
    assert ledger.send("uada") is None
    assert ledger.send("uprof") == ("58:prof", 1.0)


def test_a_second_course_of_the_lms_takes_nobodys_place(ledger: Ledger) -> None:
    """A start after a lecturer of that one has come, and none of the first, is no move."""
    ledger.start("57", "58")
    ledger.launch("uprof", "instructor", "58")
    ledger.launch("uben", context="58", sourcedid="58:ben", link="2")
    ledger.launch("uada", context="57", sourcedid="57:ada", link="1")
    ledger.start("57", "58")
    ledger.launch("uada", context="57", sourcedid="57:other", link="3")
    ledger.grade("A", 10, {"uada": 2, "uben": 7})
    assert ledger.send("uada") == ("57:ada", 0.2)
    assert ledger.send("uben") == ("58:ben", 0.7)


def test_the_first_link_has_the_grade(ledger: Ledger) -> None:
    """Each link of LTI 1.1 has a grade of its own; the total does not go where somebody clicked last."""
    ledger.launch("uada", sourcedid="1:ada", link="1")
    ledger.launch("uada", sourcedid="2:ada", link="2")
    # A hub of before an update does not say which link it is.
    ledger.launch("uada", sourcedid="?:ada")
    ledger.grade("A", 10, {"uada": 5})
    assert ledger.send("uada") == ("1:ada", 0.5)
    # The same link, with another signature perhaps.
    ledger.launch("uada", sourcedid="1:ada, again", link="1")
    ledger.grade("A", 10, {"uada": 6})
    assert ledger.send("uada") == ("1:ada, again", 0.6)
    # Who has come by another link only has that grade, and has the first one's as soon as there is one.
    ledger.launch("uben", sourcedid="2:ben", link="2")
    ledger.grade("A", 10, {"uben": 7})
    assert ledger.send("uben") == ("2:ben", 0.7)
    ledger.launch("uben", sourcedid="1:ben", link="1")
    # The first link is gone.
    ledger.grade("A", 10, {"uben": 8})
    assert ledger.send("uben", LmsError("failure: no such link", final=True)) == ("1:ben", 0.8)
    ledger.launch("uben", sourcedid="2:ben", link="2")
    ledger.grade("A", 10, {"uben": 8})
    assert ledger.send("uben") == ("2:ben", 0.8)


def test_a_grade_follows_its_person_to_the_first_link(ledger: Ledger) -> None:
    """What another link has got of somebody is sent to the first one at once, and not again with each launch."""
    ledger.launch("uada", sourcedid="1:ada", link="1")
    ledger.launch("uben", sourcedid="2:ben", link="2")
    ledger.grade("A", 10, {"uben": 5})
    assert ledger.send("uben") == ("2:ben", 0.5)
    ledger.launch("uben", sourcedid="1:ben", link="1")
    assert ledger.send("uben") == ("1:ben", 0.5)
    # Moodle signs each launch anew.
    ledger.launch("uben", sourcedid="1:ben, again", link="1")
    assert ledger.send("uben") is None
    # Nor with the first launch that says where it was from.
    ledger.launch("ucleo", sourcedid="cleo")
    ledger.grade("A", 10, {"ucleo": 5})
    assert ledger.send("ucleo") == ("cleo", 0.5)
    ledger.launch("ucleo", sourcedid="1:cleo", link="1")
    assert ledger.send("ucleo") is None
    # What the LMS has refused by one link is tried by the other without a lecturer.
    ledger.grade("A", 10, {"uben": 6})
    assert ledger.send("uben", LmsError("failure: no such link", final=True)) == ("1:ben, again", 0.6)
    ledger.launch("uben", sourcedid="3:ben", link="3")
    assert ledger.send("uben") == ("3:ben", 0.6)


def test_a_course_of_the_lms_that_is_taken_away_gets_no_grades(ledger: Ledger) -> None:
    ledger.start("57", "58")
    ledger.launch("uprof", "instructor", "57")
    ledger.launch("uada", context="57", sourcedid="57:ada", link="1")
    ledger.launch("uben", context="58", sourcedid="58:ben", link="2")
    ledger.grade("A", 10, {"uada": 5, "uben": 5})
    assert (ledger.send("uada"), ledger.send("uben")) == (("57:ada", 0.5), ("58:ben", 0.5))
    ledger.start("57")
    ledger.grade("A", 10, {"uada": 6, "uben": 6})
    assert (ledger.send("uada"), ledger.send("uben")) == (("57:ada", 0.6), None)
    ledger.launch("uben", context="57", sourcedid="57:ben", link="1")
    assert ledger.send("uben") == ("57:ben", 0.6)


def test_two_names_of_one_person_do_not_share_a_grade(ledger: Ledger) -> None:
    """The LMS has got another tool_consumer_instance_guid, so that everybody has a new name."""
    ledger.launch("uold", sourcedid="1:ada", link="1", subject="42")
    ledger.launch("uben", sourcedid="1:ben", link="1")
    ledger.launch("unew", sourcedid="1:ada, again", link="1", subject="42")
    ledger.grade("A", 10, {"uold": 9, "unew": 2, "uben": 7})
    assert ledger.send("unew") == ("1:ada, again", 0.2)
    assert ledger.send("uold") is None
    assert ledger.state("A", "uold") == "refused"
    assert ledger.send("uben") == ("1:ben", 0.7)


def test_a_course_that_changes_between_lti_11_and_13_has_its_grades_sent_again(ledger: Ledger) -> None:
    """Whatever the total's column has got, the new ones are empty, and the other way round."""
    ledger.launch("uada", sourcedid="ada")
    ledger.grade("A", 10, {"uada": 5})
    assert ledger.send("uada") == ("ada", 0.5)
    ledger.grade("A", 10, {"uada": 5})
    column = ledger.session.get_one(Column, "A")
    outbox._placed(ledger.session, column, Placed("https://lms.example/items/1", 10, changed=True), now())
    assert ledger.state("A", "uada") == "waiting"
    begun = outbox._begin(ledger.session.get_one(Score, ("A", "uada")), 10)
    outbox._end_score(ledger.session, ("A", "uada"), begun, None)
    assert ledger.state("A", "uada") == "sent"
    ledger.grade("A", 10, {"uada": 5})
    assert ledger.send("uada") == ("ada", 0.5)
    ledger.grade("A", 10, {"uada": 5})
    assert ledger.send("uada") is None


def test_grades_while_others_read(book: Gradebook) -> None:
    """The outbox works off the event loop: readers are not held up by a slow LMS."""
    book.lms.faults({"service": "scores", "delay": 1})
    book.post("w", dict.fromkeys(STUDENTS, 1.0))
    slowest: list[float] = []

    def read() -> None:
        for _ in range(10):
            begin = time.monotonic()
            assert book.exchange.api("GET", "/grades", book.token).status_code == 200
            slowest.append(time.monotonic() - begin)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(slowest) < 2
    assert {score["state"] for score in book.settled("w").values()} == {"sent"}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("", None),
        ("soon", None),
        ("7", 7),
        ("-1", None),
        ("86400", 3600),
        ("9" * 5000, 3600),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 3600),
    ],
)
def test_how_long_an_lms_is_left_alone(written: str, seconds: float | None) -> None:
    request = HTTPRequest("http://lms/scores")
    answer = HTTPResponse(request, 429, headers=HTTPHeaders({"Retry-After": written}))
    assert lms_client._retry_after(answer, 100.0) == seconds


@pytest.mark.parametrize(
    ("status", "body", "final"),
    [
        (403, b"403 Forbidden (Rate Limit Exceeded)\n", False),
        (403, b'{"errors": [{"message": "user not authorized to perform that action"}]}', True),
        (429, b"", False),
        (400, b"", True),
    ],
)
def test_too_many_requests_are_no_refusal(status: int, body: bytes, final: bool) -> None:
    """Canvas has said so with 403 until 2025, and still does where a campus runs an older one."""
    failure = lms_client.failure(HTTPResponse(HTTPRequest("http://lms/scores"), status, buffer=BytesIO(body)))
    assert failure.final is final
    # Nobody of the class goes on meanwhile, even if it does not say for how long.
    assert failure.retry_after == (None if final else 10)


@pytest.mark.parametrize(
    "body",
    [
        b"<script" * 20_000,
        b"<" * 200_000,
        b"[" * 3000 + b"]" * 3000,
        b'{"error":' * 400 + b'"x"' + b"}" * 400,
        b"x" * 8_000_000,
        "\ud800".encode("utf-8", "surrogatepass"),
        b'{"message": "\\ud800"}',
    ],
    ids=["scripts", "tags", "lists", "objects", "long", "surrogate", "escaped surrogate"],
)
def test_no_refusal_is_too_much_to_be_read(body: bytes) -> None:
    """Before, some of these have held up the service for minutes."""
    begin = time.process_time()
    answer = HTTPResponse(HTTPRequest("http://lms/scores"), 500, buffer=BytesIO(body), reason="Locked")
    assert lms_client.failure(answer).reason.encode().startswith(b"500: ")
    assert time.process_time() - begin < 5


def answering(code: int, content_type: str, body: bytes, issued: bytes = b'{"access_token": "t"}') -> Lms13:
    """Give an LMS that answers so to all that has a token."""
    token = HTTPResponse(HTTPRequest("http://lms"), 200, buffer=BytesIO(issued))
    headers = HTTPHeaders({"Content-Type": content_type})
    answers = [token, HTTPResponse(HTTPRequest("http://lms"), code, headers=headers, buffer=BytesIO(body))]

    async def send(*_: object) -> HTTPResponse:
        return answers.pop(0)

    lms = Lms13(Registration("c", "http://lms/token", Path("/"), "a"), SimpleNamespace(send=send))  # type: ignore[arg-type]
    lms._assertion = str  # type: ignore[method-assign]
    return lms


@pytest.mark.parametrize(
    ("lifetime", "seconds"),
    [
        ("600", 600),
        ("-5", 0),
        ("-1" + "0" * 400, 0),
        ("1" + "0" * 400, 86400),
        ("Infinity", 86400),
        ("NaN", 0),
        ("true", 3600),
        ('"600"', 3600),
    ],
)
def test_a_token_is_kept_for_a_day_at_most(lifetime: str, seconds: float) -> None:
    issued = f'{{"access_token": "t", "expires_in": {lifetime}}}'.encode()
    lms = answering(200, "text/html", b"", issued)
    lms._clock = lambda: 1000.0
    assert asyncio.run(lms._token("scope")) == "t"
    assert lms._tokens["scope"] == ("t", 1000 + seconds - lms_client.TOKEN_MARGIN_SECONDS)


def test_a_web_page_with_status_200_is_no_success() -> None:
    """A login, maintenance or firewall before the LMS answers so: no score has arrived."""
    lms = answering(200, "text/html; charset=utf-8", b"\n<!DOCTYPE html><title>Log in</title>")
    with pytest.raises(LmsError, match="200, but with a web page: Log in") as error:
        asyncio.run(lms.request("POST", "http://lms/scores", [], accept="*/*", document={}))
    assert (error.value.final, error.value.refusal) == (False, True)
    # Moodle says the same of no page at all.
    for body in (b"", b"[]"):
        asyncio.run(answering(200, "text/html", body).request("POST", "http://lms/scores", [], accept="*/*"))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<r><imsx_codeMajor> Success </imsx_codeMajor></r>", "success"),
        (b"<r><imsx_codeMajor/></r>", "no code"),
        (b"<html></html>", "no code"),
        (b"<html><br></html>", "no XML"),
        (b'<?xml version="1.0" encoding="GB2312"?><r/>', "no XML"),
        (b'<?xml version="1.0" encoding="none"?><r/>', "no XML"),
        (b"", "no XML"),
    ],
)
def test_what_lti_11_answers_is_read(body: bytes, code: str) -> None:
    assert outcomes._status(body)[0] == code


def test_texts_that_cannot_be_stored_are_no_failure() -> None:
    document = {"label": "W", "maximum": 1, "scores": {"uada": 1}, "comments": {"uada": "good \ud800\nwork 👩‍🏫"}}
    assert grades.read_request(document).comments == {"uada": "good ?\nwork 👩‍🏫"}
    for name in ("", "\ud800", "a\0", "x" * 256):
        with pytest.raises(Refused, match="scores: expected user names"):
            grades.read_request(document | {"scores": {name: 1}})


def test_grades_that_the_lms_does_not_take_are_not_cured_by_another_click(ledger: Ledger) -> None:
    def reason() -> str:
        return grades.way(ledger.session, lti13=True, lti11=False).reason

    assert "open the course once from the LMS" in reason()
    ledger.launch("ulecturer", "instructor")
    assert "its administrator lets this tool make columns" in reason()
