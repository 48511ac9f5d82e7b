"""Certificates in variables are texts that OpenSSL reads, since it is what uses them."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.variable_forms import is_certificate


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a certificate."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"]
    subprocess.run(  # noqa: S603
        [*new, "-subj", "/CN=Campus", "-keyout", "/dev/null", "-out", str(path)], check=True, capture_output=True
    )
    return path.read_text()


def openssl_reads(text: str, path: Path) -> bool:
    path.write_text(text)
    try:
        ssl.create_default_context(cafile=str(path))
    except ssl.SSLError:
        return False
    return True


def test_what_openssl_reads(pem: str, tmp_path: Path) -> None:
    for text in (pem, pem + pem, f"# Campus CA\n{pem}", pem.replace("\n", "\r\n"), pem.rstrip("\n")):
        assert is_certificate(text)
        assert openssl_reads(text, tmp_path / "ca.pem")


def test_what_it_does_not_read(pem: str, tmp_path: Path) -> None:
    folded = pem.replace("\n", " ")
    for text in (
        folded,
        pem.replace("\n", ""),
        pem.rstrip("\n") + pem,
        pem + pem[:200],
        "  " + pem.replace("\n", "\n  "),
    ):
        assert not is_certificate(text), text
        assert not openssl_reads(text, tmp_path / "ca.pem"), text


def test_a_key_is_none(pem: str) -> None:
    assert not is_certificate(f"{pem}-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
