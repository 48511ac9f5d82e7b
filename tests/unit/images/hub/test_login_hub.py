"""Launches against a real hub."""

from __future__ import annotations

from login_lab import Browser, Hub


def test_lti13_launch_leads_to_the_server(browser: Browser, hub: Hub) -> None:
    answer = browser.launch13()
    assert (answer.status_code, answer.headers["Location"]) == (303, "/hub/spawn"), answer.text
    print(hub.api("/users"))
    print(browser.whoami())


def test_lti11_launch_leads_to_the_server(browser: Browser) -> None:
    answer = browser.launch11()
    assert (answer.status_code, answer.headers["Location"]) == (303, "/hub/spawn"), answer.text
