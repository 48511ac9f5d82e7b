"""Build test: what is released and submitted is in the database afterwards.

With the wrong SQLAlchemy ngshare answers success and keeps nothing, so an answer alone proves nothing.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

FILES = json.dumps([{"path": "a.ipynb", "content": base64.b64encode(b"{}").decode()}])


class Hub(BaseHTTPRequestHandler):
    """Knows every user: the token is the name."""

    def do_GET(self) -> None:
        """Answer like JupyterHub's /hub/api/user."""
        name = self.headers["Authorization"].split()[-1]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(
            json.dumps({"name": name, "kind": "user", "scopes": ["access:services"], "groups": []}).encode()
        )

    def log_message(self, *_: object) -> None:
        """Keep the build's output short."""


def post(path: str, user: str, **data: str) -> None:
    """Call ngshare as a user; anything but success raises."""
    request = Request(f"http://127.0.0.1:12121/api{path}", urlencode(data).encode(), {"Authorization": f"token {user}"})
    for attempt in range(100):
        try:
            answer = json.load(urlopen(request, timeout=10))  # noqa: S310
        except URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError) or attempt == 99:
                raise
            time.sleep(0.2)
        else:
            assert answer["success"], answer  # noqa: S101
            return


def main() -> None:
    """Run ngshare beside a stand-in for the hub, release and submit, and look into the database."""
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "ngshare.db"
        environment = os.environ | {
            "JUPYTERHUB_API_URL": f"http://127.0.0.1:{hub.server_port}/hub/api",
            "JUPYTERHUB_API_TOKEN": "ngshare",
            "JUPYTERHUB_CLIENT_ID": "service-ngshare",
            "JUPYTERHUB_SERVICE_PREFIX": "/api/",
            "JUPYTERHUB_SERVICE_URL": "http://127.0.0.1:12121",
        }
        options = ["--admins", "root", "--prefix", "/api/", "--database", f"sqlite:///{database}", "--storage", folder]
        server = subprocess.Popen([sys.executable, "-m", "ngshare", *options], env=environment)  # noqa: S603
        try:
            post("/course/c", "root", instructors='["teacher"]')
            post("/student/c/s1", "teacher", first_name="", last_name="", email="")
            post("/assignment/c/ps1", "teacher", files=FILES)
            post("/submission/c/ps1", "s1", files=FILES)
        finally:
            server.terminate()
            server.wait()
        with sqlite3.connect(database) as connection:
            rows = {
                table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
                for table in ("assignments", "submissions")
            }
    if rows != {"assignments": 1, "submissions": 1}:
        sys.exit(f"ngshare said success and kept {rows}")


if __name__ == "__main__":
    main()
