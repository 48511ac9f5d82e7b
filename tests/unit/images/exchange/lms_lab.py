"""LMSs for the tests of roster and grades: the demo LMS as a process, and one that answers whatever a test wants."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lab.lms.demo_lms import CONTROLS
from tests.unit.images.exchange.exchange_lab import COURSE, ROOT, Exchange, free_port

NRPS_SCOPE = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
AGS = "https://purl.imsglobal.org/spec/lti-ags/scope"
SCOPES = [f"{AGS}/lineitem", f"{AGS}/score"]
COURSE11 = "stats-demo"


class Key:
    """The tool's key, as the Secret lti13-key is mounted, and the hub that serves its public half."""

    def __init__(self, folder: Path) -> None:
        """Make the key and serve it."""
        self.folder = folder
        self.rotate("first")
        key = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = (key.folder / "jwks.json").read_bytes()
                self.send_response(200 if self.path == "/hub/lti13/jwks" else 404)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.hub = f"http://127.0.0.1:{server.server_port}"

    def rotate(self, kid: str) -> None:
        """Put a new key into the folder; the old one stays in the key set."""
        new = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (self.folder / "private.pem").write_bytes(new.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(new.public_key(), as_dict=True) | {"kid": kid, "alg": "RS256"}
        path = self.folder / "jwks.json"
        old = json.loads(path.read_text())["keys"] if path.exists() else []
        path.write_text(json.dumps({"keys": [*old, jwk]}))


class DemoLms:
    """The demo LMS; its services are those of the specifications."""

    def __init__(self, key: Key) -> None:
        """Start it, with one course of LTI 1.3 and one of LTI 1.1."""
        port, self._admin = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        own = {"LMS_ISSUER": self.url, "LMS_PORT": str(port), "LMS_ADMIN_PORT": str(self._admin)}
        argv = [sys.executable, "-m", "lab.lms.demo_lms", "serve"]
        self._process = subprocess.Popen(  # noqa: S603
            argv, env=os.environ | own | {"PYTHONPATH": str(ROOT)}, cwd=ROOT
        )
        end = time.monotonic() + 120
        while True:
            try:
                requests.get(f"{self.url}/healthz", timeout=2).raise_for_status()
                break
            except requests.RequestException:
                assert time.monotonic() < end, "the LMS does not answer"
                time.sleep(0.1)
        course13 = {"id": COURSE, "title": "Python", "hub": key.hub, "lti": "1.3", "client_id": "py-client"}
        course11 = {"id": COURSE11, "title": "Stats", "hub": key.hub, "lti": "1.1", "consumer_key": "the key"}
        courses = [course13 | {"deployment_id": "1"}, course11 | {"shared_secret": "the secret"}]
        self.control("register", courses)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)

    def control(self, command: str, value: object) -> Any:  # noqa: ANN401 - any JSON
        """Ask the control interface."""
        method, path = ("PUT", "/courses") if command == "register" else ("POST", CONTROLS[command][0])
        answer = requests.request(method, f"http://127.0.0.1:{self._admin}{path}", json=value, timeout=20)
        assert answer.ok, answer.text
        return answer.json()

    def members(self, people: dict[str, str], course: str = COURSE) -> None:
        """Replace the roster: person and role."""
        listed = [{"person": person, "role": role} for person, role in people.items()]
        self.control("set", {"course": course, "members": listed})

    def faults(self, *faults: dict[str, Any], course: str = COURSE) -> None:
        """Replace the faults that requests meet."""
        self.control("fault", [{"course": course, **fault} for fault in faults])

    def shown(self, course: str = COURSE) -> dict[str, Any]:
        """Return roster, gradebook and log."""
        shown: dict[str, Any] = self.control("show", {"course": course})
        return shown

    def requests(self, service: str, course: str = COURSE) -> list[dict[str, Any]]:
        """Return the logged requests to a service."""
        return [entry for entry in self.shown(course)["requests"] if entry["service"] == service]

    def user(self, person: str) -> str:
        """Return the hub's name of somebody; what the login computes, written anew."""
        sub = {"lecturer": "2", "teaching-assistant": "3"}.get(person) or str(100 + int(person.split("-")[1]))
        digest = hashlib.sha256(f"{self.url.split('://')[1]}\n{sub}".encode()).digest()
        return "u" + base64.b32encode(digest[:10]).decode().lower()

    def launch(self, exchange: Exchange, person: str, role: str, **more: object) -> str:
        """Let the hub tell of a launch; returns the user name."""
        services = {
            "nrps_url": f"{self.url}/services/{COURSE}/memberships",
            "ags": {"lineitems": f"{self.url}/services/{COURSE}/lineitems?type_id=1", "scopes": SCOPES},
        }
        sub = {"lecturer": "2", "teaching-assistant": "3"}.get(person) or str(100 + int(person.split("-")[1]))
        user = self.user(person)
        launch = {"subject": sub, "role": role, "launched_at": time.time(), "given_name": person}
        answer = exchange.api("PUT", f"/members/{user}", document=launch | services | more)
        assert answer.status_code == 200, answer.text
        return user


Answer = tuple[int, dict[str, str], str]


class ScriptedLms:
    """An LMS that answers as a test says: `answers[path]` gets (method, headers, body) and returns an answer."""

    def __init__(self) -> None:
        """Start it; it gives tokens and nothing else."""
        self.answers: dict[str, Callable[[str, dict[str, str], str], Answer]] = {
            "/token": lambda *_: (200, {}, json.dumps({"access_token": "t", "expires_in": 3600}))
        }
        self.seen: list[tuple[str, str, dict[str, str], str]] = []
        lms = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                headers = dict(self.headers.items())
                lms.seen.append((self.command, self.path, headers, body))
                answer = lms.answers.get(self.path.partition("?")[0])
                status, answered, text = answer(self.command, headers, body) if answer else (404, {}, "nothing here")
                self.send_response(status)
                for name, value in answered.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_PUT = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"


def platform_of(url: str, key: Key, **more: str) -> dict[str, str]:
    """Return the environment of an exchange whose LMS is there."""
    platform = {"issuer": url, "client_id": "py-client", "deployment_id": "1", "token_endpoint": f"{url}/token"}
    return {"LTI13_PLATFORM": json.dumps(platform | more), "LTI13_KEY_DIR": str(key.folder)}


def until(what: str, check: Callable[[], Any], seconds: float = 40) -> Any:  # noqa: ANN401 - what the check returns
    """Wait until a check is true and return its value."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, what
        time.sleep(0.1)
    return found
