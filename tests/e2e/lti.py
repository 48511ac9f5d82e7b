"""What a person's browser does, without it: launch from the LMS, wait for the server, run a cell, write a file.

Everything goes through the pages and forms that a browser would get; nothing is called that a browser would not call.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import requests
import websocket

HTTP_TIMEOUT = 30.0  # seconds for one answer
SPAWN_TIMEOUT = 180.0  # seconds until a server must be there
CELL_TIMEOUT = 60.0  # seconds until a cell must have run
MAX_HOPS = 10

# In the script of JupyterHub's page for a server that is not running.
STARTS_ITSELF = r'var spawn_url = "([^"&\\]+)";'


class LaunchRefusedError(AssertionError):
    """The hub or the LMS answered a launch with an error page."""

    def __init__(self, response: requests.Response) -> None:
        """Keep the answer; the message carries status, address and the page's text."""
        text = re.sub(r"\s+", " ", re.sub(r"(?s)<(script|style|head).*?</\1>|<[^>]+>", " ", response.text))[:400]
        super().__init__(f"{response.request.method} {response.url} answered {response.status_code}: {text}")
        self.response = response


class _Forms(HTMLParser):
    """Collects the forms of a page with their fields."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.scripted = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(values.get("action", ""), values.get("method", "get").lower()))
        elif tag == "input" and self.forms and "name" in values:
            self.forms[-1].fields[values["name"]] = values.get("value", "")

    def handle_data(self, data: str) -> None:
        if re.search(r"\bsubmit\(\)", data):
            self.scripted = True


@dataclass
class Form:
    """A form of a page: where it goes, how, and with what."""

    action: str
    method: str
    fields: dict[str, str] = field(default_factory=dict)


def auto_submitted_form(page: requests.Response) -> Form | None:
    """Return the form that the page's script submits at once, if there is one."""
    if "text/html" not in page.headers.get("Content-Type", ""):
        return None
    parser = _Forms()
    parser.feed(page.text)
    if not parser.scripted or len(parser.forms) != 1:
        return None
    form = parser.forms[0]
    form.action = urljoin(page.url, form.action)
    return form


def follow(session: requests.Session, response: requests.Response) -> requests.Response:
    """Submit forms that submit themselves, as a browser does, until a page for people comes.

    Who comes just when the server has ended gets the hub's page that starts it again.

    Raises:
        LaunchRefusedError: if a page on the way is an error.

    """
    for _ in range(MAX_HOPS):
        if response.status_code == HTTPStatus.FAILED_DEPENDENCY and (url := re.search(STARTS_ITSELF, response.text)):
            response = session.get(urljoin(response.url, url[1]), timeout=HTTP_TIMEOUT)
        if response.status_code >= 400:
            raise LaunchRefusedError(response)
        form = auto_submitted_form(response)
        if form is None:
            return response
        # A browser sends its page's origin with such a form; the hub must accept the LMS's.
        page = urlsplit(response.url)
        headers = {"Origin": f"{page.scheme}://{page.netloc}", "Referer": response.url}
        response = session.request(form.method, form.action, data=form.fields, headers=headers, timeout=HTTP_TIMEOUT)
    raise AssertionError(f"more than {MAX_HOPS} forms in a row, the last one at {response.url}")


@dataclass
class Person:
    """Somebody who is signed in at a course's hub, with the cookies of one browser."""

    session: requests.Session
    hub: str
    name: str

    # ---- the server ----

    @property
    def server(self) -> str:
        """Address of this person's server, without a trailing slash."""
        return f"{self.hub}/user/{self.name}"

    def _xsrf(self, path: str) -> str:
        """Return the XSRF token that a page under this path would send."""
        tokens = [(c.path, c.value) for c in self.session.cookies if c.name == "_xsrf" and path.startswith(c.path)]
        return max(tokens, key=lambda item: len(item[0]))[1] or "" if tokens else ""

    def hub_session(self) -> dict[str, str]:
        """Return the headers that a page of the hub in this browser sends to the hub's API."""
        cookies = "; ".join(f"{c.name}={c.value}" for c in self.session.cookies if c.path in {"/", "/hub/"})
        return {"Cookie": cookies, "X-XSRFToken": self._xsrf("/hub/"), "Sec-Fetch-Mode": "cors"}

    def answer(self, method: str, path: str, **kwargs: Any) -> requests.Response:  # noqa: ANN401  what requests takes
        """Call something under this hub as a page of it would, whatever the answer."""
        headers = {"X-XSRFToken": self._xsrf(path), "Referer": f"{self.hub}{path}", "Sec-Fetch-Mode": "cors"}
        timeout = kwargs.pop("timeout", HTTP_TIMEOUT)
        return self.session.request(method, f"{self.hub}{path}", headers=headers, timeout=timeout, **kwargs)

    def _request(self, method: str, path: str, **kwargs: Any) -> requests.Response:  # noqa: ANN401  what requests takes
        response = self.answer(method, path, **kwargs)
        assert response.ok, f"{method} {response.url} answered {response.status_code}: {response.text[:300]}"
        return response

    def user_model(self) -> dict[str, Any]:
        """Return what the hub says about this person: name, groups, admin ..."""
        model: dict[str, Any] = self._request("GET", "/hub/api/user").json()
        return model

    def wait_for_server(self, timeout: float = SPAWN_TIMEOUT) -> float:
        """Watch the progress as the spawn-pending page does until the server is ready; return the seconds it took.

        Raises:
            AssertionError: with the hub's messages if the spawn failed or the time is over.

        """
        begin = time.monotonic()
        messages: list[str] = []
        path = f"/hub/api/users/{self.name}/server/progress?{urlencode({'_xsrf': self._xsrf('/hub/')})}"
        while time.monotonic() - begin < timeout:
            try:
                with self._request("GET", path, stream=True) as stream:
                    for line in stream.iter_lines():
                        if not line.startswith(b"data:"):
                            continue
                        event = json.loads(line[5:])
                        messages.append(event.get("message", ""))
                        if event.get("failed"):
                            raise AssertionError(f"{self.name}'s server did not start: {messages}")
                        if event.get("ready"):
                            return time.monotonic() - begin
                        if time.monotonic() - begin > timeout:
                            break
            except requests.RequestException as error:  # a hub that restarts ends the stream; a browser connects again
                messages.append(str(error))
            time.sleep(0.3)
        raise AssertionError(f"{self.name}'s server was not ready after {timeout:.0f} s: {messages[-5:]}")

    def open_lab(self, timeout: float = 60.0) -> requests.Response:
        """Open JupyterLab through the hub's OAuth and return its page; it must be Lab and not a page of the hub."""
        end = time.monotonic() + timeout
        while True:
            try:
                page = self.session.get(f"{self.server}/lab", timeout=HTTP_TIMEOUT)
                if page.ok and "jupyter-config-data" in page.text and urlsplit(page.url).path.endswith("/lab"):
                    return page
                seen = f"{page.status_code} at {page.url}"
            except requests.RequestException as error:
                seen = str(error)
            if time.monotonic() > end:
                raise AssertionError(f"no JupyterLab for {self.name} within {timeout:.0f} s, last: {seen}")
            time.sleep(0.5)

    def start_server(self) -> None:
        """Ask for the server the way a returning person does: open its address and follow the hub."""
        page = self.session.get(f"{self.hub}/hub/spawn/{self.name}", timeout=HTTP_TIMEOUT)
        if page.status_code >= 400:
            raise LaunchRefusedError(page)

    # ---- inside the server ----

    def put_file(self, path: str, text: str) -> None:
        """Write a file into the home by the contents API."""
        body = {"type": "file", "format": "text", "content": text}
        self._request("PUT", f"/user/{self.name}/api/contents/{quote(path)}", json=body)

    def get_file(self, path: str, timeout: float = HTTP_TIMEOUT) -> str:
        """Read a file from the home by the contents API."""
        url = f"/user/{self.name}/api/contents/{quote(path)}?content=1"
        content: str = self._request("GET", url, timeout=timeout).json()["content"]
        return content

    def run_cell(self, code: str, timeout: float = CELL_TIMEOUT) -> str:
        """Run code in a new kernel over its websocket and return what it printed or raised."""
        kernel = self.start_kernel()
        try:
            return self.run_in_kernel(kernel, code, timeout)
        finally:
            self._request("DELETE", f"/user/{self.name}/api/kernels/{kernel}")

    def start_kernel(self) -> str:
        """Start a kernel that stays, and return its id."""
        kernel: str = self._request("POST", f"/user/{self.name}/api/kernels", json={"name": "python3"}).json()["id"]
        return kernel

    def run_in_kernel(self, kernel: str, code: str, timeout: float = CELL_TIMEOUT) -> str:
        """Run code in a kernel over its websocket and return what it printed or raised."""
        path = f"/user/{self.name}/"
        query = urlencode({"session_id": uuid.uuid4().hex, "_xsrf": self._xsrf(path)})
        address = self.server.replace("http", "ws", 1) + f"/api/kernels/{kernel}/channels?{query}"
        cookies = "; ".join(f"{c.name}={c.value}" for c in self.session.cookies if path.startswith(c.path))
        end = time.monotonic() + timeout
        connection = websocket.create_connection(address, timeout=timeout, cookie=cookies)
        try:
            request = uuid.uuid4().hex
            connection.send(json.dumps(_execute_request(request, code)))
            printed: list[str] = []
            while time.monotonic() < end:
                message = json.loads(connection.recv())
                if message.get("parent_header", {}).get("msg_id") != request:
                    continue
                kind, content = message["header"]["msg_type"], message["content"]
                if kind == "stream":
                    printed.append(content["text"])
                elif kind == "execute_result":
                    printed.append(content["data"]["text/plain"])
                elif kind == "error":
                    printed.append("\n".join(content["traceback"]))
                elif kind == "status" and content["execution_state"] == "idle":
                    return "".join(printed)
            raise AssertionError(f"the cell did not end within {timeout:.0f} s, printed so far: {printed}")
        finally:
            connection.close()


def _execute_request(identifier: str, code: str) -> dict[str, Any]:
    """Return an ``execute_request`` of Jupyter's message protocol 5.3."""
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    header = {"msg_id": identifier, "msg_type": "execute_request", "username": "", "session": identifier}
    header |= {"version": "5.3", "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    return {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}


@dataclass(frozen=True)
class Lms:
    """The demo LMS as seen by people."""

    url: str

    def enter(self, course: str, person: str) -> Person:
        """Click "enter <course> as <person>" with a new browser and follow the launch to the course's hub.

        Raises:
            LaunchRefusedError: if somebody on the way said no.

        """
        session = requests.Session()
        clicked = session.post(f"{self.url}/enter/{course}/{person}", timeout=HTTP_TIMEOUT)
        return signed_in(session, follow(session, clicked))

    def enter_lab(self, course: str, person: str, spawn: float = SPAWN_TIMEOUT, lab: float = 60.0) -> Person:
        """Enter a course and wait until Lab is there.

        Args:
            course: its id.
            person: the demo LMS's key.
            spawn: seconds that the server may take to start.
            lab: seconds that Lab's page may take then.

        Raises:
            LaunchRefusedError: if somebody on the way said no.
            AssertionError: if it takes longer, or the server does not start.

        """
        visitor = self.enter(course, person)
        visitor.wait_for_server(spawn)
        visitor.open_lab(lab)
        return visitor


def signed_in(session: requests.Session, page: requests.Response) -> Person:
    """Return who the hub says has come, from the page that the launch ended at (spawn-pending or the server itself)."""
    url = urlsplit(page.url)
    match = re.fullmatch(r"(?:/hub/spawn-pending|/hub/spawn|/user)/([a-z0-9]+)(?:/.*)?", url.path)
    if not match:
        raise AssertionError(f"the launch ended at {page.url} ({page.status_code}), want the person's server")
    return Person(session, f"{url.scheme}://{url.netloc}", match[1])
