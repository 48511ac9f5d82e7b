# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A launch and a server of a person who does not exist, to prove that a course works for those who do.

The person has one name per course, made from a secret of that course: no LMS launches it, and the hub gives the probe's
token power over nobody else. See campus_hubs_hub/settings.py in the hub's image.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

# Who launches where the LMS has no name of its own (LTI 1.1).
LMS = "campus.hubs"
_TIMEOUT = 30
_SCHEME = re.compile(r"^https?://", re.IGNORECASE)


class ProbeError(Exception):
    """The course does not do what it has to; the text says what."""


def subject(token: str) -> str:
    """Return the subject (`sub`, `user_id`) of a course's synthetic student.

    Args:
        token: the probe's token.
    """
    return hashlib.sha256(f"synthetic student\n{token}".encode()).hexdigest()


def user_name(issuer: str, person: str) -> str:
    """Return a person's name in the hub, as campus_hubs_membership makes it in the images of hub and exchange.

    Args:
        issuer: identity of the LMS.
        person: `sub` or `user_id`.
    """
    lms = _SCHEME.sub("", issuer.strip()).rstrip("/")
    digest = hashlib.sha256(f"{lms}\n{person}".encode()).digest()
    return "u" + base64.b32encode(digest[:10]).decode("ascii").lower()


def signed(url: str, form: Mapping[str, str], key: str, secret: str) -> str:
    """Sign a launch form with OAuth 1.0, HMAC-SHA1 (RFC 5849, sections 3.4.1 and 3.4.2), and return it as a body.

    Args:
        url: the launch URL, without query.
        form: its fields.
        key: the consumer's key.
        secret: the consumer's shared secret.
    """
    fields = {
        **form,
        "oauth_version": "1.0",
        "oauth_signature_method": "HMAC-SHA1",
        "oauth_consumer_key": key,
        "oauth_timestamp": str(int(time.time())),
        "oauth_nonce": secrets.token_hex(16),
        "oauth_callback": "about:blank",
    }
    parts = urlsplit(url)
    default = {"http": 80, "https": 443}[parts.scheme]
    host = (parts.hostname or "") + (f":{parts.port}" if parts.port and parts.port != default else "")
    pairs = sorted((_escape(name), _escape(value)) for name, value in fields.items())
    parameters = "&".join(f"{name}={value}" for name, value in pairs)
    base = "&".join(_escape(part) for part in ("POST", f"{parts.scheme}://{host}{parts.path or '/'}", parameters))
    digest = hmac.new(f"{_escape(secret)}&".encode(), base.encode(), hashlib.sha1).digest()
    return urlencode({**fields, "oauth_signature": base64.b64encode(digest).decode()})


def _escape(text: str) -> str:
    return quote(text, safe="~")


@dataclass(frozen=True)
class Answer:
    """What came back; names of headers in small letters, as a proxy may write them."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def document(self) -> Any:  # noqa: ANN401 (JSON)
        """Return the body as JSON."""
        try:
            return json.loads(self.body)
        except ValueError as error:
            message = refusal("answer", f"{self.status} and no JSON", "a JSON document")
            raise ProbeError(message) from error

    def words(self) -> str:
        """Return the page's text, short and on one line."""
        text = re.sub(r"(?s)<(script|style|head)\b.*?</\1>|<[^>]+>", " ", self.body.decode("utf-8", "replace"))
        return " ".join(text.split())[:300]


class Site:
    """A course as people's browsers see it, whatever way leads there."""

    def __init__(self, url: str, dial: Callable[[], Any]) -> None:
        """Take the course's public URL, and what returns a new connection (a socket) to its proxy."""
        self.url = url
        self._dial = dial

    def path(self, path: str) -> str:
        """Return a path below the course's own."""
        return urlsplit(self.url).path.rstrip("/") + path

    @contextmanager
    def _sent(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request over a connection of its own.

        This side ends it: what came right before the other side's end can get lost in the client's port forwarding.
        """
        host = urlsplit(self.url).netloc
        connection = http.client.HTTPConnection(host)
        try:
            connection.sock = self._dial()
            connection.sock.settimeout(_TIMEOUT)
            connection.request(method, self.path(path), body, {"Host": host, **headers})
            yield connection.getresponse()
        except (OSError, ValueError, http.client.HTTPException) as error:
            message = f"{method} {path}: no answer ({error!r})"
            raise ProbeError(message) from error
        finally:
            connection.close()

    def ask(
        self, method: str, path: str, *, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask for something, without following redirects.

        Raises:
            ProbeError: nothing answers.
        """
        with self._sent(method, path, body, headers or {}) as response:
            return Answer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )

    def events(self, path: str, headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Read a stream of events (text/event-stream) to its end; empty ones show that it is still there.

        Raises:
            ProbeError: nothing answers, or something else.
        """
        with self._sent("GET", path, None, headers) as response:
            if response.status != 200:
                raise ProbeError(refusal(f"GET {path}", response.status, 200))
            for line in response:
                yield json.loads(line[5:]) if line.startswith(b"data:") else {}


@dataclass(frozen=True)
class Course:
    """What the probe knows of a course.

    Attributes:
        platform: issuer, client_id, deployment_id, authorization_endpoint of LTI 1.3; empty for LTI 1.1. Without
            ids the course waits for its registration in the LMS.
        issuer: the identity of the LMS that user names are made from; empty if the launch says it.
        key: of the LTI 1.1 consumer.
        secret: the LTI 1.1 consumer's.
        token: the probe's, for the hub's API.
    """

    platform: Mapping[str, str]
    issuer: str
    key: str
    secret: str
    token: str

    @property
    def user(self) -> str:
        """The synthetic student's name in the hub."""
        return user_name(self.issuer or self.platform.get("issuer") or LMS, subject(self.token))


class Probe:
    """One try of a course, from the launch to a server that answers."""

    def __init__(self, site: Site, course: Course, seconds: float) -> None:
        """Take the course, and how long its server may take to start."""
        self._site, self._course, self._seconds = site, course, seconds

    def _api(self, method: str, path: str, *expected: int) -> Answer:
        headers = {"Authorization": f"token {self._course.token}", "Content-Type": "application/json"}
        answer = self._site.ask(method, path, headers=headers, body="{}" if method == "POST" else None)
        if answer.status not in expected:
            raise ProbeError(refusal(f"{method} {path}", f"{answer.status} ({answer.words()})", expected[0]))
        return answer

    def login(self) -> None:
        """Come in as the LMS would send somebody, as far as that goes without the LMS.

        Raises:
            ProbeError: it is not answered as it has to be.
        """
        if self._course.platform:
            if self._course.platform.get("client_id"):
                self._ask_for_login()
            self._ask_for_keys()
            self._api("POST", f"/hub/api/users/{self._course.user}", 201, 409)
        else:
            self._launch()

    def _launch(self) -> None:
        """Launch by LTI 1.1."""
        url = self._site.url.rstrip("/") + "/hub/lti11/launch"
        form = {
            "lti_message_type": "basic-lti-launch-request",
            "lti_version": "LTI-1p0",
            "resource_link_id": "probe",
            "user_id": subject(self._course.token),
            "roles": "Learner",
            "context_id": "probe",
            "lis_person_name_full": "Synthetic student",
            "tool_consumer_instance_guid": LMS,
        }
        body = signed(url, form, self._course.key, self._course.secret)
        answer = self._site.ask(
            "POST", "/hub/lti11/launch", body=body, headers={"Content-Type": "application/x-www-form-urlencoded"}
        )
        if answer.status != 303:
            found = f"{answer.status} ({answer.words()})"
            raise ProbeError(refusal("launch by LTI 1.1", found, "303, to the server"))
        person = self._api("GET", f"/hub/api/users/{self._course.user}", 200).document()
        if person["groups"] != ["student"] or person["admin"]:
            found = ", ".join(person["groups"]) or "none"
            found += " with admin" if person["admin"] else ""
            raise ProbeError(refusal("launch by LTI 1.1: groups of who came as a learner", found, "student"))

    def _ask_for_login(self) -> None:
        """Have the LMS announce somebody by LTI 1.3; the hub has to ask the LMS who it is. Only that could sign it."""
        platform = self._course.platform
        arguments = {
            "iss": platform["issuer"],
            "login_hint": "probe",
            "target_link_uri": self._site.url,
            "client_id": platform["client_id"],
            "lti_deployment_id": platform["deployment_id"],
        }
        answer = self._site.ask(
            "POST",
            "/hub/lti13/oauth_login",
            body=urlencode(arguments),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        location = answer.headers.get("location", "")
        asked = dict(parse_qsl(urlsplit(location).query))
        if (
            answer.status != 302
            or not location.startswith(platform["authorization_endpoint"])
            or not {"state", "nonce", "redirect_uri"} <= set(asked)
        ):
            found = f"{answer.status} ({answer.words()}) to {location.partition('?')[0]!r}"
            expected = f"302 to {platform['authorization_endpoint']} with state and nonce"
            raise ProbeError(refusal("login by LTI 1.3", found, expected))

    def _ask_for_keys(self) -> None:
        """Ask for the course's public keys, as the LMS does, also before it has registered the course."""
        keys = self._site.ask("GET", "/hub/lti13/jwks")
        if keys.status != 200 or not keys.document().get("keys"):
            raise ProbeError(refusal("the course's public keys", keys.status, "200 with keys"))

    def server(self) -> None:
        """Start the synthetic student's server and ask it how it is.

        Raises:
            ProbeError: it does not start, or does not answer.
        """
        user, end = self._course.user, time.monotonic() + self._seconds
        if self._api("POST", f"/hub/api/users/{user}/server", 202, 201, 429).status == 429:
            return  # as many servers run as the course may have
        headers = {"Authorization": f"token {self._course.token}"}
        said = ""
        for event in self._site.events(f"/hub/api/users/{user}/server/progress", headers):
            said = str(event.get("message") or said)
            if event.get("ready"):
                break
            if event.get("failed") or time.monotonic() > end:
                message = f"a student's server does not start: {said}"
                raise ProbeError(message)
        self._api("GET", f"/user/{user}/api/status", 200)

    def leave(self) -> None:
        """Remove the synthetic student with the server; the home is the caller's.

        Raises:
            ProbeError: they are still there after a minute.
        """
        user, end = self._course.user, time.monotonic() + 60
        self._api("DELETE", f"/hub/api/users/{user}/server", 204, 202, 404, 400)
        while self._api("GET", f"/hub/api/users/{user}", 200, 404).status != 404:
            # 400: its server is on its way out.
            self._api("DELETE", f"/hub/api/users/{user}", 204, 404, 400)
            if time.monotonic() > end:
                message = f"the synthetic student {user} is still there"
                raise ProbeError(message)
            time.sleep(0.5)
