"""A real Jupyter server with the image's configuration: what each role finds, and formgrader for several graders."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests
from campus_hubs_lab.server import CourseTerminalManager

from tests.unit.images.singleuser.grading_lab import ETC, GOOD, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.images.singleuser.grading_lab import Course, Exchange

BASE = "/user/u1/"
SECRET = "server-token"


class Lab:
    """A user's server, and a browser that is signed in.

    Args:
        course: where it runs.
        role: of the person.
        extra: further environment.

    """

    def __init__(self, course: Course, role: str, **extra: str) -> None:
        """Start it and wait until it answers."""
        self.url = f"http://127.0.0.1:{(port := free_port())}{BASE}"
        options = [
            f"--ServerApp.port={port}",
            f"--ServerApp.base_url={BASE}",
            f"--IdentityProvider.token={SECRET}",
            f"--ServerApp.root_dir={course.home}",
            "--ServerApp.open_browser=False",
            # By any name, as in a pod.
            "--ServerApp.allow_remote_access=True",
            "--allow-root",
            f"--LabServerApp.app_settings_dir={ETC / 'lab-student'}"
            if role == "student"
            else "--ServerApp.port_retries=0",
        ]
        command = [sys.executable, "-m", "jupyterlab", *options]
        self.log = (course.place / "server.log").open("w")
        environment = {**course.environment(role), **extra}
        self.process = subprocess.Popen(  # noqa: S603
            command, env=environment, cwd=course.home, stdout=self.log, stderr=self.log
        )
        self.browser = requests.Session()
        end = time.monotonic() + 60
        while True:
            try:
                if self.get(f"lab?token={SECRET}").ok:
                    break
            except requests.ConnectionError:
                assert time.monotonic() < end
                assert self.process.poll() is None, (course.place / "server.log").read_text()
                time.sleep(0.2)

    def get(self, path: str) -> requests.Response:
        """Open a page."""
        return self.browser.get(self.url + path, timeout=60)

    def call(self, method: str, path: str) -> requests.Response:
        """Ask for something as a page does."""
        headers = {"X-XSRFToken": self.browser.cookies.get("_xsrf", "")}
        return self.browser.request(method, self.url + path, headers=headers, timeout=60)

    def post(self, path: str, **data: str) -> requests.Response:
        """Press a button, as formgrader's script does."""
        headers = {"X-CSRFToken": self.browser.cookies.get("_xsrf", "")}
        return self.browser.post(self.url + path, headers=headers, data=data, timeout=120)

    def close(self) -> None:
        """Stop it."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


@pytest.fixture
def start(course: Course) -> Iterator[Callable[[str], Lab]]:
    labs: list[Lab] = []

    def go(role: str) -> Lab:
        labs.append(Lab(course, role))
        return labs[-1]

    yield go
    for lab in labs:
        lab.close()


TEACHERS_ONLY = [
    "course",
    "course/",
    "course/roster",
    "course/grades",
    "course/static/course.js",
    "formgrader",
    "formgrader/",
    "formgrader/manage_assignments",
    "formgrader/gradebook",
    "formgrader/api/assignments",
    "formgrader/api/students",
    "formgraders",
]


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_terminal_says_whether_a_program_runs_in_it(shell: str) -> None:
    async def run() -> None:
        manager = CourseTerminalManager(shell_command=[shell])

        async def becomes(state: str) -> None:
            end = time.monotonic() + 60
            while manager.list()[0]["execution_state"] != state:
                assert time.monotonic() < end
                await asyncio.sleep(0.05)

        name = manager.create()["name"]
        await becomes("idle")
        typed = manager.terminals[name].ptyproc.write
        typed("cat\n")
        await becomes("busy")
        typed("\x04")
        await becomes("idle")
        await manager.terminate_all()

    asyncio.run(run())


def test_a_student_finds_nothing_of_it(start: Callable[[str], Lab], course: Course) -> None:
    lab = start("student")
    assert {path: lab.get(path).status_code for path in TEACHERS_ONLY} == dict.fromkeys(TEACHERS_ONLY, 404)
    for path in ("course/grades", "formgrader/api/assignment/ps1/release", "formgrader/api/assignment/ps1/collect"):
        assert lab.post(path).status_code == 404
    assert lab.get("assignments?course_id=").status_code == 200
    assert {"@jupyter/nbgrader:formgrader", "campus-hubs-lab:course"} <= set(page_config(lab)["disabledExtensions"])
    assert not list(course.root.iterdir())
    assert not (course.home / "course").exists()
    assert lab.call("POST", "api/terminals").json()["execution_state"] == "idle"


def page_config(lab: Lab) -> dict[str, Any]:
    found = re.search(
        r'<script id="jupyter-config-data" type="application/json">(.*?)</script>', lab.get("lab").text, re.S
    )
    assert found
    config: dict[str, Any] = json.loads(found[1])
    return config


def test_a_lecturer_finds_a_course_that_is_ready(
    start: Callable[[str], Lab], course: Course, exchange: Exchange
) -> None:
    exchange.members = [
        {"user": "u1", "name": "Ada Lovelace", "email": "ada@example.edu", "role": "student", "active": True},
        {"user": "u2", "name": "Grace Hopper", "email": "", "role": "instructor", "active": True},
        {"user": "u3", "name": "Left Long Ago", "email": "", "role": "student", "active": False},
    ]
    lab = start("instructor")
    assert {"source", "release", "submitted", "autograded", "feedback", "gradebook.db"} <= {
        path.name for path in course.root.iterdir()
    }
    assert (course.home / "course").readlink() == course.root
    page = lab.get("formgrader/manage_assignments").text
    assert "not a subdirectory" not in page
    assert lab.get("formgrader/api/assignments").json() == []
    # The names come by themselves.
    end = time.monotonic() + 20
    while not (students := lab.get("formgrader/api/students").json()):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert [(s["id"], s["first_name"], s["last_name"], s["email"]) for s in students] == [
        ("u1", "Ada", "Lovelace", "ada@example.edu")
    ]
    assert lab.get("api/contents/course/source").status_code == 200
    assert "campus-hubs-lab:course" not in page_config(lab).get("disabledExtensions", [])


def test_formgrader_grades(start: Callable[[str], Lab], released: Course, exchange: Exchange) -> None:
    lab = start("teaching_assistant")
    lab.get("formgrader/manage_assignments")
    answer = lab.post("formgrader/api/assignment/ps1/release")
    # Its script parses a text.
    assert answer.headers["Content-Type"].startswith("text/")
    result = json.loads(answer.text)
    assert result["success"], result
    assert exchange.grades == [("ps1", {"label": "ps1", "maximum": 9.0, "scores": {}, "send": False})]
    released.hand_in("u1", GOOD)
    pressed = threading.Thread(target=lambda: lab.post("formgrader/api/submission/ps1/u1/autograde"))
    pressed.start()
    # The server lives while a step runs.
    quickest = min(timed(lab) for _ in range(5))
    assert pressed.is_alive()
    assert quickest < 2
    pressed.join()
    assert released.scores("u1") == {"test_square": 2, "test_read": 3, "why": None}
    (submission,) = lab.get("formgrader/api/submissions/ps1").json()
    assert submission["autograded"]


def timed(lab: Lab) -> float:
    began = time.monotonic()
    assert lab.get("formgrader/api/status").ok
    return time.monotonic() - began


def test_a_button_needs_the_token_of_its_page(start: Callable[[str], Lab], released: Course) -> None:
    lab = start("instructor")
    lab.get("formgrader/manage_assignments")
    for path in ("formgrader/api/assignment/ps1/release", "course/grades", "course/roster"):
        answer = lab.browser.post(lab.url + path, data={"assignment": "ps1"}, timeout=60)
        assert answer.status_code == 403
    assert not released.exchange.released


def test_the_answer_says_something_while_a_step_runs(
    start: Callable[[str], Lab], released: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start("instructor")
    lab.get("formgrader/manage_assignments")
    released.hub.refusals = [(429, "all are in use")] * 3
    released.hand_in("u1", GOOD)
    headers = {"X-CSRFToken": lab.browser.cookies.get("_xsrf", "")}
    url = f"{lab.url}formgrader/api/submission/ps1/u1/autograde"
    began, silent, last = time.monotonic(), 0.0, time.monotonic()
    with lab.browser.post(url, headers=headers, stream=True, timeout=30) as answer:
        content = b""
        for chunk in answer.iter_content(1):
            now = time.monotonic()
            silent, last = max(silent, now - last), now
            content += chunk
    assert time.monotonic() - began > 15
    assert silent < 14
    assert json.loads(content)["success"]


def test_the_course_page(start: Callable[[str], Lab], released: Course, exchange: Exchange) -> None:
    evil = "<script>alert(1)</script>"
    exchange.members = [
        {"user": "u1", "name": f"Ada {evil}", "email": evil, "role": "student", "active": True},
        {"user": "u2", "name": "Tom", "email": "", "role": "student", "active": False},
    ]
    exchange.grades_document = {
        "kind": "ags",
        "reason": evil,
        "assignments": [
            {
                "name": "ps1",
                "label": "ps1",
                "maximum": 9,
                "column_state": "refused",
                "column_reason": evil,
                "scores": [{"user": "u1", "name": evil, "score": 3, "state": "refused", "reason": evil}],
            }
        ],
    }
    lab = start("instructor")
    page = lab.get("course")
    assert page.status_code == 200
    assert evil not in page.text
    assert page.text.count("&lt;script&gt;") >= 5
    assert "left; work is kept" in page.text
    assert "nothing collected" in page.text
    (token,) = set(re.findall(r'name="_xsrf" value="([^"]+)"', page.text))
    done = lab.browser.post(f"{lab.url}course/roster", data={"_xsrf": token}, timeout=60)
    assert "The roster is up to date: 1 joined, 0 left, 0 changed their role." in done.text
    assert exchange.synced == 1
    assert "up to date" not in lab.get("course").text


def test_grades_are_sent_when_they_are_complete(
    start: Callable[[str], Lab], released: Course, exchange: Exchange
) -> None:
    released.hand_in("u1", GOOD)
    released.hand_in("u2", GOOD)
    for student in ("u1", "u2"):
        result = released.action("autograde", "ps1", student)
        assert result["success"], result
    lab = start("instructor")
    (notebook,) = lab.get("formgrader/api/submitted_notebooks/ps1/sums").json()[:1]
    grades = lab.get(f"formgrader/api/grades?submission_id={notebook['id']}").json()
    (by_hand,) = [grade for grade in grades if grade["name"] == "why"]
    headers = {"X-CSRFToken": lab.browser.cookies.get("_xsrf", "")}
    url = f"{lab.url}formgrader/api/grade/{by_hand['id']}"
    assert lab.browser.put(url, json={"manual_score": 3.5}, headers=headers, timeout=60).ok
    page = lab.get("course").text
    assert "is still to be graded by hand" in page
    assert "1 complete" in page
    (token,) = set(re.findall(r'name="_xsrf" value="([^"]+)"', page))
    done = lab.browser.post(f"{lab.url}course/grades", data={"_xsrf": token, "assignment": "ps1"}, timeout=60)
    assert "The grades of ps1 are on their way." in done.text
    ((name, document),) = exchange.grades
    assert (name, document["maximum"], document["send"]) == ("ps1", 9.0, True)
    assert document["scores"] == {notebook["student"]: 8.5}
    exchange.refuse_grades = "The LMS is closed <today>."
    done = lab.browser.post(f"{lab.url}course/grades", data={"_xsrf": token, "assignment": "ps1"}, timeout=60)
    assert "The LMS is closed &lt;today&gt;." in done.text
    for file in released.root.glob("gradebook.db*"):
        file.write_bytes(b"no database" * 1000)
    done = lab.browser.post(f"{lab.url}course/grades", data={"_xsrf": token, "assignment": "ps1"}, timeout=60)
    assert done.status_code == 200
    assert "The grades of ps1 were not sent: the gradebook cannot be read: " in done.text


def test_the_page_without_an_exchange(start: Callable[[str], Lab], released: Course, exchange: Exchange) -> None:
    lab = start("instructor")
    exchange.close()
    page = lab.get("course")
    assert page.status_code == 200
    assert "The exchange does not answer" in page.text
    assert "ps1" in page.text


def test_the_notice_about_old_material(start: Callable[[str], Lab], course: Course) -> None:
    lab = start("student")
    assert lab.get("campus-hubs/material").json() == {"problem": ""}
    (course.home / ".campus-hubs").mkdir()
    (course.home / ".campus-hubs" / "material-problem").write_text("It is gone.\n")
    assert lab.get("campus-hubs/material").json() == {"problem": "It is gone."}
    (course.home / ".campus-hubs" / "material-problem").write_text("")
    assert "your home is full" in lab.get("campus-hubs/material").json()["problem"]


def test_hostile_outputs_do_not_run_in_the_grader_s_browser(start: Callable[[str], Lab], released: Course) -> None:
    evil = (
        "from IPython.display import HTML, Javascript, display\n"
        "display(HTML('<img src=x onerror=evil()>'))\ndisplay(Javascript('evil()'))"
    )
    released.hand_in("u1", {**GOOD, "square": f"{GOOD['square']}\n{evil}", "why": "<img src=y onerror=evil()>"})
    result = released.action("autograde", "ps1", "u1")
    assert result["success"], result
    lab = start("instructor")
    (notebook,) = lab.get("formgrader/api/submitted_notebooks/ps1/sums").json()
    page = lab.get(f"formgrader/submissions/{notebook['id']}/").text
    assert "square" in page
    # It is there as source, escaped; as markup or script it would run.
    assert not re.findall(r"<img[^>]*onerror", page)
    assert not re.findall(r"<script[^>]*>\s*evil\(\)", page)


def test_the_link_keeps_what_is_in_its_place(start: Callable[[str], Lab], course: Course) -> None:
    (course.home / "course").mkdir()
    (course.home / "course" / "mine.txt").write_text("mine")
    start("instructor")
    assert (course.home / "course").readlink() == course.root
    assert (course.home / "course (1)" / "mine.txt").read_text() == "mine"
