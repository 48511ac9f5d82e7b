"""Requests to the LMS: access tokens, pages, and why something did not work, in words for a lecturer."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

CONNECT_SECONDS = 10
REQUEST_SECONDS = 30
MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_PAGES = 1000
# A clock that is further ahead is no clock.
MOST_AHEAD = timedelta(days=1)
# An access token is not used in its last moments.
TOKEN_MARGIN_SECONDS = 60
ASSERTION_SECONDS = 300
MAX_REASON = 300
# Of an answer, to find the reason in.
MAX_READ_FOR_REASON = 16 * 1024
# How deep the words may be in the JSON of a refusal.
MAX_DEPTH = 10
# An LMS that says "too many requests", and not for how long, is left alone for a moment all the same.
THROTTLED_SECONDS = 10.0
# An LMS that wants to be left alone for longer is asked again all the same: its outage may be over, or its clock wrong.
MOST_ALONE_SECONDS = 3600.0
# 4xx that may be different next time, and 5xx that are no server's own.
_PASSING = {401, 408, 425, 429}
_AWAY = {502, 503, 504}
# Parameters as LMSs write them: in quotes of both kinds or none, without a value, with quotes in quotes.
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_REL = re.compile(r"""(?:^|[;,\s])rel\s*=\s*(?:"([^"]*)"|'([^']*)'|([^"',;\s]+))""", re.IGNORECASE)
# Tags, and what browsers do not show.
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^<>]*>", re.DOTALL | re.IGNORECASE)


class LmsError(Exception):
    """The LMS has not done what was asked.

    Attributes:
        reason: a sentence for a lecturer.
        status: HTTP status, or 0 without an answer.
        final: it will not do it next time either.
        uncertain: it may have done it all the same.
        retry_after: seconds that it wants to be left alone, or None.
        refusal: it is a refusal if the LMS says the same for long: Moodle answers 500 for a locked grade.
    """

    def __init__(  # noqa: PLR0913 - what can be said of a failure
        self,
        reason: str,
        *,
        status: int = 0,
        final: bool = False,
        uncertain: bool = False,
        retry_after: float | None = None,
        refusal: bool = False,
    ) -> None:
        """Keep all of it."""
        super().__init__(reason)
        self.reason, self.status, self.final = reason, status, final
        self.uncertain, self.retry_after, self.refusal = uncertain, retry_after, refusal


@dataclass(frozen=True)
class Registration:
    """What the LMS knows this tool by.

    Attributes:
        client_id: of the tool.
        token_endpoint: URL for access tokens.
        key_dir: folder with private.pem and jwks.json; read at each use, so that a rotated key is followed.
        token_audience: whom requests for access tokens are addressed to (`aud`).
    """

    client_id: str
    token_endpoint: str
    key_dir: Path
    token_audience: str


class Http:
    """HTTP with limits; certificates are checked, redirects are not followed."""

    def __init__(self) -> None:
        """Make a client of its own."""
        self._client = AsyncHTTPClient(force_instance=True, max_clients=20, max_body_size=MAX_ANSWER_BYTES)

    async def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> HTTPResponse:
        """Send a request; any status is an answer.

        Raises:
            LmsError: no answer.
        """
        host = ""
        try:
            host = urlsplit(url).netloc
            request = HTTPRequest(
                url,
                method=method,
                headers=dict(headers),
                body=body,
                connect_timeout=CONNECT_SECONDS,
                request_timeout=REQUEST_SECONDS,
                follow_redirects=False,
                decompress_response=False,
                allow_nonstandard_methods=True,
            )
            return await self._client.fetch(request, raise_error=False)
        except Exception as error:
            # The error's text may hold the request; its class says enough: TimeoutError, SSLCertVerificationError.
            cause = error.__class__.__name__
            raise LmsError(f"The LMS ({host or 'no address'}) gives no answer: {cause}.", uncertain=True) from None


class Lms13:
    """The services of an LTI 1.3 platform, by access tokens (1EdTech security framework 1.0, section 4)."""

    def __init__(self, registration: Registration, http: Http, *, clock: Callable[[], float] = time.time) -> None:
        """Prepare; nothing is asked yet.

        Args:
            registration: of the tool at the platform.
            http: what requests go through.
            clock: seconds since the epoch.
        """
        self._registration, self._http, self._clock = registration, http, clock
        self._tokens: dict[str, tuple[str, float]] = {}
        self._ahead = timedelta(0)

    def now(self) -> datetime:
        """Tell the time (UTC, without a zone): by the LMS's clock where that is known to be ahead."""
        return datetime.fromtimestamp(self._clock(), UTC).replace(tzinfo=None) + self._ahead

    async def request(  # noqa: PLR0913 - an HTTP request has that many parts
        self,
        method: str,
        url: str,
        scopes: Iterable[str],
        *,
        accept: str,
        document: Any = None,  # noqa: ANN401 - JSON
        content_type: str = "",
    ) -> HTTPResponse:
        """Send a request with an access token.

        Args:
            method: of HTTP.
            url: of the service.
            scopes: that the token is to have.
            accept: media type of the answer.
            document: JSON body, sent as content_type.
            content_type: media type of the document.

        Returns:
            an answer with status 2xx that is no web page.

        Raises:
            LmsError: with the LMS's own reason, if it gives one.
        """
        scope = " ".join(sorted(scopes))
        body = None if document is None else json.dumps(document).encode()
        headers = {"Accept": accept} | ({"Content-Type": content_type} if body is not None else {})
        for attempt in (1, 2):
            token = await self._token(scope)
            answer = await self._http.send(method, url, {**headers, "Authorization": f"Bearer {token}"}, body)
            if date := _date(answer.headers.get("Date", "")):
                # It is cut to seconds, and refuses a score that is not newer than what it has.
                ours = datetime.fromtimestamp(self._clock(), UTC).replace(tzinfo=None)
                self._ahead = min(max(date - ours, timedelta(0)), MOST_AHEAD)
            if answer.code == 401 and attempt == 1:
                # It may have forgotten the token: one more with a new one.
                self._tokens.pop(scope, None)
                continue
            break
        if not 200 <= answer.code < 300:
            raise failure(answer)
        if is_page(answer):
            # Of a login, maintenance or firewall that stands before the LMS: what was asked is not done.
            raise LmsError(f"{answer.code}, but with a web page: {_reason(answer)}", status=answer.code, refusal=True)
        return answer

    async def pages(self, url: str, scopes: Iterable[str], *, accept: str) -> AsyncIterator[Any]:
        """Read all pages of a list, by `Link: <...>; rel="next"` (RFC 8288).

        Yields:
            the JSON document of each page.

        Raises:
            LmsError: a page fails, or the links leave the LMS or go in circles: what was read is not all.
        """
        seen: set[str] = set()
        following: str | None = url
        while following:
            if following in seen or len(seen) >= MAX_PAGES:
                raise LmsError("The pages of the LMS's list do not end.", final=True)
            seen.add(following)
            answer = await self.request("GET", following, scopes, accept=accept)
            try:
                document = json.loads(answer.body)
            except (ValueError, RecursionError):
                raise LmsError(f"The LMS answered {_kind(answer)} instead of JSON.", status=answer.code) from None
            yield document
            following = next_link(answer.headers.get_list("Link"), following)
            if following and not is_same_server(following, url):
                raise LmsError("The LMS's list goes on at another server, which gets no token of ours.", final=True)

    async def _token(self, scope: str) -> str:
        token, until = self._tokens.get(scope, ("", 0.0))
        if until > self._clock():
            return token
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": self._assertion(),
            "scope": scope,
        }
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        url = self._registration.token_endpoint
        try:
            answer = await self._http.send("POST", url, headers, urlencode(form).encode())
        except LmsError as error:
            # Whatever is unclear about the token, the request that wanted it was not sent.
            error.uncertain = False
            raise
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise LmsError(
                f"The LMS's token endpoint answered {answer.code} with {_kind(answer)} instead of a token. "
                "Moodle does that if it cannot fetch this course's key set: its server must reach the hub.",
                status=answer.code,
                retry_after=_retry_after(answer, self._clock()),
            )
        issued = document.get("access_token")
        if answer.code != 200 or not isinstance(issued, str) or not issued:
            refusal = failure(answer)
            raise LmsError(
                f"The LMS gives no access token: {refusal.reason}",
                status=answer.code,
                # Not final: nobody's score is at fault, keys and registrations get repaired.
                retry_after=refusal.retry_after,
            )
        lifetime = document.get("expires_in")
        seconds = 3600.0
        if isinstance(lifetime, int | float) and not isinstance(lifetime, bool):
            # A whole number may have hundreds of digits; no float can be added to it.
            seconds = max(0.0, min(lifetime, 86400.0))
        # A platform with shorter tokens than the margin gets asked each time.
        self._tokens[scope] = (issued, self._clock() + seconds - TOKEN_MARGIN_SECONDS)
        return issued

    def _assertion(self) -> str:
        try:
            key, kid = read_key(self._registration.key_dir)
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise LmsError(f"This course's key for the LMS cannot be read: {error.__class__.__name__}.") from None
        now = int(self._clock())
        claims = {
            "iss": self._registration.client_id,
            "sub": self._registration.client_id,
            "aud": self._registration.token_audience,
            "iat": now,
            "exp": now + ASSERTION_SECONDS,
            "jti": uuid.uuid4().hex,
        }
        return jwt.encode(claims, key, algorithm="RS256", headers={"kid": kid})


def read_key(folder: Path) -> tuple[RSAPrivateKey, str]:
    """Read the tool's key and the id under which the LMS finds its public half.

    Args:
        folder: with private.pem and jwks.json.

    Raises:
        OSError: a file is missing.
        ValueError: it is no RSA key, or the key set does not hold it.
    """
    key = load_pem_private_key((folder / "private.pem").read_bytes(), None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("private.pem is no RSA key")
    modulus = key.public_key().public_numbers().n
    for entry in json.loads((folder / "jwks.json").read_text())["keys"]:
        if int.from_bytes(base64.urlsafe_b64decode(entry["n"] + "=="), "big") == modulus:
            return key, str(entry["kid"])
    raise ValueError("jwks.json does not hold the key")


def is_same_server(url: str, other: str) -> bool:
    """Say whether two URLs have scheme, host and port in common: only then the one gets what is the other's."""
    try:
        ours, theirs = (
            (parts.scheme, parts.username, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme))
            for parts in (urlsplit(url), urlsplit(other))
        )
    except ValueError:
        return False
    return ours == theirs


def next_link(headers: Iterable[str], base: str) -> str | None:
    """Find the next page's URL.

    Args:
        headers: values of `Link`.
        base: URL of this page, for relative links.

    Returns:
        None if there is none.
    """
    for header in headers:
        for url, parameters in _LINK.findall(header):
            if _is_next(parameters):
                try:
                    return str(urljoin(base, url.strip()))
                except ValueError:
                    raise LmsError(_NO_ADDRESS, final=True) from None
        if _is_next(header):
            # The page that is read is not all: whoever stands on the others would be put out.
            raise LmsError(_NO_ADDRESS, final=True)
    return None


_NO_ADDRESS = "The LMS's list goes on at something that is no address."


def _is_next(parameters: str) -> bool:
    return any("next" in "".join(found).lower().split() for found in _REL.findall(parameters))


def with_query(url: str, **values: str) -> str:
    """Add to a URL's query; Moodle's URLs have one already."""
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(values)}"


def failure(answer: HTTPResponse) -> LmsError:
    """Say why an answer is no success."""
    reason = _reason(answer)
    # So has Canvas said until 2025 that there were too many requests.
    throttled = answer.code == 429 or (answer.code == 403 and "rate limit" in reason.lower())
    retry_after = _retry_after(answer, time.time())
    return LmsError(
        f"{answer.code}: {reason}",
        status=answer.code,
        final=300 <= answer.code < 500 and answer.code not in _PASSING and not throttled,
        uncertain=answer.code >= 500,
        retry_after=THROTTLED_SECONDS if throttled and retry_after is None else retry_after,
        refusal=answer.code >= 500 and answer.code not in _AWAY,
    )


def is_page(answer: HTTPResponse) -> bool:
    """Say whether an answer is a web page, which no service of an LMS answers with."""
    return "html" in _kind(answer).lower() and answer.body.lstrip()[:1] == b"<"


def _reason(answer: HTTPResponse) -> str:
    """Read the LMS's own words: a field of JSON, the text of a page, or the status line's, as Moodle does with `[]`."""
    text = answer.body[:MAX_READ_FOR_REASON].decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        text = unescape(_MARKUP.sub(" ", text))
    else:
        text = _said(document) or text * bool(document)
    return _in_words(text) or _in_words(_phrase(answer)) or "no reason given"


def _said(document: object, depth: int = 0) -> str:
    """Find words in JSON: in the usual fields, or in those of what a list of errors holds first."""
    if isinstance(document, str) or depth > MAX_DEPTH:
        return document if isinstance(document, str) else ""
    if isinstance(document, dict):
        names = ("error_description", "reason", "message", "detail", "error", "errors")
        return next((said for name in names if (said := _said(document.get(name), depth + 1))), "")
    return _said(document[0], depth + 1) if isinstance(document, list) and document else ""


def _phrase(answer: HTTPResponse) -> str:
    """Return the reason phrase, which Moodle writes in UTF-8 and HTTP reads as ISO 8859-1."""
    phrase = answer.reason or ""
    try:
        return phrase.encode("latin-1").decode()
    except UnicodeError:
        return phrase


def _in_words(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:MAX_REASON]


def _date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
        return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at
    except (ValueError, OverflowError):
        return None


def _kind(answer: HTTPResponse) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip() or "something unnamed"


def _retry_after(answer: HTTPResponse, now: float) -> float | None:
    """Read `Retry-After`, seconds or a date (RFC 9110, section 10.2.3), as seconds of at most an hour."""
    value = answer.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), MOST_ALONE_SECONDS)
    at = _date(value)
    if at is None:
        return None
    seconds = (at.replace(tzinfo=UTC) - datetime.fromtimestamp(now, UTC)).total_seconds()
    return min(max(seconds, 0.0), MOST_ALONE_SECONDS)
