"""Build test: the program of this image keeps what it has acknowledged, also when it is killed after the answer."""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

PORT = 12121
TOKEN = "smoke" * 8


class Hub(BaseHTTPRequestHandler):
    """Knows every user: the token is the name."""

    def do_GET(self) -> None:
        """Answer like JupyterHub's /hub/api/user."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"kind": "user", "name": self.headers["Authorization"].split()[-1]}).encode())

    def log_message(self, *_: object) -> None:
        """Keep the build's output short."""


def call(method: str, path: str, token: str, body: bytes, kind: str) -> Any:  # noqa: ANN401 - JSON
    """Call the service; anything but success raises."""
    headers = {"Authorization": f"token {token}", "Content-Type": kind}
    request = Request(f"http://127.0.0.1:{PORT}{path}", body, headers, method=method)
    for attempt in range(900):
        try:
            return json.load(urlopen(request, timeout=10))  # noqa: S310
        except URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or attempt == 899:
                raise
            time.sleep(0.1)
    return None


def main() -> None:
    """Run the service beside a stand-in for the hub, release and submit, kill it, and look at what is there."""
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    files = urlencode(
        {"files": json.dumps([{"path": "a.ipynb", "content": base64.b64encode(b"{}").decode()}])}
    ).encode()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "token").write_text(TOKEN)
        environment = os.environ | {
            "COURSE_ID": "c",
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub.server_port}/hub/api",
            "EXCHANGE_DATA": folder,
            "EXCHANGE_TOKEN_FILE": f"{folder}/token",
            "EXCHANGE_ADDRESS": "127.0.0.1",
            "EXCHANGE_PORT": str(PORT),
        }
        server = subprocess.Popen(["campus-hubs-exchange", "serve"], env=environment)  # noqa: S607
        try:
            for user, role in (("teacher", "instructor"), ("s1", "student")):
                member = json.dumps({"subject": user, "role": role, "launched_at": 0}).encode()
                call("PUT", f"/api/members/{user}", TOKEN, member, "application/json")
            form = "application/x-www-form-urlencoded"
            call("POST", "/ngshare/assignment/c/ps1", "teacher", files, form)
            call("POST", "/ngshare/submission/c/ps1", "s1", files, form)
        finally:
            server.send_signal(signal.SIGKILL)
            server.wait()
        with closing(sqlite3.connect(Path(folder) / "exchange.db")) as database:
            rows = database.execute("SELECT count(*) FROM assignments, submissions, submission_files").fetchone()
        contents = [path.read_bytes() for path in Path(folder, "files").glob("*/*")]
    if rows != (1,) or contents != [b"{}"]:
        raise SystemExit(f"the exchange said success and kept {rows} rows, {len(contents)} contents")


if __name__ == "__main__":
    main()
