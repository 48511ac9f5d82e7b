"""What is acknowledged is there: after a restart, after kill -9, byte for byte, and nothing else."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests

from tests.unit.images.exchange.client import form, unpacked
from tests.unit.images.exchange.exchange_lab import ADA, BEN, COURSE, TEACHER, Exchange

KILLS = int(os.environ.get("EXCHANGE_KILLS", "5"))
SAME = b"the same in all submissions"
ASSIGNMENTS = [f"ps{number}" for number in range(10)]


def test_a_release_is_there_after_a_restart(exchange: Exchange) -> None:
    """Ngshare 0.6 with SQLAlchemy 2 answers success and keeps no row."""
    assert exchange.as_user(TEACHER).release("ps1", {"a.ipynb": b"task"}).json() == {"success": True}
    assert exchange.as_user(ADA).submit("ps1", {"a.ipynb": b"answer"}).json()["success"]
    exchange.kill()
    assert exchange.query("SELECT name, released FROM assignments") == [("ps1", 1)]
    assert exchange.query("SELECT user FROM submissions") == [(ADA,)]
    exchange.start()
    assert unpacked(exchange.as_user(BEN).get(f"assignment/{COURSE}/ps1")) == {"a.ipynb": b"task"}
    assert unpacked(exchange.as_user(TEACHER).get(f"submission/{COURSE}/ps1/{ADA}")) == {"a.ipynb": b"answer"}


def test_the_database_syncs_each_commit_and_has_one_log(exchange: Exchange) -> None:
    assert exchange.query("PRAGMA journal_mode") == [("wal",)]
    from campus_hubs_exchange.database import open_database  # noqa: PLC0415

    with open_database(exchange.data / "exchange.db").connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_contents_and_rows_are_synced_before_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced, then named, then its folder is synced."""
    from campus_hubs_exchange import files  # noqa: PLC0415

    store = files.FileStore(tmp_path)
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def see_fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        steps.append("folder" if path.is_dir() else "file")
        fsync(handle)

    def see_rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", see_fsync)
    monkeypatch.setattr(Path, "rename", see_rename)
    store.put(hashlib.sha256(b"x").hexdigest(), b"x")
    assert steps == ["folder", "file", "rename", "folder"]


class HandIns:
    """People who hand in without a pause, and what they were told."""

    def __init__(self, exchange: Exchange, people: int) -> None:
        """Enrol them."""
        self.exchange = exchange
        self.acknowledged: dict[tuple[str, str, str], bytes] = {}
        self.unknown: set[bytes] = set()
        self._over = threading.Event()
        self._lock = threading.Lock()
        users = [f"u{number}" for number in range(people)]
        for user in users:
            exchange.enrol(user)
        self._threads = [threading.Thread(target=self._hand_in, args=[user]) for user in users]

    def __enter__(self) -> HandIns:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, with the last answers."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _hand_in(self, user: str) -> None:
        generator = random.Random(user)  # noqa: S311
        client = self.exchange.as_user(user)
        # Each person may hand in an assignment 500 times.
        assignments = itertools.cycle(ASSIGNMENTS)
        while not self._over.is_set():
            assignment = next(assignments)
            content = generator.randbytes(generator.choice((10, 5_000, 300_000)))
            with self._lock:
                self.unknown.add(content)
            try:
                answer = client.submit(assignment, {"a.ipynb": content, "b/c.txt": SAME})
            except requests.RequestException:
                time.sleep(0.02)
                continue
            # Anything else, a limit for instance, would make the test see less than it says.
            assert answer.status_code == 200, answer.text
            with self._lock:
                self.unknown.discard(content)
                self.acknowledged[assignment, user, answer.json()["timestamp"]] = content


def test_kill_at_any_moment(make_exchange: Callable[..., Exchange]) -> None:
    """Kill under a stream of submissions: each acknowledged one is there byte for byte, no other row is half there."""
    # The limit of a person's submissions is as many times the limit of one.
    exchange = make_exchange(EXCHANGE_MAX_UPLOAD_BYTES=str(2**34)).enrol_all()
    teacher = exchange.as_user(TEACHER)
    for assignment in ASSIGNMENTS:
        assert teacher.release(assignment).status_code == 200
    generator = random.Random(5)  # noqa: S311
    with HandIns(exchange, 4) as stream:
        for _ in range(KILLS):
            before = len(stream.acknowledged)
            time.sleep(generator.uniform(0.1, 0.6))
            exchange.kill()
            exchange.start()
            print(f"{len(stream.acknowledged) - before} acknowledged before this kill")
    exchange.kill()
    exchange.start()
    assert len(stream.acknowledged) > KILLS
    listed = {
        (assignment, row["student_id"], row["timestamp"])
        for assignment in ASSIGNMENTS
        for row in teacher.get(f"submissions/{COURSE}/{assignment}").json()["submissions"]
    }
    assert set(stream.acknowledged) <= listed
    for assignment, user, stamp in listed:
        files = unpacked(teacher.get(f"submission/{COURSE}/{assignment}/{user}", timestamp=stamp))
        assert files["b/c.txt"] == SAME
        content = stream.acknowledged.get((assignment, user, stamp))
        # Stored, but the answer was lost: complete all the same.
        assert files["a.ipynb"] == content if content is not None else files["a.ipynb"] in stream.unknown
    rows_of = "SELECT sha256 FROM submission_files UNION SELECT sha256 FROM assignment_files"
    assert exchange.contents() == {row[0] for row in exchange.query(rows_of)}
    assert not list((exchange.data / "tmp").iterdir())
    assert exchange.query("PRAGMA integrity_check") == [("ok",)]
    assert "Traceback" not in exchange.log


def test_orphans_go_at_the_start(exchange: Exchange) -> None:
    exchange.as_user(TEACHER).release("ps1", {"a.ipynb": b"task"})
    exchange.stop()
    orphan = hashlib.sha256(b"orphan").hexdigest()
    (exchange.data / "files" / orphan[:2]).mkdir(exist_ok=True)
    (exchange.data / "files" / orphan[:2] / orphan).write_bytes(b"orphan")
    (exchange.data / "tmp" / "half").write_bytes(b"ha")
    exchange.start()
    assert exchange.contents() == {hashlib.sha256(b"task").hexdigest()}
    assert not list((exchange.data / "tmp").iterdir())


def test_files_without_their_database_are_not_tidied_away(exchange: Exchange) -> None:
    exchange.as_user(TEACHER).release("ps1", {"a.ipynb": b"task"})
    exchange.stop()
    for path in exchange.data.glob("exchange.db*"):
        path.unlink()
    answer = exchange.run("serve")
    assert answer.returncode != 0
    assert "holds 1 files and no database" in answer.stderr
    assert len(exchange.contents()) == 1


def test_replaced_and_refused_files_leave_nothing(exchange: Exchange) -> None:
    teacher = exchange.as_user(TEACHER)
    teacher.release("ps1", {"a.ipynb": b"first", "data.csv": b"kept"})
    stamp = exchange.as_user(ADA).submit("ps1", {"a.ipynb": b"answer", "data.csv": b"kept"}).json()["timestamp"]
    assert teacher.call("DELETE", f"assignment/{COURSE}/ps1").json()["success"]
    assert teacher.release("ps1", {"a.ipynb": b"second"}).json()["success"]
    assert teacher.feedback("ps1", ADA, stamp, {"a.html": b"bad"}).json()["success"]
    assert teacher.feedback("ps1", ADA, stamp, {"a.html": b"good"}).json()["success"]
    assert teacher.release("ps1", {"a.ipynb": b"refused, it is released"}).status_code == 409
    assert exchange.as_user(ADA).submit("none", {"a.ipynb": b"refused, no such"}).status_code == 404
    # The submission outlives the release that it answered.
    wanted = (b"answer", b"kept", b"second", b"good")
    assert exchange.contents() == {hashlib.sha256(content).hexdigest() for content in wanted}


def test_a_full_disk_is_said_and_changes_nothing(exchange: Exchange) -> None:
    exchange.as_user(TEACHER).release("ps1")
    folder = exchange.data / "files"
    before = exchange.contents()
    content = b"no room"
    name = hashlib.sha256(content).hexdigest()
    # A file in the place of the folder: even root cannot write there.
    (folder / name[:2]).write_bytes(b"")
    answer = exchange.as_user(ADA).submit("ps1", {"a.ipynb": content})
    assert answer.status_code == 507
    assert "cannot store" in answer.json()["message"]
    assert exchange.query("SELECT count(*) FROM submissions") == [(0,)]
    assert exchange.contents() == before


def test_a_damaged_content_is_not_handed_out(exchange: Exchange) -> None:
    exchange.as_user(TEACHER).release("ps1", {"a.ipynb": b"task"})
    [name] = exchange.contents()
    (exchange.data / "files" / name[:2] / name).write_bytes(b"tosk")
    answer = exchange.as_user(ADA).get(f"assignment/{COURSE}/ps1")
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()
    assert "is damaged" in exchange.log


def test_an_upload_under_way_is_finished_at_sigterm(exchange: Exchange) -> None:
    exchange.as_user(TEACHER).release("ps1")
    body = urlencode(form({"a.bin": os.urandom(3_000_000)})).encode()
    connection = http.client.HTTPConnection("127.0.0.1", exchange.port, timeout=30)
    connection.putrequest("POST", f"/ngshare/submission/{COURSE}/ps1")
    connection.putheader("Authorization", f"token token-{ADA}")
    connection.putheader("Content-Type", "application/x-www-form-urlencoded")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:1_000_000])
    time.sleep(0.5)
    assert exchange.process
    exchange.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    connection.send(body[1_000_000:])
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["success"]) == (200, True)
    assert exchange.process.wait(10) == 0
    assert "stopping, 1 requests open" in exchange.log
    assert exchange.query("SELECT count(*) FROM submissions") == [(1,)]


def test_times_never_go_back(exchange: Exchange) -> None:
    exchange.as_user(TEACHER).release("ps1")
    exchange.as_user(ADA).submit("ps1", {"a.ipynb": b"first"})
    with sqlite3.connect(exchange.data / "exchange.db") as database:
        database.execute("UPDATE submissions SET timestamp = '2199-01-01 00:00:00.000000'")
    database.close()
    later = exchange.as_user(ADA).submit("ps1", {"a.ipynb": b"second"}).json()["timestamp"]
    assert later == "2199-01-01 00:00:00.000001 UTC"
    newest = exchange.as_user(TEACHER).get(f"submission/{COURSE}/ps1/{ADA}")
    assert unpacked(newest) == {"a.ipynb": b"second"}


def test_thirty_within_ten_seconds(exchange: Exchange) -> None:
    exchange.as_user(TEACHER).release("ps1")
    users = [f"u{number}" for number in range(30)]
    for user in users:
        exchange.enrol(user)
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda user=user: codes.append(exchange.as_user(user).submit("ps1").status_code))
        for user in users
    ]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 30
    assert time.monotonic() - begin < 10
