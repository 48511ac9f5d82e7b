"""A real Chromium, and another site on the campus that it may visit."""

from __future__ import annotations

import json
import shutil
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable

# All of them are this machine: other origins of one site, so that a browser sends cookies from one to the other.
DOMAIN = "campus.test"


def start(secure: str = "", hub: str = "127.0.0.1") -> webdriver.Chrome:
    """Start a browser.

    Args:
        secure: an origin that is to count as secure, without TLS.
        hub: the address of `hub.campus.test`.

    """
    options = webdriver.ChromeOptions()
    for argument in (
        *("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000", "--no-proxy-server"),
        f"--host-resolver-rules=MAP hub.{DOMAIN} {hub}, MAP *.{DOMAIN} 127.0.0.1",
        # What stands between a campus's network and this machine is no guard of ours.
        "--disable-features=LocalNetworkAccessChecks",
        *([f"--unsafely-treat-insecure-origin-as-secure={secure}"] if secure else []),
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # A question of a page must not stop a test that opens the next one.
    options.set_capability("unhandledPromptBehavior", "accept")
    driver = webdriver.Chrome(options=options, service=Service(executable_path=shutil.which("chromedriver")))
    driver.set_page_load_timeout(90)
    return driver


def logged(browser: webdriver.Chrome, log: str) -> list[str]:
    """Return what a log of the browser has got since this was called last."""
    return [entry["message"] for entry in browser.get_log(log)]  # type: ignore[no-untyped-call]


def requested(browser: webdriver.Chrome) -> list[str]:
    """Return the addresses that the browser's pages have asked for since this was called last."""
    messages = [json.loads(text)["message"] for text in logged(browser, "performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def wait(until: Callable[[], object], seconds: float) -> bool:
    """Tell whether something is so in time."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


class Site(ThreadingHTTPServer):
    """Another site: serves what it is told, and remembers what it is asked."""

    daemon_threads = True

    def __init__(self) -> None:
        """Start it."""
        self.pages: dict[str, str] = {}
        # Path and body of each request.
        self.seen: list[tuple[str, str]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode(errors="replace")
                path = urlsplit(self.path).path
                owner.seen.append((path, body))
                content = owner.pages.get(path, "").encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://evil.{DOMAIN}:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def got(self, path: str, text: str = "") -> bool:
        """Tell whether somebody has sent this text there."""
        return any(path == asked and text in body for asked, body in self.seen)

    def close(self) -> None:
        """Stop it."""
        self.shutdown()
        self.server_close()
