"""Settings of the hub's web server that a login from inside an LMS needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from tornado.http1connection import HTTP1ServerConnection
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPMessageDelegate

MAX_BODY_BYTES = 256 * 1024
MAX_HEADER_BYTES = 32 * 1024
BODY_SECONDS = 20
IDLE_SECONDS = 60
MAX_CONNECTIONS = 1024

_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(url: str) -> str:
    """Give the origin of a URL (RFC 6454) as browsers write it, or '' if it is no http(s) URL.

    Args:
        url: for example `https://LMS.example.edu:443/course?id=1`, whose origin is `https://lms.example.edu`.
    """
    try:
        parts = urlsplit(url.strip())
        name, port = parts.hostname or "", parts.port
        if not name.isascii():
            # As browsers do; HTTP headers hold nothing else either.
            name = name.encode("idna").decode("ascii")
    except ValueError:
        return ""
    if parts.scheme not in _DEFAULT_PORTS or not name:
        return ""
    host = f"[{name}]" if ":" in name else name
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

    Args:
        public_url: URL of the course as people see it; empty, if it is not known, means http.
        lms_urls: any URLs of the LMS; their origins may show the hub in a frame. None: nobody may.

    Returns:
        `cookie_options`, and `headers` with a Content-Security-Policy if there is an LMS.

    Raises:
        ValueError: if public_url is something else than an http(s) URL.
    """
    if public_url and not origin(public_url):
        raise ValueError(f"public_url: found {public_url!r}, expected an http or https URL.")
    secure = urlsplit(public_url).scheme == "https"
    options: dict[str, Any] = {"samesite": "None", "secure": True} if secure else {"samesite": "Lax"}
    settings: dict[str, Any] = {"cookie_options": {**options, "expires_days": None}}
    # dict.fromkeys: without repetition, in order, so that the rendered header is stable.
    if origins := [found for found in dict.fromkeys(map(origin, lms_urls)) if found]:
        settings["headers"] = {"Content-Security-Policy": f"frame-ancestors {' '.join(origins)}"}
    return settings


class LimitedServer(HTTPServer):
    """A web server for strangers: bodies, time and connections have an end.

    Tornado reads a body into memory before any handler can refuse it, by default 100 MB, from anybody. Beyond
    `max_connections` the connection gives way that has waited longest for its request to be complete, of the address
    with the most connections; one whose request is being answered only if there is no other.
    """

    max_connections = MAX_CONNECTIONS

    def initialize(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - tornado's
        """Take the limits that JupyterHub has no settings for."""
        limits = {
            "max_body_size": MAX_BODY_BYTES,
            "max_header_size": MAX_HEADER_BYTES,
            "body_timeout": BODY_SECONDS,
            "idle_connection_timeout": IDLE_SECONDS,
        }
        super().initialize(*arguments, **{**options, **limits})
        # Whether each waits for (the rest of) a request, longest first.
        self._waits: dict[HTTP1ServerConnection, bool] = {}

    def start_request(self, server_conn: Any, request_conn: Any) -> HTTPMessageDelegate:  # noqa: ANN401 - tornado's
        """Note that a connection waits for a request, and make room for it."""
        if not server_conn.stream.closed():
            self._note(server_conn, waits=True)
            if len(self._waits) > self.max_connections:
                self._give_way(server_conn)
        return _Noticing(super().start_request(server_conn, request_conn), lambda: self._note(server_conn, waits=False))

    def on_close(self, server_conn: Any) -> None:  # noqa: ANN401 - tornado's
        """Forget a connection."""
        self._waits.pop(server_conn, None)
        super().on_close(server_conn)

    def _note(self, connection: HTTP1ServerConnection, *, waits: bool) -> None:
        self._waits.pop(connection, None)
        self._waits[connection] = waits

    def _give_way(self, newest: HTTP1ServerConnection) -> None:
        address = {connection: getattr(connection.context, "address", ("",))[0] for connection in self._waits}
        ((crowd, _),) = Counter(address.values()).most_common(1)
        theirs = [connection for connection in self._waits if address[connection] == crowd and connection is not newest]
        # Nobody else is there if all addresses have one connection each.
        victim = next((connection for connection in theirs if self._waits[connection]), (*theirs, newest)[0])
        self._waits.pop(victim)
        victim.stream.close()


class _Noticing(HTTPMessageDelegate):
    """Passes everything on, and tells when a request is complete."""

    def __init__(self, delegate: HTTPMessageDelegate, complete: Callable[[], None]) -> None:
        self._delegate, self._complete = delegate, complete
        self.headers_received = delegate.headers_received  # type: ignore[method-assign]
        self.data_received = delegate.data_received  # type: ignore[method-assign]
        self.on_connection_close = delegate.on_connection_close  # type: ignore[method-assign]

    def finish(self) -> None:
        self._complete()
        self._delegate.finish()


def limit_requests() -> None:
    """Make each web server that this process starts from now on a LimitedServer.

    The hub itself has no setting for it. Call it while it reads its configuration.
    """
    HTTPServer.configure(LimitedServer)
