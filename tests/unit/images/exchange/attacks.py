"""Attacks of a student on the exchange. They need `requests` only, so that they run in a person's server, too."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from tests.unit.images.exchange.client import Client, form, unpacked

SECRET, MINE = b"Ben's own work", b"Ada's own work"


@dataclass(frozen=True)
class Target:
    """A course in which Ada and Ben have handed in `work`, and who attacks it.

    Attributes:
        ada: the attacker, a student.
        teacher: who looks afterwards whether an attack got through.
        gone: somebody who has left the course, with the token of that time.
        strangers: with tokens that are no member's: somebody of another course, a service of the hub.
        stamps: when who has handed in.
    """

    work: str
    ada: Client
    teacher: Client
    gone: Client
    strangers: tuple[Client, ...]
    ada_name: str
    ben_name: str
    stamps: dict[str, str]

    @property
    def course(self) -> str:
        """Id of the course."""
        return self.ada.course

    def raw(self, path: str) -> bytes:
        """Send a path as it is: client libraries would resolve its dots."""
        connection = http.client.HTTPConnection(urlsplit(self.ada.url).netloc, timeout=20)
        connection.putrequest("GET", path)
        connection.putheader("Authorization", f"token {self.ada.token}")
        connection.endheaders()
        return connection.getresponse().read()


def fill(teacher: Client, students: dict[str, Client], work: str) -> dict[str, str]:
    """Release, hand in and give feedback, as a course does; return when who has handed in.

    Args:
        teacher: who releases.
        students: Ada and Ben, in this order.
        work: name of the assignment.
    """
    teacher.release(work, {"a.ipynb": b"task"}).raise_for_status()
    stamps = {}
    for (name, student), content in zip(students.items(), (MINE, SECRET), strict=True):
        stamps[name] = student.submit(work, {"a.ipynb": content}).json()["timestamp"]
        teacher.feedback(work, name, stamps[name], {"a.html": b"feedback on " + content}).raise_for_status()
    return stamps


# Each attack returns whether it got what it wanted.
def read_a_submission(target: Target) -> bool:
    return SECRET in decoded(target.ada.get(f"submission/{target.course}/{target.work}/{target.ben_name}"))


def list_all_submissions(target: Target) -> bool:
    return target.ben_name in target.ada.get(f"submissions/{target.course}/{target.work}").text


def list_another_ones_submissions(target: Target) -> bool:
    return target.ada.get(f"submissions/{target.course}/{target.work}/{target.ben_name}").ok


def read_feedback(target: Target) -> bool:
    path = f"feedback/{target.course}/{target.work}/{target.ben_name}"
    return b"feedback on" in decoded(target.ada.get(path, timestamp=target.stamps[target.ben_name]))


def write_feedback(target: Target) -> bool:
    stamp = target.stamps[target.ada_name]
    answer = target.ada.feedback(target.work, target.ada_name, stamp, {"a.html": b"100 of 100"})
    own = target.ada.get(f"feedback/{target.course}/{target.work}/{target.ada_name}", timestamp=stamp)
    return answer.ok and b"100 of 100" in decoded(own)


def submit_as_another_by_field(target: Target) -> bool:
    """Give ngshare's field `user`, and the same in the query."""
    data = form({"a.ipynb": b"forged"}) | {"user": target.ben_name, "student_id": target.ben_name}
    path = f"submission/{target.course}/{target.work}"
    target.ada.call("POST", path, data=data, params={"user": target.ben_name})
    return unpacked(target.teacher.get(f"{path}/{target.ben_name}")) == {"a.ipynb": b"forged"}


def release_an_assignment(target: Target) -> bool:
    name = f"{target.work}-mine"
    return target.ada.release(name).ok and name in target.ada.get(f"assignments/{target.course}").text


def take_an_assignment_back(target: Target) -> bool:
    return target.ada.call("DELETE", f"assignment/{target.course}/{target.work}").ok


def leave_the_folder_by_a_file_name(target: Target) -> bool:
    return target.ada.submit(target.work, {"../../../.jupyter/jupyter_server_config.py": b"evil()"}).ok


def read_the_database(target: Target) -> bool:
    paths = (
        "/data/exchange.db",
        "/ngshare/../data/exchange.db",
        f"/ngshare/assignment/{target.course}/..%2f..%2fexchange.db",
    )
    return any(b"SQLite format 3" in target.raw(path) for path in paths)


def read_the_private_key(target: Target) -> bool:
    paths = ("/lti/private.pem", "/api/..%2f..%2fetc/campus-hubs/lti/private.pem", "/lti//private.pem")
    return any(b"PRIVATE KEY" in target.raw(path) for path in paths)


def token_in_the_query(target: Target) -> bool:
    """Send a lecturer's browser there by a link."""
    path = f"/ngshare/submissions/{target.course}/{target.work}?token={target.teacher.token}"
    return requests.get(target.ada.url + path, timeout=20).ok


def token_in_a_cookie(target: Target) -> bool:
    """Forge a request across sites: a browser sends cookies by itself."""
    url = f"{target.ada.url}/ngshare/assignment/{target.course}/{target.work}-forged"
    cookies = {"token": target.teacher.token, "jupyterhub-session-id": "x"}
    return requests.post(url, data=form({"a": b""}), cookies=cookies, timeout=20).ok


def come_back_after_leaving(target: Target) -> bool:
    return target.gone.get(f"assignment/{target.course}/{target.work}").ok


def come_from_elsewhere(target: Target) -> bool:
    """Use tokens that are valid, and no member's of this course."""
    return any(stranger.get(f"assignment/{target.course}/{target.work}").ok for stranger in target.strangers)


def become_a_lecturer(target: Target) -> bool:
    document = {"subject": f"sub-{target.ada_name}", "role": "instructor", "launched_at": time.time()}
    promoted = target.ada.api("PUT", f"/members/{target.ada_name}", document).ok
    members = target.teacher.api("GET", "/members").json()["members"]
    return promoted and {"instructor"} == {one["role"] for one in members if one["user"] == target.ada_name}


def grade_oneself(target: Target) -> bool:
    document = {"label": target.work, "maximum": 10, "scores": {target.ada_name: 10}, "send": False}
    return target.ada.api("POST", f"/grades/{target.work}", document).ok


def read_everybodys_grades(target: Target) -> bool:
    return target.ada.api("GET", "/grades").ok


def read_the_roster(target: Target) -> bool:
    return target.ada.api("GET", "/members").ok or target.ada.get(f"students/{target.course}").ok


def start_a_roster_sync(target: Target) -> bool:
    return target.ada.api("POST", "/roster?check=1").ok


def hand_in_before_the_deadline_afterwards(target: Target) -> bool:
    data = form({"a.ipynb": b"late"}) | {"timestamp": "2199-01-01 00:00:00.000000 UTC"}
    answer = target.ada.call("POST", f"submission/{target.course}/{target.work}", data=data)
    return answer.ok and str(answer.json()["timestamp"]).startswith("2199")


def fill_the_volume_with_files(target: Target) -> bool:
    return target.ada.submit(target.work, {f"{number}": b"" for number in range(1001)}).ok


def decoded(answer: requests.Response) -> bytes:
    """Return the contents of all files of an answer, if it has any."""
    try:
        files = json.loads(answer.text).get("files", [])
    except ValueError:
        return b""
    return b"".join(base64.b64decode(file["content"]) for file in files)


# What destroys something comes last: the others need it.
ATTACKS: list[Callable[[Target], bool]] = [
    read_a_submission,
    list_all_submissions,
    list_another_ones_submissions,
    read_feedback,
    write_feedback,
    release_an_assignment,
    leave_the_folder_by_a_file_name,
    read_the_database,
    read_the_private_key,
    token_in_the_query,
    token_in_a_cookie,
    come_back_after_leaving,
    come_from_elsewhere,
    grade_oneself,
    read_everybodys_grades,
    read_the_roster,
    start_a_roster_sync,
    fill_the_volume_with_files,
    submit_as_another_by_field,
    become_a_lecturer,
    hand_in_before_the_deadline_afterwards,
    take_an_assignment_back,
]
