"""LTI 1.1 and LTI 1.3 login for a JupyterHub that serves one course."""

from __future__ import annotations

from .authenticator import CourseAuthenticator
from .launch import spawn_environment
from .settings import limit_requests, tornado_settings

__all__ = [
    "CourseAuthenticator",
    "limit_requests",
    "spawn_environment",
    "tornado_settings",
]
