"""Attacks of a student: each is refused by the service, and succeeds at a copy whose guards were taken away."""

from __future__ import annotations

import base64
import http.client
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import requests

from tests.unit.images.exchange.exchange_lab import ADA, BEN, COURSE, TEACHER, Client, Exchange, Hub, form, unpacked
from tests.unit.images.exchange.lms_lab import Key, platform_of

NOWHERE = "http://127.0.0.1:1"
GONE, STRANGER = "ugone", "ustranger"
SECRET, MINE = b"Ben's own work", b"Ada's own work"


@dataclass(frozen=True)
class Target:
    """A service in which Ada and Ben have handed in, and who attacks it."""

    exchange: Exchange
    ada: Client
    stamps: dict[str, str]

    def raw(self, path: str, token: str) -> tuple[int, bytes]:
        """Send a path as it is: client libraries would resolve its dots."""
        connection = http.client.HTTPConnection("127.0.0.1", self.exchange.port, timeout=20)
        connection.putrequest("GET", path)
        connection.putheader("Authorization", f"token {token}")
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()


def prepared(exchange: Exchange) -> Target:
    """Fill a course."""
    exchange.enrol(GONE)
    teacher = exchange.as_user(TEACHER)
    teacher.release("ps1", {"a.ipynb": b"task"})
    stamps = {}
    for user, work in ((ADA, MINE), (BEN, SECRET)):
        stamps[user] = exchange.as_user(user).submit("ps1", {"a.ipynb": work}).json()["timestamp"]
        teacher.feedback("ps1", user, stamps[user], {"a.html": b"feedback on " + work})
    return Target(exchange, exchange.as_user(ADA), stamps)


# Each attack returns whether it got what it wanted.
def read_a_submission(target: Target) -> bool:
    return SECRET in decoded(target.ada.get(f"submission/{COURSE}/ps1/{BEN}"))


def list_all_submissions(target: Target) -> bool:
    return BEN in target.ada.get(f"submissions/{COURSE}/ps1").text


def list_another_ones_submissions(target: Target) -> bool:
    return target.ada.get(f"submissions/{COURSE}/ps1/{BEN}").ok


def read_feedback(target: Target) -> bool:
    answer = target.ada.get(f"feedback/{COURSE}/ps1/{BEN}", timestamp=target.stamps[BEN])
    return b"feedback on" in decoded(answer)


def write_feedback(target: Target) -> bool:
    answer = target.ada.feedback("ps1", ADA, target.stamps[ADA], {"a.html": b"100 of 100"})
    own = target.ada.get(f"feedback/{COURSE}/ps1/{ADA}", timestamp=target.stamps[ADA])
    return answer.ok and b"100 of 100" in decoded(own)


def submit_as_another_by_field(target: Target) -> bool:
    """Give ngshare's field `user`, and the same in the query."""
    data = form({"a.ipynb": b"forged"}) | {"user": BEN, "student_id": BEN}
    target.ada.call("POST", f"submission/{COURSE}/ps1", data=data, params={"user": BEN})
    newest = target.exchange.as_user(TEACHER).get(f"submission/{COURSE}/ps1/{BEN}")
    return unpacked(newest) == {"a.ipynb": b"forged"}


def release_an_assignment(target: Target) -> bool:
    return target.ada.release("mine").ok and "mine" in target.ada.get(f"assignments/{COURSE}").text


def take_an_assignment_back(target: Target) -> bool:
    return target.ada.call("DELETE", f"assignment/{COURSE}/ps1").ok


def leave_the_folder_by_a_file_name(target: Target) -> bool:
    return target.ada.submit("ps1", {"../../../.jupyter/jupyter_server_config.py": b"evil()"}).ok


def read_the_database(target: Target) -> bool:
    paths = ("/data/exchange.db", "/ngshare/../data/exchange.db", f"/ngshare/assignment/{COURSE}/..%2f..%2fexchange.db")
    return any(b"SQLite format 3" in target.raw(path, target.ada.token)[1] for path in paths)


def read_the_private_key(target: Target) -> bool:
    paths = ("/lti/private.pem", "/api/..%2f..%2fetc/campus-hubs/lti/private.pem", "/lti//private.pem")
    return any(b"PRIVATE KEY" in target.raw(path, target.ada.token)[1] for path in paths)


def token_in_the_query(target: Target) -> bool:
    """Send a browser there by a link."""
    url = f"{target.exchange.url}/ngshare/submissions/{COURSE}/ps1?token=token-{TEACHER}"
    return requests.get(url, timeout=20).ok


def token_in_a_cookie(target: Target) -> bool:
    """Forge a request across sites: a browser sends cookies by itself."""
    url = f"{target.exchange.url}/ngshare/assignment/{COURSE}/forged"
    cookies = {"token": f"token-{TEACHER}", "jupyterhub-session-id": "x"}
    return requests.post(url, data=form({"a": b""}), cookies=cookies, timeout=20).ok


def come_back_after_leaving(target: Target) -> bool:
    """Replay a token that the hub still knows."""
    target.exchange.change("UPDATE members SET active = 0 WHERE user = ?", GONE)
    got = target.exchange.as_user(GONE).get(f"assignment/{COURSE}/ps1").ok
    target.exchange.change("UPDATE members SET active = 1 WHERE user = ?", GONE)
    return got


def come_from_another_course(target: Target) -> bool:
    """Use a valid token of a user of the hub whom no launch has enrolled."""
    return target.exchange.as_user(STRANGER).get(f"assignment/{COURSE}/ps1").ok


def use_a_services_token(target: Target) -> bool:
    return target.exchange.as_user("culler").get("courses").ok


def become_a_lecturer(target: Target) -> bool:
    document = {"subject": f"sub-{ADA}", "role": "instructor", "launched_at": time.time()}
    promoted = target.exchange.api("PUT", f"/members/{ADA}", target.ada.token, document).ok
    listed = target.exchange.query("SELECT role FROM members WHERE user = ?", ADA) == [("instructor",)]
    return promoted and listed


def grade_oneself(target: Target) -> bool:
    document = {"label": "ps1", "maximum": 10, "scores": {ADA: 10}, "send": True}
    return target.exchange.api("POST", "/grades/ps1", target.ada.token, document).ok


def read_everybodys_grades(target: Target) -> bool:
    return target.exchange.api("GET", "/grades", target.ada.token).ok


def read_the_roster(target: Target) -> bool:
    listed = target.exchange.api("GET", "/members", target.ada.token)
    return listed.ok or target.ada.get(f"students/{COURSE}").ok


def start_a_roster_sync(target: Target) -> bool:
    return target.exchange.api("POST", "/roster", target.ada.token).ok


def hand_in_before_the_deadline_afterwards(target: Target) -> bool:
    data = form({"a.ipynb": b"late"}) | {"timestamp": "2199-01-01 00:00:00.000000 UTC"}
    answer = target.ada.call("POST", f"submission/{COURSE}/ps1", data=data)
    return answer.ok and str(answer.json()["timestamp"]).startswith("2199")


def fill_the_volume_with_files(target: Target) -> bool:
    return target.ada.submit("ps1", {f"{number}": b"" for number in range(1001)}).ok


def decoded(answer: requests.Response) -> bytes:
    """Return the contents of all files of an answer, if it has any."""
    try:
        files = json.loads(answer.text).get("files", [])
    except ValueError:
        return b""
    return b"".join(base64.b64decode(file["content"]) for file in files)


ATTACKS: list[Callable[[Target], bool]] = [
    read_a_submission,
    list_all_submissions,
    list_another_ones_submissions,
    read_feedback,
    write_feedback,
    submit_as_another_by_field,
    release_an_assignment,
    take_an_assignment_back,
    leave_the_folder_by_a_file_name,
    read_the_database,
    read_the_private_key,
    token_in_the_query,
    token_in_a_cookie,
    come_back_after_leaving,
    come_from_another_course,
    use_a_services_token,
    become_a_lecturer,
    grade_oneself,
    read_everybodys_grades,
    read_the_roster,
    start_a_roster_sync,
    hand_in_before_the_deadline_afterwards,
    fill_the_volume_with_files,
]
NAMES = [attack.__name__ for attack in ATTACKS]


def state(exchange: Exchange) -> list[object]:
    """Read all that a refused attack must not change; handing in for oneself is allowed."""
    tables = ("members", "assignments", "assignment_files", "feedback_files", "columns", "scores")
    rows: list[object] = [exchange.query(f"SELECT * FROM {table}") for table in tables]  # noqa: S608
    return [*rows, exchange.query("SELECT * FROM submissions WHERE user <> ?", ADA)]


@pytest.fixture(scope="module")
def closed(session_hub: Hub, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    exchange = Exchange(tmp_path_factory.mktemp("closed"), session_hub, None, **platform_of(NOWHERE, key))
    yield prepared(exchange.start().enrol_all())
    exchange.stop()


@pytest.fixture
def opened(hub: Hub, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Give a copy that is filled while it is closed, and opened then: a fresh one for each attack."""
    exchange = Exchange(tmp_path_factory.mktemp("opened"), hub, None, **platform_of(NOWHERE, key))
    target = prepared(exchange.start().enrol_all())
    exchange.stop()
    exchange.command = [sys.executable, "-m", "tests.unit.images.exchange.opened_exchange"]
    exchange.start()
    yield target
    exchange.stop()


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_refused(closed: Target, attack: Callable[[Target], bool]) -> None:
    before = state(closed.exchange)
    assert not attack(closed)
    assert state(closed.exchange) == before


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_the_same_succeeds_where_it_is_open(opened: Target, attack: Callable[[Target], bool]) -> None:
    assert attack(opened), opened.exchange.log[-1500:]
