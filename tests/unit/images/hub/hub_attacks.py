"""Attacks of a student on the course's hub. They need `requests` only, so that they run in a person's server, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

TIMEOUT = 30.0


@dataclass(frozen=True)
class Target:
    """A hub, and a student with all that they can present there.

    Attributes:
        api: URL of the hub's REST API, without a trailing slash.
        keys: headers of each kind of credential that the student has: the server's token, the browser's session.
        me: the student's user name.
        lecturer: a lecturer's.
        other: another student's.
    """

    api: str
    keys: Mapping[str, Mapping[str, str]]
    me: str
    lecturer: str
    other: str

    def ask(self, method: str, path: str, body: object = None) -> list[requests.Response]:
        """Ask with each credential; return the answers that the hub did not refuse."""
        answers = [
            requests.request(method, self.api + path, json=body, headers=dict(key), timeout=TIMEOUT)
            for key in self.keys.values()
        ]
        return [answer for answer in answers if answer.ok]

    def got(self, path: str) -> list[Any]:
        """Return what a path shows, by each credential."""
        return [answer.json() for answer in self.ask("GET", path)]


# Each attack returns whether it got what it wanted.
def list_everybody(target: Target) -> bool:
    return any({one["name"] for one in people} - {target.me} for people in target.got("/users"))


def read_a_lecturer(target: Target) -> bool:
    return bool(target.got(f"/users/{target.lecturer}"))


def read_what_the_lms_said_of_a_lecturer(target: Target) -> bool:
    return any(person.get("auth_state") for person in target.got(f"/users/{target.lecturer}"))


def list_the_groups(target: Target) -> bool:
    return any(target.got("/groups"))


def read_the_lecturers_group(target: Target) -> bool:
    return bool(target.got("/groups/instructor"))


def list_the_services(target: Target) -> bool:
    return any(target.got("/services"))


def read_the_routes(target: Target) -> bool:
    return bool(target.got("/proxy"))


def read_the_hubs_versions(target: Target) -> bool:
    return bool(target.got("/info"))


def list_a_lecturers_tokens(target: Target) -> bool:
    return bool(target.got(f"/users/{target.lecturer}/tokens"))


def mint_a_token_of_a_lecturer(target: Target) -> bool:
    return bool(target.ask("POST", f"/users/{target.lecturer}/tokens", {"note": "mine"}))


def mint_a_token_without_an_end(target: Target) -> bool:
    answers = target.ask("POST", f"/users/{target.me}/tokens", {"note": "for ever"})
    return any(answer.json()["expires_at"] is None for answer in answers)


def mint_a_token_for_years(target: Target) -> bool:
    """Ask for three years; a hub may give less, but then to nobody for so long."""
    years = 3 * 365 * 24 * 3600
    return bool(target.ask("POST", f"/users/{target.me}/tokens", {"note": "years", "expires_in": years}))


def share_ones_server(target: Target) -> bool:
    body = {"user": target.other, "scopes": [f"access:servers!server={target.me}/"]}
    return bool(target.ask("POST", f"/shares/{target.me}/", body))


def hand_out_a_code_for_ones_server(target: Target) -> bool:
    return bool(target.ask("POST", f"/share-codes/{target.me}/", {}))


def start_anothers_server(target: Target) -> bool:
    return bool(target.ask("POST", f"/users/{target.other}/server"))


def stop_a_lecturers_server(target: Target) -> bool:
    return bool(target.ask("DELETE", f"/users/{target.lecturer}/server"))


def stop_anothers_server(target: Target) -> bool:
    return bool(target.ask("DELETE", f"/users/{target.other}/server"))


def keep_anothers_server_awake(target: Target) -> bool:
    soon = {"last_activity": (datetime.now(UTC) + timedelta(minutes=50)).isoformat()}
    body = {**soon, "servers": {"": soon}}
    return bool(target.ask("POST", f"/users/{target.other}/activity", body))


def join_the_lecturers(target: Target) -> bool:
    return bool(target.ask("POST", "/groups/instructor/users", {"users": [target.me]}))


def put_a_lecturer_out_of_the_group(target: Target) -> bool:
    return bool(target.ask("DELETE", "/groups/instructor/users", {"users": [target.lecturer]}))


def become_an_administrator(target: Target) -> bool:
    return any(answer.json().get("admin") for answer in target.ask("PATCH", f"/users/{target.me}", {"admin": True}))


def make_a_user(target: Target) -> bool:
    return bool(target.ask("POST", "/users/u4444444444444444"))


def make_homes_for_the_roster(target: Target) -> bool:
    return bool(target.ask("POST", "/homes"))


def get_a_sandbox(target: Target) -> bool:
    """Take a pod of a kind that only lecturers and tutors have."""
    made = target.ask("POST", "/sandboxes")
    for answer in made:
        target.ask("DELETE", f"/sandboxes/{answer.json()['name']}")
    return bool(made)


def rename_another(target: Target) -> bool:
    return bool(target.ask("PATCH", f"/users/{target.other}", {"name": "u5555555555555555"}))


def remove_a_lecturer(target: Target) -> bool:
    return bool(target.ask("DELETE", f"/users/{target.lecturer}"))


def stop_the_hub(target: Target) -> bool:
    return bool(target.ask("POST", "/shutdown", {"proxy": False, "servers": False}))


# What destroys something comes last: the others need it.
ATTACKS: list[Callable[[Target], bool]] = [
    list_everybody,
    read_a_lecturer,
    read_what_the_lms_said_of_a_lecturer,
    list_the_groups,
    read_the_lecturers_group,
    list_the_services,
    read_the_routes,
    read_the_hubs_versions,
    list_a_lecturers_tokens,
    mint_a_token_of_a_lecturer,
    mint_a_token_without_an_end,
    mint_a_token_for_years,
    share_ones_server,
    hand_out_a_code_for_ones_server,
    keep_anothers_server_awake,
    # It runs, and who starts it must find it stopped.
    stop_anothers_server,
    start_anothers_server,
    stop_a_lecturers_server,
    make_a_user,
    join_the_lecturers,
    become_an_administrator,
    put_a_lecturer_out_of_the_group,
    rename_another,
    remove_a_lecturer,
    stop_the_hub,
]
# These are offered by the hub's own configuration, which makes pods: in the cluster only.
ON_THE_CLUSTER: list[Callable[[Target], bool]] = [make_homes_for_the_roster, get_a_sandbox]
