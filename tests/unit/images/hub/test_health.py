"""What `helm test` asks with: a hub that is well, one that is not, and none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from campus_hubs_hub import health


class Hub(BaseHTTPRequestHandler):
    """Is well at one path only."""

    def do_GET(self) -> None:
        """Answer."""
        well = self.path == "/hub/health"
        self.send_response(HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE)
        self.end_headers()


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Hub) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


def test_a_hub_that_is_well_and_one_that_is_not(server: str) -> None:
    assert health.main(f"{server}/hub/health") is None
    assert health.main(f"{server}/other/health") == f"{server}/other/health: HTTP Error 503: Service Unavailable"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/hub/health", "https://127.0.0.1:1/hub/health", "no URL"])
def test_no_hub(url: str) -> None:
    assert (health.main(url) or "").startswith(f"{url}: ")
