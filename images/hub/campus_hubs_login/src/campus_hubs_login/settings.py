"""Settings of the hub's web server that a login from inside an LMS needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from tornado.httpserver import HTTPServer

MAX_REQUEST_BYTES = 2 * 1024 * 1024
_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> str:
    """Give the origin of a URL (RFC 6454) as browsers write it, or '' if it is no http(s) URL.

    :param url: for example `https://LMS.example.edu:443/course?id=1`, whose origin is `https://lms.example.edu`.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return (
        f"{parts.scheme}://{host}"
        if port in {None, _DEFAULT_PORTS[parts.scheme]}
        else f"{parts.scheme}://{host}:{port}"
    )


def tornado_settings(public_url: str, lms_urls: Iterable[str] = ()) -> dict[str, Any]:
    """Make `c.JupyterHub.tornado_settings`.

    Cookies: inside an LMS's frame a browser sends only `SameSite=None; Secure` cookies, and takes those only over
    https. Over http a hub works in a window of its own, with `SameSite=Lax`. All end with the browser session: lab
    computers are shared.

    :param public_url: URL of the course as people see it; empty, if it is not known, means http.
    :param lms_urls: any URLs of the LMS; their origins may show the hub in a frame. None: nobody may.
    :returns: `cookie_options`, and `headers` with a Content-Security-Policy if there is an LMS.
    :raises ValueError: if public_url is something else than an http(s) URL.
    """
    if public_url and not origin(public_url):
        raise ValueError(f"public_url is {public_url!r}, wanted an http or https URL")
    secure = urlsplit(public_url).scheme == "https"
    options: dict[str, Any] = {"samesite": "None", "secure": True} if secure else {"samesite": "Lax"}
    settings: dict[str, Any] = {"cookie_options": {**options, "expires_days": None}}
    # dict.fromkeys: without repetition, in order, so that the rendered header is stable.
    if origins := [found for found in dict.fromkeys(map(origin, lms_urls)) if found]:
        settings["headers"] = {"Content-Security-Policy": f"frame-ancestors {' '.join(origins)}"}
    return settings


def limit_request_bodies(max_bytes: int = MAX_REQUEST_BYTES) -> None:
    """Limit the request bodies of each web server that this process starts from now on.

    Tornado reads a body into memory before any handler can refuse it, and accepts 100 MB by default, from anybody. The
    hub itself has no setting for it. Call it at the top of jupyterhub_config.py.

    :param max_bytes: largest body; a user's files do not pass the hub.
    """
    HTTPServer.configure(None, max_body_size=max_bytes)
