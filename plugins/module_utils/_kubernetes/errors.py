# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong with the Kubernetes API and on the way to it: one sentence each, without what was sent."""

from __future__ import annotations

import json

from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal


class KubernetesError(Exception):
    """The Kubernetes API cannot be asked, or refuses; the text says why."""


class NoConnectionError(KubernetesError):
    """No kubeconfig leads to an API server, or that does not answer."""


class NoKubeconfigError(NoConnectionError):
    """There is no kubeconfig: as far as anybody knows, there is no cluster yet."""

    def __init__(self, path: str) -> None:
        """Take where it should be."""
        fix = "run site.yml, which writes it, or set kubeconfig or K8S_AUTH_KUBECONFIG"
        super().__init__(refusal("kubeconfig", f"nothing at {path}", "the cluster's", fix))


class WrongKubeconfigError(NoConnectionError):
    """The kubeconfig leads nowhere."""

    def __init__(self, why: object) -> None:
        """Take what is wrong with it."""
        expected = "one that leads to an API server"
        said = " ".join(str(why).split())
        super().__init__(refusal("kubeconfig", said, expected, "set kubeconfig or K8S_AUTH_KUBECONFIG"))


class NoAnswerError(NoConnectionError):
    """The API server does not answer."""

    def __init__(self, server: str, why: object) -> None:
        """Take its URL, and what came instead of an answer: urllib3's errors have it as their reason."""
        fix = "check the server in the kubeconfig, and that the cluster is up"
        found = f"no answer ({getattr(why, 'reason', None) or why})"
        super().__init__(refusal(f"Kubernetes API at {server}", found, "one", fix))


class ApiError(KubernetesError):
    """The API server refuses.

    Attributes:
        status: of HTTP.
        message: its own sentence.
    """

    def __init__(self, status: int, message: str) -> None:
        """Take what it said."""
        super().__init__(f"The Kubernetes API answers {status}: {message}")
        self.status, self.message = status, message

    @classmethod
    def of(cls, status: int, body: str | bytes | None, reason: object) -> ApiError:
        """Return what an answer says; headers and the request's body can hold secrets, and are left out.

        Args:
            status: of HTTP.
            body: of the answer, JSON with a message if it is the API server's.
            reason: what is said if it is not.
        """
        try:
            message = json.loads(body or "")["message"]
        except (ValueError, KeyError, TypeError):
            message = reason
        return cls(status, str(message))
