"""A web server that takes what is posted to it."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Webhook(HTTPServer):
    """Takes JSON documents at any path.

    Attributes:
        posted: path and document, in the order in which they came.
        status: its answer.
    """

    def __init__(self, address: str = "127.0.0.1") -> None:
        """Listen at an address of this machine."""
        super().__init__((address, 0), _Post)
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.status = 204
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Post(BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        """Take one document."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append((self.path, json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be silent."""
