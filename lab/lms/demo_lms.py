"""A tiny LTI platform: people, courses and buttons that launch a tool. Lab equipment, not part of the collection.

LTI 1.3 is the job of the library ``lti1p3platform``, LTI 1.1 signing of ``oauthlib``; this file holds people, pages
and the checks a platform owes its users (registered redirect URI, one-time launches bound to a browser).

Courses are registered at run time through ``demo_lms.py register`` (standard input, JSON) and live in memory only,
because they carry LTI 1.1 secrets. So does the platform's key: a restarted LMS is a new key and an empty page.

Follows: LTI core 1.3 (https://www.imsglobal.org/spec/lti/v1p3), 1EdTech security framework 1.0 section 5.1.1
(https://www.imsglobal.org/spec/security/v1p0/), LTI 1.1.1 (https://www.imsglobal.org/specs/ltiv1p1p1/implementation-guide).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import secrets
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import jwt
import waitress
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from flask import Flask, Response, abort, redirect, render_template, request, session
from lti1p3platform.ltiplatform import LTI1P3PlatformConfAbstract
from lti1p3platform.message_launch import MessageLaunchAbstract
from lti1p3platform.oidc_login import OIDCLoginAbstract
from lti1p3platform.registration import Registration
from oauthlib import oauth1
from waitress.server import create_server
from werkzeug.wrappers import Response as BaseResponse

ADMIN_PORT = 8081  # on the loopback interface only
LAUNCH_LIFETIME_SECONDS = 300
COURSE_KEYS_13 = {"id", "title", "hub", "lti", "client_id", "deployment_id"}
COURSE_KEYS_11 = {"id", "title", "hub", "lti", "consumer_key", "shared_secret"}
MEMBERSHIP = "http://purl.imsglobal.org/vocab/lis/v2/membership"
# role: (LTI 1.3 membership role, LTI 1.1 role), as Moodle and Canvas send them
ROLES = {
    "lecturer": (f"{MEMBERSHIP}#Instructor", "Instructor"),
    "teaching assistant": (f"{MEMBERSHIP}/Instructor#TeachingAssistant", "urn:lti:role:ims/lis/TeachingAssistant"),
    "student": (f"{MEMBERSHIP}#Learner", "Learner"),
}


@dataclass(frozen=True)
class Person:
    """Somebody with an account at this LMS; ``sub`` is a number, the same in LTI 1.1 and 1.3, as Moodle does it."""

    key: str
    sub: str
    role: str
    given: str
    family: str

    @property
    def name(self) -> str:
        """Full name."""
        return f"{self.given} {self.family}"

    @property
    def email(self) -> str:
        """Address in a domain that cannot exist (RFC 2606)."""
        return f"{self.given}.{self.family}@campus.example".lower()


STAFF_AND_STUDENTS = [
    Person("lecturer", "2", "lecturer", "Ada", "Brandt"),
    Person("teaching-assistant", "3", "teaching assistant", "Tim", "Okafor"),
    Person("student-1", "101", "student", "Sofia", "Weber"),
    Person("student-2", "102", "student", "Jonas", "Yilmaz"),
]
PEOPLE = {person.key: person for person in STAFF_AND_STUDENTS}


def find_person(key: str) -> Person | None:
    """Return the person with this key: one of the named, or ``student-<n>``, n = 3..999, for whole classes."""
    if key in PEOPLE:
        return PEOPLE[key]
    match = re.fullmatch(r"student-([1-9][0-9]{0,2})", key)
    return Person(key, str(100 + int(match[1])), "student", "Student", match[1]) if match else None


@dataclass(frozen=True)
class Launch:
    """A click that waits for the tool's authentication request (LTI 1.3)."""

    course: str
    person: Person
    browser: str
    expires: float


@dataclass
class Platform:
    """The LMS's memory: its key, its registered courses, the launches under way."""

    issuer: str
    courses: dict[str, dict[str, str]] = field(default_factory=dict)
    launches: dict[str, Launch] = field(default_factory=dict)
    private_pem: str = field(default="", repr=False)
    public_pem: str = ""

    def __post_init__(self) -> None:
        """Make the platform's key pair."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.private_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
        self.public_pem = (
            key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    @property
    def guid(self) -> str:
        """``tool_consumer_instance_guid``: the issuer without scheme, so LTI 1.1 and 1.3 name the same person."""
        return self.issuer.split("://", 1)[-1]

    def register(self, wanted: object, *, check: bool = False) -> bool:
        """Replace the registered courses; return whether that is a change. ``check`` only looks.

        Raises:
            ValueError: with the course and the key that is wrong, never with a value.

        """
        if not isinstance(wanted, list):
            raise ValueError("want a list of courses")
        courses: dict[str, dict[str, str]] = {}
        for course in wanted:
            keys = COURSE_KEYS_13 if course.get("lti") == "1.3" else COURSE_KEYS_11
            if set(course) != keys or not all(isinstance(value, str) and value for value in course.values()):
                raise ValueError(f"course {course.get('id')}: want non-empty strings for {', '.join(sorted(keys))}")
            courses[course["id"]] = course | {"hub": course["hub"].rstrip("/")}
        changed = courses != self.courses
        if not check:
            self.courses = courses
        return changed

    def registration(self, course: dict[str, str]) -> Registration:
        """Return what LTI 1.3 calls the registration of the course's hub at this platform."""
        return (
            Registration()
            .set_iss(self.issuer)
            .set_client_id(course["client_id"])
            .set_deployment_id(course["deployment_id"])
            .set_launch_url(f"{course['hub']}/")
            .set_oidc_login_url(f"{course['hub']}/hub/lti13/oauth_login")
            .set_tool_key_set_url(f"{course['hub']}/hub/lti13/jwks")
            .set_platform_public_key(self.public_pem)
            .set_platform_private_key(self.private_pem)
        )

    def start_launch(self, course: str, person: Person, browser: str) -> str:
        """Remember a click and return its opaque, one-time ``lti_message_hint``."""
        now = time.monotonic()
        self.launches = {hint: launch for hint, launch in self.launches.items() if launch.expires > now}
        hint = secrets.token_urlsafe(24)
        self.launches[hint] = Launch(course, person, browser, now + LAUNCH_LIFETIME_SECONDS)
        return hint


class _Conf(LTI1P3PlatformConfAbstract):  # type: ignore[misc]  # untyped library
    def init_platform_config(self, **kwargs: object) -> None:
        self._registration = kwargs["registration"]

    def get_registration_by_params(self, **_kwargs: object) -> Registration:
        raise NotImplementedError


class _Login(OIDCLoginAbstract):  # type: ignore[misc]  # untyped library
    def set_lti_message_hint(self, **kwargs: object) -> None:
        self._lti_message_hint = kwargs["hint"]

    def get_redirect(self, url: str) -> BaseResponse:
        return redirect(url, 303)


class _Message(MessageLaunchAbstract):  # type: ignore[misc]  # untyped library
    def get_preflight_response(self) -> dict[str, Any]:
        return request.values.to_dict()

    def render_launch_form(self, launch_data: dict[str, Any], **_kwargs: object) -> str:
        url = launch_data.pop("launch_url")
        return render_template("launch.html", url=url, fields=launch_data)


def lti11_fields(platform: Platform, course: dict[str, str], person: Person) -> tuple[str, dict[str, str]]:
    """Return launch URL and signed form fields of an LTI 1.1 launch (HMAC-SHA1 over the body, LTI 1.1.1 section 4)."""
    url = f"{course['hub']}/hub/lti11/launch"
    fields = {
        "lti_message_type": "basic-lti-launch-request",
        "lti_version": "LTI-1p0",
        "oauth_callback": "about:blank",
        "resource_link_id": f"{course['id']}-1",
        "resource_link_title": course["title"],
        "context_id": course["id"],
        "context_label": course["id"],
        "context_title": course["title"],
        "context_type": "CourseSection",
        "user_id": person.sub,
        "roles": ROLES[person.role][1],
        "lis_person_name_given": person.given,
        "lis_person_name_family": person.family,
        "lis_person_name_full": person.name,
        "lis_person_contact_email_primary": person.email,
        "tool_consumer_instance_guid": platform.guid,
        "tool_consumer_instance_name": "Demo LMS",
        "tool_consumer_info_product_family_code": "demo-lms",
        "launch_presentation_document_target": "window",
        "launch_presentation_return_url": f"{platform.issuer}/",
        "launch_presentation_locale": "en",
    }
    client = oauth1.Client(
        course["consumer_key"], client_secret=course["shared_secret"], signature_type=oauth1.SIGNATURE_TYPE_BODY
    )
    _, _, body = client.sign(url, "POST", body=fields, headers={"Content-Type": "application/x-www-form-urlencoded"})
    return url, dict(parse_qsl(body))


def create_app(platform: Platform) -> Flask:
    """Return the public web application of the LMS."""
    app = Flask(__name__)
    app.secret_key = secrets.token_bytes(32)

    @app.get("/")
    def index() -> str:
        return render_template(
            "index.html", courses=platform.courses.values(), people=STAFF_AND_STUDENTS, issuer=platform.issuer
        )

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @app.get("/jwks")
    def jwks() -> dict[str, Any]:
        return {"keys": Registration().set_platform_public_key(platform.public_pem).get_jwks()}

    @app.post("/enter/<course_id>/<person_key>")
    def enter(course_id: str, person_key: str) -> str | BaseResponse:
        course, person = platform.courses.get(course_id), find_person(person_key)
        if course is None or person is None:
            abort(404, "There is no such course or person here.")
        if course["lti"] == "1.1":
            url, fields = lti11_fields(platform, course, person)
            return render_template("launch.html", url=url, fields=fields)
        browser = session.setdefault("browser", secrets.token_urlsafe(16))
        login = _Login(request, _Conf(registration=platform.registration(course)))
        login.set_lti_message_hint(hint=platform.start_launch(course_id, person, browser))
        response: BaseResponse = login.initiate_login(person.sub)
        return response

    @app.route("/auth", methods=["GET", "POST"])
    def auth() -> str:
        """Answer the tool's authentication request (security framework 5.1.1.2) with the signed launch."""
        for name, want in (
            ("scope", "openid"),
            ("response_type", "id_token"),
            ("response_mode", "form_post"),
            ("prompt", "none"),
        ):
            if request.values.get(name) != want:
                abort(400, f"{name} must be {want}.")
        launch = platform.launches.pop(request.values.get("lti_message_hint", ""), None)
        if launch is None or launch.expires < time.monotonic():
            abort(400, "lti_message_hint names no launch that is under way here: click the button again.")
        if launch.browser != session.get("browser") or launch.person.sub != request.values.get("login_hint"):
            abort(400, "login_hint is not the person who clicked in this browser.")
        course = platform.courses.get(launch.course)
        if course is None:
            abort(400, "The course of this launch is no longer registered.")
        if request.values.get("client_id") != course["client_id"]:
            abort(400, "client_id is not the one registered for this course.")
        if request.values.get("redirect_uri") != f"{course['hub']}/hub/lti13/oauth_callback":
            abort(400, "redirect_uri is not the one registered for this course.")
        if not request.values.get("nonce") or not request.values.get("state"):
            abort(400, "nonce and state must not be empty.")
        person = launch.person
        message = _Message(request, _Conf(registration=platform.registration(course)))
        message.set_user_data(person.sub, [ROLES[person.role][0]], person.name, person.email)
        message.set_resource_link_claim(f"{course['id']}-1", title=course["title"])
        message.set_launch_context_claim(
            course["id"],
            ["http://purl.imsglobal.org/vocab/lis/v2/course#CourseOffering"],
            course["title"],
            course["id"],
        )
        message.set_launch_presentation_claim("window", f"{platform.issuer}/")
        message.set_extra_claims(
            {
                "given_name": person.given,
                "family_name": person.family,
                "https://purl.imsglobal.org/spec/lti/claim/tool_platform": {
                    "guid": platform.guid,
                    "name": "Demo LMS",
                    "product_family_code": "demo-lms",
                },
            }
        )
        page: str = message.lti_launch()
        return page

    @app.after_request
    def no_store(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


def create_admin_app(platform: Platform) -> Flask:
    """Return the application that registers courses; to be served on the loopback interface only."""
    app = Flask("demo_lms_admin")

    @app.put("/courses")
    def courses() -> tuple[dict[str, Any], int]:
        try:
            return {"changed": platform.register(request.get_json(), check="check" in request.args)}, 200
        except ValueError as error:
            return {"error": str(error)}, 400

    @app.post("/sign")
    def sign() -> str:
        """Sign any claims with the platform's key: for tests, which need launches that are wrong in one thing only."""
        kid = Registration().set_platform_public_key(platform.public_pem).get_jwks()[0]["kid"]
        return jwt.encode(request.get_json(), platform.private_pem, algorithm="RS256", headers={"kid": kid})

    return app


def serve(issuer: str, port: int) -> None:
    """Serve the LMS on all interfaces and its registration on the loopback, until the process ends."""
    platform = Platform(issuer=issuer)
    admin = create_server(create_admin_app(platform), host="127.0.0.1", port=ADMIN_PORT, threads=1)
    threading.Thread(target=admin.run, daemon=True).start()
    # A whole class clicks at once: waitress queues 1024 connections, which Python's own server does not.
    waitress.serve(create_app(platform), host="0.0.0.0", port=port, threads=8, backlog=1024)  # noqa: S104


def ask(method: str, path: str, body: str) -> int:
    """Hand JSON to the running LMS, print its answer and return the exit code."""
    connection = http.client.HTTPConnection("127.0.0.1", ADMIN_PORT, timeout=10)
    connection.request(method, path, body=body, headers={"Content-Type": "application/json"})
    answer = connection.getresponse()
    sys.stdout.write(answer.read().decode())
    return 0 if answer.status == http.client.OK else 1


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run the LMS (environment: LMS_ISSUER, LMS_PORT)")
    registering = commands.add_parser(
        "register", help="replace the courses of the running LMS by standard input (JSON)"
    )
    registering.add_argument("--check", action="store_true", help="only say whether something would change")
    commands.add_parser("sign", help="sign claims (JSON on standard input) with the running LMS's key, for tests")
    arguments = parser.parse_args()
    if arguments.command == "register":
        return ask("PUT", "/courses?check" if arguments.check else "/courses", json.dumps(json.load(sys.stdin)))
    if arguments.command == "sign":
        return ask("POST", "/sign", json.dumps(json.load(sys.stdin)))
    serve(os.environ["LMS_ISSUER"], int(os.environ.get("LMS_PORT", "80")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
