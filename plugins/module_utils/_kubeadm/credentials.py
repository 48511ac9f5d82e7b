# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What servers need to join a cluster: a token, the authority's hash, and for control planes the certificates."""

from __future__ import annotations

import base64
import hashlib
import re

from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import Commands
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.node import KUBERNETES

LIFETIME = "15m"
_SYSTEM = "--namespace=kube-system"


def authority_hash(commands: Commands) -> str:
    """Return the hash of the authority's public key, by which joining servers know the cluster.

    Raises:
        CommandError: its certificate cannot be read.
    """
    path = commands.root / KUBERNETES / "pki/ca.crt"
    pem = commands.run(["openssl", "x509", "-in", str(path), "-noout", "-pubkey"])
    key = base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-----")))
    return f"sha256:{hashlib.sha256(key).hexdigest()}"


def create_token(commands: Commands) -> str:
    """Create a join token and return it.

    Raises:
        CommandError: kubeadm fails.
    """
    command = ["kubeadm", "token", "create", "--ttl", LIFETIME, "--description", "campus.hubs join"]
    return commands.run(command).strip()


def upload_certificates(commands: Commands, config: str) -> str:
    """Upload the control plane's certificates, encrypted, and return the key.

    Raises:
        CommandError: kubeadm fails.
    """
    said = commands.kubeadm("init", "phase", "upload-certs", "--upload-certs", config=config)
    return "".join(re.findall(r"\b[0-9a-f]{64}\b", said)[:1])


def delete(commands: Commands, token: str) -> None:
    """Delete a token and the uploaded certificates.

    Args:
        commands: run on a control plane.
        token: whole, or what precedes its dot, which alone is in a list of processes.

    Raises:
        CommandError: kubeadm or kubectl fails.
    """
    commands.run(["kubeadm", "token", "delete", token.partition(".")[0]])
    commands.kubectl(_SYSTEM, "delete", "secret", "kubeadm-certs", "--ignore-not-found")
