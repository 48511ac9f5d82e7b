"""User names."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from campus_hubs_membership.identity import (
    USER_NAME,
    identifier_of,
    is_identifier,
    normalise_issuer,
    printable,
    user_name,
)


@pytest.mark.parametrize(
    "issuer",
    [
        "moodle.example.edu",
        "https://moodle.example.edu",
        "https://moodle.example.edu/",
        "http://moodle.example.edu",
        "HTTPS://moodle.example.edu",
    ],
)
def test_one_lms_has_one_name_in_both_lti_versions(issuer: str) -> None:
    assert normalise_issuer(issuer) == "moodle.example.edu"
    assert user_name(issuer, "4711") == user_name("moodle.example.edu", "4711")


def test_a_path_belongs_to_the_issuer() -> None:
    assert normalise_issuer("https://example.edu/moodle/") == "example.edu/moodle"


def test_names_are_stable_over_releases() -> None:
    """A change of this value would give everybody an empty home."""
    assert user_name("https://moodle.example.edu", "4711") == "u72voaafdtsxzmowo"


def test_name_is_what_the_contract_says() -> None:
    digest = hashlib.sha256(b"10.89.7.6\nstudent-1").digest()
    assert user_name("http://10.89.7.6", "student-1") == "u" + base64.b32encode(digest).decode()[:16].lower()


def test_names_are_dns_labels_and_never_service_names() -> None:
    names = {user_name("lms", str(number)) for number in range(2000)}
    assert len(names) == 2000
    assert all(re.fullmatch(r"[a-z0-9]{17}", name) and USER_NAME.fullmatch(name) for name in names)
    for service in ("ngshare", "hub", "proxy", "culler", "admin", "root", "ngshare-admin"):
        assert not USER_NAME.fullmatch(service)


def test_case_and_unicode_forms_of_a_subject_are_different_people() -> None:
    # `sub` is case sensitive (OpenID Connect Core 1.0, section 2); nothing is folded or normalised.
    assert len({user_name("lms", subject) for subject in ("Ada", "ada", "adä", "ada\u0308")}) == 4


@pytest.mark.parametrize("issuer", ["https://moodle.example.edu/", "moodle.example.edu", " HTTP://a/b/ ", ""])
@pytest.mark.parametrize("subject", ["1", "Ümit", "a" * 255, " x "])
def test_names_are_of_the_issuer_without_scheme_and_slash(issuer: str, subject: str) -> None:
    assert user_name(issuer, subject) == user_name(normalise_issuer(issuer), subject)


UNUSABLE: list[object] = [
    None,
    "",
    " ",
    "  ",
    True,
    4711.0,
    10**300,
    ["4711"],
    {"sub": 1},
    "x" * 256,
    "a\nb",
    "a\x00b",
    "a\u202eb",
    "\ud800",
    "a\x7f",
]
USABLE = ["4711", "1", "a b", "x" * 255, "d4a1-…-ü", "ada@example.edu", " x "]


@pytest.mark.parametrize("value", UNUSABLE)
def test_unusable_subjects_are_none(value: object) -> None:
    assert identifier_of(value) == ""
    assert not (isinstance(value, str) and is_identifier(value))


def test_a_number_is_the_person_of_its_digits() -> None:
    assert identifier_of(4711) == "4711"


@pytest.mark.parametrize("value", USABLE)
def test_usable_subjects_stay_as_they_are(value: str) -> None:
    assert identifier_of(value) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë Müller", "Zoë Müller"),
        ("Anna\u00a0Maria\tde\nSouza ", "Anna Maria de Souza"),
        ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
        ("\u0936\u094d\u200d\u0930\u0940", "\u0936\u094d\u200d\u0930\u0940"),
        ("a\x00b\x1b[31m\u202e\ud800", "ab[31m"),
        (["a"], ""),
        (None, ""),
    ],
)
def test_names_can_be_shown_and_stay_whole(text: object, shown: str) -> None:
    assert printable(text) == shown
    assert printable("x" * 1000, 10) == "x" * 10
