"""What a tool may ask of the demo LMS: access tokens, rosters (NRPS), columns and scores (AGS), LTI 1.1 outcomes.

It takes what the specifications allow and refuses the rest. The addresses look like Moodle's: those of columns carry a
query, which a tool has to keep.

Follows: 1EdTech security framework 1.0 section 4 (https://www.imsglobal.org/spec/security/v1p0/), RFC 6749 section 5,
RFC 6750 section 3, RFC 7523 section 3, NRPS 2.0 (https://www.imsglobal.org/spec/lti-nrps/v2p0/),
AGS 2.0 (https://www.imsglobal.org/spec/lti-ags/v2p0/), LTI 1.1.1 section 6 with OAuth Request Body Hash 1.0.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import re
import secrets
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn, cast
from urllib.parse import unquote, urlencode

import jwt
from flask import Blueprint, Response, abort, g, jsonify, make_response, render_template, request
from itsdangerous import BadSignature, URLSafeSerializer
from oauthlib.oauth1 import RequestValidator, SignatureOnlyEndpoint

from lab.lms.model import (
    LINEITEM,
    LINEITEM_READONLY,
    MEMBERSHIP,
    MEMBERSHIP_READONLY,
    RESULT_READONLY,
    ROLES,
    SCORE,
    Book,
    Column,
    Fault,
    Member,
    Platform,
    Score,
    now,
)

TOKEN_SECONDS = 3600
KEY_SET_TIMEOUT_SECONDS = 5.0
CLOCK_LEEWAY_SECONDS = 60
OAUTH1_LIFETIME_SECONDS = 300
MAX_BODY_BYTES = 256 * 1024
# Small enough that a course of the tests has several pages of each.
MEMBERS_PER_PAGE, LINEITEMS_PER_PAGE, RESULTS_PER_PAGE = 100, 10, 50

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MEMBERSHIP_TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
LINEITEM_TYPE = "application/vnd.ims.lis.v2.lineitem+json"
LINEITEMS_TYPE = "application/vnd.ims.lis.v2.lineitemcontainer+json"
SCORE_TYPE = "application/vnd.ims.lis.v1.score+json"
RESULTS_TYPE = "application/vnd.ims.lis.v2.resultcontainer+json"
ACTIVITY = {"Initialized", "Started", "InProgress", "Submitted", "Completed"}
GRADING = {"FullyGraded", "Pending", "PendingManual", "Failed", "NotReady"}
# ISO 8601 with a time zone and fractions of a second (AGS 2.0, section 3.4.8).
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:?\d\d)")
LINEITEM_TEXTS = ("resourceId", "tag", "resourceLinkId", "startDateTime", "endDateTime")
POX = "http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0"


# ---- addresses ----


def memberships_url(platform: Platform, course_id: str) -> str:
    """Return ``context_memberships_url`` of a course."""
    return f"{platform.issuer}/services/{course_id}/memberships"


def lineitems_url(platform: Platform, course_id: str) -> str:
    """Return the address of a course's columns."""
    return f"{platform.issuer}/services/{course_id}/lineitems?type_id=1"


def lineitem_url(platform: Platform, course_id: str, column: Column, tail: str = "") -> str:
    """Return the address of a column, or of its ``/scores`` or ``/results``."""
    return f"{platform.issuer}/services/{course_id}/lineitems/{column.number}/lineitem{tail}?type_id=1"


def outcomes_url(platform: Platform) -> str:
    """Return ``lis_outcome_service_url``, the same for all courses."""
    return f"{platform.issuer}/services/outcomes"


def keyset_url(course: dict[str, str]) -> str:
    """Return where a tool's key set is; empty if the administrator has entered none."""
    return course.get("keyset_url", f"{course['hub']}/hub/lti13/jwks")


def shares(course: dict[str, str], what: str) -> bool:
    """Tell whether the administrator shares people's ``name`` or ``email`` with the tool."""
    return course.get(f"share_{what}", "yes") == "yes"


def resource_link(course_id: str) -> str:
    """Return the id of the course's only link to the tool."""
    return f"{course_id}-1"


def _sourcedids(course: dict[str, str]) -> URLSafeSerializer:
    # With the course's secret, so that those of earlier launches hold when the LMS was restarted.
    return URLSafeSerializer(course["shared_secret"], salt="lis_result_sourcedid")


def sourcedid(course: dict[str, str], sub: str) -> str:
    """Return ``lis_result_sourcedid`` of a person in an LTI 1.1 course; nobody else can make one."""
    return str(_sourcedids(course).dumps([course["id"], sub]))


# ---- answers ----


def refuse(status: int, reason: str, challenge: str = "") -> NoReturn:
    """End the request with this status and a JSON body that says why, as Moodle's services do."""
    response = make_response(jsonify(status=status, reason=reason), status)
    if challenge:
        response.headers["WWW-Authenticate"] = challenge
    abort(response)


def answer(value: object, media_type: str, status: int = 200) -> Response:
    """Return JSON under this media type, unless the tool accepts only others."""
    if not request.accept_mimetypes.quality(media_type):
        refuse(406, f"This is {media_type}, which the Accept header excludes.")
    response = jsonify(value)
    response.status_code, response.mimetype = status, media_type
    return response


def page_of[T](items: Sequence[T], most: int) -> tuple[Sequence[T], str]:
    """Return the page that the request asks for and the ``Link`` header to the next one, empty at the end."""
    try:
        limit = min(int(request.args.get("limit", most)), most)
        number = int(request.args.get("page", 1))
    except ValueError:
        limit = number = 0
    if limit < 1 or number < 1:
        refuse(400, "limit and page must be positive integers.")
    if number * limit >= len(items):
        return items[(number - 1) * limit :], ""
    query = urlencode(request.args.to_dict() | {"limit": limit, "page": number + 1})
    return items[(number - 1) * limit : number * limit], f'<{g.issuer}{request.path}?{query}>; rel="next"'


def json_body(media_type: str) -> dict[str, Any]:
    """Return the request's JSON object; 415 for another media type, 400 for something else."""
    if request.mimetype != media_type:
        refuse(415, f"Content-Type must be {media_type}; got {request.mimetype or 'none'}.")
    body = request.get_json(force=True, silent=True)
    if not isinstance(body, dict):
        refuse(400, "The body must be a JSON object.")
    return body


def is_number(value: object) -> bool:
    """Tell whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# ---- access tokens ----


@dataclass
class Tokens:
    """Issues access tokens for signed assertions, and knows those that are valid."""

    platform: Platform
    issued: dict[str, tuple[str, frozenset[str], float]] = field(default_factory=dict)
    assertions: dict[tuple[str, str], float] = field(default_factory=dict)
    key_sets: dict[str, jwt.PyJWKClient] = field(default_factory=dict)

    def course_of(self, client_id: object) -> dict[str, str] | None:
        """Return the course whose tool has this client id."""
        return next((c for c in self.platform.all_courses().values() if c.get("client_id") == client_id), None)

    def grant(self) -> dict[str, Any]:
        """Answer a token request (security framework 4.1, RFC 7523 section 2.2).

        Raises:
            HTTPException: 400 with RFC 6749's error codes.

        """
        form = request.form
        if form.get("grant_type") != "client_credentials":
            self._refuse("unsupported_grant_type", "grant_type must be client_credentials.")
        if form.get("client_assertion_type") != JWT_BEARER:
            self._refuse("invalid_request", f"client_assertion_type must be {JWT_BEARER}.")
        course = self._client(form.get("client_assertion", ""))
        asked = form.get("scope", "").split()
        allowed = self.platform.book(course["id"]).scopes
        granted = [scope for scope in asked if scope in allowed]
        if not granted:
            self._refuse("invalid_scope", "None of the scopes is one that this tool may have.")
        token, now_ = secrets.token_urlsafe(32), time.time()
        with self.platform.lock:
            self.issued = {key: value for key, value in self.issued.items() if value[2] > now_}
            self.issued[token] = (course["client_id"], frozenset(granted), now_ + TOKEN_SECONDS)
        scope = " ".join(granted)
        return {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "scope": scope}

    def _client(self, assertion: str) -> dict[str, str]:
        """Verify the assertion and return the course whose tool made it."""
        try:
            course = self.course_of(jwt.decode(assertion, options={"verify_signature": False}).get("iss"))
        except jwt.InvalidTokenError as error:
            self._refuse("invalid_request", f"client_assertion is no JWT: {error}.")
        if course is None:
            self._refuse("invalid_client", "The assertion's iss is no client id that is registered here.")
        client_id, url = course["client_id"], keyset_url(course)
        if not url:
            self._refuse("invalid_client", "The tool has no keyset URL here (Public key type).")
        # Without a pause before an unknown key is looked for, as in Moodle: a tool may rotate its key at any time.
        fresh = jwt.PyJWKClient(url, timeout=KEY_SET_TIMEOUT_SECONDS, cooldown_duration=0)
        keys = self.key_sets.setdefault(url, fresh)
        try:
            claims = jwt.decode(
                assertion,
                keys.get_signing_key_from_jwt(assertion),
                algorithms=["RS256"],
                audience=[f"{self.platform.issuer}/token", self.platform.issuer],
                issuer=client_id,
                subject=client_id,
                leeway=CLOCK_LEEWAY_SECONDS,
                options={"require": ["iss", "sub", "aud", "iat", "exp", "jti"]},
            )
        except jwt.PyJWKClientConnectionError as error:
            self._refuse("invalid_client", f"The tool's key set could not be fetched: {error}.")
        except jwt.PyJWTError as error:
            self._refuse("invalid_client", f"The assertion is not valid: {error}.")
        with self.platform.lock:
            self.assertions = {key: end for key, end in self.assertions.items() if end > time.time()}
            if (client_id, claims["jti"]) in self.assertions:
                self._refuse("invalid_client", "The assertion was used before (jti).")
            self.assertions[client_id, claims["jti"]] = claims["exp"] + CLOCK_LEEWAY_SECONDS
        return course

    @staticmethod
    def _refuse(error: str, description: str) -> NoReturn:
        abort(make_response(jsonify(error=error, error_description=description), 400))

    def authorised(self, course_id: str, *scopes: str) -> Book:
        """Return the course's book if the request's token is the course's and has one of the scopes (RFC 6750)."""
        course = self.platform.all_courses().get(course_id)
        if course is None or course["lti"] != "1.3":
            refuse(404, "There is no course with such services here.")
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            refuse(401, "An access token is needed.", 'Bearer realm="Demo LMS"')
        client_id, granted, expires = self.issued.get(token, ("", frozenset(), 0.0))
        if expires < time.time():
            refuse(401, "The access token is unknown or has expired.", 'Bearer error="invalid_token"')
        if client_id != course["client_id"]:
            refuse(403, "The access token is another tool's.", 'Bearer error="insufficient_scope"')
        if not granted & set(scopes):
            challenge = f'Bearer error="insufficient_scope", scope="{" ".join(scopes)}"'
            refuse(403, f"The access token's scopes do not allow this: want {' or '.join(scopes)}.", challenge)
        return self.platform.book(course_id)


# ---- names and roles ----


def member_json(course: dict[str, str], member: Member, link: str) -> dict[str, Any]:
    """Return a member as NRPS 2.0 section 2.2 has it; like Moodle's, without a login name."""
    person = member.person
    names = {"name": person.name, "given_name": person.given, "family_name": person.family}
    value: dict[str, Any] = {
        "status": member.status,
        **(names if shares(course, "name") else {}),
        **({"email": person.email} if shares(course, "email") else {}),
        "user_id": person.sub,
        "roles": [ROLES[member.role][0]],
    }
    if link:
        claim = "https://purl.imsglobal.org/spec/lti/claim"
        value["message"] = [{f"{claim}/message_type": "LtiResourceLinkRequest", f"{claim}/custom": {}}]
    return value


def memberships(platform: Platform, book: Book, course_id: str) -> Response:
    """Answer a membership request with its filters ``role`` and ``rlid`` (NRPS 2.0, sections 2.3 to 2.5)."""
    role, link = request.args.get("role", ""), request.args.get("rlid", "")
    if link and link != resource_link(course_id):
        refuse(404, "rlid is no link of this course.")
    wanted = role if "://" in role or not role else f"{MEMBERSHIP}#{role}"
    with platform.lock:
        found = [member for member in book.members.values() if wanted in ("", ROLES[member.role][0])]
    members, following = page_of(found, MEMBERS_PER_PAGE)
    course = platform.all_courses()[course_id]
    container = {
        "id": f"{g.issuer}{request.full_path.removesuffix('?')}",
        "context": {"id": course_id, "label": course_id, "title": course["title"]},
        "members": [member_json(course, member, link) for member in members],
    }
    return linked(answer(container, MEMBERSHIP_TYPE), following)


def linked(response: Response, following: str) -> Response:
    """Add the ``Link`` header if there is a next page."""
    if following:
        response.headers["Link"] = following
    return response


# ---- assignments and grades ----


def lineitem_fields(course_id: str) -> dict[str, Any]:
    """Return the checked fields of a line item that a tool sends (AGS 2.0, section 3.2.8); unknown ones are ignored."""
    body = json_body(LINEITEM_TYPE)
    if not isinstance(body.get("label"), str) or not body["label"].strip():
        refuse(400, "label must be a non-empty string.")
    if not is_number(body.get("scoreMaximum")) or body["scoreMaximum"] <= 0:
        refuse(400, "scoreMaximum must be a number greater than 0.")
    for name in LINEITEM_TEXTS:
        if body.get(name) is not None and not isinstance(body[name], str):
            refuse(400, f"{name} must be a string.")
    if body.get("resourceLinkId") not in (None, resource_link(course_id)):
        refuse(404, "resourceLinkId is no link of this course.")
    names = ("label", "scoreMaximum", *LINEITEM_TEXTS)
    return {name: body[name] for name in names if body.get(name) is not None}


def lineitem_json(platform: Platform, course_id: str, column: Column) -> dict[str, Any]:
    """Return a column as a line item."""
    return {"id": lineitem_url(platform, course_id, column), **column.fields}


def lineitems(platform: Platform, book: Book, course_id: str) -> Response:
    """List the columns by the filters of AGS 2.0 section 3.2.4, or make a new one."""
    if request.method == "POST":
        fields = lineitem_fields(course_id)
        with platform.lock:
            column = book.add_column(fields)
        return answer(lineitem_json(platform, course_id, column), LINEITEM_TYPE, 201)
    filters = {"resourceId": "resource_id", "tag": "tag", "resourceLinkId": "resource_link_id"}
    wanted = {name: request.args[query] for name, query in filters.items() if query in request.args}
    with platform.lock:
        found = [
            column
            for column in book.columns.values()
            if all(column.fields.get(name) == value for name, value in wanted.items())
        ]
    found_page, following = page_of(found, LINEITEMS_PER_PAGE)
    value = [lineitem_json(platform, course_id, column) for column in found_page]
    return linked(answer(value, LINEITEMS_TYPE), following)


def lineitem(platform: Platform, book: Book, course_id: str, column: Column) -> Response:
    """Read, replace or delete a column (AGS 2.0, section 3.2.3)."""
    if request.method == "DELETE":
        with platform.lock:
            book.columns.pop(column.number, None)
        return Response(status=204)
    if request.method == "PUT":
        fields = lineitem_fields(course_id)
        kept = {name: column.fields[name] for name in ("resourceLinkId",) if name in column.fields}
        with platform.lock:
            column.fields = fields | kept
    return answer(lineitem_json(platform, course_id, column), LINEITEM_TYPE)


def post_score(platform: Platform, book: Book, column: Column) -> Response:
    """Take a score (AGS 2.0, section 3.4): 409 unless it is newer than the last one of that person."""
    body = json_body(SCORE_TYPE)
    timestamp = body.get("timestamp")
    if not isinstance(timestamp, str) or not TIMESTAMP.fullmatch(timestamp):
        refuse(400, "timestamp must be ISO 8601 with fractions of a second and a time zone.")
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        refuse(400, "timestamp is no moment that exists.")
    if body.get("activityProgress") not in ACTIVITY or body.get("gradingProgress") not in GRADING:
        refuse(400, "activityProgress and gradingProgress must be values of AGS 2.0.")
    given, maximum = body.get("scoreGiven"), body.get("scoreMaximum")
    if given is not None and (not is_number(given) or given < 0):
        refuse(400, "scoreGiven must be a number, 0 or greater.")
    if (given is not None or maximum is not None) and (not is_number(maximum) or cast(float, maximum) <= 0):
        refuse(400, "scoreMaximum must be a number greater than 0 where there is scoreGiven.")
    comment = body.get("comment") or ""
    if not isinstance(comment, str) or not isinstance(body.get("userId"), str):
        refuse(400, "userId and comment must be strings.")
    score = Score(given, maximum, comment, body["activityProgress"], body["gradingProgress"], timestamp, moment)
    with platform.lock:
        member = book.members.get(body["userId"])
        if member is None:
            refuse(404, "userId is nobody of this course.")
        if not member.gradable:
            refuse(403, "userId is not an active student of this course: there is nobody to grade.")
        last = column.scores.get(body["userId"])
        if last and moment <= last.moment:
            refuse(409, "timestamp is not newer than the last score's.")
        column.scores[body["userId"]] = score
    return Response(status=204)


def results(platform: Platform, course_id: str, column: Column) -> Response:
    """List the results of a column, of one person with ``user_id`` (AGS 2.0, section 3.3)."""
    user = request.args.get("user_id")
    with platform.lock:
        subs = [sub for sub in column.scores if column.result(sub) is not None and user in (None, sub)]
    page, following = page_of(subs, RESULTS_PER_PAGE)
    value = [
        {
            "id": lineitem_url(platform, course_id, column, f"/results/{sub}"),
            "scoreOf": lineitem_url(platform, course_id, column),
            "userId": sub,
            "resultScore": column.result(sub),
            "resultMaximum": column.maximum,
            "comment": column.scores[sub].comment,
        }
        for sub in page
    ]
    return linked(answer(value, RESULTS_TYPE), following)


# ---- LTI 1.1 Basic Outcomes ----


class _Validator(RequestValidator):  # type: ignore[misc]  # untyped library
    """What oauthlib asks about LTI 1.1 consumers, which sign with HMAC-SHA1 as the specification says."""

    enforce_ssl = False  # the lab has no certificates
    timestamp_lifetime = OAUTH1_LIFETIME_SECONDS
    allowed_signature_methods = ("HMAC-SHA1",)
    dummy_client = "nobody"

    def __init__(self, platform: Platform) -> None:
        super().__init__()
        self._platform = platform
        self._nonces: dict[tuple[str, str, str], float] = {}

    def course(self, key: str) -> dict[str, str] | None:
        return next((c for c in self._platform.all_courses().values() if c.get("consumer_key") == key), None)

    def check_client_key(self, client_key: str) -> bool:
        return bool(client_key)

    def check_nonce(self, nonce: str) -> bool:
        return bool(nonce)

    def validate_client_key(self, client_key: str, request: object) -> bool:
        return self.course(client_key) is not None

    def get_client_secret(self, client_key: str, request: object) -> str:
        course = self.course(client_key)
        return course["shared_secret"] if course else secrets.token_hex()

    def validate_timestamp_and_nonce(  # noqa: PLR0913, PLR0917  the library's signature
        self,
        client_key: str,
        timestamp: str,
        nonce: str,
        request: object,
        request_token: str | None = None,
        access_token: str | None = None,
    ) -> bool:
        with self._platform.lock:
            limit = time.monotonic() - 2 * OAUTH1_LIFETIME_SECONDS
            self._nonces = {used: when for used, when in self._nonces.items() if when > limit}
            fresh = (client_key, timestamp, nonce) not in self._nonces
            self._nonces[client_key, timestamp, nonce] = time.monotonic()
        return fresh


def outcomes(platform: Platform, validator: _Validator) -> Response:
    """Answer a Basic Outcomes request: a plain old XML message, signed with OAuth 1.0a and a hash of its body."""
    body = request.get_data()
    if request.mimetype not in ("application/xml", "text/xml"):
        refuse(415, "Content-Type must be application/xml.")
    # oauthlib wants text, but leaves bodies that are no form out of the signature: that is what the hash is for.
    try:
        valid, signed = SignatureOnlyEndpoint(validator).validate_request(
            outcomes_url(platform), "POST", body=None, headers=dict(request.headers)
        )
    except ValueError:  # a header that is not OAuth's
        valid, signed = False, None
    # OAuth Request Body Hash 1.0, section 3.1: SHA-1 like the signature.
    digest = base64.b64encode(hashlib.sha1(body).digest()).decode()  # noqa: S324
    if not valid or not hmac.compare_digest(signed.oauth_params.get("oauth_body_hash") or "", digest):
        refuse(401, "The request is not signed with the secret of a course here.", 'OAuth realm="Demo LMS"')
    course = validator.course(signed.client_key)
    if course is None:  # it was unregistered since
        refuse(401, "The course is not registered here any more.", 'OAuth realm="Demo LMS"')
    return _operation(platform, course, body)


def _operation(platform: Platform, course: dict[str, str], body: bytes) -> Response:
    """Carry out what the message says (LTI 1.1.1, sections 6.1.1 to 6.1.3)."""
    try:
        root = ET.fromstring(body)  # noqa: S314  signed by a registered consumer
    except ET.ParseError as error:
        return _pox("", "", "failure", f"The body is no XML: {error}")
    message = root.findtext(f".//{{{POX}}}imsx_messageIdentifier", "")
    wrapper = root.find(f"{{{POX}}}imsx_POXBody")
    operation = next(iter(wrapper), None) if wrapper is not None else None
    name = operation.tag.removeprefix(f"{{{POX}}}").removesuffix("Request") if operation is not None else ""
    if operation is None or name not in ("replaceResult", "readResult", "deleteResult"):
        return _pox(message, name, "unsupported", f"{name or 'An empty message'} is not supported.")
    try:
        owner, sub = _sourcedids(course).loads(operation.findtext(f".//{{{POX}}}sourcedId", ""))
    except BadSignature:
        owner, sub = "", ""
    book = platform.book(course["id"])
    with platform.lock:
        member = book.members.get(sub)
        if owner != course["id"] or member is None or not member.gradable:
            return _pox(message, name, "failure", "sourcedId is no active student of this course.")
        if name == "replaceResult":
            text = operation.findtext(f".//{{{POX}}}textString", "")
            try:
                score = Decimal(text)
            except InvalidOperation:
                score = Decimal("NaN")
            if score.is_nan() or not 0 <= score <= 1:
                return _pox(message, name, "failure", "resultScore must be a decimal number from 0.0 to 1.0.")
            book.totals[sub] = (float(score), datetime.now(UTC))
        elif name == "deleteResult":
            book.totals.pop(sub, None)
        total = book.totals.get(sub)
    found = "" if total is None else str(total[0])
    return _pox(message, name, "success", f"{name} done for {member.person.name}", found)


def _pox(message: str, operation: str, code: str, description: str, score: str = "") -> Response:
    values = {"message": message, "operation": operation, "code": code, "description": description, "score": score}
    page = render_template("outcome.xml", identifier=secrets.token_hex(8), **values)
    return Response(page, mimetype="application/xml")


# ---- all of it ----


def _subject(tokens: Tokens, validator: _Validator) -> tuple[str, str]:
    """Return course and person that the request is about, as far as they can be read before anything is checked."""
    if request.view_args:
        body = request.get_json(force=True, silent=True) if request.endpoint == "services.scores" else None
        return str(request.view_args["course_id"]), str(body.get("userId", "")) if isinstance(body, dict) else ""
    if request.endpoint == "services.token":
        try:
            claims = jwt.decode(request.form.get("client_assertion", ""), options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return "", ""
        return (tokens.course_of(claims.get("iss")) or {"id": ""})["id"], ""
    key = re.search(r'oauth_consumer_key="([^"]*)"', request.headers.get("Authorization", ""))
    course = validator.course(unquote(key[1])) if key else None
    if course is None:
        return "", ""
    sent = re.search(rb"<sourcedId>\s*([^<\s]+)", request.get_data())
    try:
        return course["id"], str(_sourcedids(course).loads(sent[1])[1]) if sent else ""
    except BadSignature:
        return course["id"], ""


def _suffer(fault: Fault) -> Response | None:
    """Wait as the fault says, and return its answer if it has one."""
    time.sleep(fault.delay)
    if fault.status is None:
        return None
    response = Response(fault.body or f"HTTP {fault.status}\n", fault.status, mimetype="text/html")
    if fault.retry_after:
        response.headers["Retry-After"] = fault.retry_after
    return response


def _observe(platform: Platform, services: Blueprint, tokens: Tokens, validator: _Validator) -> None:
    """Log each request to the services, and let the faults happen that tests have asked for."""

    @services.before_request
    def begin() -> Response | None:
        request.max_content_length = MAX_BODY_BYTES
        g.issuer, g.began = platform.issuer, now()
        g.service = str(request.endpoint).rpartition(".")[2]
        g.course, g.user = _subject(tokens, validator)
        with platform.lock:
            g.fault = platform.traffic.take(g.service, g.course, g.user)
        return _suffer(g.fault) if g.fault and not g.fault.processed else None

    @services.after_request
    def end(response: Response) -> Response:
        fault: Fault | None = g.fault
        replaced = fault is not None and fault.status is not None and not fault.processed
        entry = {
            "time": g.began,
            "service": g.service,
            "method": request.method,
            "course": g.course,
            "user": g.user,
            "query": request.query_string.decode(),
            "line_item": (request.view_args or {}).get("number"),
            "processed": not replaced,
            "fault": fault is not None,
            "status": response.status_code,
        }
        with platform.lock:
            platform.traffic.log.append(entry)
        return (_suffer(fault) or response) if fault and fault.processed else response


def create_services(platform: Platform) -> Blueprint:
    """Return the services as one part of the LMS's public application."""
    services, tokens, validator = Blueprint("services", __name__), Tokens(platform), _Validator(platform)
    _observe(platform, services, tokens, validator)

    def column_of(course_id: str, number: int, *scopes: str) -> tuple[Book, Column]:
        book = tokens.authorised(course_id, *scopes)
        column = book.columns.get(number)
        if column is None or request.args.get("type_id") != "1":
            refuse(404, "There is no such line item.")
        return book, column

    @services.post("/token")
    def token() -> Response:
        response = jsonify(tokens.grant())
        response.headers["Pragma"] = "no-cache"  # RFC 6749, section 5.1; Cache-Control has every answer
        return response

    @services.get("/services/<course_id>/memberships", endpoint="memberships")
    def get_memberships(course_id: str) -> Response:
        return memberships(platform, tokens.authorised(course_id, MEMBERSHIP_READONLY), course_id)

    @services.route("/services/<course_id>/lineitems", methods=["GET", "POST"], endpoint="lineitems")
    def all_lineitems(course_id: str) -> Response:
        reading = (LINEITEM_READONLY,) if request.method != "POST" else ()
        book = tokens.authorised(course_id, LINEITEM, *reading)
        if request.args.get("type_id") != "1":
            refuse(404, "There are no such line items.")
        return lineitems(platform, book, course_id)

    @services.route(
        "/services/<course_id>/lineitems/<int:number>/lineitem", methods=["GET", "PUT", "DELETE"], endpoint="lineitem"
    )
    def one_lineitem(course_id: str, number: int) -> Response:
        reading = (LINEITEM_READONLY,) if request.method in ("GET", "HEAD") else ()
        book, column = column_of(course_id, number, LINEITEM, *reading)
        return lineitem(platform, book, course_id, column)

    @services.post("/services/<course_id>/lineitems/<int:number>/lineitem/scores")
    def scores(course_id: str, number: int) -> Response:
        return post_score(platform, *column_of(course_id, number, SCORE))

    @services.get("/services/<course_id>/lineitems/<int:number>/lineitem/results", endpoint="results")
    def get_results(course_id: str, number: int) -> Response:
        return results(platform, course_id, column_of(course_id, number, RESULT_READONLY)[1])

    @services.post("/services/outcomes", endpoint="outcomes")
    def post_outcomes() -> Response:
        return outcomes(platform, validator)

    return services
