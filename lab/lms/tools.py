"""Pages of the demo LMS's administrator and teachers, with the names that Moodle 4.5 has for them.

An administrator configures a tool by hand under "Manage tools"; a teacher turns it on in a course and adds it as an
activity. What is entered has its effect: scopes, shared names, the addresses that launches and key fetches go to.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from flask import Blueprint, abort, redirect, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from lab.lms.model import (
    LINEITEM,
    LINEITEM_READONLY,
    MEMBERSHIP_READONLY,
    RESULT_READONLY,
    SCORE,
    STAFF_AND_STUDENTS,
    Platform,
)

LTI_11, LTI_13 = "LTI 1.0/1.1", "LTI 1.3"
UNUSED = "Do not use this service"
GRADE_SYNC = "Use this service for grade sync only"
COLUMNS = "Use this service for grade sync and column management"
MEMBERS = "Use this service to retrieve members' information as per privacy settings"
HIDDEN = "Do not show; use only when a matching tool URL is entered"
PRECONFIGURED = "Show as preconfigured tool when adding an external tool"
CHOOSER = "Show in activity chooser and as a preconfigured tool"
SHARING = ("Delegate to teacher", "Always", "Never")


@dataclass(frozen=True)
class Field:
    """A field of the form.

    Args:
        label: as Moodle names it.
        options: to choose from, the first is the default; none for a line of text.
        lines: whether there may be several.

    """

    label: str
    options: tuple[str, ...] = ()
    lines: bool = False

    @property
    def name(self) -> str:
        """Name and id of the element."""
        return "".join(c if c.isalnum() else "-" for c in self.label.lower()).strip("-")


FIELDS: Final[dict[str, tuple[Field, ...]]] = {
    "Tool settings": (
        Field("Tool name"),
        Field("Tool URL"),
        Field("Tool description"),
        Field("LTI version", (LTI_11, LTI_13)),
        Field("Consumer key"),
        Field("Shared secret"),
        Field("Public key type", ("RSA key", "Keyset URL")),
        Field("Public keyset"),
        Field("Initiate login URL"),
        Field("Redirection URI(s)", lines=True),
        Field("Custom parameters", lines=True),
        Field("Tool configuration usage", (HIDDEN, PRECONFIGURED, CHOOSER)),
        Field("Default launch container", ("Embed, without blocks", "Embed", "Existing window", "New window")),
    ),
    "Services": (
        Field("IMS LTI Assignment and Grade Services", (UNUSED, GRADE_SYNC, COLUMNS)),
        Field("IMS LTI Names and Role Provisioning", (UNUSED, MEMBERS)),
        Field("Tool Settings", (UNUSED, "Use this service")),
    ),
    "Privacy": (
        Field("Share launcher's name with tool", SHARING),
        Field("Share launcher's email with tool", SHARING),
        Field("Accept grades from the tool", SHARING),
    ),
}
NEEDED: Final = {
    LTI_11: ("Tool name", "Tool URL", "Consumer key", "Shared secret"),
    LTI_13: ("Tool name", "Tool URL", "Initiate login URL", "Redirection URI(s)"),
}


@dataclass
class Tool:
    """A configured tool.

    Args:
        number: the id of its type, and of its deployment.
        client_id: made by the LMS.
        values: what was entered, by the fields' labels.

    """

    number: int
    client_id: str
    values: dict[str, str]

    def course(self, course_id: str, title: str) -> dict[str, str]:
        """Return an activity with this tool as the rest of the LMS knows a course."""
        values = self.values
        common = {"id": course_id, "title": title, "launch_url": values["Tool URL"]}
        place = urlsplit(values["Tool URL"])
        common["hub"] = f"{place.scheme}://{place.netloc}"
        common["share_name"] = "yes" if values["Share launcher's name with tool"] == "Always" else "no"
        common["share_email"] = "yes" if values["Share launcher's email with tool"] == "Always" else "no"
        if values["LTI version"] == LTI_11:
            keys = {"consumer_key": values["Consumer key"], "shared_secret": values["Shared secret"]}
            return common | keys | {"lti": "1.1"}
        return common | {
            "lti": "1.3",
            "client_id": self.client_id,
            "deployment_id": str(self.number),
            "login_url": values["Initiate login URL"],
            "redirect_uris": values["Redirection URI(s)"],
            "keyset_url": values["Public keyset"] if values["Public key type"] == "Keyset URL" else "",
        }

    @property
    def hidden(self) -> bool:
        """Whether courses are offered it."""
        return self.values["Tool configuration usage"] == HIDDEN

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the tool may ask for."""
        grades = self.values["IMS LTI Assignment and Grade Services"]
        found: list[str] = [] if grades == UNUSED else [LINEITEM_READONLY, RESULT_READONLY, SCORE]
        found += [LINEITEM] if grades == COLUMNS else []
        found += [MEMBERSHIP_READONLY] if self.values["IMS LTI Names and Role Provisioning"] == MEMBERS else []
        return tuple(found)


@dataclass
class LmsCourse:
    """A course of the LMS as its teacher sees it, with the numbers of the tools that are turned on in it."""

    id: str
    title: str
    tools: set[int] = field(default_factory=set)


@dataclass
class Site:
    """What administrator and teachers have entered."""

    tools: dict[int, Tool] = field(default_factory=dict)
    courses: dict[str, LmsCourse] = field(default_factory=dict)


def entered(form: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what was entered by the fields' labels, and what is wrong with it."""
    fields = [each for section in FIELDS.values() for each in section]
    values = {each.label: form.get(each.name, each.options[0] if each.options else "").strip() for each in fields}
    problems = [
        f"{each.label}: choose one." for each in fields if each.options and values[each.label] not in each.options
    ]
    problems += [f"{label}: Required." for label in NEEDED.get(values["LTI version"], ()) if not values[label]]
    if values["LTI version"] == LTI_13 and values["Public key type"] == "Keyset URL" and not values["Public keyset"]:
        problems.append("Public keyset: Required.")
    return values, problems


def create_tools(platform: Platform) -> Blueprint:
    """Return the pages."""
    pages, site = Blueprint("tools", __name__), Site()

    def page(name: str, **values: object) -> str:
        return render_template(name, issuer=platform.issuer, **values)

    @pages.get("/admin")
    @pages.get("/admin/<place>")
    def admin(place: str = "") -> str:
        return page("admin.html", place=place)

    @pages.get("/admin/tools")
    def manage_tools() -> str:
        return page("manage_tools.html", tools=site.tools.values())

    @pages.route("/admin/tools/new", methods=["GET", "POST"])
    def configure() -> str | BaseResponse:
        values, problems = entered(request.form.to_dict())
        if request.method == "GET" or problems:
            shown = problems if request.method == "POST" else []
            return page("configure_tool.html", sections=FIELDS, values=values, problems=shown)
        with platform.lock:
            number = len(site.tools) + 1
            site.tools[number] = Tool(number, secrets.token_hex(8)[:15], values)
        return redirect("/admin/tools", 303)

    @pages.route("/course", methods=["GET", "POST"])
    def add_course() -> str | BaseResponse:
        if request.method == "GET":
            return page("add_course.html")
        course_id = "".join(c for c in request.form.get("shortname", "") if c.isalnum() or c in "-_")
        if not course_id or course_id in platform.all_courses() or course_id in site.courses:
            abort(400, "Short name: it is missing, or taken.")
        site.courses[course_id] = LmsCourse(course_id, request.form.get("fullname", "").strip() or course_id)
        return redirect(f"/course/{course_id}", 303)

    def known(course_id: str) -> LmsCourse:
        return site.courses.get(course_id) or abort(404, "There is no such course here.")

    def tool_of(course: LmsCourse, number: str, *, on: bool) -> Tool:
        tool = site.tools.get(int(number)) if number.isdecimal() else None
        if (
            tool is None
            or tool.values["Tool configuration usage"] == HIDDEN
            or (on and tool.number not in course.tools)
        ):
            abort(404, "There is no such tool in this course.")
        return tool

    @pages.get("/course/<course_id>")
    def course_page(course_id: str) -> str:
        activity = platform.activities.get(known(course_id).id)
        return page("lms_course.html", course=known(course_id), activity=activity, people=STAFF_AND_STUDENTS)

    @pages.route("/course/<course_id>/tools", methods=["GET", "POST"])
    def course_tools(course_id: str) -> str:
        course = known(course_id)
        if request.method == "POST":
            course.tools ^= {tool_of(course, request.form.get("tool", ""), on=False).number}
        shown = [tool for tool in site.tools.values() if not tool.hidden]
        return page("lti_external_tools.html", course=course, tools=shown)

    @pages.route("/course/<course_id>/activity", methods=["GET", "POST"])
    def add_activity(course_id: str) -> str | BaseResponse:
        course = known(course_id)
        if request.method == "POST":
            tool = tool_of(course, request.form.get("tool", ""), on=True)
            with platform.lock:
                platform.activities[course.id] = tool.course(course.id, course.title)
                platform.book(course.id).scopes = tool.scopes
            return redirect(f"/course/{course.id}", 303)
        chosen = tool_of(course, request.args["tool"], on=True) if "tool" in request.args else None
        offered = [site.tools[number] for number in sorted(course.tools)]
        return page("add_activity.html", course=course, tools=offered, tool=chosen)

    return pages
