"""A tiny LTI platform: people, courses and buttons that launch a tool. Lab equipment, not part of the collection.

LTI 1.3 launches are the job of the library ``lti1p3platform``, LTI 1.1 signing of ``oauthlib``; this file holds pages
and the checks a platform owes its users (registered redirect URI, one-time launches bound to a browser). What tools may
ask afterwards is in ``services.py``, what the LMS knows in ``model.py``.

It is run as ``python3 -m lab.lms.demo_lms <command>``, in the container ``lab-lms`` by ``podman exec -i``. Courses are
registered at run time by ``register`` (standard input, JSON) and live in memory only, because they carry LTI 1.1
secrets. So does the platform's key: a restarted LMS is a new key and an empty page.

Follows: LTI core 1.3 (https://www.imsglobal.org/spec/lti/v1p3), 1EdTech security framework 1.0 section 5.1.1
(https://www.imsglobal.org/spec/security/v1p0/), LTI 1.1.1 (https://www.imsglobal.org/specs/ltiv1p1p1/implementation-guide).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import sys
import threading
import time
from typing import Any
from urllib.parse import parse_qsl

import jwt
import waitress
from flask import Blueprint, Flask, Response, abort, redirect, render_template, request, session
from lti1p3platform.ltiplatform import LTI1P3PlatformConfAbstract
from lti1p3platform.message_launch import LTIAdvantageMessageLaunchAbstract
from lti1p3platform.oidc_login import OIDCLoginAbstract
from lti1p3platform.registration import Registration
from oauthlib import oauth1
from waitress.server import create_server
from werkzeug.wrappers import Response as BaseResponse

from lab.lms.model import (
    MEMBERSHIP_READONLY,
    ROLES,
    SCOPES,
    SCORE,
    STAFF_AND_STUDENTS,
    Book,
    Member,
    Person,
    Platform,
    find_person,
)
from lab.lms.services import (
    create_services,
    keyset_url,
    lineitems_url,
    memberships_url,
    outcomes_url,
    resource_link,
    shares,
    sourcedid,
)
from lab.lms.tools import create_tools

ADMIN_PORT = int(os.environ.get("LMS_ADMIN_PORT", "8081"))  # on the loopback interface only


# What tests may ask of the running LMS: command: (path, help); see the methods of Platform for what they want.
CONTROLS = {
    "sign": ("/sign", "sign claims with the LMS's key"),
    "set": ("/set", "set a course's roster, and the scopes that its tool may have"),
    "fault": ("/faults", "replace the list of faults that requests to the services meet"),
    "show": ("/show", "print a course's roster, gradebook and log of requests"),
    "reset": ("/reset", "forget a course's roster, gradebook, log and faults"),
}


def registration(platform: Platform, course: dict[str, str]) -> Registration:
    """Return what LTI 1.3 calls the registration of the course's hub at this platform."""
    return (
        Registration()
        .set_iss(platform.issuer)
        .set_client_id(course["client_id"])
        .set_deployment_id(course["deployment_id"])
        .set_launch_url(course.get("launch_url", f"{course['hub']}/"))
        .set_oidc_login_url(course.get("login_url", f"{course['hub']}/hub/lti13/oauth_login"))
        .set_tool_key_set_url(keyset_url(course))
        .set_platform_public_key(platform.public_pem)
        .set_platform_private_key(platform.private_pem)
    )


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


class _Message(LTIAdvantageMessageLaunchAbstract):  # type: ignore[misc]  # untyped library
    def get_preflight_response(self) -> dict[str, Any]:
        return request.values.to_dict()

    def render_launch_form(self, launch_data: dict[str, Any], **_kwargs: object) -> str:
        url = launch_data.pop("launch_url")
        return render_template("launch.html", url=url, fields=launch_data)


def lti11_fields(platform: Platform, course: dict[str, str], member: Member) -> tuple[str, dict[str, str]]:
    """Return launch URL and signed form fields of an LTI 1.1 launch (HMAC-SHA1 over the body, LTI 1.1.1 section 4)."""
    person = member.person
    url = course.get("launch_url", f"{course['hub']}/hub/lti11/launch")
    fields = {
        "lti_message_type": "basic-lti-launch-request",
        "lti_version": "LTI-1p0",
        "oauth_callback": "about:blank",
        "resource_link_id": resource_link(course["id"]),
        "resource_link_title": course["title"],
        "context_id": course["id"],
        "context_label": course["id"],
        "context_title": course["title"],
        "context_type": "CourseSection",
        "user_id": person.sub,
        "roles": ROLES[member.role][1],
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
        "lis_outcome_service_url": outcomes_url(platform),
    }
    if member.gradable:
        fields["lis_result_sourcedid"] = sourcedid(course, person.sub)
    client = oauth1.Client(
        course["consumer_key"], client_secret=course["shared_secret"], signature_type=oauth1.SIGNATURE_TYPE_BODY
    )
    _, _, body = client.sign(url, "POST", body=fields, headers={"Content-Type": "application/x-www-form-urlencoded"})
    return url, dict(parse_qsl(body))


def lti13_message(platform: Platform, course: dict[str, str], person: Person, role: str) -> _Message:
    """Return the launch that answers the authentication request, with the addresses of the services (LTI Advantage)."""
    message = _Message(request, _Conf(registration=registration(platform, course)))
    names, email = shares(course, "name"), shares(course, "email")
    message.set_user_data(person.sub, [ROLES[role][0]], person.name if names else None, person.email if email else None)
    message.set_resource_link_claim(resource_link(course["id"]), title=course["title"])
    message.set_launch_context_claim(
        course["id"],
        ["http://purl.imsglobal.org/vocab/lis/v2/course#CourseOffering"],
        course["title"],
        course["id"],
    )
    message.set_launch_presentation_claim("window", f"{platform.issuer}/")
    # Of a tool that was configured on the page, only the services that are turned on there.
    scopes = platform.book(course["id"]).scopes if course["id"] in platform.activities else SCOPES
    if MEMBERSHIP_READONLY in scopes:
        message.set_nrps(memberships_url(platform, course["id"]))
    if SCORE in scopes:
        message.set_ags(lineitems_url(platform, course["id"]))
    message.set_extra_claims(
        {
            **({"given_name": person.given, "family_name": person.family} if names else {}),
            "https://purl.imsglobal.org/spec/lti/claim/tool_platform": {
                "guid": platform.guid,
                "name": "Demo LMS",
                "product_family_code": "demo-lms",
            },
        }
    )
    return message


def rows(book: Book) -> list[Member]:
    """Return who has a row in the gradebook: the students, and whoever has a score from former times."""
    scored = {sub for column in book.columns.values() for sub in column.scores} | set(book.totals)
    return [member for sub, member in book.members.items() if member.gradable or sub in scored]


def create_pages(platform: Platform) -> Blueprint:
    """Return what people can look up about a course: its roster and its gradebook."""
    pages = Blueprint("courses", __name__)

    def course_or_404(course_id: str) -> dict[str, str]:
        course = platform.all_courses().get(course_id)
        if course is None:
            abort(404, "There is no such course here.")
        return course

    @pages.get("/courses/<course_id>/roster")
    def roster(course_id: str) -> str:
        course, book = course_or_404(course_id), platform.book(course_id)
        with platform.lock:
            return render_template(
                "roster.html", course=course, members=list(book.members.values()), closed=book.closed
            )

    @pages.get("/courses/<course_id>/gradebook")
    def gradebook(course_id: str) -> str:
        course, book = course_or_404(course_id), platform.book(course_id)
        with platform.lock:
            return render_template("gradebook.html", course=course, book=book, students=rows(book))

    return pages


def create_app(platform: Platform) -> Flask:
    """Return the public web application of the LMS."""
    app = Flask(__name__)
    app.secret_key = secrets.token_bytes(32)
    app.register_blueprint(create_services(platform))
    app.register_blueprint(create_pages(platform))
    app.register_blueprint(create_tools(platform))

    def enter_course(course_id: str, person: Person) -> Member:
        with platform.lock:
            member = platform.book(course_id).enter(person)
        if member is None:
            abort(403, f"{person.name} is not enrolled in this course, or not any more.")
        return member

    @app.get("/")
    def index() -> str:
        return render_template(
            "index.html", courses=platform.all_courses().values(), people=STAFF_AND_STUDENTS, issuer=platform.issuer
        )

    @app.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    @app.get("/jwks")
    def jwks() -> dict[str, Any]:
        return {"keys": Registration().set_platform_public_key(platform.public_pem).get_jwks()}

    @app.post("/enter/<course_id>/<person_key>")
    def enter(course_id: str, person_key: str) -> str | BaseResponse:
        course, person = platform.all_courses().get(course_id), find_person(person_key)
        if course is None or person is None:
            abort(404, "There is no such course or person here.")
        member = enter_course(course_id, person)
        if course["lti"] == "1.1":
            url, fields = lti11_fields(platform, course, member)
            return render_template("launch.html", url=url, fields=fields)
        browser = session.setdefault("browser", secrets.token_urlsafe(16))
        login = _Login(request, _Conf(registration=registration(platform, course)))
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
        with platform.lock:
            launch = platform.launches.pop(request.values.get("lti_message_hint", ""), None)
        if launch is None or launch.expires < time.monotonic():
            abort(400, "lti_message_hint names no launch that is under way here: click the button again.")
        if launch.browser != session.get("browser") or launch.person.sub != request.values.get("login_hint"):
            abort(400, "login_hint is not the person who clicked in this browser.")
        course = platform.all_courses().get(launch.course)
        if course is None:
            abort(400, "The course of this launch is no longer registered.")
        if request.values.get("client_id") != course["client_id"]:
            abort(400, "client_id is not the one registered for this course.")
        registered = course.get("redirect_uris", f"{course['hub']}/hub/lti13/oauth_callback").split()
        if request.values.get("redirect_uri") not in registered:
            abort(400, "redirect_uri is not the one registered for this course.")
        if not request.values.get("nonce") or not request.values.get("state"):
            abort(400, "nonce and state must not be empty.")
        person, role = launch.person, enter_course(launch.course, launch.person).role
        page: str = lti13_message(platform, course, person, role).lti_launch()
        return page

    @app.after_request
    def no_store(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    return app


def create_admin_app(platform: Platform) -> Flask:
    """Return the application that registers courses and serves tests; to be served on the loopback interface only."""
    app = Flask("demo_lms_admin")

    @app.errorhandler(ValueError)
    def wrong(error: ValueError) -> tuple[dict[str, Any], int]:
        return {"error": str(error)}, 400

    @app.put("/courses")
    def courses() -> dict[str, Any]:
        return {"changed": platform.register(request.get_json(), check="check" in request.args)}

    @app.post("/sign")
    def sign() -> str:
        """Sign any claims with the platform's key: for tests, which need launches that are wrong in one thing only."""
        kid = Registration().set_platform_public_key(platform.public_pem).get_jwks()[0]["kid"]
        return jwt.encode(request.get_json(), platform.private_pem, algorithm="RS256", headers={"kid": kid})

    @app.post("/set")
    def set_book() -> dict[str, Any]:
        return platform.set_book(request.get_json())

    @app.post("/faults")
    def faults() -> dict[str, Any]:
        return platform.set_faults(request.get_json())

    @app.post("/show")
    def show() -> dict[str, Any]:
        return platform.show(request.get_json()["course"])

    @app.post("/reset")
    def reset() -> dict[str, Any]:
        return platform.reset(request.get_json()["course"])

    return app


def serve(issuer: str, port: int) -> None:
    """Serve the LMS on all interfaces and its registration on the loopback, until the process ends."""
    platform = Platform(issuer=issuer)
    admin = create_server(create_admin_app(platform), host="127.0.0.1", port=ADMIN_PORT, threads=1)
    threading.Thread(target=admin.run, daemon=True).start()
    # A whole class clicks at once: waitress queues 1024 connections, which Python's own server does not.
    # More threads than a launch needs, because a test may let some of them wait.
    waitress.serve(create_app(platform), host="0.0.0.0", port=port, threads=32, backlog=1024)  # noqa: S104


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
    for name, (_, help_) in CONTROLS.items():
        commands.add_parser(name, help=f"{help_} (JSON on standard input and output)")
    arguments = parser.parse_args()
    if arguments.command == "register":
        return ask("PUT", "/courses?check" if arguments.check else "/courses", json.dumps(json.load(sys.stdin)))
    if arguments.command in CONTROLS:
        return ask("POST", CONTROLS[arguments.command][0], json.dumps(json.load(sys.stdin)))
    serve(os.environ["LMS_ISSUER"], int(os.environ.get("LMS_PORT", "80")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
