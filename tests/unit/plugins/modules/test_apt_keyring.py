"""A signing key is trusted by its fingerprint: real keys of GnuPG, from a real server."""

from __future__ import annotations

import functools
import http.server
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.campus.hubs.plugins.module_utils import _openpgp_keys
from ansible_collections.campus.hubs.plugins.modules import apt_keyring


class KeyRing:
    """GnuPG with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """Make the folder."""
        self.folder = folder
        folder.mkdir(mode=0o700)

    def gpg(self, *arguments: str, stdin: str = "") -> str:
        """Run gpg."""
        command = ["gpg", "--homedir", str(self.folder), "--batch", "--yes", "--passphrase", "", *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=True)  # noqa: S603
        return done.stdout

    def make(self, name: str, algorithm: str = "ed25519", expires: str = "never") -> str:
        """Make a key and return its fingerprint."""
        now = ["--faked-system-time", "20200101T000000"] if expires != "never" else []
        self.gpg(*now, "--quick-gen-key", f"{name} <{name}@example.edu>", algorithm, "sign", expires)
        lines = self.gpg("--with-colons", "--list-keys", name).splitlines()
        return next(line.split(":")[9] for line in lines if line.startswith("fpr:"))

    def export(self, *names: str) -> str:
        """Return public keys, ASCII-armoured."""
        return self.gpg("--armor", "--export", *names)

    def seen_in(self, text: str) -> list[str]:
        """Return the fingerprints of the primary keys that gpg sees in a text."""
        lines = self.gpg("--with-colons", "--show-keys", stdin=text).splitlines()
        return [lines[index + 1].split(":")[9] for index, line in enumerate(lines) if line.startswith("pub:")]


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyRing]:
    # A short path: the agent's socket is in it.
    folder = Path("/tmp") / f"ring-{os.getpid()}"  # noqa: S108
    made = KeyRing(folder)
    yield made
    subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False)  # noqa: S603, S607
    subprocess.run(["rm", "-r", str(folder)], check=True)  # noqa: S603, S607


class Repository:
    """A web server with a key file, and a node that fetches it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Start the server."""
        self.served, self.path, self._capsys = folder / "served", folder / "keyrings/k.asc", capsys
        self.served.mkdir()
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(self.served))
        self.server, self.scheme = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler), "http"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, text: str) -> None:
        """Put the key file there."""
        (self.served / "key").write_text(text)

    def encrypt(self, folder: Path) -> None:
        """Serve by TLS from now on, with a certificate that nobody has vouched for."""
        key, certificate = str(folder / "tls.key"), str(folder / "tls.crt")
        new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command = [*new, "-subj", "/CN=a", "-keyout", key, "-out", certificate]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket, self.scheme = context.wrap_socket(self.server.socket, server_side=True), "https"

    def have(self, *fingerprints: str, check: bool = False) -> dict[str, Any]:
        """Run the module."""
        url = f"{self.scheme}://127.0.0.1:{self.server.server_port}/key"
        arguments = {"url": url, "path": str(self.path), "fingerprints": list(fingerprints)}
        with patch_module_args(arguments | {"_ansible_check_mode": check}), pytest.raises(SystemExit):
            apt_keyring.main()
        result: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return result


@pytest.fixture
def repository(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Repository]:
    monkeypatch.setattr(apt_keyring, "OWNER", str(os.getuid()))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Repository(tmp_path, capsys)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize("algorithm", ["ed25519", "rsa2048"])
def test_the_right_key(ring: KeyRing, repository: Repository, algorithm: str) -> None:
    mine = ring.make(f"right-{algorithm}", algorithm)
    repository.serve(ring.export(mine))
    assert repository.have(mine, check=True)["changed"]
    assert not repository.path.exists()
    blanks = " ".join(mine[index : index + 4] for index in range(0, 40, 4)).lower()
    result = repository.have(blanks)
    assert (result["changed"], result["fingerprints"]) == (True, [mine])
    assert ring.seen_in(repository.path.read_text()) == [mine]
    assert repository.path.stat().st_mode & 0o777 == 0o644
    # From then on without the server.
    repository.server.shutdown()
    assert not repository.have(mine)["changed"]
    assert not repository.have(mine, check=True)["changed"]


def test_a_server_that_is_not_trusted_yet_fails_a_run_and_no_check(repository: Repository, tmp_path: Path) -> None:
    """A bare node trusts the site's authority only when a run has written it."""
    repository.serve("key")
    repository.encrypt(tmp_path)
    assert repository.have("A" * 40, check=True)["changed"]
    failed = repository.have("A" * 40)
    assert failed["failed"]
    assert "CERTIFICATE_VERIFY_FAILED" in failed["msg"]


def test_another_key(ring: KeyRing, repository: Repository) -> None:
    mine, other = ring.make("mine"), ring.make("other")
    for served in (ring.export(other), ring.export(mine, other), ring.export(mine) + ring.export(other), "<html>", ""):
        repository.serve(served)
        result = repository.have(mine)
        assert result["failed"], served
        assert f"expected only {mine}" in result["msg"]
        assert not repository.path.exists()
    # What lies there by hand, or from before the fingerprint was known, is replaced.
    repository.path.parent.mkdir(exist_ok=True)
    repository.path.write_text(ring.export(other))
    repository.serve(ring.export(mine))
    assert repository.have(mine)["changed"]
    assert ring.seen_in(repository.path.read_text()) == [mine]


def test_only_the_key_itself_is_written(ring: KeyRing, repository: Repository) -> None:
    """A reader that sees a file otherwise than we do finds nothing else in it."""
    mine = ring.make("alone")
    repository.serve(f"deb [trusted=yes] x\n{ring.export(mine)}\n-----BEGIN PGP MESSAGE-----\n\nAAAA\n")
    repository.have(mine)
    assert repository.path.read_text() == _openpgp_keys.write_armor(_openpgp_keys.read_packets(ring.export(mine)))


def test_an_expired_key_is_fetched_anew(ring: KeyRing, repository: Repository) -> None:
    mine = ring.make("old", expires="20200601T000000")
    repository.serve(ring.export(mine))
    assert repository.have(mine)["changed"]
    # It is expired at its owner's as well: nothing else is known.
    assert not repository.have(mine)["changed"]
    ring.gpg("--quick-set-expire", mine, "0")
    repository.serve(ring.export(mine))
    assert repository.have(mine)["changed"]
    assert not repository.have(mine)["changed"]


def test_expiry_is_what_gpg_says(ring: KeyRing) -> None:
    mine = ring.make("later", expires="20400601T000000")
    (key,) = _openpgp_keys.read_keys(_openpgp_keys.read_packets(ring.export(mine)))
    (line,) = [line for line in ring.gpg("--with-colons", "--list-keys", mine).splitlines() if line.startswith("pub:")]
    assert (key.fingerprint, key.expires) == (mine, int(line.split(":")[6]))


def test_damaged_files_are_refused(ring: KeyRing) -> None:
    packets = _openpgp_keys.read_packets(ring.export(ring.make("damaged")))
    for cut in range(1, len(packets), 7):
        with pytest.raises(_openpgp_keys.KeyFileError):
            _openpgp_keys.read_keys(packets[cut:] if packets[cut] & 0xC0 != 0xC0 else b"\xff" + packets[cut:])


def test_a_server_that_has_no_key(repository: Repository) -> None:
    assert "cannot be fetched from http://127.0.0.1" in repository.have("A" * 40)["msg"]
