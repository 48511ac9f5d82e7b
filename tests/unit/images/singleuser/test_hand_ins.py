"""A hand-in is data: a lecturer's real server, with hand-ins, names and files that would rather be something else."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import websocket
from bs4 import BeautifulSoup
from campus_hubs_lab import options
from nbgrader import preprocessors

from tests.unit.images.singleuser.grading_lab import GOOD
from tests.unit.images.singleuser.test_server import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import requests

    from tests.unit.images.singleuser.grading_lab import Course

EVIL = '"><img src=x onerror=evil()><script>evil()</script>'
# Whatever Python or nbgrader would look for where they stand, the standard library's names among them.
MODULES = (
    *("random", "calendar", "pathlib", "glob", "fnmatch", "json", "psutil", "comm", "ipykernel_launcher", "ipykernel"),
    *("IPython", "zmq", "tornado", "nbgrader", "campus_hubs_lab", "sitecustomize", "traitlets", "nbgrader_config"),
    *("jupyter_config", "jupyter_server_config", "ipython_config", "ipython_kernel_config", "conftest"),
)


def lay_traps(folder: Path, ran: Path) -> None:
    """Put files there that leave a trace when they are executed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"open({str(ran)!r}, 'a').write({name + chr(10)!r})\n")
    importing = {"Exporter": {"preprocessors": ["random.Preprocessor"]}}
    (folder / "nbgrader_config.json").write_text(json.dumps(importing))


@pytest.fixture
def lecturer(released: Course) -> Iterator[Lab]:
    lab = Lab(released, "instructor")
    yield lab
    lab.close()


def run_kernel(lab: Lab, path: str) -> str:
    """Open a notebook's kernel, wait until it is idle, and return its id."""
    headers = {"X-XSRFToken": lab.browser.cookies.get("_xsrf", "")}
    model = {"path": path, "name": path.rpartition("/")[2], "type": "notebook", "kernel": {"name": "python3"}}
    answer = lab.browser.post(f"{lab.url}api/sessions", json=model, headers=headers, timeout=60)
    assert answer.status_code == 201, answer.text
    kernel: str = answer.json()["kernel"]["id"]
    end = time.monotonic() + 60
    while lab.get(f"api/kernels/{kernel}").json()["execution_state"] not in {"idle", "starting"}:
        assert time.monotonic() < end
        time.sleep(0.2)
    return kernel


def test_nothing_of_a_folder_is_executed_or_imported(released: Course, lecturer: Lab) -> None:
    ran = released.place / "RAN"
    released.hand_in("u1", GOOD)
    hand_in = released.root / "submitted/u1/ps1"
    for folder in (released.root, released.home):
        lay_traps(folder, ran)
    for path in (f"formgrader?path={hand_in}", f"formgrader/?path={released.root}", "formgrader/manage_assignments"):
        assert lecturer.get(path).status_code == 200
    assert lecturer.get("formgrader/api/assignments").json()[0]["name"] == "ps1"
    assert lecturer.get("assignments?course_id=").json()["success"]
    for step in ("assignment/ps1/release", "submission/ps1/u1/autograde"):
        result = json.loads(lecturer.post(f"formgrader/api/{step}").text)
        assert result["success"], result
    # In its sandbox a hand-in may run what it likes; here it may not.
    lay_traps(hand_in, ran)
    assert lecturer.get(f"formgrader?path={hand_in}").status_code == 200
    kernels = [run_kernel(lecturer, path) for path in ("course/submitted/u1/ps1/sums.ipynb", "mine.ipynb")]
    # As somebody in a terminal there would.
    done = released.run("nbgrader", "list")
    assert done.returncode == 0, done.stderr
    time.sleep(3)
    assert not ran.exists(), ran.read_text()
    assert len(set(kernels)) == 2


def code_notebook(path: Path, kernel: str, source: str = "") -> None:
    cell: dict[str, Any] = {
        "cell_type": "code",
        "id": "x",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "source": source,
    }
    kernelspec = {"name": kernel, "display_name": kernel, "language": "python"}
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernelspec}, "cells": [cell]}
    path.write_text(json.dumps(document))


def session(lab: Lab, path: str, kernel: str) -> requests.Response:
    """Open a notebook as Lab does, which names the kernel of the notebook's metadata."""
    headers = {"X-XSRFToken": lab.browser.cookies.get("_xsrf", "")}
    model = {"path": path, "name": path.rpartition("/")[2], "type": "notebook", "kernel": {"name": kernel}}
    return lab.browser.post(f"{lab.url}api/sessions", json=model, headers=headers, timeout=60)


def test_a_hand_in_chooses_no_kernel_of_the_home(released: Course, lecturer: Lab) -> None:
    ran = released.place / "RAN"
    spec = released.home / ".local/share/jupyter/kernels"
    for name in ("python3", "private"):
        (spec / name).mkdir(parents=True)
        argv = [sys.executable, "-c", f"open({str(ran)!r}, 'w')", "{connection_file}"]
        (spec / name / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": "python"}))
    released.hand_in("u1", GOOD)
    hand_in = released.root / "submitted/u1/ps1"
    code_notebook(hand_in / "other.ipynb", "private")
    answer = session(lecturer, "course/submitted/u1/ps1/other.ipynb", "private")
    assert answer.status_code == 201, answer.text
    assert answer.json()["kernel"]["name"] == "python3"
    # The image's, which has this name: one of the home that is called so is not seen.
    assert "campus_hubs_lab.kernel" in lecturer.get("api/kernelspecs/python3").json()["spec"]["argv"]
    notebook = json.loads((hand_in / "sums.ipynb").read_text())
    notebook["metadata"]["kernelspec"]["name"] = "private"
    (hand_in / "sums.ipynb").write_text(json.dumps(notebook))
    for step in ("assignment/ps1/release", "submission/ps1/u1/autograde", "assignment/ps1/u1/generate_feedback"):
        result = json.loads(lecturer.post(f"formgrader/api/{step}").text)
        assert result["success"], result
    assert released.scores("u1") == {"test_square": 2, "test_read": 3, "why": None}
    time.sleep(1)
    assert not ran.exists()
    # One's own notebook has one's own kernels.
    code_notebook(released.home / "mine.ipynb", "private")
    session(lecturer, "mine.ipynb", "private")
    end = time.monotonic() + 30
    while not ran.exists():
        assert time.monotonic() < end
        time.sleep(0.2)


def run_cell(lab: Lab, path: str, source: str) -> str:
    """Open a notebook's kernel and run a cell in it; return what it prints and how it fails."""
    opened = session(lab, path, "python3")
    assert opened.status_code == 201, opened.text
    url = f"{lab.url}api/kernels/{opened.json()['kernel']['id']}/channels".replace("http://", "ws://")
    cookie = "; ".join(f"{c.name}={c.value}" for c in lab.browser.cookies)
    socket = websocket.create_connection(url, header=[f"Cookie: {cookie}"], timeout=60)
    header = {"msg_id": "1", "username": "", "session": "1", "msg_type": "execute_request", "version": "5.3"}
    content = {"code": source, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    asked = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    socket.send(json.dumps(asked))
    said, failed, waits = "", "", {"execute_reply", "idle"}
    while waits:
        message = json.loads(socket.recv())
        if message["parent_header"].get("msg_id") != "1":
            continue
        content = message["content"]
        said += content.get("text", "") if message["msg_type"] == "stream" else ""
        failed += content.get("ename", "") if message["msg_type"] == "execute_reply" else ""
        # The reply may overtake the output, which the kernel's being idle does not.
        waits -= {message["msg_type"], content.get("execution_state")}
    socket.close()
    return said + failed


def test_modules_beside_ones_own_notebook_are_found_and_those_of_a_hand_in_are_not(
    released: Course, lecturer: Lab
) -> None:
    released.hand_in("u1", GOOD)
    # `random` would be found first by a Python that looks where it stands.
    for folder in (released.home / "week 1", released.root / "source/ps1", released.root / "submitted/u1/ps1"):
        folder.mkdir(exist_ok=True)
        (folder / "helper.py").write_text("WORD = 'helped'\n")
        (folder / "random.py").write_text("WORD = 'shadowed'\n")
    source = "import random\nassert not hasattr(random, 'WORD')\nimport helper\nprint(helper.WORD)"
    assert run_cell(lecturer, "week 1/mine.ipynb", source) == "helped\n"
    assert run_cell(lecturer, "course/source/ps1/sums.ipynb", source) == "helped\n"
    assert run_cell(lecturer, "course/submitted/u1/ps1/sums.ipynb", source) == "ModuleNotFoundError"
    # Files are found all the same.
    data = "print(open('data.txt').read())"
    (released.root / "submitted/u1/ps1/data.txt").write_text("of the student")
    assert run_cell(lecturer, "course/submitted/u1/ps1/sums.ipynb", data) == "of the student\n"


def test_feedback_asks_nobody_for_scripts(released: Course) -> None:
    released.hand_in("u1", {**GOOD, "why": "Since $x^2$ is so."})
    assert released.action("autograde", "ps1", "u1")["success"]
    result = released.action("generate_feedback", "ps1", "u1")
    assert result["success"], result
    page = (released.root / "feedback/u1/ps1/sums.html").read_text()
    tree = BeautifulSoup(page, "html.parser")
    assert "$x^2$" in tree.text
    assert not [
        tag for tag in tree(["script", "link", "iframe", "img"]) if "//" in (tag.get("src") or tag.get("href") or "")
    ]
    assert "mathjax.js" not in page.lower()


def test_pictures_that_were_pasted_into_an_answer_are_shown(released: Course, lecturer: Lab) -> None:
    """To who grades, and in the feedback; what is no picture, or lost, stops neither."""
    released.hand_in("u1", GOOD)
    path = released.root / "submitted/u1/ps1/sums.ipynb"
    notebook = json.loads(path.read_text())
    answer = notebook["cells"][-1]
    answer["source"] = "".join(f"![x](attachment:{name})" for name in ("my%20photo.png", "half.png", "lost.png"))
    answer["attachments"] = {"my photo.png": {"image/png": "AAAA"}, "half.png": {"image/png": "\ud800"}}
    path.write_text(json.dumps(notebook))
    for step in ("submission/ps1/u1/autograde", "assignment/ps1/u1/generate_feedback"):
        result = json.loads(lecturer.post(f"formgrader/api/{step}").text)
        assert result["success"], result
    (submitted,) = lecturer.get("formgrader/api/submitted_notebooks/ps1/sums").json()
    page = lecturer.get(f"formgrader/submissions/{submitted['id']}/")
    assert page.status_code == 200
    for html in (page.text, (released.root / "feedback/u1/ps1/sums.html").read_text()):
        images = BeautifulSoup(html, "html.parser")("img", alt="x")
        assert [image.get("src", "") for image in images] == ["data:image/png;base64,AAAA", "", ""]


@pytest.mark.parametrize("role", ["instructor", "student"])
def test_nobody_pulls_by_a_link(course: Course, role: str) -> None:
    lab = Lab(course, role)
    try:
        for path in ("git-pull?repo=file:///tmp/x&targetpath=.ipython", "git-sync", "git-pull/api"):
            assert lab.get(path).status_code == 404
        spec = lab.get("api/kernelspecs").json()["kernelspecs"]["python3"]["spec"]
        assert "-P" in spec["argv"]
    finally:
        lab.close()


def test_names_and_ids_are_text_on_every_page(released: Course, lecturer: Lab) -> None:
    released.hand_in("u1", GOOD)
    assert released.action("autograde", "ps1", "u1")["success"]
    with sqlite3.connect(released.root / "gradebook.db") as db:
        db.execute("UPDATE student SET first_name = ?, last_name = ?", (EVIL, EVIL))
    (notebook,) = lecturer.get("formgrader/api/submitted_notebooks/ps1/sums").json()[:1]
    # A hand-in's metadata is the student's.
    path = next((released.root / "autograded").rglob("sums.ipynb"))
    document: dict[str, Any] = json.loads(path.read_text())
    for cell in document["cells"]:
        cell["id"] = "x"
        cell["metadata"]["tags"] = [EVIL]
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["nbgrader"]["grade_id"] = EVIL
    path.write_text(json.dumps(document))
    evil = "%22%3E%3Cimg%20src=x%20onerror=evil()%3E%3Cscript%3Eevil()%3C%5Cscript%3E"
    pages = [
        f"formgrader/submissions/{notebook['id']}/",
        *("formgrader/manage_assignments", "formgrader/manage_students", "formgrader/gradebook"),
        *(f"formgrader/{page}/{evil}" for page in ("manage_submissions", "gradebook", "manage_students")),
        *(f"formgrader/{page}/{evil}/{evil}" for page in ("gradebook", "manage_students")),
        "course",
    ]
    seen = set()
    for page in pages:
        answer = lecturer.get(page)
        assert answer.status_code == 200, page
        header = answer.headers["Content-Security-Policy"]
        found = re.search(r"script-src 'nonce-([^']+)'", header)
        assert found, page
        nonce = found[1]
        seen.add(nonce)
        tree = BeautifulSoup(answer.text, "html.parser")
        assert {script.get("nonce") for script in tree("script")} <= {nonce}, page
        assert not [tag for tag in tree(True) for name in tag.attrs if name.startswith("on") and "evil" in tag[name]], (
            page
        )
        assert not tree("img", src="x"), page
        assert "'unsafe-inline'" not in header.partition("script-src")[2].partition(";")[0]
        assert not re.search(r"https?://(?!127\.0\.0\.1)[^\"]*\.js", answer.text), page
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    # One for each page.
    assert len(seen) == len(pages)


def test_what_a_student_has_made_is_served_in_a_sandbox(released: Course, lecturer: Lab) -> None:
    released.hand_in("u1", GOOD)
    assert released.action("autograde", "ps1", "u1")["success"]
    for folder in ("submitted", "autograded", "feedback"):
        (released.root / folder / "u1/ps1").mkdir(parents=True, exist_ok=True)
        (released.root / folder / "u1/ps1/page.html").write_text("<script>evil()</script>")
        (released.root / folder / "u1/ps1/page.svg").write_text("<svg onload='evil()'/>")
    (released.home / "mine.html").write_text("<p>mine</p>")
    (notebook,) = lecturer.get("formgrader/api/submitted_notebooks/ps1/sums").json()[:1]
    paths = [
        *(
            f"files/course/{folder}/u1/ps1/page.{kind}"
            for folder in ("submitted", "autograded", "feedback")
            for kind in ("html", "svg")
        ),
        "nbconvert/html/course/submitted/u1/ps1/sums.ipynb",
        f"formgrader/submissions/{notebook['id']}/page.html",
    ]
    for path in paths:
        answer = lecturer.browser.get(lecturer.url + path, headers={"Referer": lecturer.url}, timeout=60)
        assert answer.status_code == 200, path
        policy = answer.headers["Content-Security-Policy"]
        assert re.search(r"; sandbox(;|$)", policy), path
        assert "default-src 'none'" in policy or "'strict-dynamic'" in policy, path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer = lecturer.browser.get(f"{lecturer.url}files/mine.html", headers={"Referer": lecturer.url}, timeout=60)
    assert "sandbox allow-scripts" in answer.headers["Content-Security-Policy"]
    # The link to the course's folder leads there and nowhere else, and shows nothing that is hidden.
    (released.root / "submitted/u1/ps1/.hidden").write_text("x")
    (released.root / "submitted/u1/ps1/out").symlink_to("/etc/hostname")
    hidden, out = ("files/course/submitted/u1/ps1/" + name for name in (".hidden", "out"))
    headers = {"Referer": lecturer.url}
    codes = [
        lecturer.browser.get(lecturer.url + path, headers=headers, timeout=60).status_code for path in (hidden, out)
    ]
    assert codes == [404, 403]


def test_a_hand_in_names_no_module_of_an_exporter(released: Course, lecturer: Lab) -> None:
    """As "Save and Export" of a script would import and call it."""
    released.hand_in("u1", GOOD)
    path = released.root / "submitted/u1/ps1/sums.ipynb"
    notebook = json.loads(path.read_text())
    script = "nbconvert/script/course/submitted/u1/ps1/sums.ipynb"
    for name, code in (("nbconvert.exporters.HTMLExporter", 500), ("python", 200)):
        notebook["metadata"]["language_info"] = {"name": "python", "nbconvert_exporter": name}
        path.write_text(json.dumps(notebook))
        answer = lecturer.browser.get(lecturer.url + script, headers={"Referer": lecturer.url}, timeout=60)
        assert answer.status_code == code
        assert ("return x * x" in answer.text) is (code == 200)


def test_options_are_a_closed_list_of_data(course: Course) -> None:
    (course.root / "options.json").write_text(
        json.dumps({"Execute.timeout": 60, "Execute.kernel_name": "evil", "SandboxExecute.total_timeout": "60"})
    )
    (course.root / "nbgrader_config.py").write_text("raise SystemExit(1)\n")
    values, refused = options.read(course.root)
    assert values == {"Execute.timeout": 60}
    assert [each for each in refused if "options.json" in each and "nbgrader_config" in each]
    assert [each for each in refused if 'found "60", expected a whole number from 1 to 3600' in each]
    assert [each for each in refused if "Execute.kernel_name" in each]
    # More does not fit into a sandbox, whose home holds the files twice.
    for size, counts in ((100 * 1024**2, True), (100 * 1024**2 + 1, False)):
        (course.root / "options.json").write_text(json.dumps({"SandboxExecute.max_files_size": size}))
        assert bool(options.read(course.root)[0]) is counts
    for broken in ("[]", "{", '"x"', "[" * 5000):
        (course.root / "options.json").write_text(broken)
        assert options.read(course.root)[0] == {}
    for name in options.OPTIONS:
        owner, trait = name.split(".")
        if owner != "SandboxExecute":
            assert getattr(preprocessors, owner).class_traits(config=True)[trait]
