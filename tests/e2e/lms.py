"""The demo LMS as its administrator has it: rosters, the gradebook, the log of requests, and bad days on demand.

People are called by the demo LMS's keys (``lecturer``, ``student-17``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT = 30.0  # seconds
ISSUER = "10.89.7.6"
STAFF = {"lecturer": "2", "teaching-assistant": "3"}
HUB_ROLES = {"lecturer": "instructor", "teaching assistant": "teaching_assistant", "student": "student"}


def sub(person: str) -> str:
    """Return the person's ``sub`` at the demo LMS."""
    return STAFF.get(person) or str(100 + int(person.removeprefix("student-")))


def user_name(person: str) -> str:
    """Return the name that hubs give to a person."""
    return hub_name(sub(person))


def hub_name(subject: str) -> str:
    """Return the name that hubs give to a ``sub`` of the demo LMS, as docs/login.md says it."""
    digest = hashlib.sha256(f"{ISSUER}\n{subject}".encode()).digest()
    return "u" + base64.b32encode(digest[:10]).decode().lower()


@dataclass(frozen=True)
class Course:
    """A course at the demo LMS."""

    id: str

    def set_roster(self, members: Mapping[str, str]) -> None:
        """Replace the roster by people and their roles (``lecturer``, ``teaching assistant`` or ``student``)."""
        wanted = [{"person": person, "role": role} for person, role in members.items()]
        _control("set", {"course": self.id, "members": wanted})

    def set_faults(self, *faults: dict[str, Any]) -> None:
        """Replace the faults that requests meet: see ``Fault`` in lab/lms/model.py."""
        _control("fault", [{"course": self.id, **fault} for fault in faults])

    def shown(self) -> dict[str, Any]:
        """Return roster (``members``), gradebook (``columns``, ``totals``) and log (``requests``)."""
        shown: dict[str, Any] = _control("show", {"course": self.id})
        return shown

    def requests(self, service: str, **wanted: object) -> list[dict[str, Any]]:
        """Return the logged requests to a service that have these values, in their order."""
        return [
            entry
            for entry in self.shown()["requests"]
            if entry["service"] == service and all(entry.get(name) == value for name, value in wanted.items())
        ]

    def column(self, label: str) -> dict[str, Any]:
        """Return the one column of the gradebook with this label."""
        found = [column for column in self.shown()["columns"] if column["label"] == label]
        assert len(found) == 1, f"want one column {label}, found {[column['label'] for column in found]}"
        column: dict[str, Any] = found[0]
        return column

    def reset(self) -> None:
        """Forget everything about the course; its roster is then the four known people and whoever launches."""
        _control("reset", {"course": self.id})


def _control(command: str, value: object) -> Any:  # noqa: ANN401  any JSON
    argv = ["podman", "exec", "-i", "lab-lms", "python3", "-m", "lab.lms.demo_lms", command]
    done = subprocess.run(  # noqa: S603
        argv, input=json.dumps(value), text=True, capture_output=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)
