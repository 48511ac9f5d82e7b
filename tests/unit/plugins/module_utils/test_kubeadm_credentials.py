"""What servers need to join: made for a quarter of an hour, and deleted."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import credentials
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import Commands
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.plugins.kubeadm_machine import CONFIG, Machine, run_for_real

KEY = "0123456789abcdef" * 4
# As kubeadm 1.36 prints it.
UPLOADED = f"""[upload-certs] Storing the certificates in Secret "kubeadm-certs" in the "kube-system" Namespace
[upload-certs] Using certificate key:
{KEY}
"""


def test_the_hash_is_of_the_authority_s_public_key(tmp_path: Path) -> None:
    folder = tmp_path / "etc/kubernetes/pki"
    folder.mkdir(parents=True)
    commands = Commands(run_for_real, tmp_path)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{folder}/ca.key"]
    commands.run(["openssl", "req", "-x509", *key, "-subj", "/CN=kubernetes", "-out", f"{folder}/ca.crt"])
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    public = authority.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert credentials.authority_hash(commands) == f"sha256:{hashlib.sha256(public).hexdigest()}"


def test_a_token_lives_a_quarter_of_an_hour(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.answer("^kubeadm token create", "abcdef.0123456789abcdef\n", "W1130 some warning\n")
    assert credentials.create_token(machine.commands) == "abcdef.0123456789abcdef"
    assert machine.ran == ["kubeadm token create --ttl 15m --description campus.hubs join"]


def test_certificates_of_the_control_plane(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.answer("^kubeadm init phase upload-certs --upload-certs", UPLOADED)
    assert credentials.upload_certificates(machine.commands, CONFIG) == KEY
    assert machine.inputs == [CONFIG]


def test_neither_token_nor_key_is_in_a_list_of_processes(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    credentials.delete(machine.commands, "abcdef.0123456789abcdef")
    assert machine.ran[0] == "kubeadm token delete abcdef"
    assert machine.ran[1].endswith("--namespace=kube-system delete secret kubeadm-certs --ignore-not-found")
    assert not any("0123456789abcdef" in line for line in machine.ran)
