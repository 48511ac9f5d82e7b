"""What the demo LMS knows: people, courses, rosters, gradebooks, and the log of what tools asked for.

All of it is in memory, because courses carry LTI 1.1 secrets. Only the threads of one process use it; what changes a
book or the traffic takes the platform's lock.
"""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

LAUNCH_LIFETIME_SECONDS = 300
LOG_LENGTH = 20_000  # requests
COURSE_KEYS_13 = {"id", "title", "hub", "lti", "client_id", "deployment_id"}
COURSE_KEYS_11 = {"id", "title", "hub", "lti", "consumer_key", "shared_secret"}
MEMBERSHIP = "http://purl.imsglobal.org/vocab/lis/v2/membership"
# role: (LTI 1.3 membership role, LTI 1.1 role), as Moodle and Canvas send them
ROLES = {
    "lecturer": (f"{MEMBERSHIP}#Instructor", "Instructor"),
    "teaching assistant": (f"{MEMBERSHIP}/Instructor#TeachingAssistant", "urn:lti:role:ims/lis/TeachingAssistant"),
    "student": (f"{MEMBERSHIP}#Learner", "Learner"),
}
STATUSES = ("Active", "Inactive", "Deleted")  # NRPS 2.0, section 2.2
AGS = "https://purl.imsglobal.org/spec/lti-ags/scope"
LINEITEM, LINEITEM_READONLY = f"{AGS}/lineitem", f"{AGS}/lineitem.readonly"
RESULT_READONLY, SCORE = f"{AGS}/result.readonly", f"{AGS}/score"
MEMBERSHIP_READONLY = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
SCOPES = (LINEITEM, LINEITEM_READONLY, RESULT_READONLY, SCORE, MEMBERSHIP_READONLY)
SERVICES = ("token", "memberships", "lineitems", "lineitem", "scores", "results", "outcomes")
# Numbers of columns. Like a real LMS's they never come back, not even after a reset or a restart.
_NUMBERS = itertools.count(int(time.time()))


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


def key_of(sub: str) -> str:
    """Return the key of the person with this ``sub``; ``sub`` itself if it is nobody's."""
    for person in STAFF_AND_STUDENTS:
        if person.sub == sub:
            return person.key
    key = f"student-{int(sub) - 100}" if sub.isdecimal() else ""
    return key if find_person(key) else sub


@dataclass(frozen=True)
class Member:
    """A person in a course, with the role that the course gives."""

    person: Person
    role: str
    status: str = "Active"

    @property
    def gradable(self) -> bool:
        """Whether the gradebook has a row for this person."""
        return self.role == "student" and self.status == "Active"


@dataclass(frozen=True)
class Score:
    """The last score that a tool sent for one person and one column (AGS 2.0, section 3.4)."""

    given: float | None
    maximum: float | None
    comment: str
    activity: str
    grading: str
    timestamp: str
    moment: datetime


@dataclass
class Column:
    """A line item (AGS 2.0, section 3.2) with the scores in it, by ``sub``."""

    number: int
    fields: dict[str, Any]
    scores: dict[str, Score] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What people read at the top of the column."""
        return str(self.fields["label"])

    @property
    def maximum(self) -> float:
        """Points that are the most in this column."""
        return float(self.fields["scoreMaximum"])

    def result(self, sub: str) -> float | None:
        """Return the points in this column's scale; None unless the score is final."""
        score = self.scores.get(sub)
        if score is None or score.given is None or not score.maximum or score.grading != "FullyGraded":
            return None
        return score.given * self.maximum / score.maximum


@dataclass
class Book:
    """Roster and gradebook of one course.

    Until somebody sets the roster it is the four known people and whoever launches; a roster that was set is the whole
    truth, and people who are not in it cannot launch.
    """

    members: dict[str, Member] = field(
        default_factory=lambda: {person.sub: Member(person, person.role) for person in STAFF_AND_STUDENTS}
    )
    closed: bool = False
    scopes: tuple[str, ...] = SCOPES
    columns: dict[int, Column] = field(default_factory=dict)
    totals: dict[str, tuple[float, datetime]] = field(default_factory=dict)  # LTI 1.1: one score of 0..1 per person

    def enter(self, person: Person) -> Member | None:
        """Return the person's membership for a launch, None if the course does not let this person in."""
        if not self.closed:
            self.members.setdefault(person.sub, Member(person, person.role))
        member = self.members.get(person.sub)
        return member if member and member.status == "Active" else None

    def add_column(self, fields: dict[str, Any]) -> Column:
        """Make a new column; the caller has checked the fields."""
        column = Column(next(_NUMBERS), fields)
        self.columns[column.number] = column
        return column


@dataclass
class Fault:
    """A misbehaviour that a test asked for: which requests, how many of them, and what happens to them."""

    service: str
    course: str = ""
    user: str = ""  # ``sub``; only scores and outcomes have one
    skip: int = 0  # requests that are let through first
    calls: int | None = None  # None: all
    status: int | None = None  # None: the LMS's own answer, after the delay
    retry_after: str = ""
    delay: float = 0.0  # seconds
    processed: bool = False  # True: the request takes effect, and only its answer is lost
    body: str = ""


@dataclass
class Traffic:
    """The log of the service requests, and the faults that wait for some."""

    log: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=LOG_LENGTH))
    faults: list[Fault] = field(default_factory=list)

    def take(self, service: str, course: str, user: str) -> Fault | None:
        """Return the fault that such a request meets, and count it: faults are used up in their order."""
        for fault in self.faults:
            if fault.service != service or fault.course not in ("", course) or fault.user not in ("", user):
                continue
            if fault.skip:
                fault.skip -= 1
                return None
            if fault.calls is None:
                return fault
            if fault.calls:
                fault.calls -= 1
                return fault
        return None


@dataclass(frozen=True)
class Launch:
    """A click that waits for the tool's authentication request (LTI 1.3)."""

    course: str
    person: Person
    browser: str
    expires: float


@dataclass
class Platform:
    """The LMS's memory: its key, its registered courses with their books, the launches under way."""

    issuer: str
    courses: dict[str, dict[str, str]] = field(default_factory=dict)
    # What a teacher has added with a tool that the administrator has configured on a page: as courses, see `tools`.
    activities: dict[str, dict[str, str]] = field(default_factory=dict)
    books: dict[str, Book] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    launches: dict[str, Launch] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
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
        """Replace the registered courses; return whether that is a change. ``check`` only looks. Books stay.

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

    def all_courses(self) -> dict[str, dict[str, str]]:
        """Return all that can be launched, by id."""
        return self.courses | self.activities

    def book(self, course_id: str) -> Book:
        """Return the book of a course, a new one at the first time."""
        with self.lock:
            return self.books.setdefault(course_id, Book())

    def start_launch(self, course: str, person: Person, browser: str) -> str:
        """Remember a click and return its opaque, one-time ``lti_message_hint``."""
        now = time.monotonic()
        hint = secrets.token_urlsafe(24)
        with self.lock:
            self.launches = {hint: launch for hint, launch in self.launches.items() if launch.expires > now}
            self.launches[hint] = Launch(course, person, browser, now + LAUNCH_LIFETIME_SECONDS)
        return hint

    # ---- the control interface ----

    def set_book(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Set a course's roster (``members``) and the scopes that its tool may have (``scopes``); either may be absent.

        Args:
            wanted: ``{"course": id, "members": [{"person": key, "role": ..., "status": ...}], "scopes": [...]}``; role
                and status of a member are optional.

        Raises:
            ValueError: with what is wrong.

        """
        known = {"course", "members", "scopes"}
        if set(wanted) - known or not isinstance(wanted.get("course"), str):
            raise ValueError(f"want course and some of {', '.join(sorted(known))}; got {', '.join(sorted(wanted))}")
        members: dict[str, Member] = {}
        for item in wanted.get("members", []):
            person = find_person(str(item.get("person")))
            if person is None or set(item) - {"person", "role", "status"}:
                raise ValueError(f"want person, role and status of a member; got {item}")
            member = Member(person, item.get("role", person.role), item.get("status", "Active"))
            if member.role not in ROLES or member.status not in STATUSES:
                raise ValueError(f"want a role of {', '.join(ROLES)}, a status of {', '.join(STATUSES)}; got {item}")
            members[person.sub] = member
        if set(wanted.get("scopes", [])) - set(SCOPES):
            raise ValueError(f"want scopes of {', '.join(SCOPES)}; got {wanted['scopes']}")
        book = self.book(wanted["course"])
        with self.lock:
            if "members" in wanted:
                book.members, book.closed = members, True
            if "scopes" in wanted:
                book.scopes = tuple(wanted["scopes"])
            return {"members": len(book.members), "scopes": list(book.scopes)}

    def set_faults(self, wanted: object) -> dict[str, Any]:
        """Replace the faults; each is an object with :class:`Fault`'s fields, ``user`` a person's key.

        Raises:
            ValueError: with what is wrong.

        """
        if not isinstance(wanted, list):
            raise ValueError("want a list of faults")
        faults = []
        for item in wanted:
            person = find_person(str(item["user"])) if "user" in item else None
            if item.get("service") not in SERVICES or ("user" in item and person is None):
                raise ValueError(f"want a service of {', '.join(SERVICES)} and a known user; got {item}")
            try:
                faults.append(Fault(**(item | {"user": person.sub if person else ""})))
            except TypeError as error:
                raise ValueError(str(error)) from error
        with self.lock:
            self.traffic.faults = faults
        return {"faults": len(faults)}

    def show(self, course_id: str) -> dict[str, Any]:
        """Return roster, gradebook and log of a course; people by their keys, times in ISO 8601."""
        with self.lock:
            book = self.book(course_id)
            return {
                "members": [
                    {"person": member.person.key, "sub": sub, "role": member.role, "status": member.status}
                    for sub, member in book.members.items()
                ],
                "columns": [
                    {
                        "number": column.number,
                        **column.fields,
                        "scores": {
                            key_of(sub): {
                                "score": column.result(sub),
                                "comment": score.comment,
                                "grading": score.grading,
                                "timestamp": score.timestamp,
                            }
                            for sub, score in column.scores.items()
                        },
                    }
                    for column in book.columns.values()
                ],
                "totals": {key_of(sub): total for sub, (total, _) in book.totals.items()},
                "requests": [
                    entry | ({"person": key_of(entry["user"])} if entry["user"] else {})
                    for entry in self.traffic.log
                    if entry["course"] == course_id
                ],
            }

    def reset(self, course_id: str) -> dict[str, Any]:
        """Forget roster, gradebook, log and faults of a course."""
        with self.lock:
            self.books.pop(course_id, None)
            self.traffic.faults = [fault for fault in self.traffic.faults if fault.course not in ("", course_id)]
            kept = [entry for entry in self.traffic.log if entry["course"] != course_id]
            self.traffic.log = deque(kept, maxlen=LOG_LENGTH)
        return {"course": course_id}


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat()
