"""A student attacks the hub's REST API: in vain, and with success where a copy of the hub is open."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator

import pytest
import requests
from traitlets.config import Config

from tests.unit.images.hub.hub_attacks import ATTACKS, Target
from tests.unit.images.hub.login_lab import MEMBERSHIP, Browser, Hub, free_port
from tests.unit.images.hub.opened_hub import open_hub


def entered(hub: Hub, sub: str, role: str) -> tuple[str, Browser]:
    """Launch somebody, and wait for their server; return name and browser."""
    browser = Browser(hub)
    assert browser.launch13(sub=sub, roles=[f"{MEMBERSHIP}#{role}"]).status_code == 303
    name = browser.whoami()
    browser.get(hub.page("hub/spawn"))
    deadline = time.monotonic() + 30
    while not hub.api(f"/users/{name}")["servers"].get("", {}).get("ready"):
        assert time.monotonic() < deadline, hub.log[-2000:]
        time.sleep(0.1)
    return name, browser


def session(browser: Browser) -> dict[str, str]:
    """Return what a page of the hub in this browser would send to the API."""
    sent = {cookie.name: cookie.value or "" for cookie in browser.cookies if cookie.path in {"/", "/hub/"}}
    cookies = "; ".join(f"{name}={value}" for name, value in sent.items())
    host = str(browser.headers["Host"])
    return {"Cookie": cookies, "X-XSRFToken": sent["_xsrf"], "Sec-Fetch-Mode": "cors", "Host": host}


@pytest.fixture(scope="module")
def course(make_hub: Callable[..., Hub]) -> tuple[Hub, Target]:
    """Return a hub at which a lecturer and two students work, and what one of the students can do."""
    hub = make_hub()
    lecturer, _ = entered(hub, "lecturer", "Instructor")
    other, _ = entered(hub, "ben", "Learner")
    me, browser = entered(hub, "ada", "Learner")
    token = json.loads((hub.directory / f"{me}.env.json").read_text())["JUPYTERHUB_API_TOKEN"]
    keys = {"token": {"Authorization": f"token {token}"}, "session": session(browser)}
    return hub, Target(f"{hub.origin}/hub/api", keys, me, lecturer, other)


@pytest.fixture
def opened(course: tuple[Hub, Target]) -> Iterator[Target]:
    """Return the same on a copy of the hub, with its database and its secrets, without its guards."""
    hub, target = course
    hub.stop()
    copy = Hub(hub.directory.with_name("opened"), hub.lms, hub.url, free_port(), opened_for=target.me)
    shutil.copytree(hub.directory, copy.directory)
    copy.start()
    yield Target(f"{copy.origin}/hub/api", target.keys, target.me, target.lecturer, target.other)
    copy.stop()


def test_a_student_gets_nothing_from_the_hub(course: tuple[Hub, Target]) -> None:
    hub, target = course
    me = target.ask("GET", "/user")
    assert [person.json()["name"] for person in me] == [target.me] * len(target.keys), "the credentials are good"
    assert [attack.__name__ for attack in ATTACKS if attack(target)] == []
    assert requests.get(f"{hub.origin}/hub/health", timeout=10).ok


def test_the_attacks_succeed_at_an_open_hub(opened: Target) -> None:
    failed = [attack.__name__ for attack in ATTACKS if not attack(opened)]
    assert not failed, failed


def test_an_open_hub_starts_without_the_services_that_it_leaves_to_the_real_one() -> None:
    config = Config()
    culler = {"name": "idle-culler", "command": ["python3"]}
    config.JupyterHub.services = [{"name": "exchange"}, culler]
    config.JupyterHub.load_roles = [
        {"name": "exchange", "services": ["exchange"]},
        {"name": "idle-culler", "services": ["idle-culler"]},
        {"name": "user", "scopes": []},
    ]
    open_hub(config, "u1")
    assert [one["name"] for one in config.JupyterHub.services] == ["exchange"]
    # JupyterHub refuses to start with a role of a service that it does not know.
    assert [role["name"] for role in config.JupyterHub.load_roles] == ["exchange", "user"]
