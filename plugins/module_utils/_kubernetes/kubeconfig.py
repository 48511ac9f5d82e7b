# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read a kubeconfig as kubeadm writes it.

What it has more is for the Kubernetes client, which takes half a second to be imported. This file imports nothing of
this collection: the program that holds the run's lock runs without Ansible.
"""

from __future__ import annotations

import base64
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import yaml
except ImportError:  # Ansible has it where an action runs; a module says that the Kubernetes client is missing
    yaml = None  # type: ignore[assignment]


@dataclass(frozen=True)
class Access:
    """How a kubeconfig's current context leads to an API server.

    Attributes:
        server: its URL.
        headers: with the token, if that is how the user is known.
        trust: whose certificates count, with the user's own; None without TLS.
        certificate: the user's, PEM; empty if there is none.
    """

    server: str
    headers: Mapping[str, str]
    trust: ssl.SSLContext | None
    certificate: str


# What is understood of a cluster and of a user; all else is for a Kubernetes client.
_CLUSTER = {"server", "certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify", "extensions"}
_USER = {"client-certificate", "client-certificate-data", "client-key", "client-key-data", "token"}


def read_kubeconfig(path: Path) -> Access:
    """Return address, credentials and trust of a kubeconfig's current context.

    Raises:
        OSError: it is not there, or says what only a Kubernetes client can do (`exec` and the like).
    """
    content = path.read_text(encoding="utf-8")
    if yaml is None:
        message = "there is no PyYAML"
        raise OSError(message)
    try:
        document = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        (context,) = [one["context"] for one in document["contexts"] if one["name"] == document["current-context"]]
        (cluster,) = [one["cluster"] for one in document["clusters"] if one["name"] == context["cluster"]]
        (user,) = [one["user"] for one in document["users"] if one["name"] == context["user"]]
        server = cluster["server"].rstrip("/")
        unknown = sorted({*cluster} - _CLUSTER | {*user} - _USER)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"{path} has no current context"
        raise OSError(message) from error
    if unknown:
        message = f"{path} uses {', '.join(unknown)}"
        raise OSError(message)

    def text(owner: Mapping[str, Any], name: str) -> str:
        if f"{name}-data" in owner:
            return base64.b64decode(owner[f"{name}-data"]).decode()
        return (path.parent / owner[name]).read_text(encoding="utf-8") if name in owner else ""

    certificate, token = text(user, "client-certificate"), user.get("token")
    if not certificate and not token:
        message = f"{path}: the user has neither certificate nor token"
        raise OSError(message)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if not server.startswith("https://"):
        return Access(server, headers, None, "")
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if cluster.get("insecure-skip-tls-verify"):
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    elif authority := text(cluster, "certificate-authority"):
        trust.load_verify_locations(cadata=authority)
    else:
        trust.load_default_certs()
    if certificate:
        # OpenSSL's interface takes files only.
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as both:
            both.write(f"{certificate}\n{text(user, 'client-key')}")
            both.flush()
            trust.load_cert_chain(both.name)
    return Access(server, headers, trust, certificate)
