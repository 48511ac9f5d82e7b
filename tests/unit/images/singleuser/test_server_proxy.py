"""Whatever proxy the environment names: what a server says to the exchange, the hub and sandboxes does not pass it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import requests
from campus_hubs_hub import settings

from tests.unit.images.singleuser.grading_lab import Course, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Writes a line for each request, and refuses it.
PROXY = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def refuse(self):
        with open(sys.argv[2], "a") as log:
            log.write(self.requestline + "\\n")
        self.send_error(502)
    do_GET = do_POST = do_DELETE = do_PUT = do_CONNECT = refuse
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
NAMES = [f"{kind}_proxy" for kind in ("http", "https", "all")]
HOSTS = [f"{service}.course-python-ws26.svc.cluster.local" for service in ("exchange", "hub", "proxy-api")]


class Proxy:
    """A proxy in a process of its own."""

    def __init__(self, log: Path) -> None:
        """Start it and wait until it listens."""
        self._log = log
        url = f"http://127.0.0.1:{(port := free_port())}"
        self.environment = {spelling: url for name in NAMES for spelling in (name, name.upper())}
        self.process = subprocess.Popen([sys.executable, "-c", PROXY, str(port), str(log)], stderr=subprocess.DEVNULL)  # noqa: S603
        end = time.monotonic() + 30
        while not self.seen():
            assert time.monotonic() < end
            try:
                requests.get("http://nobody.invalid/", proxies={"http": url}, timeout=5)
            except requests.ConnectionError:
                time.sleep(0.05)
        log.unlink()

    def seen(self) -> list[str]:
        """Return the requests that it got."""
        return self._log.read_text().splitlines() if self._log.exists() else []


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    made = Proxy(tmp_path / "requests")
    yield made
    made.process.kill()
    made.process.wait()


def test_fetch_submit_and_the_course_page(course: Course, proxy: Proxy) -> None:
    course.exchange.members = [{"user": "u1"}]
    course.exchange.released["ps1"] = []
    done = course.run("nbgrader", "list", **proxy.environment)
    assert "ps1" in done.stdout + done.stderr
    assert "does not answer" not in done.stderr
    program = course.place / "asks.py"
    program.write_text(
        "from campus_hubs_lab.client import Exchange\n"
        "from campus_hubs_lab.execute import Sandbox\n"
        "import os\n"
        "print(Exchange.of_environment().members()['members'])\n"
        "with Sandbox(os.environ['JUPYTERHUB_API_URL'], os.environ['JUPYTERHUB_API_TOKEN'], 1, print): pass\n"
    )
    asked = subprocess.run(  # noqa: S603
        [sys.executable, str(program)],
        env={**course.environment(), **proxy.environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (asked.returncode, asked.stdout) == (0, "[{'user': 'u1'}]\n"), asked.stderr
    assert proxy.seen() == []


@pytest.mark.parametrize(
    ("given", "others"),
    [
        ({}, []),
        ({"no_proxy": ".example.edu"}, [".example.edu"]),
        ({"NO_PROXY": "a, b", "no_proxy": "b,c"}, ["a", "b", "c"]),
    ],
)
def test_any_program_in_a_server(proxy: Proxy, given: dict[str, str], others: list[str]) -> None:
    """By the environment that the hub gives it; what the course says of exceptions stays."""
    direct = settings.direct(HOSTS, given)
    assert direct["no_proxy"] == direct["NO_PROXY"] == ",".join([*others, "localhost", "127.0.0.1", "::1", *HOSTS])
    ask = "import sys, urllib.request as u\ntry: u.urlopen(sys.argv[1], timeout=5)\nexcept OSError: pass"
    environment = {"PATH": os.environ["PATH"], **proxy.environment, **given, **direct}
    for host, known in itertools.product(HOSTS, (True, False)):
        names = environment if known else {**proxy.environment, "PATH": os.environ["PATH"]}
        command = [sys.executable, "-c", ask, f"http://{host}:8080/api"]
        subprocess.run(command, env=names, check=True)  # noqa: S603
    # Each once: without the exceptions.
    assert [line.split()[1] for line in proxy.seen()] == [f"http://{host}:8080/api" for host in HOSTS]


def test_a_star_stays_one() -> None:
    assert settings.direct(HOSTS, {"no_proxy": "a,*"}) == {"NO_PROXY": "*", "no_proxy": "*"}
