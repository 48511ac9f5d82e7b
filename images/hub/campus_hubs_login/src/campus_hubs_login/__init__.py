"""LTI 1.1 and LTI 1.3 login for a JupyterHub that serves one course."""

from __future__ import annotations

from .authenticator import CourseAuthenticator
from .identity import normalise_issuer, user_name
from .launch import spawn_environment
from .settings import limit_requests, tornado_settings

__all__ = [
    "CourseAuthenticator",
    "limit_requests",
    "normalise_issuer",
    "spawn_environment",
    "tornado_settings",
    "user_name",
]
