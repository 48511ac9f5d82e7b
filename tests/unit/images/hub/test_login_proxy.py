"""The course's proxy before a real hub: nobody's browser gets into another person's server, and strangers end."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.unit.images.hub.login_lab import Browser, Hub, Lms, free_port

PROXY = Path(__file__).parents[4] / "images/proxy"
TOKEN = "5e" * 32
CONNECTIONS = 40
COOKIE = "campus-hubs-user"


def installed() -> Path:
    """Return a folder with the proxy as the image has it; npm fetches what the lock file names, once."""
    lock = (PROXY / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("CAMPUS_HUBS_CACHE") or Path.home() / ".cache" / "campus-hubs")
    folder = cache / "proxy" / hashlib.sha256(lock).hexdigest()[:12]
    if not (folder / "node_modules").is_dir():
        npm = shutil.which("npm") or pytest.fail("no npm found: install Node.js 20 or later")
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        partial.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PROXY / name, partial)
        command = [npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=partial, check=True, capture_output=True)  # noqa: S603
        try:
            partial.rename(folder)
        except OSError:  # another run was faster
            shutil.rmtree(partial)
    return folder


class Course:
    """A hub, its proxy, and people at the proxy's address."""

    def __init__(self, folder: Path, lms: Lms) -> None:
        """Start both."""
        self.port, api, hub_port = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "proxy").mkdir()
        for path in installed().iterdir():
            (folder / "proxy" / path.name).symlink_to(path)
        shutil.copy(PROXY / "course-proxy.mjs", folder / "proxy")
        hub = f"http://127.0.0.1:{hub_port}"
        self.process = subprocess.Popen(  # noqa: S603
            [
                shutil.which("node") or "node",
                "--preserve-symlinks",
                str(folder / "proxy" / "course-proxy.mjs"),
                "--ip=127.0.0.1",
                f"--port={self.port}",
                f"--api-port={api}",
                f"--default-target={hub}",
                f"--error-target={hub}/hub/error",
            ],
            env={**os.environ, "CONFIGPROXY_AUTH_TOKEN": TOKEN, "COURSE_PROXY_CONNECTIONS": str(CONNECTIONS)},
        )
        self.hub = Hub(folder, lms, f"{self.url}/", hub_port)
        self.hub.proxy = {"api_url": f"http://127.0.0.1:{api}", "auth_token": TOKEN}
        self.hub.start()
        self.people = {who: self.person(who, role) for who, role in (("ada", "Instructor"), ("eve", "Learner"))}

    def person(self, who: str, role: str) -> requests.Session:
        """Let somebody launch and wait for their server."""
        person = requests.Session()
        form = Browser(self.hub)
        answer = form.launch11(user_id=who, roles=role)
        assert answer.status_code == 303, answer.text
        # Cookies do not know ports, so these are the proxy's as well.
        person.cookies.update(form.cookies)
        person.headers["Accept"] = "text/html"
        deadline = time.monotonic() + 30
        while person.get(f"{self.url}/hub/spawn", timeout=30).status_code != 200 or not self.server(who):
            assert time.monotonic() < deadline, self.hub.log[-2000:]
            time.sleep(0.3)
        return person

    def name(self, who: str) -> str:
        """Return somebody's user name."""
        from tests.unit.images.hub.test_login_hub import name  # noqa: PLC0415

        return name(self.hub, who)

    def server(self, who: str) -> bool:
        """Tell whether somebody's server runs."""
        return bool(self.hub.api(f"/users/{self.name(who)}")["servers"].get("", {}).get("ready"))

    def close(self) -> None:
        """Stop both."""
        self.hub.stop()
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def course(session_lms: Lms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Course]:
    made = Course(tmp_path_factory.mktemp("proxy"), session_lms)
    yield made
    made.close()


def reached(answer: requests.Response) -> bool:
    """Tell whether a user's server has answered, and not the hub or the proxy."""
    return "X-JupyterHub-Version" in answer.headers and answer.status_code == 200 and not answer.text


def ask(person: requests.Session, url: str, **options: Any) -> requests.Response:  # noqa: ANN401 - of requests
    return person.get(url, timeout=20, allow_redirects=False, **options)


def test_ones_own_server_is_reached(course: Course) -> None:
    for who, person in course.people.items():
        assert reached(ask(person, f"{course.url}/user/{course.name(who)}/lab"))


@pytest.mark.parametrize("path", ["/user/{}/", "/user/{}/x?token=1", "/%75ser/{}/x", "/a/../user/{}/x", "/user/{}"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
def test_another_persons_server_is_not(course: Course, path: str, method: str) -> None:
    """A student's link, opened by a lecturer: their browser never asks the student's server anything."""
    lecturer = course.people["ada"]
    request = requests.Request(method, "http://x/", headers=dict(lecturer.headers)).prepare()
    request.url = course.url + path.format(course.name("eve"))
    request.headers["Cookie"] = "; ".join(f"{cookie.name}={cookie.value}" for cookie in lecturer.cookies)
    answer = requests.Session().send(request, timeout=20, allow_redirects=False)
    assert answer.status_code == 403
    assert not reached(answer)


def proof(course: Course, who: str) -> str:
    return str(course.people[who].cookies[COOKIE])


@pytest.mark.parametrize(
    "cookie",
    [
        lambda course: "",
        lambda course: f"{COOKIE}={course.name('eve')}.{'0' * 64}",
        lambda course: f"{COOKIE}={course.name('eve')}.{proof(course, 'ada').rpartition('.')[2]}",
        lambda course: f"{COOKIE}={course.name('eve')}",
        lambda course: f"{COOKIE}=.",
        # Two are one too many: the browser is somebody else's as well.
        lambda course: f"{COOKIE}={proof(course, 'eve')}; {COOKIE}={proof(course, 'ada')}",
    ],
)
def test_cookies_that_prove_nothing(course: Course, cookie: Callable[[Course], str]) -> None:
    url = f"{course.url}/user/{course.name('eve')}/x"
    stranger = requests.Session()
    headers = {"Cookie": cookie(course)}
    page = ask(stranger, url, headers={**headers, "Accept": "text/html"})
    assert page.status_code in {302, 403}
    if page.status_code == 302:
        assert page.headers["Location"] == f"/hub/login?next=%2Fuser%2F{course.name('eve')}%2Fx"
    assert ask(stranger, url, headers=headers).status_code == 403
    assert stranger.post(url, headers=headers, timeout=20).status_code == 403


def test_a_session_of_before_gets_the_cookie_by_itself(course: Course) -> None:
    """People who were signed in when the proxy became like this."""
    person = requests.Session()
    person.cookies.update({c.name: str(c.value) for c in course.people["eve"].cookies if c.name != COOKIE})
    answer = person.get(f"{course.url}/user/{course.name('eve')}/lab", headers={"Accept": "text/html"}, timeout=20)
    assert reached(answer), answer.text
    assert person.cookies[COOKIE] == proof(course, "eve")


def test_a_token_in_the_header_is_the_servers_business(course: Course) -> None:
    url = f"{course.url}/user/{course.name('eve')}/api"
    assert reached(ask(requests.Session(), url, headers={"Authorization": "token abc"}))
    assert reached(ask(requests.Session(), url, headers={"Authorization": "Bearer abc"}))
    assert not reached(ask(requests.Session(), url, headers={"Authorization": "Basic abc"}))


def upgrade(course: Course, cookie: str) -> bytes:
    """Ask for a websocket; return the first line of the answer, or nothing if the server was reached."""
    with socket.create_connection(("127.0.0.1", course.port), timeout=10) as connection:
        connection.sendall(
            f"GET /user/{course.name('eve')}/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            f"Cookie: {cookie}\r\n\r\n".encode()
        )
        return connection.recv(4096).partition(b"\r\n")[0]


def test_websockets_as_well(course: Course) -> None:
    assert b" 403" in upgrade(course, f"{COOKIE}={proof(course, 'ada')}")
    assert b" 403" in upgrade(course, "")
    # The little server of the lab answers websockets as it answers all else.
    assert b" 200" in upgrade(course, f"{COOKIE}={proof(course, 'eve')}")


def test_who_logs_out_or_comes_as_another_leaves_nothing(course: Course) -> None:
    person = Browser(course.hub)
    person.launch11(user_id="mallory")
    first = person.cookies[COOKIE]
    person.launch11(user_id="trent")
    assert person.cookies[COOKIE].startswith(course.name("trent"))
    assert person.cookies[COOKIE] != first
    person.get(course.hub.page("hub/logout"))
    assert COOKIE not in person.cookies


def test_connections_without_a_request_give_way(course: Course) -> None:
    opened = [socket.create_connection(("127.0.0.1", course.port), timeout=10) for _ in range(3 * CONNECTIONS)]
    try:
        # With a connection of its own: one that is kept from before has waited longest.
        url = f"{course.url}/user/{course.name('eve')}/lab"
        assert reached(ask(requests.Session(), url, headers={"Cookie": f"{COOKIE}={proof(course, 'eve')}"}))
        time.sleep(0.5)
        ended = 0
        for connection in opened:
            connection.setblocking(False)
            try:
                ended += connection.recv(1) == b""
            except BlockingIOError:
                pass
            except ConnectionResetError:
                ended += 1
        assert ended >= 2 * CONNECTIONS
        # The last to come are still there.
        opened[-1].setblocking(True)
        opened[-1].sendall(b"GET /hub/health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert opened[-1].recv(4096).startswith(b"HTTP/1.1 200")
    finally:
        for connection in opened:
            connection.close()
    assert json.loads(requests.get(f"{course.url}/_chp_healthz", timeout=10).text) == {"status": "OK"}
