"""A person's real server offers what its list says to the person's role, and nothing that is off or unheard of."""

from __future__ import annotations

import json

import pytest

from tests.e2e import playbook
from tests.e2e.conftest import LTI13_COURSE
from tests.e2e.lti import Lms, Person

LIST = playbook.ROOT / "images/singleuser/etc/handlers.json"
# They end the session that asks.
NOT_ASKED = {"logout", "oauth_callback"}
UNHEARD_OF = (
    "git-pull?repo=https://example.org/x",
    "git-pull/api",
    "git-sync",
    "voila",
    "proxy/8080",
    "login",
    "shell",
)


def offered(person: Person, path: str) -> bool:
    """Tell whether a person's server has something there; Lab answers with its page where it has nothing."""
    answer = person.answer("GET", f"/user/{person.name}/{path}")
    assert answer.status_code < 500, (path, answer.text[:300])
    nothing = path.startswith("lab/api/") and "html" in answer.headers["Content-Type"]
    return answer.status_code not in {403, 404, 405} and not nothing


@pytest.mark.parametrize(("key", "mine"), [("student-1", {"everybody"}), ("lecturer", {"everybody", "graders"})])
def test_a_server_offers_what_is_listed(lms: Lms, key: str, mine: set[str]) -> None:
    person = lms.enter_lab(LTI13_COURSE, key)
    listed = {
        pattern.removesuffix("/?"): role
        for pattern, (role, methods, _) in json.loads(LIST.read_text()).items()
        if "GET" in methods.split()
        and not set(pattern.removesuffix("/?")) & set("()[]*?\\")
        and pattern not in NOT_ASKED
    }
    # All that no pattern stands for: most of what there is.
    assert len(listed) > 30
    wrong = {path: role for path, role in listed.items() if offered(person, path) != (role in mine)}
    assert wrong == {}
    assert [path for path in UNHEARD_OF if offered(person, path)] == []
