"""Room on a full cluster at a real hub: whose server is stopped, after its own server was asked what runs in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.images.hub.login_lab import Browser, Hub, Lms, free_port
from tests.unit.images.hub.test_login_hub import name, spawn

IDLE = [{"execution_state": "idle"}]
BUSY = [{"execution_state": "idle"}, {"execution_state": "busy"}]
POD = {"spec": {"containers": [{"resources": {"requests": {"memory": "512Mi", "cpu": "100m"}}}]}}


@pytest.fixture
def full(session_lms: Lms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Hub]]:
    """Start a hub in which the people with these kernels have come one after the other; None: no answer."""
    hubs: list[Hub] = []

    def start(idle: tuple[float, float], /, **people: Any) -> Hub:  # noqa: ANN401 - JSON
        folder = tmp_path_factory.mktemp("hub")
        hub = Hub(folder, session_lms, "http://hub.example.edu/", free_port(), room=idle)
        hub.start()
        hubs.append(hub)
        for person, kernels in people.items():
            browser = Browser(hub)
            browser.launch11(user_id=person, roles="Instructor" if person == "lecturer" else "Learner")
            spawn(browser)
            if kernels is not None:
                (folder / f"{name(hub, person)}.kernels").write_text(json.dumps(kernels))
        return hub

    yield start
    for hub in hubs:
        hub.stop()


def running(hub: Hub, *people: str) -> list[str]:
    """Return who of them has a server."""
    return [person for person in people if hub.api(f"/users/{name(hub, person)}")["servers"]]


def wait(hub: Hub, *, staff: bool, **changes: Any) -> str:  # noqa: ANN401
    """Let somebody wait for room; return what they read."""
    wants = {"pod": POD, "short": ["memory"], "staff": staff, **changes}
    (hub.directory / "new.json").write_text(json.dumps(wants))
    (hub.directory / "new.json").rename(hub.directory / "waits.json")
    end = time.monotonic() + 20
    while not (hub.directory / "says").exists():
        assert time.monotonic() < end, hub.log[-3000:]
        time.sleep(0.1)
    return (hub.directory / "says").read_text()


def test_the_idlest_students_server_gives_way(full: Callable[..., Hub]) -> None:
    """Not the lecturer's, none in which a cell runs, and none that does not say so."""
    everybody = ("lecturer", "busy", "silent", "first", "second")
    hub = full((1, 1000), lecturer=IDLE, busy=BUSY, silent=None, first=IDLE, second=IDLE)
    assert running(hub, *everybody) == list(everybody)
    time.sleep(1.5)
    assert wait(hub, staff=True).startswith("The cluster is full. You are number 1 of 1 who wait for room. ")
    end = time.monotonic() + 20
    while running(hub, "first"):
        assert time.monotonic() < end, hub.log[-3000:]
        time.sleep(0.2)
    # The scheduler has some time for the room that was made.
    time.sleep(2)
    assert running(hub, *everybody) == ["lecturer", "busy", "silent", "second"]
    (hub.directory / "waits.json").unlink()
    time.sleep(5)
    assert running(hub, *everybody) == ["lecturer", "busy", "silent", "second"]
    assert f"user-{name(hub, 'first')} gives way on w1 to a lecturer, tutor or sandbox, idle for" in hub.log
    # Nothing is left of having asked.
    tokens = hub.api(f"/users/{name(hub, 'busy')}/tokens")["api_tokens"]
    assert not [token for token in tokens if "cell" in token["note"]]


def test_a_student_waits_longer_for_another(full: Callable[..., Hub]) -> None:
    hub = full((1, 1000), first=IDLE)
    time.sleep(1.5)
    wait(hub, staff=False)
    time.sleep(2)
    assert running(hub, "first") == ["first"]


def test_nobody_gives_way_where_it_does_not_help(full: Callable[..., Hub]) -> None:
    hub = full((0, 0), first=IDLE)
    wait(hub, staff=True, nodes=["w2"])
    time.sleep(2)
    assert running(hub, "first") == ["first"]
