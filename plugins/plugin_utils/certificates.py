# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the certificates end that people and courses depend on, for the drift report."""

from __future__ import annotations

import base64
import binascii
import ssl
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import SECRET

try:
    from cryptography import x509
except ImportError:  # nothing is known of certificates then
    x509 = None  # type: ignore[assignment]

# Days left at which an end is reported. Runs renew kubeadm's earlier; who issues the others has had time by then.
CLUSTER_DAYS, COURSE_DAYS = 30, 14


@dataclass(frozen=True)
class Certificate:
    """One certificate.

    Attributes:
        name: what presents it.
        course: whose it is; empty for the cluster's.
        ends: when.
    """

    name: str
    course: str
    ends: datetime

    def document(self, now: datetime) -> dict[str, Any]:
        """Return it for the report."""
        days = (self.ends - now).days
        return {
            "name": self.name,
            "course": self.course,
            "ends": self.ends.isoformat(),
            "days": days,
            "soon": days < (COURSE_DAYS if self.course else CLUSTER_DAYS),
        }


def end_of(pem: bytes) -> datetime | None:
    """Return when the first certificate of a PEM text ends; None if it holds none."""
    try:
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc if x509 else None
    except ValueError:
        return None


def cluster_certificates(server: str, client: str) -> list[Certificate]:
    """Look at the API server's certificate, which kubeadm renews with all of its others, and at the kubeconfig's.

    Args:
        server: URL of the API server.
        client: the kubeconfig's client certificate, PEM; empty if it has none.
    """
    address = urllib.parse.urlsplit(server)
    found = {"API server": None, "kubeconfig": end_of(client.encode())}
    try:
        # Only looked at: requests verify it.
        shown = ssl.get_server_certificate((address.hostname or "", address.port or 443), timeout=10)
        found["API server"] = end_of(shown.encode())
    except (OSError, ValueError):
        pass
    return [Certificate(name, "", end) for name, end in found.items() if end]


def course_certificates(api: Api, names: Mapping[tuple[str, str], str]) -> list[Certificate]:
    """Look at the certificates that courses present themselves, in one list of the cluster's TLS Secrets.

    Args:
        api: the API server.
        names: namespace and name of the Secret to the course.

    Raises:
        ApiError: the API server refuses.
    """
    secrets = api.objects(SECRET, fields="type=kubernetes.io/tls") if names else []
    return list(_ends(secrets, names))


def _ends(secrets: Iterable[Mapping[str, Any]], names: Mapping[tuple[str, str], str]) -> Iterable[Certificate]:
    for secret in secrets:
        metadata = secret["metadata"]
        course = names.get((metadata["namespace"], metadata["name"]))
        try:
            end = end_of(base64.b64decode((secret.get("data") or {}).get("tls.crt") or "")) if course else None
        except binascii.Error:
            end = None
        if course and end:
            yield Certificate(f"Secret {metadata['name']}", course, end.astimezone(UTC))
