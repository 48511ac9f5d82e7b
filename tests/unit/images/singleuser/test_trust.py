"""Programs in a server, the exchange's client and git trust an authority of the campus, beside the public ones."""

from __future__ import annotations

import datetime
import os
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from campus_hubs_lab.material_git import Git
from campus_hubs_lab.trust import VARIABLES, trust
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def certificate(folder: Path, name: str) -> Path:
    """Make a self-signed certificate for localhost, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / f"{name}.pem").write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return folder / f"{name}.crt"


class Answer(BaseHTTPRequestHandler):
    """Says yes."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Run two servers, each with an authority of its own; return their URLs by name."""
    running, urls = [], {}
    for name in ("public", "campus"):
        certificate(tmp_path, name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / f"{name}.pem")
        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        urls[name] = f"https://localhost:{server.server_port}/"
    yield urls
    for server in running:
        server.shutdown()
        server.server_close()


ASK = """
import sys, urllib.request, requests
for url in sys.argv[1:]:
    print(requests.get(url, timeout=10).text, urllib.request.urlopen(url, timeout=10).read().decode())
"""


def test_both_are_trusted(tmp_path: Path, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("COURSE_CA_FILE", str(tmp_path / "campus.crt"))
    trust(tmp_path, public=tmp_path / "public.crt")
    environment = dict(os.environ)
    asked = subprocess.run(  # noqa: S603
        [sys.executable, "-c", ASK, *servers.values()], env=environment, capture_output=True, text=True, check=False
    )
    assert asked.stdout == "ok ok\nok ok\n", asked.stderr
    alone = {name: value for name, value in environment.items() if name not in VARIABLES}
    refused = subprocess.run(  # noqa: S603
        [sys.executable, "-c", ASK, servers["campus"]], env=alone, capture_output=True, text=True, check=False
    )
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stderr


def test_hub_and_exchange_trust_it(tmp_path: Path, servers: dict[str, str]) -> None:
    """By OpenSSL's own variable, as the chart sets it."""
    ask = "import sys, tornado.httpclient as t\nprint(t.HTTPClient().fetch(sys.argv[1]).body.decode())"
    command = [sys.executable, "-c", ask, servers["campus"]]
    for environment, works in (({}, False), ({"SSL_CERT_FILE": str(tmp_path / "campus.crt")}, True)):
        given = {"PATH": os.environ["PATH"], **environment}
        asked = subprocess.run(command, env=given, capture_output=True, text=True, check=False)  # noqa: S603
        assert (asked.stdout == "ok\n") is works, asked.stderr


def test_git_trusts_it_as_well(tmp_path: Path, servers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> str:
        git = Git(tmp_path / "git", 30)
        command = ["git", "ls-remote", servers["campus"] + "x.git"]
        return subprocess.run(command, env=git.environment, capture_output=True, text=True, check=False).stderr  # noqa: S603

    monkeypatch.delenv("GIT_SSL_CAINFO", raising=False)
    assert "certificate" in said()
    monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "campus.crt"))
    assert "certificate" not in said()


def test_without_an_authority_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSE_CA_FILE", raising=False)
    before = dict(os.environ)
    trust(tmp_path)
    assert dict(os.environ) == before
    assert list(tmp_path.iterdir()) == []


def test_a_choice_of_one_s_own_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSE_CA_FILE", str(certificate(tmp_path, "campus")))
    for name in VARIABLES:
        monkeypatch.setenv(name, "mine")
    trust(tmp_path, public=tmp_path / "none")
    assert {os.environ[name] for name in VARIABLES} == {"mine"}
