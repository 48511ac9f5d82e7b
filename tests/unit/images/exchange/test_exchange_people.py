"""Members by launches: what the hub tells of them, and what is refused."""

from __future__ import annotations

import json

import pytest
from campus_hubs_exchange.members import read_launched
from campus_hubs_hub.exchange import member as told_of
from campus_hubs_login import launch as login_launch
from campus_hubs_membership.identity import user_name

from tests.unit.images.exchange.exchange_lab import ADA, TEACHER, TOKEN, TUTOR, Exchange

LAUNCH = {"subject": "1", "role": "student", "launched_at": 0}


@pytest.mark.parametrize("issuer", ["https://moodle.example.edu/", "http://moodle.example.edu/lti", "site-id"])
@pytest.mark.parametrize("sub", ["1", 7, " x ", "Ümit"])
def test_a_name_fits_the_identifier_that_the_hub_tells(issuer: str, sub: object) -> None:
    """By these two the exchange knows who is of the issuer of now, and gets grades."""
    role = f"{login_launch.LTI}roles"
    launch = login_launch.launch_from_claims({"sub": sub, "iat": 1, role: ["Learner"]}, issuer=issuer)
    told = json.loads(json.dumps(told_of(launch.auth_state)))
    assert user_name(issuer.rstrip("/"), read_launched(told).subject) == launch.user_name


def test_a_launch_enrols_once_and_is_followed(exchange: Exchange) -> None:
    launch = {"given_name": "Eve", "family_name": "C", "email": "eve@campus.example"}
    assert exchange.enrol("unew", **launch) == {"changed": True}
    assert exchange.enrol("unew", **launch) == {"changed": False}
    assert exchange.enrol("unew") == {"changed": False}, "an LMS that hides the name says nothing new"
    assert exchange.enrol("unew", "teaching_assistant", **launch) == {"changed": True}
    [member] = [m for m in exchange.api("GET", "/members").json()["members"] if m["user"] == "unew"]
    assert all(member.pop(time).endswith("Z") for time in ("since", "confirmed_at"))
    assert member == {
        "user": "unew",
        "subject": "sub-unew",
        "name": "Eve C",
        "email": "eve@campus.example",
        "role": "teaching_assistant",
        "active": True,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": ""},
        {"subject": "a\nb"},
        {"role": "admin"},
        {"role": None},
        {"launched_at": None},
        {"launched_at": "now"},
        {"launched_at": True},
        {"launched_at": -1},
        {"launched_at": 1e300},
        {"given_name": 5},
        {"nrps_url": "file:///etc/passwd"},
        {"ags": []},
        {"ags": {"lineitems": "https://x", "scopes": "all"}},
        {"outcome": {"url": "ftp://x"}},
    ],
)
def test_a_wrong_launch_is_refused_by_its_field(shared: Exchange, wrong: dict[str, object]) -> None:
    answer = shared.api("PUT", "/members/unew", document=LAUNCH | wrong)
    assert answer.status_code == 400
    assert next(iter(wrong)).split(".")[0] in answer.json()["error"] or "url" in answer.json()["error"]


@pytest.mark.parametrize("user", ["%2e%2e", "UPPER", "a%2Fb", "a" * 65, "-x"])
def test_a_wrong_user_name_is_refused(shared: Exchange, user: str) -> None:
    answer = shared.api("PUT", f"/members/{user}", document=LAUNCH)
    assert answer.status_code == 400
    assert "user name" in answer.json()["error"]


def test_only_the_hub_enrols(shared: Exchange) -> None:
    document = LAUNCH | {"role": "instructor"}
    for user in (ADA, TUTOR, TEACHER):
        assert shared.api("PUT", f"/members/{ADA}", f"token-{user}", document).status_code == 403
    assert shared.api("PUT", f"/members/{ADA}", TOKEN + "x", document).status_code == 401
    assert shared.api("PUT", f"/members/{ADA}", document=5).status_code == 400
