"""The demo LMS as a process of its own on the loopback interface, and a tool with a key set that it can fetch."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from lab.lms.demo_lms import CONTROLS

ROOT = Path(__file__).parents[3]

TIMEOUT = 20.0


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Tool:
    """A tool with one key, and the server of its key set."""

    url: str
    key: rsa.RSAPrivateKey
    kid: str = "tool-key"

    def key_set(self) -> dict[str, Any]:
        """Return the public key as a key set (RFC 7517)."""
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return {"keys": [jwk | {"kid": self.kid, "alg": "RS256", "use": "sig"}]}

    def assertion(self, audience: str, **changes: object) -> str:
        """Return a signed assertion of RFC 7523; ``changes`` replace claims, None removes one."""
        now = int(time.time())
        claims: dict[str, object] = {"iss": "py-client", "sub": "py-client", "aud": audience, "jti": uuid.uuid4().hex}
        claims |= {"iat": now, "exp": now + 60} | changes
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, self.key, algorithm="RS256", headers={"kid": self.kid})


@dataclass
class Lms:
    """The running LMS: its public address and its control interface."""

    url: str
    environment: dict[str, str]

    def control(self, command: str, value: object) -> Any:  # noqa: ANN401  any JSON
        """Ask the control interface; the answer must be good."""
        method, path = ("PUT", "/courses") if command == "register" else ("POST", CONTROLS[command][0])
        address = f"http://127.0.0.1:{self.environment['LMS_ADMIN_PORT']}{path}"
        answer = requests.request(method, address, json=value, timeout=TIMEOUT)
        assert answer.ok, answer.text
        return answer.json()

    def run(self, command: str, value: object) -> subprocess.CompletedProcess[str]:
        """Run a command of the LMS's program with JSON on standard input, as ``podman exec`` does in the lab."""
        argv = [sys.executable, "-m", "lab.lms.demo_lms", command]
        return subprocess.run(  # noqa: S603
            argv,
            input=json.dumps(value),
            env=self.environment,
            cwd=ROOT,
            text=True,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )


@pytest.fixture(scope="session")
def tool() -> Iterator[Tool]:
    """Serve a tool's key set at the address where a course's hub has it."""
    made = Tool("", rsa.generate_private_key(public_exponent=65537, key_size=2048))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(made.key_set()).encode()
            self.send_response(200 if self.path == "/hub/lti13/jwks" else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()


@pytest.fixture(scope="session")
def process() -> Iterator[Lms]:
    """Run the LMS's program."""
    port, admin = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    own = {"LMS_ISSUER": url, "LMS_PORT": str(port), "LMS_ADMIN_PORT": str(admin), "PYTHONPATH": str(ROOT)}
    environment = os.environ | own
    argv = [sys.executable, "-m", "lab.lms.demo_lms", "serve"]
    with subprocess.Popen(argv, env=environment, cwd=ROOT) as running:  # noqa: S603
        end = time.monotonic() + TIMEOUT
        while True:
            assert running.poll() is None, "the LMS has ended"
            try:
                if requests.get(f"{url}/healthz", timeout=2).ok:
                    break
            except requests.ConnectionError:
                assert time.monotonic() < end, "the LMS does not answer"
                time.sleep(0.1)
        yield Lms(url, environment)
        running.terminate()


@pytest.fixture
def server(process: Lms, tool: Tool) -> Lms:
    """Return the running LMS with two courses that nobody has used."""
    course13 = {"id": "py", "title": "Python", "hub": tool.url, "lti": "1.3"}
    course13 |= {"client_id": "py-client", "deployment_id": "1"}
    other = course13 | {"id": "other", "title": "Other", "client_id": "other-client"}
    course11 = {"id": "stats", "title": "Stats", "hub": tool.url, "lti": "1.1"}
    course11 |= {"consumer_key": "the key", "shared_secret": "the secret"}
    process.control("register", [course13, other, course11])
    for course in ("py", "other", "stats"):
        process.control("reset", {"course": course})
    return process
