"""ngshare's protocol: what ngshare-exchange calls, and what it is answered."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from campus_hubs_exchange.errors import Refused
from campus_hubs_exchange.ngshare import UploadHandler
from campus_hubs_exchange.uploads import decoded_size, read_form

from tests.unit.images.exchange.client import Client, form, unpacked
from tests.unit.images.exchange.exchange_lab import ADA, BEN, COURSE, TEACHER, TUTOR, Exchange, Hub
from tests.unit.images.exchange.lms_lab import until

MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize("teacher", [TEACHER, TUTOR])
def test_an_assignment_goes_round_from_release_to_feedback(exchange: Exchange, teacher: str) -> None:
    lecturer, ada = exchange.as_user(teacher), exchange.as_user(ADA)
    assert ada.get("courses").json() == {"success": True, "courses": [COURSE]}
    assert ada.get(f"assignments/{COURSE}").json() == {"success": True, "assignments": []}
    task = {"ps 1.ipynb": b"{}", "data/übung.csv": bytes(range(256))}
    assert lecturer.release("ps1", task).json() == {"success": True}
    assert ada.get(f"assignments/{COURSE}").json()["assignments"] == ["ps1"]
    assert unpacked(ada.get(f"assignment/{COURSE}/ps1")) == task
    listed = ada.get(f"assignment/{COURSE}/ps1", list_only="true").json()["files"]
    # Not sha256: ngshare-exchange compares with the MD5 of what it has fetched.
    assert {"path": "ps 1.ipynb", "checksum": "99914b932bd37a50b983c5e7c90ae93b"} in listed
    first = ada.submit("ps1", {"ps 1.ipynb": b"1"}).json()["timestamp"]
    second = ada.submit("ps1", {"ps 1.ipynb": b"2"}).json()["timestamp"]
    stamp = datetime.strptime(first, "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - stamp) < timedelta(minutes=1)
    both = [{"student_id": ADA, "timestamp": time} for time in (first, second)]
    assert lecturer.get(f"submissions/{COURSE}/ps1").json()["submissions"] == both
    assert ada.get(f"submissions/{COURSE}/ps1/{ADA}").json()["submissions"] == both
    newest = lecturer.get(f"submission/{COURSE}/ps1/{ADA}")
    assert (newest.json()["timestamp"], unpacked(newest)) == (second, {"ps 1.ipynb": b"2"})
    assert unpacked(ada.get(f"submission/{COURSE}/ps1/{ADA}", timestamp=first)) == {"ps 1.ipynb": b"1"}
    assert lecturer.feedback("ps1", ADA, first, {"ps 1.html": b"fine"}).json() == {"success": True}
    assert unpacked(ada.get(f"feedback/{COURSE}/ps1/{ADA}", timestamp=first)) == {"ps 1.html": b"fine"}
    assert unpacked(ada.get(f"feedback/{COURSE}/ps1/{ADA}", timestamp=second)) == {}


def test_a_second_release_wants_force_which_keeps_submissions(exchange: Exchange) -> None:
    lecturer, ada = exchange.as_user(TEACHER), exchange.as_user(ADA)
    lecturer.release("ps1")
    ada.submit("ps1", {"a.ipynb": b"work"})
    again = lecturer.release("ps1")
    assert (again.status_code, again.json()) == (409, {"success": False, "message": "Assignment already exists"})
    assert lecturer.call("DELETE", f"assignment/{COURSE}/ps1").json() == {"success": True}
    assert lecturer.get(f"assignments/{COURSE}").json()["assignments"] == []
    assert ada.get(f"assignment/{COURSE}/ps1").status_code == 404
    assert ada.submit("ps1").status_code == 404
    assert unpacked(lecturer.get(f"submission/{COURSE}/ps1/{ADA}")) == {"a.ipynb": b"work"}
    assert lecturer.call("DELETE", f"assignment/{COURSE}/ps1").status_code == 404
    assert lecturer.release("ps1", {"a.ipynb": b"new"}).status_code == 200
    assert len(lecturer.get(f"submissions/{COURSE}/ps1").json()["submissions"]) == 1


def test_people_are_read_only(exchange: Exchange) -> None:
    lecturer = exchange.as_user(TEACHER)
    students = lecturer.get(f"students/{COURSE}").json()["students"]
    assert {person["username"] for person in students} == {ADA, BEN}
    teachers = exchange.as_user(ADA).get(f"instructors/{COURSE}").json()["instructors"]
    assert {person["username"] for person in teachers} == {TEACHER, TUTOR}
    assert lecturer.get(f"student/{COURSE}/{ADA}").json()["username"] == ADA
    assert lecturer.get(f"student/{COURSE}/nobody").status_code == 404
    for method in ("POST", "DELETE"):
        for path in (f"student/{COURSE}/{ADA}", f"instructor/{COURSE}/{ADA}", f"students/{COURSE}", f"course/{COURSE}"):
            assert lecturer.call(method, path, data={"a": "b"}).status_code == 403, (method, path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a//b",
        "./a",
        "a/",
        "..\\x",
        "C:\\x",
        "a\0b",
        "a\nb",
        "x" * 256,
        "d/" * 600 + "x",
        "\ud800",
        7,
        None,
    ],
)
def test_a_dangerous_path_is_refused(shared: Exchange, path: object) -> None:
    lecturer = shared.as_user(TEACHER)
    data = {"files": json.dumps([{"path": path, "content": ""}])}
    answer = lecturer.call("POST", f"assignment/{COURSE}/ps1", data=data)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("Illegal path")
    assert shared.contents() == set()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "Please supply files"),
        ("{", "Files cannot be JSON decoded"),
        ("[" * 100_000, "Files cannot be JSON decoded"),
        ('{"path": "a"}', "Files are not a list"),
        ("[3]", "Each file needs a path and a content"),
        ('[{"path": "a"}]', "Each file needs a path and a content"),
        ('[{"path": "a", "content": "?"}]', "cannot be base64 decoded"),
        ('[{"path": "a", "content": "YQ"}]', "cannot be base64 decoded"),
        ('[{"path": "a", "content": ""}, {"path": "a", "content": ""}]', "is there twice"),
        ('[{"path": "a", "content": ""}, {"path": "a/b", "content": ""}]', "is below a file"),
    ],
)
def test_malformed_files_are_refused(shared: Exchange, files: str | None, message: str) -> None:
    data = {"user": "x"} | ({} if files is None else {"files": files})
    answer = shared.as_user(TEACHER).call("POST", f"assignment/{COURSE}/ps1", data=data)
    assert answer.status_code == 400
    assert message in answer.json()["message"]
    assert shared.query("SELECT count(*) FROM assignments") == [(0,)]


@pytest.mark.parametrize("name", ["..", ".hidden", "a+b", "a%2Fb", "a%5Cb", "a%00"])
def test_a_wrong_assignment_name_is_refused(shared: Exchange, name: str) -> None:
    url = f"{shared.url}/ngshare/assignment/{COURSE}/{name}"
    prepared = requests.Request("POST", url, data=form({"a": b""})).prepare()
    prepared.url = url  # requests would resolve the dots
    prepared.headers["Authorization"] = f"token token-{TEACHER}"
    assert requests.Session().send(prepared, timeout=10).status_code == 400


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("sums [1]", "use letters, digits"),
        ("a%23b", "use letters, digits"),
        ("-f", "use letters, digits"),
        ("a.", "use letters, digits"),
        ("u%CC%88", "use letters, digits"),
        ("%C3%BC" * 51, "use letters, digits"),
        ("PS1", "another differs in capital letters only"),
    ],
)
def test_a_new_assignment_has_a_name_that_all_of_nbgrader_can_handle(exchange: Exchange, name: str, why: str) -> None:
    lecturer = exchange.as_user(TEACHER)
    for good in ("ps1", "%C3%9Cbung 3"):
        assert lecturer.call("POST", f"assignment/{COURSE}/{good}", data=form({"a": b""})).status_code == 200
    answer = lecturer.call("POST", f"assignment/{COURSE}/{name}", data=form({"a": b""}))
    assert answer.status_code == 400
    assert why in answer.json()["message"]


def test_an_assignment_that_is_there_goes_on(exchange: Exchange) -> None:
    """Whatever it is called: it was released before there was such a rule."""
    lecturer = exchange.as_user(TEACHER)
    assert lecturer.call("POST", f"assignment/{COURSE}/ps1", data=form({"a": b""})).status_code == 200
    exchange.change("UPDATE assignments SET name = 'sums [1]'")
    for method in ("DELETE", "POST"):
        answer = lecturer.call(method, f"assignment/{COURSE}/sums%20%5B1%5D", data=form({"a": b""}))
        assert answer.status_code == 200, answer.text


def test_line_breaks_in_base64_and_windows_of_the_decoder(exchange: Exchange) -> None:
    """ngshare-exchange breaks lines in feedback; escapes must not be cut where the decoder takes pieces."""
    content = b"\xff" * 700_000 + bytes(range(256)) * 1000
    data = {"files": json.dumps([{"path": "a.bin", "content": base64.encodebytes(content).decode()}])}
    lecturer = exchange.as_user(TEACHER)
    assert lecturer.call("POST", f"assignment/{COURSE}/ps1", data=data).status_code == 200
    assert unpacked(lecturer.get(f"assignment/{COURSE}/ps1")) == {"a.bin": content}


# ---- how much ----
def test_too_large_an_upload_is_told_so(make_exchange: Callable[..., Exchange]) -> None:
    exchange = make_exchange(EXCHANGE_MAX_UPLOAD_BYTES=str(MEBIBYTE)).enrol_all()
    exchange.as_user(TEACHER).release("ps1")
    ada = exchange.as_user(ADA)
    assert ada.submit("ps1", {"a.bin": bytes(MEBIBYTE)}).status_code == 200
    for size in (MEBIBYTE + 1, 4 * MEBIBYTE, 60 * MEBIBYTE):
        answer = ada.submit("ps1", {"a.bin": bytes(size)})
        assert answer.status_code == 413, size
        assert answer.json()["message"].startswith("The files are too large: at most 1 MiB together are accepted.")
    assert exchange.query("SELECT count(*) FROM submissions") == [(1,)]
    # Just the encoding is large: %2F for each character.
    assert ada.submit("ps1", {"a.bin": b"\xff" * MEBIBYTE}).status_code == 200


def test_names_of_files_fill_the_volume_no_more_than_contents_do(make_exchange: Callable[..., Exchange]) -> None:
    """An upload of empty files with long names is small, and a thousand rows of the database."""
    exchange = make_exchange(EXCHANGE_MAX_UPLOAD_BYTES=str(MEBIBYTE)).enrol_all()
    exchange.as_user(TEACHER).release("ps1")
    ada = exchange.as_user(ADA)
    files = {f"{'/'.join(['n' * 250] * 3)}/{number}": b"" for number in range(1000)}
    statuses = [ada.submit("ps1", files).status_code for _ in range(8)]
    assert statuses == [200] * 5 + [413] * 3
    assert exchange.query("SELECT count(*) FROM submission_files") == [(5000,)]
    # Of each person.
    assert exchange.as_user(BEN).submit("ps1", files).status_code == 200


@pytest.mark.parametrize(
    ("path", "tail", "more", "status"),
    [
        ("a.bin", "", "", 200),
        ("größe 😀.bin", "", "", 200),
        (r"\ud83d\ude00.bin", r"\n", "", 200),
        ("a.bin", "😀", "", 413),
        ("a.bin", r"\ud83d\ude00", "", 413),
        ("a.bin", "", '"x": "😀{}", ', 413),
        ("a.bin", "", '"{}😀": 1, ', 413),
        ("a.bin", "=AAA", "", 400),
    ],
    ids=["plain", "raw", "escaped", "content", "escaped-content", "value", "key", "padding"],
)
def test_memory_follows_the_largest_upload(
    make_exchange: Callable[..., Exchange], path: str, tail: str, more: str, status: int
) -> None:
    """Python's texts take four bytes for each character if one of them is an emoji."""
    size = 32
    exchange = make_exchange(EXCHANGE_MAX_UPLOAD_BYTES=str(size * MEBIBYTE)).enrol_all()
    lecturer = exchange.as_user(TEACHER)
    assert lecturer.release("first").status_code == 200
    before = peak(exchange)
    content = "A" * (size * MEBIBYTE // 3 * 4 if not more else 4)
    more = more.replace("{}", "A" * 40 * MEBIBYTE)
    files = f'[{{{more}"path": "{path}", "content": "{content}{tail}"}}]'
    answer = lecturer.call("POST", f"assignment/{COURSE}/ps1", data={"files": files})
    assert answer.status_code == status
    # What the chart gives to the pod.
    assert peak(exchange) - before < 3 * size
    assert lecturer.get("courses").status_code == 200


def peak(exchange: Exchange) -> int:
    """Return the most memory that the service has had, in MiB."""
    assert exchange.process
    status = Path(f"/proc/{exchange.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]


@pytest.mark.parametrize("field", ["user", "timestamp", "x"])
def test_other_fields_are_short(shared: Exchange, field: str) -> None:
    data = {field: "😀" * 5000, "files": "[]"}
    answer = shared.as_user(TEACHER).call("POST", f"assignment/{COURSE}/ps1", data=data)
    assert (answer.status_code, answer.json()["message"]) == (400, f"The field '{field}' is too long.")


def read(body: bytes) -> dict[str, bytes | bytearray]:
    with tempfile.TemporaryFile() as spool:
        spool.write(body)
        return read_form(spool)


@pytest.mark.parametrize("body", [b"&" * 20, b"a=1&" * 20, b"files=1&" * 20, b"&".join(b"%d=" % n for n in range(20))])
def test_a_form_of_many_fields_is_not_read(body: bytes) -> None:
    """A million of them would hold up all others for minutes, or need more memory than there is."""
    with pytest.raises(Refused, match="more than 16 fields"):
        read(body)


def test_percent_signs_take_nothing_off_a_body() -> None:
    """Else a body of nothing else would never be too long."""
    assert decoded_size(b"%" * 90) == 90
    assert decoded_size(b"%2B%2b%zz%") == 6
    assert read(b"files=%7B%7d+%C3%A9&timestamp=1%2B1&") == {"files": b"{} \xc3\xa9", "timestamp": b"1+1"}
    for body in (b"files=%%%", b"files=%", b"files=%2", b"files=%+2", b"f%zz=1"):
        with pytest.raises(Refused, match="no escape"):
            read(body)


def test_a_volume_that_is_full_is_an_answer() -> None:
    """A client that is cut off while it sends reads nothing."""
    handler = object.__new__(UploadHandler)
    handler.services = SimpleNamespace(settings=SimpleNamespace(max_upload_bytes=1024))  # type: ignore[assignment]
    handler._decoded, handler._broken = 0, None
    handler._spool = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - the handler closes it
    for _ in range(2):
        handler.data_received(b"files=")
    with pytest.raises(OSError, match="No space left"):
        asyncio.run(handler.store(lambda *_: None))


def test_too_many_files_are_refused(shared: Exchange) -> None:
    answer = shared.as_user(TEACHER).release("ps1", {f"{number}": b"" for number in range(1001)})
    assert answer.status_code == 413
    assert "1001 files; at most 1000" in answer.json()["message"]
    assert shared.as_user(TEACHER).release("ps1", {f"{number}": b"" for number in range(1000)}).status_code == 200


@pytest.mark.parametrize("part", ["[],", "{},", "0,", "["])
def test_a_document_of_a_million_parts_is_not_read(shared: Exchange, part: str) -> None:
    data = {"files": f"[{part * 1_000_000}0]"}
    answer = shared.as_user(TEACHER).call("POST", f"assignment/{COURSE}/ps1", data=data)
    assert (answer.status_code, "too many files" in answer.json()["message"]) == (413, True)


def test_a_person_cannot_fill_the_volume(make_exchange: Callable[..., Exchange]) -> None:
    exchange = make_exchange(EXCHANGE_MAX_UPLOAD_BYTES="102400").enrol_all()
    exchange.as_user(TEACHER).release("ps1")
    ada = exchange.as_user(ADA)
    # The same again costs its row of the database.
    assert [ada.submit("ps1", {"a": bytes(100_000)}).status_code for _ in range(12)] == [200] * 12
    codes = [ada.submit("ps1", {"a": bytes([number]) * 100_000}).status_code for number in range(1, 12)]
    assert codes == [200] * 9 + [413] * 2
    assert exchange.as_user(BEN).submit("ps1", {"a": b"b" * 100_000}).status_code == 200
    assert len(exchange.contents()) == 12


def test_a_long_body_elsewhere_is_not_read(exchange: Exchange) -> None:
    headers = {"Authorization": f"token token-{TEACHER}"}
    with pytest.raises(requests.RequestException):
        requests.put(
            f"{exchange.url}/api/members/x", data=bytes(3 * MEBIBYTE), headers=headers, timeout=10
        ).raise_for_status()
    assert exchange.as_user(ADA).get("courses").status_code == 200


@pytest.mark.parametrize(
    ("path", "length"), [("/api/x", 2 * MEBIBYTE), ("/api/grades/w", MEBIBYTE), ("/api/x", 60_000)]
)
def test_bodies_that_do_not_end_fill_neither_memory_nor_door(exchange: Exchange, path: str, length: int) -> None:
    """Anybody in the course's namespace can connect, with no token that is worth anything."""
    before, held = peak(exchange), []
    for _ in range(150):
        attacker = socket.create_connection(("127.0.0.1", exchange.port), source_address=("127.0.0.2", 0))
        attacker.settimeout(5)
        with suppress(OSError):
            attacker.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
            attacker.sendall(bytes(length - 1))
        held.append(attacker)
    assert exchange.as_user(ADA).get("courses").status_code == 200
    assert peak(exchange) - before < 40
    for attacker in held:
        attacker.close()
    # Their address is served again.
    until("an answer", lambda: b"200 OK" in health_of("127.0.0.2", exchange.port))


def health_of(source: str, port: int) -> bytes:
    """Ask for the health from an address; returns the answer's beginning, or nothing."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), source_address=(source, 0)) as connection:
        connection.settimeout(5)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        return connection.recv(100)
    return b""


def test_the_grades_of_a_large_class_with_comments_are_one_body(exchange: Exchange) -> None:
    comments = {f"u{number}": "x" * 9_000 for number in range(400)}
    document = {"label": "W", "maximum": 10, "scores": dict.fromkeys(comments, 5), "comments": comments}
    assert exchange.api("POST", "/grades/w", f"token-{TEACHER}", document).status_code == 202
    assert exchange.api("POST", "/grades/w", f"token-{ADA}", document | {"comments": {}}).status_code == 403


# ---- who ----
def test_who_is_no_member_is_told_what_to_do(exchange: Exchange) -> None:
    answer = exchange.as_user("ustranger").get("courses")
    assert (answer.status_code, answer.json()["success"]) == (403, False)
    assert answer.json()["message"].endswith("Open it once from your LMS.")


def test_the_hub_is_asked_once_for_a_class(exchange: Exchange, hub: Hub) -> None:
    hub.calls.clear()
    for _ in range(5):
        assert exchange.as_user(ADA).get("courses").status_code == 200
    assert hub.calls == [("GET", "/user")]


def test_without_the_hub_it_says_so(exchange: Exchange, hub: Hub) -> None:
    hub.status["/user"] = 500
    answer = exchange.as_user(ADA).get("courses")
    assert answer.status_code == 503
    assert "The hub cannot say who you are" in answer.json()["message"]
    hub.status.clear()
    assert exchange.as_user(ADA).get("courses").status_code == 200


@pytest.mark.parametrize("header", ["", "token", "Basic dXNlcjpwYXNz", "token-uada", "token  ", "token nonsense"])
def test_no_valid_token(shared: Exchange, header: str) -> None:
    answer = requests.get(f"{shared.url}/ngshare/courses", headers={"Authorization": header}, timeout=10)
    assert answer.status_code == 401


def test_services_are_no_people(exchange: Exchange) -> None:
    exchange.enrol("culler", "instructor")
    assert exchange.as_user("culler").get("courses").status_code == 401
    assert Client(exchange.url, COURSE, "service-token-" * 3).get("courses").status_code == 403


def test_health_and_unknown_pages(exchange: Exchange) -> None:
    assert requests.get(f"{exchange.url}/healthz", timeout=10).json() == {"success": True}
    answer = requests.get(f"{exchange.url}/", timeout=10)
    assert (answer.status_code, answer.json()) == (404, {"error": "There is nothing here."})
    assert exchange.as_user(ADA).call("PUT", "courses").status_code == 405


def test_the_log_holds_no_secret_and_no_work(exchange: Exchange) -> None:
    exchange.as_user(TEACHER).release("ps1")
    exchange.as_user(ADA).submit("ps1", {"essay.txt": b"my own words"})
    requests.get(f"{exchange.url}/ngshare/courses?token=token-{ADA}", timeout=10)
    exchange.stop()
    log = exchange.log
    assert re.search(rf"200 POST /ngshare/submission/{COURSE}/ps1 by {ADA}, \d+ ms", log)
    for word in ("token-", "essay", "my own words"):
        assert word not in log
