"""A person's programs as far as the exchange sees them: ngshare's protocol, and the course's own API."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import requests

Files = Mapping[str, bytes]


class Client:
    """Somebody with a token.

    Attributes:
        url: of the service, without a trailing slash.
    """

    def __init__(self, url: str, course: str, token: str) -> None:
        """Remember where and who."""
        self.url, self.course, self.token = url, course, token

    def call(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401 - of requests
        """Call ngshare's part of it."""
        headers = {"Authorization": f"token {self.token}", **options.pop("headers", {})}
        return requests.request(method, f"{self.url}/ngshare/{path}", headers=headers, timeout=60, **options)

    def api(self, method: str, path: str, document: object = None) -> requests.Response:
        """Call our own part of it."""
        headers = {"Authorization": f"token {self.token}"}
        return requests.request(method, f"{self.url}/api{path}", headers=headers, json=document, timeout=30)

    def release(self, assignment: str, files: Files | None = None) -> requests.Response:
        """Release an assignment."""
        return self.call("POST", f"assignment/{self.course}/{assignment}", data=form(files or {"a.ipynb": b"{}"}))

    def submit(self, assignment: str, files: Files | None = None) -> requests.Response:
        """Hand in."""
        return self.call("POST", f"submission/{self.course}/{assignment}", data=form(files or {"a.ipynb": b"{}"}))

    def feedback(self, assignment: str, user: str, time: str, files: Files | None = None) -> requests.Response:
        """Give feedback."""
        data = {"timestamp": time, **form(files or {"a.html": b"good"})}
        return self.call("POST", f"feedback/{self.course}/{assignment}/{user}", data=data)

    def get(self, path: str, **query: str) -> requests.Response:
        """Read."""
        return self.call("GET", path, params=query)


def form(files: Files) -> dict[str, str]:
    """Pack files as ngshare-exchange does."""
    entries = [{"path": path, "content": base64.b64encode(content).decode()} for path, content in files.items()]
    return {"user": "somebody", "files": json.dumps(entries)}


def unpacked(answer: requests.Response) -> dict[str, bytes]:
    """Read the files of an answer."""
    assert answer.status_code == 200, answer.text
    return {entry["path"]: base64.b64decode(entry["content"]) for entry in answer.json()["files"]}
